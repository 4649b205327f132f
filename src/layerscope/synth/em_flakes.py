"""Flakes of graphene in the transmission electron microscope: folds, rolled edges, crumples."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray
from layerscope.synth.em_support import cell_borders
from layerscope.synth.geometry import cut, outline
from layerscope.synth.surface_fields import draw_field

LAYER_NM = 0.335
MOST_LAYERS = 20
_SMALLEST_PX = 12
"""Flakes that show fewer pixels are not drawn."""


@dataclass(frozen=True, eq=False)
class DrawnFlake:
    """One flake on its part of the frame.

    Attributes
    ----------
    top, left : int
        Corner of its crop in the frame.
    layers : ndarray of uint16, (h, w)
        Sheets one above the other, folds counted; 0 is no flake.
    thickness_nm : ndarray, (h, w)
        Of carbon along the beam: ridges of a crumple stand on edge and are thicker.
    folds : ndarray of bool, (h, w)
        Folded over, pleated, rolled at the edge, or a ridge.
    diffraction : ndarray, (h, w)
        Share of the beam that the lattice sends past the aperture, 0 to 1.
    n_layers : int
        Of the flat flake.
    crumpled : bool
    """

    top: int
    left: int
    layers: npt.NDArray[np.uint16]
    thickness_nm: FloatArray
    folds: BoolArray
    diffraction: FloatArray
    n_layers: int
    crumpled: bool

    @property
    def where(self) -> tuple[slice, slice]:
        """Place in the frame."""
        height, width = self.layers.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def draw_flake(
    rng: np.random.Generator,
    shape: tuple[int, int],
    pixel_nm: float,
    *,
    radius_nm: float,
    n_layers: int,
    crumpled: bool,
) -> DrawnFlake | None:
    """Draw a flake somewhere in a frame, larger or smaller than it.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        Of the frame.
    pixel_nm : float
    radius_nm : float
        Half of its typical extent.
    n_layers : int
    crumpled : bool
        Covered by a network of ridges, and softer in outline.

    Returns
    -------
    DrawnFlake or None
        None where hardly anything of it would be seen.
    """
    sheets = _sheets(rng, shape, radius_nm / pixel_nm, crumpled)
    low, high = _seen(sheets, shape)
    if (high - low).min() < 3:
        return None
    sheets = [sheet - low for sheet in sheets]
    crop = (int(high[1] - low[1]), int(high[0] - low[0]))
    single = [_fill(sheet, crop) for sheet in sheets]
    mask = np.any(single, axis=0)
    if np.count_nonzero(mask) < _SMALLEST_PX:
        return None
    twice = _pleats(rng, crop, radius_nm / pixel_nm, pixel_nm) & mask
    twice |= _rolled_edges(rng, sheets[0], crop, pixel_nm) & mask
    layers = n_layers * (np.sum(single, axis=0) + 2 * twice * mask)
    ridge = _ridges(rng, crop, radius_nm / pixel_nm, pixel_nm, crumpled) * mask
    folds = twice | (np.sum(single, axis=0) > 1) | (ridge > 0.5)
    return DrawnFlake(
        top=int(low[1]),
        left=int(low[0]),
        layers=layers.astype(np.uint16),
        thickness_nm=LAYER_NM * layers * (1 + ridge),
        folds=folds & mask,
        diffraction=_diffraction(rng, crop, radius_nm / pixel_nm, n_layers, crumpled) * mask,
        n_layers=n_layers,
        crumpled=crumpled,
    )


def _sheets(
    rng: np.random.Generator, shape: tuple[int, int], radius_px: float, crumpled: bool
) -> list[FloatArray]:
    """Outlines (V, 2) of x, y in the frame: the flake, and a corner that is folded over it."""
    axis = rng.uniform(0, np.pi)
    sheet = outline(rng, radius_px, axis)
    if crumpled:
        sheet = _soften(sheet)
    sheets = [sheet]
    if rng.random() < 0.35:
        sheets = _fold_over(rng, sheet, axis, radius_px)
    border = sheets[0]
    i, along = rng.integers(len(border)), rng.random()
    anchor = along * border[i] + (1 - along) * border[i - 1]
    if rng.random() < 0.3:
        anchor = anchor * rng.random()
    place = rng.uniform(0.05, 0.95, 2) * shape[::-1]
    return [sheet - anchor + place for sheet in sheets]


def _soften(sheet: FloatArray) -> FloatArray:
    """Round off corners (Chaikin's corner cutting, twice)."""
    for _ in range(2):
        after = np.roll(sheet, -1, axis=0)
        sheet = np.stack([0.75 * sheet + 0.25 * after, 0.25 * sheet + 0.75 * after], axis=1)
        sheet = sheet.reshape(-1, 2)
    return sheet


def _fold_over(
    rng: np.random.Generator, sheet: FloatArray, axis: float, radius_px: float
) -> list[FloatArray]:
    angle = axis + rng.integers(0, 6) * np.pi / 3 + rng.normal(0, 0.3)
    normal = np.array([np.cos(angle), np.sin(angle)])
    side = sheet @ normal
    offset = float(np.quantile(side, 1.0)) - rng.uniform(0.1, 0.6) * radius_px
    kept, beyond = cut(sheet, normal, offset), cut(sheet, -normal, -offset)
    if len(kept) < 3 or len(beyond) < 3:
        return [sheet]
    return [kept, beyond - 2 * (beyond @ normal - offset)[:, None] * normal]


def _seen(sheets: list[FloatArray], shape: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Smallest crop (low, high) of x, y that holds what the frame shows of the sheets."""
    points = np.concatenate(sheets)
    most = np.array(shape[::-1])
    low = np.clip(np.floor(points.min(axis=0)) - 1, 0, most)
    high = np.clip(np.ceil(points.max(axis=0)) + 2, 0, most)
    return low, high


def _fill(sheet: FloatArray, crop: tuple[int, int]) -> BoolArray:
    canvas = np.zeros(crop, np.uint8)
    corners = np.round(np.clip(sheet, -1e6, 1e6) * 16).astype(np.int32)
    cv2.fillPoly(canvas, [corners], 1, shift=4)
    return canvas.astype(bool)


def _pleats(
    rng: np.random.Generator, crop: tuple[int, int], radius_px: float, pixel_nm: float
) -> BoolArray:
    """Long narrow bands where the sheet lies threefold."""
    canvas = np.zeros(crop, np.uint8)
    for _ in range(rng.choice([0, 1, 2, 3], p=[0.4, 0.3, 0.2, 0.1])):
        width = max(min(radius_px * rng.uniform(0.01, 0.06), 300 / pixel_nm), 1.2)
        middle = rng.uniform(0, 1, 2) * crop[::-1]
        angle = rng.uniform(0, 2 * np.pi)
        along = np.array([np.cos(angle), np.sin(angle)])
        before, after = radius_px * rng.uniform(0.8, 3.0), radius_px * rng.uniform(0.1, 2.0)
        bend = rng.normal(0, 0.03) * after * np.array([-along[1], along[0]])
        line = middle + np.array([-before * along, bend, after * along])
        _stroke(canvas, line, width)
    return canvas.astype(bool)


def _stroke(canvas: npt.NDArray[np.uint8], line: FloatArray, width: float) -> None:
    """Paint a band along a line of three points that runs out in a tip."""
    step = np.gradient(line, axis=0)
    normal = np.stack([-step[:, 1], step[:, 0]], axis=1)
    normal /= np.maximum(np.hypot(*normal.T)[:, None], 1e-9)
    half = width / 2 * np.array([[1.0], [0.7], [0.05]])
    band = np.concatenate([line + half * normal, (line - half * normal)[::-1]])
    cv2.fillPoly(canvas, [np.round(np.clip(band, -1e6, 1e6) * 16).astype(np.int32)], 1, shift=4)


def _rolled_edges(
    rng: np.random.Generator, sheet: FloatArray, crop: tuple[int, int], pixel_nm: float
) -> BoolArray:
    """Stretches of the outline where the edge has folded back by some nanometres."""
    canvas = np.zeros(crop, np.uint8)
    width = max(1, round(float(rng.uniform(2, 12) / pixel_nm)))
    share = rng.uniform(0.2, 0.8)
    for start, stop in zip(sheet, np.roll(sheet, -1, axis=0), strict=True):
        if rng.random() < share:
            ends = np.round(np.clip([start, stop], -1e6, 1e6) * 16).astype(np.int32)
            cv2.line(canvas, ends[0].tolist(), ends[1].tolist(), 1, min(width, 200), shift=4)
    return canvas.astype(bool)


def _ridges(
    rng: np.random.Generator,
    crop: tuple[int, int],
    radius_px: float,
    pixel_nm: float,
    crumpled: bool,
) -> FloatArray:
    """Height of ridges as extra thickness against the flat sheet; zero on a flat flake."""
    ridge = np.zeros(crop)
    if not crumpled:
        return ridge
    width = max(rng.uniform(3, 10) / pixel_nm, 0.8)
    for cell_px, most in ((0.35 * radius_px, 3.0), (0.13 * radius_px, 1.5)):
        span = np.array(crop[::-1]) + 4 * cell_px
        count = int(np.clip(np.prod(span) / max(cell_px, 6.0) ** 2, 6, 900))
        cells = rng.uniform(0, 1, (count, 2)) * span - 2 * cell_px
        away, pair = cell_borders(cells, crop)
        # Each ridge has a height of its own; some cells meet without one.
        height = most * np.clip(rng.uniform(-0.5, 1, 4096), 0, None)
        own = height[(pair[..., 0] * 31 + pair[..., 1] * 17) % len(height)]
        ridge += cv2.GaussianBlur(own, (0, 0), 1.0) * np.exp(-((away / width) ** 2))
    return ridge


def _diffraction(
    rng: np.random.Generator,
    crop: tuple[int, int],
    radius_px: float,
    n_layers: int,
    crumpled: bool,
) -> FloatArray:
    """Bragg contrast: an even part by orientation, and bend contours where the sheet is bent.

    A contour lies where the tilt meets one of three Bragg conditions. Its depth grows with
    thickness and saturates near the extinction distance, some 20 layers.
    """
    strength = rng.uniform(0.1, 0.6) * (1 - np.exp(-n_layers / 12))
    even = rng.uniform(0, 0.35)
    tilt = draw_field(rng, crop, max(radius_px * (0.25 if crumpled else 0.9), 6.0))
    tilt *= rng.uniform(0.5, 3.0) * (1.5 if crumpled else 1.0)
    bands = np.zeros(crop)
    for _ in range(3):
        at, width = rng.uniform(-2.5, 2.5), rng.uniform(0.08, 0.35)
        bands += rng.uniform(0.2, 1.0) * np.exp(-(((tilt - at) / width) ** 2))
    return strength * np.clip(even + bands, 0, 1.2)
