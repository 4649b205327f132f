"""What outlines of a picture look like, as numbers that do not depend on its grey scale or size."""

from __future__ import annotations

import cv2
import numpy as np

from layerscope.core.results import BoolArray, CropMasks, FloatArray, IntArray
from layerscope.ops.outlines import Grey, Outlines, Rims, Slopes, rims_of
from layerscope.ops.quieting import noise_of

SLOPE_SMOOTHING_PX = 1.6
_RING_SHARE = 0.15
_LARGE_PX = 40_000
_LEVEL = 0.3 / 255  # rounding to 8 bits, one standard deviation

FEATURES = (
    "slope_over_noise", "slope_over_strong", "sure", "even", "at_border", "solidity", "roundness",
    "log_area_share", "elongation", "fill", "promise", "promise_rank", "alike", "best_around",
    "best_inside", "log_around", "log_inside", "over_around", "over_inside", "same_polarity",
    "weight", "contrast", "separation", "inner_texture", "outer_texture", "inner_level",
    "outer_level", "inner_range", "outer_range", "range_ratio",
)  # fmt: skip
"""Columns of `outline_features`."""


def outline_features(grey: Grey, counted: BoolArray, outlines: Outlines) -> FloatArray:
    """Describe every outline.

    Parameters
    ----------
    grey : ndarray of float32, (H, W)
        0 to 1.
    counted : ndarray of bool, (H, W)
    outlines : Outlines

    Returns
    -------
    ndarray, (n, F)
        Columns `FEATURES`.
    """
    if not len(outlines):
        return np.zeros((0, len(FEATURES)))
    slopes = Slopes.of(grey, counted, SLOPE_SMOOTHING_PX)
    rims = rims_of(outlines, slopes)
    columns = [_of_rim(outlines, rims, slopes, grey.size), _among(outlines, rims, slopes)]
    weight = rims.slope * outlines.area**0.25 / slopes.noise
    masks = outlines.masks((grey.shape[0], grey.shape[1]))
    return np.column_stack([*columns, weight, _of_levels(grey, counted, masks, outlines.polarity)])


def _of_rim(outlines: Outlines, rims: Rims, slopes: Slopes, pixels: int) -> FloatArray:
    sides = np.array([cv2.minAreaRect(c)[1] for c in outlines.chains])
    return np.column_stack([
        rims.slope / slopes.noise, rims.slope / slopes.strong, rims.sure, rims.even,
        rims.at_border, rims.solidity, rims.roundness, np.log(outlines.area / pixels),
        sides.max(axis=1) / np.maximum(sides.min(axis=1), 1),
        outlines.area / np.maximum(sides.prod(axis=1), 1),
    ])  # fmt: skip


def _among(outlines: Outlines, rims: Rims, slopes: Slopes) -> FloatArray:
    """How each outline stands to the others: in size, around it, inside it, in polarity."""
    promise, area, n = rims.promise(slopes), outlines.area, len(outlines)
    rank = np.argsort(np.argsort(-promise, kind="stable"), kind="stable") / n
    size = 0.5 * np.log(area)
    same = outlines.polarity[:, None] == outlines.polarity
    near = np.exp(-0.5 * ((size[:, None] - size) / 0.25) ** 2) * same
    np.fill_diagonal(near, 0)
    alike = near @ promise / (promise.sum() + 1e-9)
    within = _within(outlines.boxes(), area)
    above = np.where(within, promise, 0).max(axis=1)
    below = np.where(within.T, promise, 0).max(axis=1)
    bright = (promise * area)[outlines.polarity > 0].sum() / ((promise * area).sum() + 1e-9)
    return np.column_stack([
        promise, rank, alike, above, below,
        np.log1p(within.sum(axis=1)), np.log1p(within.sum(axis=0)),
        promise / (above + 1e-3), promise / (below + 1e-3),
        np.where(outlines.polarity > 0, bright, 1 - bright),
    ])  # fmt: skip


def _within(boxes: IntArray, area: FloatArray) -> BoolArray:
    """Whether outline i lies in the box of the larger outline j, (n, n)."""
    low = (boxes[None, :, :2] <= boxes[:, None, :2] + 1).all(axis=2)
    high = (boxes[None, :, 2:] >= boxes[:, None, 2:] - 1).all(axis=2)
    return np.asarray(low & high & (area > 1.2 * area[:, None]))


def _of_levels(grey: Grey, counted: BoolArray, masks: CropMasks, polarity: IntArray) -> FloatArray:
    """Grey levels inside each outline and in a ring around it."""
    noise = noise_of(grey) + _LEVEL
    sample = np.sort(grey[counted][::7])
    rows = []
    for (where, crop), sign, area in zip(masks, polarity, masks.area_px, strict=True):
        inner, outer = _inside_and_around(grey, where, crop, float(area))
        q_in, q_out = np.quantile(inner, (0.1, 0.5, 0.9)), np.quantile(outer, (0.1, 0.5, 0.9))
        mean, spread = (inner.mean(), outer.mean()), (inner.std(), outer.std())
        level = np.searchsorted(sample, (q_in[1], q_out[1])) / len(sample)
        apart = abs(mean[0] - mean[1]) / np.sqrt(spread[0] ** 2 + spread[1] ** 2 + noise**2)
        ranges = q_in[2] - q_in[0], q_out[2] - q_out[0]
        rows.append((
            (mean[0] - mean[1]) * sign, apart,
            np.log((spread[0] + _LEVEL) / noise), np.log((spread[1] + _LEVEL) / noise),
            *(level if sign > 0 else 1 - level), *ranges,
            np.log((ranges[0] + 1e-3) / (ranges[1] + 1e-3)),
        ))  # fmt: skip
    return np.array(rows, float)


def _inside_and_around(
    grey: Grey, where: tuple[slice, slice], crop: BoolArray, area: float
) -> tuple[FloatArray, FloatArray]:
    """Values inside, off the rim, and in a ring of 0.15 diameters; large ones are thinned out."""
    wide = max(2, round(_RING_SHARE * np.sqrt(area)))
    (rows, columns), (height, width) = where, grey.shape
    top, left = max(rows.start - wide, 0), max(columns.start - wide, 0)
    bottom, right = min(rows.stop + wide, height), min(columns.stop + wide, width)
    mask = np.zeros((bottom - top, right - left), np.uint8)
    mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = crop
    step = max(1, int(np.ceil(np.sqrt(mask.size / _LARGE_PX))))
    patch, mask = grey[top:bottom:step, left:right:step], np.ascontiguousarray(mask[::step, ::step])
    side = 2 * max(1, wide // step) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    ring = (cv2.dilate(mask, disc) > 0) & (mask == 0)
    core = cv2.erode(mask, np.ones((3, 3), np.uint8)) > 0
    inner = patch[core if core.any() else mask > 0].astype(float)
    return inner, patch[ring].astype(float) if ring.any() else inner
