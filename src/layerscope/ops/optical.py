"""The bare substrate of an optical micrograph: its colour, and how it varies over the field.

Everything is measured against it, so the choice is exposed: every colour that could be the
substrate is a `SubstrateCandidate`, and `ops.setups` asks the whole set when one image cannot
tell (a film that covers most of a field is its most frequent colour).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.errors import InputError
from layerscope.ops.channels import FloatImage, channel_max, colours_at, farthest
from layerscope.ops.illumination import (
    LEVELS,
    FlatField,
    camera_levels,
    flat_field_from_reference,
    flat_field_from_set,
)
from layerscope.ops.substrate import SAME_COLOUR, fit_surface, pixel_noise, surface_se

__all__ = [
    "LEVELS",
    "Background",
    "FlatField",
    "SubstrateCandidate",
    "analysis_levels",
    "binning_of",
    "cell_grid",
    "fit_background",
    "flat_field_from_reference",
    "flat_field_from_set",
    "usable_pixels",
]

_LOG_OFFSET = 4 / LEVELS
"""Added before taking logarithms: below 4 of 255 a camera's black level, not light, decides."""


@dataclass(frozen=True)
class SubstrateCandidate:
    """A colour that could be the bare substrate.

    Attributes
    ----------
    level : ndarray, (3,)
        Fraction of the white level, RGB.
    share : float
        Share of the image's flat area that has this colour.
    score : float
        Area times spread over the field, 0 to 1.25.
    """

    level: FloatArray
    share: float
    score: float


@dataclass(frozen=True)
class Background:
    """Bare substrate of one image.

    Attributes
    ----------
    level : ndarray, (3,)
        At the image centre, fraction of the white level, RGB.
    surface : ndarray of float32, (h, w, 3)
        On a coarse grid that spans the image, fraction of the white level.
    noise : ndarray, (3,)
        Robust standard deviation of bare pixels at the analysis resolution, fraction of white.
    surface_se : ndarray, (3,)
        Standard error of the surface: what is left of bare 8-px cells, fraction of white.
    candidates : tuple of SubstrateCandidate
        Best first; the first is the one used unless the caller gave a level.
    confident : bool
        False if another candidate scores alike, or little of the image has this colour.
    """

    level: FloatArray
    surface: FloatImage
    noise: FloatArray
    surface_se: FloatArray
    candidates: tuple[SubstrateCandidate, ...]
    confident: bool

    def at(self, shape: tuple[int, int]) -> FloatImage:
        """Substrate level at every pixel of an image of `shape` (H, W)."""
        return cv2.resize(self.surface, shape[::-1], interpolation=cv2.INTER_LINEAR)


def binning_of(shape: tuple[int, int]) -> int:
    """Largest power of two that leaves at least half a million pixels, 1 for small images."""
    binning = 1
    while shape[0] * shape[1] / (4 * binning * binning) >= 0.5e6:
        binning *= 2
    return binning


def analysis_levels(
    micrograph: Micrograph, *, binning: int = 1, flat_field: FlatField | None = None
) -> FloatImage:
    """Levels from 0 to 255 at the analysis resolution, flat-field corrected.

    Parameters
    ----------
    micrograph : Micrograph
    binning : int
        Pixels averaged in each direction; a remainder at the right and bottom is left out.
    flat_field : FlatField, optional

    Returns
    -------
    ndarray of float32, (H // binning, W // binning, 3)
        Finite; pixels that are not finite in the data become 0 (see `usable_pixels`).
    """
    levels = binned_levels(micrograph, binning, flat_field)
    return levels.astype(np.float32, copy=False)


