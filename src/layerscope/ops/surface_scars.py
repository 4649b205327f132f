"""Scars: stretches of one to four rows on which feedback was lost."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError
from layerscope.ops.surface_fit import Levelled
from layerscope.ops.surface_rows import offsets_by_differences

HIGH, LOW, LENGTH_PX, WIDTH_PX = 0.666, 0.25, 16, 4

FINEST_NM = 1e-4
"""Rows that differ by less differ by rounding."""


def remove_scars(
    heights: FloatArray,
    use: BoolArray,
    *,
    high: float = HIGH,
    low: float = LOW,
    length_px: int = LENGTH_PX,
    width_px: int = WIDTH_PX,
) -> Levelled:
    """Bridge scars linearly between the rows above and below.

    Parameters
    ----------
    heights : ndarray, (H, W)
        Row offsets may still be in it.
    use : ndarray of bool, (H, W)
        Only used pixels can be scars.
    high, low : float
        A scar stands off both rows beside it by `high` vertical rms differences somewhere and by
        `low` all along.
    length_px, width_px : int
        Shortest length along the row and most rows.

    Raises
    ------
    InputError
        If the limits are not positive or `low` is over `high`.
    """
    if not 0 < low <= high or length_px < 1 or width_px < 1:
        raise InputError(f"scars with {low=}, {high=}, {length_px=}, {width_px=}: low <= high, > 0")
    offsets = offsets_by_differences(heights, use)[:, None]
    flat = heights - offsets
    scars = find_scars(flat, use, high=high, low=low, length_px=length_px, width_px=width_px)
    filled = fill_rows(flat, scars, use) + offsets
    return Levelled(filled, {"scar_pixels": int(np.count_nonzero(scars))})


def find_scars(
    heights: FloatArray,
    use: BoolArray,
    *,
    high: float = HIGH,
    low: float = LOW,
    length_px: int = LENGTH_PX,
    width_px: int = WIDTH_PX,
) -> BoolArray:
    """Where scars are, up or down, (H, W), on a map whose rows are aligned."""
    both = use[1:] & use[:-1]
    steps = np.where(both, heights[1:] - heights[:-1], 0.0)
    rms = float(np.sqrt((steps**2).sum() / max(np.count_nonzero(both), 1)))
    found = np.zeros(heights.shape, bool)
    if rms < FINEST_NM or len(heights) < 3:
        return found
    for signed in (heights, -heights):
        ridge = _ridge(np.where(use, signed, -np.inf).astype(np.float32), width_px)
        found |= _long_runs(ridge > low * rms, ridge > high * rms, length_px)
    return found & use


def _ridge(heights: npt.NDArray[np.float32], width_px: int) -> npt.NDArray[np.float32]:
    """By how much each pixel stands above both ends of the best band of rows through it."""
    n = len(heights)
    ridge: npt.NDArray[np.float32] = np.full(heights.shape, np.float32(-np.inf))
    for width in range(1, min(width_px, n - 2) + 1):
        beside = np.maximum(heights[: n - width - 1], heights[width + 1 :])
        for k in range(width):
            here = heights[1 + k : n - width + k]
            with np.errstate(invalid="ignore"):
                stands = here - beside
            part = ridge[1 + k : n - width + k]
            np.fmax(part, stands, out=part)
    return ridge


def _long_runs(weak: BoolArray, strong: BoolArray, length_px: int) -> BoolArray:
    """Mark runs along rows of `weak` that are long enough and `strong` somewhere."""
    edges = np.diff(np.pad(weak, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(edges == 1)
    _, stop = np.nonzero(edges == -1)
    counts = np.pad(np.cumsum(strong, axis=1), ((0, 0), (1, 0)))
    keep = (stop - start >= length_px) & (counts[row, stop] > counts[row, start])
    marks = np.zeros((weak.shape[0], weak.shape[1] + 1), np.int32)
    np.add.at(marks, (row[keep], start[keep]), 1)
    np.add.at(marks, (row[keep], stop[keep]), -1)
    return np.asarray(np.cumsum(marks, axis=1)[:, :-1] > 0)


def fill_rows(heights: FloatArray, holes: BoolArray, use: BoolArray) -> FloatArray:
    """Interpolate holes along columns between used pixels, or take the nearest one."""
    out = heights.copy()
    at = np.arange(len(heights))
    for column in np.flatnonzero(holes.any(axis=0)):
        hole = holes[:, column]
        known = use[:, column] & ~hole
        if known.any():
            out[hole, column] = np.interp(at[hole], at[known], heights[known, column])
    return out


def grow(mask: BoolArray, radius_px: int) -> BoolArray:
    """Dilate by a square of `radius_px`."""
    size = 2 * radius_px + 1
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((size, size), np.uint8)) > 0)
