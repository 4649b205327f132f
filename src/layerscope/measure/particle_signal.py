"""What the beam says of a particle: transmission, thickness class, texture, folds.

In bright field the intensity behind a thin body falls as ``exp(-t / L)``, with the thickness t and
the mean free path L for leaving the aperture (Reimer and Kohl, Transmission Electron Microscopy,
5th ed. (2008), ch. 6). ``-ln T`` against what lies behind the particle is its mass thickness in
units of L, where scattering is single: up to about one. Over a hole the reference is the vacuum,
over the support the support: so a flake that lies on both has one mass thickness.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.particles import Particles
from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError

Grey = npt.NDArray[np.float32]

THICKNESS_CLASSES = ("thin", "medium", "thick", "unknown")
ENTROPY_LEVELS = 64
_LEAST_REFERENCE_PX = 200
_RING_PX = (3, 15)
_CORE_PX = 2
_RIDGE_PX = 1.5
_RIDGE_OVER_NOISE = 5.0
_LONG = 4.0


@dataclass(frozen=True)
class ThicknessLimits:
    """Where a class of thickness ends, in mean free paths.

    Attributes
    ----------
    thin : float
        0.035: ten layers of graphene (3.35 nm) where L is 100 nm.
    medium : float
        0.35: a hundred layers. Beyond about 1 the law itself ends.
    """

    thin: float = 0.035
    medium: float = 0.35

    def __post_init__(self) -> None:
        if not 0 < self.thin < self.medium:
            raise InputError(f"{self}: expected two rising numbers")


@dataclass(frozen=True, eq=False)
class Beam:
    """Signal of the particles of one image; one row per particle.

    Attributes
    ----------
    transmission, transmission_se : ndarray, (n,)
        Share of the beam that passes; over 1: the particle is brighter than what is behind it.
    mass_thickness, mass_thickness_se : ndarray, (n,)
        ``-ln`` of it.
    thickness_class : tuple of str
        One of `THICKNESS_CLASSES`; unknown where the 95 % interval lies in more than one.
    texture_entropy : ndarray, (n,)
        Bits per pixel of its grey values on 64 levels of the picture's range.
    fold_share : ndarray, (n,)
        Share of its inside under narrow dark ridges.
    folds : ndarray of int, (n,)
        Ridges at least four times as long as wide.
    reference : str
        What transmission is measured against.
    """

    transmission: FloatArray
    transmission_se: FloatArray
    mass_thickness: FloatArray
    mass_thickness_se: FloatArray
    thickness_class: tuple[str, ...]
    texture_entropy: FloatArray
    fold_share: FloatArray
    folds: npt.NDArray[np.int64]
    reference: str


def measure_beam(particles: Particles, grey: Grey, limits: ThicknessLimits | None = None) -> Beam:
    """Measure the signal of every particle.

    Parameters
    ----------
    particles : Particles
    grey : ndarray of float32, (H, W)
        Proportional to the beam, 0 where there is none.
    limits : ThicknessLimits, optional

    Raises
    ------
    InputError
        If the picture has another shape.
    """
    if grey.shape != particles.masks.shape:
        raise InputError(f"a picture of {grey.shape} for masks of {particles.masks.shape}")
    limits = limits or ThicknessLimits()
    behind = _behind(particles, grey)
    passed = np.array([_passed(grey, behind, *one) for one in particles.masks]).reshape(-1, 2)
    through, error = passed[:, 0], np.hypot(passed[:, 1], passed[:, 0] * behind.error)
    with np.errstate(divide="ignore", invalid="ignore"):
        thickness = np.where(through > 0, -np.log(through), np.nan)
        thickness_se = np.where(through > 0, error / through, np.nan)
    ridges = _ridges(grey)
    folded = [_folds(ridges, *one) for one in particles.masks]
    return Beam(
        through, error, thickness, thickness_se,
        tuple(_class(t, s, limits) for t, s in zip(thickness, thickness_se, strict=True)),
        _entropies(particles, grey),
        np.array([share for share, _ in folded], float),
        np.array([count for _, count in folded], np.int64),
        behind.name,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Behind:
    """Intensity (H, W) without particles, its relative error, and where it comes from."""

    level: Grey
    error: float
    name: str


def _behind(particles: Particles, grey: Grey) -> _Behind:
    """Support where there is support, vacuum where there is a hole, each from its bare pixels."""
    pixels = particles.pixels
    taken = _taken(particles)
    bare = pixels.valid & ~cv2.dilate(taken.view(np.uint8), np.ones((7, 7), np.uint8)).view(bool)
    support, vacuum = bare & ~pixels.holes, bare & pixels.holes
    if np.count_nonzero(support) < _LEAST_REFERENCE_PX:
        nothing = np.full(grey.shape, np.nan, np.float32)
        return _Behind(nothing, float("nan"), "")
    level, error = _surface(grey, support)
    names = ["support"]
    if pixels.holes.any():
        if np.count_nonzero(vacuum) >= _LEAST_REFERENCE_PX:
            empty, other = _surface(grey, vacuum)
            level, error = np.where(pixels.holes, empty, level), max(error, other)
            names.append("vacuum")
        else:
            level = np.where(pixels.holes, np.float32("nan"), level)
    return _Behind(level.astype(np.float32), error, " and ".join(names))


def _taken(particles: Particles) -> BoolArray:
    return np.asarray(particles.pixels.objects | (particles.masks.labels() > 0))


def _surface(grey: Grey, where: BoolArray) -> tuple[Grey, float]:
    """Smooth level over `where` continued everywhere, and its relative uncertainty.

    A plane through block medians: illumination changes slowly, the support does not. What the
    blocks stray by around it is the uncertainty of one particle's reference.
    """
    rows, columns = np.ogrid[: grey.shape[0], : grey.shape[1]]
    side = max(16, max(grey.shape) // 16)
    blocks = (rows // side) * (grey.shape[1] // side + 1) + columns // side
    of = blocks[where]
    order = np.argsort(of, kind="stable")
    values, places = grey[where][order], np.flatnonzero(where.ravel())[order]
    starts = np.flatnonzero(np.r_[True, np.diff(of[order]) > 0])
    parts = list(zip(np.split(values, starts[1:]), np.split(places, starts[1:]), strict=True))
    points = np.array([
        (*np.divmod(place, grey.shape[1])[0].mean(keepdims=True),
         *np.divmod(place, grey.shape[1])[1].mean(keepdims=True), np.median(value), len(value))
        for value, place in parts
    ])  # fmt: skip
    y, x, level, count = points.T
    design = np.column_stack([np.ones_like(y), y, x])
    if len(points) < 6:
        middle = float(np.median(grey[where]))
        return np.full(grey.shape, middle, np.float32), 0.02
    root = np.sqrt(count)
    fit = np.linalg.lstsq(design * root[:, None], level * root, rcond=None)[0]
    away = level - design @ fit
    spread = float(np.sqrt((count * away**2).sum() / count.sum()))
    surface = fit[0] + fit[1] * rows + fit[2] * columns
    return surface.astype(np.float32), spread / max(float(level.mean()), 1e-9)


def _passed(
    grey: Grey, behind: _Behind, where: tuple[slice, slice], crop: BoolArray
) -> tuple[float, float]:
    """Median transmission off the rim, and its standard error from the spread of pixels."""
    core = _core(crop)
    level = behind.level[where][core]
    known = np.isfinite(level) & (level > 0)
    if not known.any():
        return float("nan"), float("nan")
    ratio = grey[where][core][known].astype(float) / level[known]
    spread = 1.2533 * float(ratio.std()) / np.sqrt(max(len(ratio) / 4, 1))
    return float(np.median(ratio)), spread


def _core(crop: BoolArray) -> BoolArray:
    """Inside of a mask, off its blurred rim where it is wide enough."""
    side = 2 * _CORE_PX + 1
    rimmed = cv2.copyMakeBorder(crop.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    core = cv2.erode(rimmed, np.ones((side, side), np.uint8))[1:-1, 1:-1] > 0
    return core if core.any() else crop


def _class(thickness: float, error: float, limits: ThicknessLimits) -> str:
    """Class that holds the whole 95 % interval; darker than nothing at all is unknown."""
    if not (np.isfinite(thickness) and np.isfinite(error)):
        return "unknown"
    low, high = thickness - 1.96 * error, thickness + 1.96 * error
    if high < 0:  # brighter than what is behind it: no picture in transmission
        return "unknown"
    ends = ((0.0, limits.thin), (limits.thin, limits.medium), (limits.medium, np.inf))
    inside = [low >= least or k == 0 for k, (least, _) in enumerate(ends)]
    for name, (_, most), above in zip(THICKNESS_CLASSES, ends, inside, strict=False):
        if above and high < most:
            return name
    return "unknown"


def _entropies(particles: Particles, grey: Grey) -> FloatArray:
    valid = particles.pixels.valid
    low, high = np.quantile(grey[valid], (0.005, 0.995)) if valid.any() else (0.0, 1.0)
    scaled = np.clip((grey - low) / max(high - low, 1e-12), 0, 1 - 1e-6) * ENTROPY_LEVELS
    return np.array(
        [_entropy(scaled[where][crop].astype(np.int64)) for where, crop in particles.masks], float
    )


def _entropy(levels: npt.NDArray[np.int64]) -> float:
    share = np.bincount(levels) / max(len(levels), 1)
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def _ridges(grey: Grey) -> BoolArray:
    """Pixels (H, W) on narrow dark ridges: much curved across, hardly along, well over the noise.

    Eigenvalues of the Hessian (Steger, IEEE Trans. Pattern Anal. Mach. Intell. 20, 113 (1998)).
    """
    smooth = cv2.GaussianBlur(grey, (0, 0), _RIDGE_PX, borderType=cv2.BORDER_REFLECT)
    xx, yy, xy = (
        cv2.Sobel(smooth, cv2.CV_32F, *order, ksize=3, borderType=cv2.BORDER_REFLECT)
        for order in ((2, 0), (0, 2), (1, 1))
    )
    half, middle = np.sqrt(((xx - yy) / 2) ** 2 + xy**2), (xx + yy) / 2
    across, along = middle + half, middle - half
    # Curvatures of a flat picture are noise around zero: their median size is its scale.
    noise = float(np.median(np.abs(across))) / 0.6745 + 1e-9
    return np.asarray((across > _RIDGE_OVER_NOISE * noise) & (across > 2 * np.abs(along)))


def _folds(ridges: BoolArray, where: tuple[slice, slice], crop: BoolArray) -> tuple[float, int]:
    """Share of the inside on ridges that are long, and how many of them there are."""
    rimmed = cv2.copyMakeBorder(crop.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    side = 2 * round(3 * _RIDGE_PX) + 1  # the rim of a dark body is a ridge itself
    inside = cv2.erode(rimmed, np.ones((side, side), np.uint8))[1:-1, 1:-1] > 0
    whole = int(np.count_nonzero(inside))
    if not whole:
        return 0.0, 0
    found = [piece for piece in _pieces(ridges[where] & inside) if _is_long(piece)]
    return sum(len(piece) for piece in found) / whole, len(found)


def _pieces(mask: BoolArray) -> Iterator[npt.NDArray[np.int64]]:
    """Pixels (k, 2) of each connected piece."""
    count, labels = cv2.connectedComponents(np.ascontiguousarray(mask).view(np.uint8))
    places = np.argwhere(labels > 0)
    of = labels[labels > 0]
    for k in range(1, count):
        yield places[of == k]


def _is_long(piece: npt.NDArray[np.int64]) -> bool:
    """Whether a ridge is at least four times as long as it is wide on average."""
    long = float(np.hypot(*np.ptp(piece, axis=0))) + 1
    return long >= 8 and long**2 >= _LONG * len(piece)