def binned_levels(
    micrograph: Micrograph, binning: int, flat_field: FlatField | None
) -> npt.NDArray[np.uint8] | FloatImage:
    """`analysis_levels`, left in 8 bits where the camera's are: the finder is faster on them."""
    height, width = (max(1, n // binning) for n in micrograph.shape)
    whole = micrograph.data[: height * binning, : width * binning]
    if whole.dtype == np.uint8 and micrograph.white_level == LEVELS and flat_field is None:
        small = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
        return cv2.merge([small] * 3) if small.ndim == 2 else np.asarray(small)
    levels = camera_levels(whole, micrograph.white_level, (height, width))
    if flat_field is not None:
        levels /= flat_field.at((height, width))
    return levels if whole.dtype.kind == "u" else np.nan_to_num(levels, posinf=0, neginf=0)


def usable_pixels(micrograph: Micrograph, binning: int = 1) -> npt.NDArray[np.uint8] | None:
    """255 where a binned pixel is specimen, 0 where any of it is excluded or not finite.

    None when every pixel is usable, which saves the work in the usual case.
    """
    bad = micrograph.excluded
    if micrograph.data.dtype.kind == "f":
        broken = ~np.isfinite(micrograph.data)
        broken = broken.any(axis=2) if broken.ndim == 3 else broken
        bad = broken if bad is None else bad | broken
    if bad is None or not bad.any():
        return None
    height, width = (max(1, n // binning) for n in micrograph.shape)
    cropped = bad[: height * binning, : width * binning].reshape(height, -1, width, binning)
    return np.where(cropped.any(axis=(1, 3)), 0, 255).astype(np.uint8)


def cell_grid(shape: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the grid on which the substrate is modelled (about 30,000 cells)."""
    cell = max(1, round(float(np.sqrt(shape[0] * shape[1] / 30_000))))
    return max(1, shape[0] // cell), max(1, shape[1] // cell)


def fit_background(
    micrograph: Micrograph,
    *,
    substrate_level: npt.ArrayLike | None = None,
    flat_field: FlatField | None = None,
    binning: int | None = None,
) -> Background:
    """Find the bare substrate and fit its level over the field.

    Flat cells vote for colours; the best candidate (or `substrate_level`) seeds a robust
    polynomial of degree 2, then 4, then a local average of what is left, so that a vignette's
    corner is followed while flakes, masked with a margin, do not bend the surface.

    Parameters
    ----------
    micrograph : Micrograph
    substrate_level : array_like, (3,), optional
        Level of the bare substrate, fraction of white, if it is known from elsewhere.
    flat_field : FlatField, optional
    binning : int, optional
        As in `analysis_levels`; chosen from the image size by default.

    Raises
    ------
    InputError
        If `substrate_level` is not three numbers between 0 and 1.
    """
    b = binning or binning_of(micrograph.shape)
    levels = analysis_levels(micrograph, binning=b, flat_field=flat_field)
    return background_of(levels, usable_pixels(micrograph, b), substrate_level)


def background_of(
    levels: npt.NDArray[np.uint8] | FloatImage,
    usable: npt.NDArray[np.uint8] | None = None,
    substrate_level: npt.ArrayLike | None = None,
) -> Background:
    """`fit_background` on levels (h, w, 3) that `analysis_levels` returned."""
    wanted = None if substrate_level is None else _checked_level(substrate_level) * LEVELS
    grid = cell_grid(levels.shape[:2])
    cells = cv2.resize(
        levels.astype(np.float32, copy=False), grid[::-1], interpolation=cv2.INTER_AREA
    )
    valid = np.ones(grid, bool)
    if usable is not None:
        valid = cv2.resize(usable, grid[::-1], interpolation=cv2.INTER_AREA) == 255
    flat = _flat_cells(cells) & valid
    candidates = _candidates(cells, flat)
    start = candidates[0].level * LEVELS if wanted is None and candidates else wanted
    if start is None:
        start = np.median(cells[valid] if valid.any() else cells.reshape(-1, 3), axis=0)
    surface, bare = fit_surface(cells, flat, valid, np.asarray(start, float))
    noise = pixel_noise(levels, surface)
    return Background(
        level=surface[grid[0] // 2, grid[1] // 2].astype(float) / LEVELS,
        surface=surface / np.float32(LEVELS),
        noise=noise / LEVELS,
        surface_se=surface_se(cells, surface, bare, noise) / LEVELS,
        candidates=candidates,
        confident=_is_confident(candidates, wanted, float(bare.mean())),
    )


def _checked_level(level: npt.ArrayLike) -> FloatArray:
    out = np.asarray(level, float)
    if out.shape != (3,) or not np.isfinite(out).all() or (out < 0).any() or (out > 1).any():
        raise InputError(
            f"substrate_level must be three fractions of white (0 to 1), got {level!r}"
        )
    return out


def _flat_cells(cells: FloatImage) -> BoolArray:
    """Cells whose 3x3 neighbourhood is as even as the evener half of the image."""
    box = np.ones((3, 3), np.uint8)
    span = channel_max(cv2.dilate(cells, box) - cv2.erode(cells, box))
    some = span[::3, ::3].ravel()
    rank = int(0.3 * (len(some) - 1))
    limit = np.clip(3 * np.partition(some, rank)[rank], 2.0, 10.0)
    dark = channel_max(cells) < 1
    burnt = channel_max(-cells) < -0.97 * LEVELS
    return np.asarray((span <= limit) & ~dark & ~burnt)


def log_level(level: npt.ArrayLike) -> FloatArray:
    """Logarithm of fractions of white, in which a change of exposure is a shift."""
    return np.log(np.asarray(level, float) + _LOG_OFFSET)


def _candidates(cells: FloatImage, flat: BoolArray) -> tuple[SubstrateCandidate, ...]:
    """Colours of the flat cells, by greedy search for the densest in log space."""
    where = np.flatnonzero(flat)[::5]
    if len(where) == 0:
        return ()
    colours = colours_at(cells, where)
    logs = log_level(colours / LEVELS)
    key = np.round(logs / 0.04).astype(np.int64) @ np.array([1, 1 << 10, 1 << 20])
    _, group = np.unique(key, return_inverse=True)
    count = np.bincount(group)
    centre = np.stack([np.bincount(group, logs[:, c]) / count for c in range(3)], axis=1)
    tile = _tile_of(where, flat.shape)
    found, left = [], count.astype(float)
    common = np.argsort(-count, kind="stable")[:200]
    apart = farthest(centre[common][:, None] - centre[None])
    for _ in range(6):
        density = (np.exp(-0.5 * (apart / 0.05) ** 2) * left).sum(axis=1) * (left[common] > 0)
        best = int(np.argmax(density))
        member = (apart[best] < SAME_COLOUR) & (left > 0)
        share = float(left[member].sum() / len(where))
        if density[best] <= 0 or share < 0.02:
            break
        mine = member[group]
        near = mine & (farthest(logs - centre[common[best]]) < 0.06)
        spread = len(np.unique(tile[mine])) / 40
        chosen = colours[near if near.any() else mine]
        level = np.median(np.ascontiguousarray(chosen.T), axis=1) / LEVELS
        found.append(SubstrateCandidate(level, share, share * (0.25 + spread)))
        left = np.where(member, 0, left)
    return tuple(sorted(found, key=lambda c: -c.score))


def _tile_of(index: IntArray, shape: tuple[int, int]) -> IntArray:
    """Which of 8 x 5 tiles of the field each flat index lies in."""
    rows, columns = np.divmod(index, shape[1])
    return np.asarray(rows * 5 // shape[0] * 8 + columns * 8 // shape[1])


def _is_confident(
    candidates: tuple[SubstrateCandidate, ...], wanted: FloatArray | None, bare: float
) -> bool:
    if wanted is not None:
        return bare > 0.01
    if not candidates or bare < 0.1:
        return False
    return len(candidates) == 1 or candidates[0].score > 2 * candidates[1].score
