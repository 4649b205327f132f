"""Synthetic transmission electron micrographs of graphene on carbon films, with exact truth.

>>> picture = synth_em(7, pixel_size_nm=4.0)
>>> picture.micrograph.modality, len(picture.flakes) == len(picture.n_layers)
(<Modality.TEM: 'tem'>, True)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE
from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.core.results import BoolArray, CropMasks, FloatArray, IntArray
from layerscope.errors import InputError
from layerscope.synth.em_dirt import strew_dirt
from layerscope.synth.em_flakes import MOST_LAYERS, DrawnFlake, draw_flake
from layerscope.synth.em_optics import Microscope, detect, expose_em, lattice_fringes
from layerscope.synth.em_support import Support, lay_support

CLASSES = ("support", "flake", "hole")
"""Of `SynthEm.label_map`: a flake over a hole is a flake."""

PIXEL_RANGE_NM = (0.5, 10.0)
"""From which `synth_em` draws the size of a pixel."""

PIXEL_SIZE_NM = (0.02, 200.0)
"""Finest and coarsest pixels that can be drawn."""

_MOST_FLAKES = 150

_ROSE, _LOOKED_AT_PX = 5.0, 10
"""A difference is seen if it is five times its noise (Rose, J. Opt. Soc. Am. 38, 196 (1948)) in a
patch of so many pixels a side, less than which has no outline."""

_LEAST_SEEN = 0.015
"""However many electrons: carbon films and light are uneven by about a per cent."""

_MARGIN_PX = 24
"""Drawn around the frame and cut off: waves come in from outside of it."""


@dataclass(frozen=True, eq=False)
class SynthEm:
    """A micrograph and what is really there.

    Attributes
    ----------
    micrograph : Micrograph
        uint8 or uint16, (H, W), modality TEM.
    flakes : CropMasks
        One mask per flake, whole where another lies over it; a flake that the frame cuts into
        two pieces is one.
    n_layers : ndarray of int, (n,)
        Layers of each flake where it lies flat.
    crumpled : ndarray of bool, (n,)
    contrast : ndarray, (n,)
        Share of the beam that each flake takes away: the median over its pixels.
    layers : ndarray of uint16, (H, W)
        Sheets one above the other, with folds and overlaps; ridges, which stand on edge, do not
        count.
    holes, contamination, folds : ndarray of bool, (H, W)
        They overlap each other and the flakes: a hole under a flake is both.
    support : Support
    microscope : Microscope
    specimen : int or None
        Number of the specimen in a series in which several images show the same.
    """

    micrograph: Micrograph
    flakes: CropMasks
    n_layers: IntArray
    crumpled: BoolArray
    contrast: FloatArray
    layers: npt.NDArray[np.uint16]
    holes: BoolArray
    contamination: BoolArray
    folds: BoolArray
    support: Support
    microscope: Microscope
    specimen: int | None = None

    @property
    def flake_mask(self) -> BoolArray:
        """Pixels (H, W) with graphene on them."""
        return self.layers > 0

    @property
    def label_map(self) -> npt.NDArray[np.uint8]:
        """Index into `CLASSES` per pixel, (H, W); a flake hides the hole under it."""
        return np.where(self.flake_mask, 1, np.where(self.holes, 2, 0)).astype(np.uint8)

    def label_map_seen(self, least_contrast: float) -> npt.NDArray[np.uint8]:
        """`label_map` as a careful person would draw it, (H, W).

        Pixels that only flakes fainter than `least_contrast` cover are `IGNORE`: nobody sees them.
        """
        seen = np.zeros(self.layers.shape, bool)
        for (where, crop), contrast in zip(self.flakes, self.contrast, strict=True):
            if contrast >= least_contrast:
                seen[where] |= crop
        return np.where(self.flake_mask & ~seen, np.uint8(IGNORE), self.label_map)

    @property
    def visible_contrast(self) -> float:
        """Least share of the beam a flake must take away to be seen on the carbon."""
        through = np.exp(-self.support.thickness_nm / self.microscope.mean_free_path_nm)
        electrons = self.microscope.dose_e_px * through * _LOOKED_AT_PX**2
        return max(_LEAST_SEEN, float(_ROSE / np.sqrt(electrons)))

    def maps_seen(self, least_contrast: float | None = None) -> npt.NDArray[np.uint8]:
        """Flake and hole as a careful person would draw them, (H, W, 2) of 0, 1 and `IGNORE`.

        They overlap: a hole under a flake is both. Where only flakes fainter than `least_contrast`
        (default `visible_contrast`) lie, nobody knows whether there is one; holes are always seen.
        """
        least = self.visible_contrast if least_contrast is None else least_contrast
        labels = self.label_map_seen(least)
        flake = np.where(labels == IGNORE, np.uint8(IGNORE), self.flake_mask.astype(np.uint8))
        return np.stack([flake, self.holes.astype(np.uint8)], axis=-1)

    @property
    def multi_label(self) -> BoolArray:
        """Masks (H, W, 3) of flakes, holes and contamination, which overlap."""
        return np.stack([self.flake_mask, self.holes, self.contamination], axis=-1)

    @property
    def instances(self) -> npt.NDArray[np.int32]:
        """Flake number (H, W), 1..n, the last drawn on top; 0 is no flake."""
        return self.flakes.labels()


def synth_em(
    seed: int,
    *,
    shape: tuple[int, int] = (688, 772),
    pixel_size_nm: float | tuple[float, float] = PIXEL_RANGE_NM,
    support: str | Support | None = None,
    n_flakes: int | None = None,
    layers: tuple[int, int] = (1, MOST_LAYERS),
    crumpled_share: float = 0.4,
    contamination: float | None = None,
    together: float = 0.0,
    microscope: Microscope | None = None,
    bits: int = 8,
    name: str | None = None,
) -> SynthEm:
    """Draw a micrograph; the same arguments give the same bytes.

    Parameters
    ----------
    seed : int
    shape : tuple of int
        Rows and columns, each at least 32.
    pixel_size_nm : float or (float, float)
        One, or a range from which one is drawn, evenly in its logarithm.
    support : str or Support, optional
        ``regular``, ``holey``, ``lacey``, ``film``, or one in full; drawn if None, as is all that
        follows.
    n_flakes : int, optional
        At most; those of which nothing is seen are left out. If None, flakes are added until
        they cover a share of the frame that is drawn from 0.05 to 0.5.
    layers : tuple of int
        Fewest and most layers of a flake, all equally likely.
    crumpled_share : float
        Share of flakes that are crumpled, on average, 0 to 1.
    contamination : float, optional
        0 none, 1 usual, 3 much.
    together : float
        0 to 1: how far each flake is moved to the middle of the frame, so that they lie in a heap;
        then flakes that the frame cuts are left out.
    microscope : Microscope, optional
    bits : int
        8 or 16.
    name : str, optional

    Raises
    ------
    InputError
        If an argument is out of its range.
    """
    _check(shape, layers, crumpled_share, together, bits)
    rng = np.random.default_rng([seed, 0xE3])
    pixel_nm = draw_pixel(rng, pixel_size_nm)
    wide = (shape[0] + 2 * _MARGIN_PX, shape[1] + 2 * _MARGIN_PX)
    film = support if isinstance(support, Support) else Support.draw(rng, support)
    holes, carbon_nm = lay_support(rng, film, wide, pixel_nm)
    flakes = _strew_flakes(rng, holes, pixel_nm, n_flakes, layers, crumpled_share)
    flakes = _moved(flakes, wide, together) if together else flakes
    stack = _stack(flakes, wide)
    amount = float(rng.gamma(1.5, 0.7)) if contamination is None else contamination
    dirty, dirt_nm = strew_dirt(rng, holes, stack.layers > 0, pixel_nm, amount)
    microscope = microscope or Microscope.draw(rng, pixel_nm)
    beam = expose_em(
        rng, microscope, carbon_nm + stack.thickness_nm + dirt_nm, stack.diffraction, pixel_nm,
        lattice=_fringes(rng, flakes, wide, pixel_nm),
    )  # fmt: skip
    frame = (slice(_MARGIN_PX, -_MARGIN_PX), slice(_MARGIN_PX, -_MARGIN_PX))
    data = detect(rng, microscope, beam[frame], bits)
    masks, kept = _crop_masks(flakes, shape)
    return SynthEm(
        micrograph=_micrograph(data, pixel_nm, name or f"tem-{seed:04d}", film, microscope),
        flakes=masks,
        n_layers=np.array([f.n_layers for f in kept], np.int64),
        crumpled=np.array([f.crumpled for f in kept], bool),
        contrast=np.array([_taken(f, microscope) for f in kept], float),
        layers=stack.layers[frame].copy(),
        holes=holes[frame].copy(),
        contamination=dirty[frame].copy(),
        folds=stack.folds[frame].copy(),
        support=film,
        microscope=microscope,
    )


def _check(
    shape: tuple[int, int],
    layers: tuple[int, int],
    crumpled_share: float,
    together: float,
    bits: int,
) -> None:
    if min(shape) < 32:
        raise InputError(f"shape {shape}: expected at least 32 x 32 pixels")
    if not 1 <= layers[0] <= layers[1] <= MOST_LAYERS:
        raise InputError(f"layers {layers}: expected two numbers from 1 to {MOST_LAYERS}")
    for told, share in (("crumpled_share", crumpled_share), ("together", together)):
        if not 0 <= share <= 1:
            raise InputError(f"{told} {share}: expected a share from 0 to 1")
    if bits not in (8, 16):
        raise InputError(f"{bits} bits: expected 8 or 16")


def draw_pixel(rng: np.random.Generator, told: float | tuple[float, float]) -> float:
    """Size of a pixel in nm: as told, or from a range, evenly in its logarithm.

    Raises
    ------
    InputError
        If it is outside of `PIXEL_SIZE_NM`.
    """
    low, high = told if isinstance(told, tuple) else (told, told)
    if not PIXEL_SIZE_NM[0] <= low <= high <= PIXEL_SIZE_NM[1]:
        raise InputError(
            f"pixel size {told} nm: expected {PIXEL_SIZE_NM[0]:g} to {PIXEL_SIZE_NM[1]:g} nm"
        )
    return float(np.exp(rng.uniform(np.log(low), np.log(high)))) if high > low else low


def _strew_flakes(
    rng: np.random.Generator,
    holes: BoolArray,
    pixel_nm: float,
    n_flakes: int | None,
    layers: tuple[int, int],
    crumpled_share: float,
) -> list[DrawnFlake]:
    """Flakes of one batch: sizes log-normal around a typical one of 0.15 to 1.5 um.

    Each rests on carbon, on another flake, or beyond the frame.
    """
    shape, rest = (holes.shape[0], holes.shape[1]), ~holes
    rest[[0, -1]] = rest[:, [0, -1]] = True
    typical_nm = float(np.exp(rng.uniform(np.log(150), np.log(1500))))
    wanted = rng.uniform(0.05, 0.5) if n_flakes is None else 1e9
    crumpling = np.clip(crumpled_share + rng.choice([-0.4, 0.0, 0.4]), 0, 1)
    crumpling = crumpling if 0 < crumpled_share < 1 else crumpled_share
    found: list[DrawnFlake] = []
    covered = 0.0
    for _ in range(_MOST_FLAKES if n_flakes is None else n_flakes):
        n = int(rng.integers(layers[0], layers[1] + 1))
        flake = draw_flake(
            rng, shape, pixel_nm,
            radius_nm=typical_nm * float(np.exp(rng.normal(0, 0.5))), n_layers=n,
            crumpled=bool(rng.random() < crumpling),
        )  # fmt: skip
        if flake is None or not rest[flake.where][flake.layers > 0].any():
            continue
        rest[flake.where] |= flake.layers > 0
        found.append(flake)
        covered += np.count_nonzero(flake.layers) / (shape[0] * shape[1])
        if covered >= wanted:
            break
    return found


def _moved(flakes: list[DrawnFlake], shape: tuple[int, int], together: float) -> list[DrawnFlake]:
    """Flakes that the frame does not cut, a share of the way nearer to its middle."""
    found = []
    for flake in flakes:
        room = np.subtract(shape, flake.layers.shape)
        corner = np.array([flake.top, flake.left])
        if (corner > 0).all() and (corner < room).all():
            top, left = np.rint(corner + together * (room / 2 - corner)).astype(int).tolist()
            found.append(replace(flake, top=top, left=left))
    return found


@dataclass(frozen=True, eq=False)
class _Stack:
    """All flakes of a frame, one above the other."""

    layers: npt.NDArray[np.uint16]
    thickness_nm: FloatArray
    diffraction: FloatArray
    folds: BoolArray


def _stack(flakes: list[DrawnFlake], shape: tuple[int, int]) -> _Stack:
    layers, thickness = np.zeros(shape, np.uint16), np.zeros(shape)
    through, folds = np.ones(shape), np.zeros(shape, bool)
    for flake in flakes:
        layers[flake.where] += flake.layers
        thickness[flake.where] += flake.thickness_nm
        through[flake.where] *= 1 - np.minimum(flake.diffraction, 0.95)
        folds[flake.where] |= flake.folds
    return _Stack(layers, thickness, 1 - through, folds)


def _fringes(
    rng: np.random.Generator, flakes: list[DrawnFlake], shape: tuple[int, int], pixel_nm: float
) -> FloatArray | None:
    total: FloatArray | None = None
    for flake in flakes:
        phase = lattice_fringes(rng, flake.layers, pixel_nm)
        if phase is not None:
            total = np.zeros(shape) if total is None else total
            total[flake.where] += phase
    return total


def _crop_masks(
    flakes: list[DrawnFlake], shape: tuple[int, int]
) -> tuple[CropMasks, list[DrawnFlake]]:
    """Masks inside the frame, and the flakes of which at least a pixel lies in it."""
    boxes, crops, kept = [], [], []
    for flake in flakes:
        mask = flake.layers > 0
        top, left = flake.top - _MARGIN_PX, flake.left - _MARGIN_PX
        inside = mask[max(-top, 0) :, max(-left, 0) :]
        top, left = max(top, 0), max(left, 0)
        inside = inside[: max(shape[0] - top, 0), : max(shape[1] - left, 0)]
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if len(rows) == 0:
            continue
        crop = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
        corner = (top + rows[0], left + columns[0])
        boxes.append((*corner, corner[0] + crop.shape[0], corner[1] + crop.shape[1]))
        crops.append(crop)
        kept.append(flake)
    return CropMasks(np.array(boxes, np.int64).reshape(-1, 4), tuple(crops), shape), kept


def _taken(flake: DrawnFlake, microscope: Microscope) -> float:
    """Share of the beam that a flake takes away, median over its pixels."""
    inside = flake.layers > 0
    through = np.exp(-flake.thickness_nm[inside] / microscope.mean_free_path_nm)
    return float(np.median(1 - through * (1 - flake.diffraction[inside])))


def _micrograph(
    data: npt.NDArray[np.uint8] | npt.NDArray[np.uint16],
    pixel_nm: float,
    name: str,
    support: Support,
    microscope: Microscope,
) -> Micrograph:
    return Micrograph(
        data=data,
        modality=Modality.TEM,
        pixel_size=PixelSize(pixel_nm, pixel_nm, "synthetic"),
        name=name,
        white_level=float(np.iinfo(data.dtype).max),
        metadata={"support": asdict(support), "microscope": asdict(microscope)},
    )
