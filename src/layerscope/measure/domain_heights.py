"""How high a domain stands over what is close around it."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, CropMasks, FloatArray, IntArray

_RIM_PX = 2
"""Next to the edge the tip touches both levels."""
_REACH_PX = 12
_LARGEST_BLOCK_PX = 8
_FEWEST_BLOCKS = 3


def step_heights(
    masks: CropMasks, level: IntArray, levels: npt.NDArray[np.uint8], heights_nm: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Height of each domain above the level below it, within 12 px around.

    Medians of the domain's own level and of the ring around, 2 px off the edge. The standard error
    is that of means of blocks of up to 8 x 8 px: neighbouring pixels share noise and bow.

    Parameters
    ----------
    masks : CropMasks
    level : ndarray of int, (n,)
    levels : ndarray of uint8, (H, W)
        Level of every pixel.
    heights_nm : ndarray, (H, W)
        NaN where unknown.

    Returns
    -------
    step, error, mean : ndarray, (n,)
        In nm; `mean` is the mean height over the whole domain, upper layers included. NaN where
        there is nothing around to compare with.
    """
    out = np.full((3, len(masks)), np.nan)
    for i, ((rows, columns), crop) in enumerate(masks):
        off = _REACH_PX + 1
        top, left = max(rows.start - off, 0), max(columns.start - off, 0)
        window = (slice(top, rows.stop + off), slice(left, columns.stop + off))
        heights, near = heights_nm[window], levels[window]
        mask = np.zeros(near.shape, np.uint8)
        mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = crop
        out[:, i] = _step(mask, near, heights, int(level[i]))
    return out[0], out[1], out[2]


def _step(
    mask: npt.NDArray[np.uint8], level: npt.NDArray[np.uint8], heights: FloatArray, number: int
) -> tuple[float, float, float]:
    known = np.isfinite(heights)
    inside = _off_edge((mask > 0) & (level == number)) & known
    near = cv2.dilate(mask, _disc(_REACH_PX)) > 0
    around = _off_edge((level == number - 1) & (mask == 0)) & near & known
    whole = (mask > 0) & known
    if not inside.any() or not around.any():
        return np.nan, np.nan, np.nan
    base = float(np.median(heights[around]))
    step = float(np.median(heights[inside])) - base
    error = np.hypot(_median_error(heights, inside), _median_error(heights, around))
    return step, float(error), float(heights[whole].mean()) - base


def _off_edge(part: BoolArray) -> BoolArray:
    """Pixels 2 px off the part's edge; fewer, or all, where the part is too narrow for that."""
    for rim in range(_RIM_PX, 0, -1):
        core = cv2.erode(part.astype(np.uint8), _disc(rim), borderValue=1) > 0
        if np.count_nonzero(core) >= 0.1 * np.count_nonzero(part):
            return np.asarray(core)
    return part


def _disc(radius: int) -> npt.NDArray[np.uint8]:
    """Disc that looks the same from all four sides, as OpenCV's ellipse does not."""
    away = np.arange(-radius, radius + 1) ** 2
    return (away[:, None] + away <= (radius + 0.25) ** 2).astype(np.uint8)


def _median_error(heights: FloatArray, part: BoolArray) -> float:
    """Return the standard error of the median height of `part`; NaN for under three blocks."""
    rows, columns = np.nonzero(part)
    side = int(np.clip(np.sqrt(len(rows)) / 4, 2, _LARGEST_BLOCK_PX))
    block = rows // side * (part.shape[1] // side + 1) + columns // side
    _, own, count = np.unique(block, return_inverse=True, return_counts=True)
    full = count >= 0.5 * side * side
    blocks = np.count_nonzero(full)
    if blocks < _FEWEST_BLOCKS:
        return float("nan")
    means = (np.bincount(own, heights[rows, columns]) / count)[full]
    # Medians scatter by sqrt(pi / 2) more than means.
    return float(means.std(ddof=1) * np.sqrt(np.pi / 2 / blocks))
