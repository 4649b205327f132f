"""Planes and curved backgrounds."""

from __future__ import annotations

import cv2
import numpy as np

from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError
from layerscope.ops.surface_fit import Levelled, fit_polynomial, terms_of

MOST_DEGREE = 5
_FACET_SHARE = 1 / 20
"""Of the mean square slope: which facets count as one, as in the usual facet levelling."""


def level_plane(heights: FloatArray, use: BoolArray) -> Levelled:
    """Subtract the plane of least squares."""
    return Levelled(heights - fit_polynomial(heights, use, terms_of(1)))


def level_polynomial(
    heights: FloatArray, use: BoolArray, *, degree: int = 2, total: bool = True
) -> Levelled:
    """Subtract a polynomial of `degree` 0 to 5, in total or along each axis.

    Raises
    ------
    InputError
        If the degree is out of range or too few pixels are left.
    """
    _check_degree(degree)
    return Levelled(heights - fit_polynomial(heights, use, terms_of(degree, total)))


def level_facet(heights: FloatArray, use: BoolArray, *, rounds: int = 100) -> Levelled:
    """Turn the picture until the most common facet is level.

    Slopes of cells of 2 x 2 pixels count with ``exp(-slope^2 / s^2)``, ``s^2`` a twentieth of their
    mean square; the weighted mean slope is subtracted until it vanishes. Terraces of a staircase
    come out flat, which no fit of a plane does.
    """
    slope_y, slope_x, whole = _cells(heights, use)
    total = np.zeros(2)
    for _ in range(rounds):
        mean = _facet_slope(slope_y[whole] - total[0], slope_x[whole] - total[1])
        total += mean
        if np.hypot(*mean) < 1e-9:
            break
    y, x = np.indices(heights.shape, float)
    flat = heights - total[0] * y - total[1] * x
    return Levelled(flat - np.median(flat[use]), {"slope_y": total[0], "slope_x": total[1]})


def level_base(heights: FloatArray, use: BoolArray, *, sigmas: float = 3.0) -> Levelled:
    """Flatten the base: facets first, then degrees 2 to 5 through the lowest broad peak only.

    Each degree is fitted where the height is under the base peak's mean plus `sigmas` of its
    widths; pixels within ``1 + degree / 2`` of higher ones are left out. The peak ends at 0.
    """
    flat = level_facet(heights, use).heights_nm
    for degree in range(2, MOST_DEGREE + 1):
        mean, width = base_peak(flat[use])
        high = (flat > mean + sigmas * width) & use
        size = 2 * (1 + degree // 2) + 1
        grown = cv2.dilate(high.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
        base = use & ~grown
        terms = terms_of(degree)
        if np.count_nonzero(base) < max(0.01 * flat.size, 2 * len(terms)):
            break
        flat = flat - fit_polynomial(flat, base, terms)
    return Levelled(flat - base_peak(flat[use])[0])


def base_peak(values: FloatArray) -> tuple[float, float]:
    """Mean and standard deviation of the highest peak of the histogram.

    From a parabola through the logarithm of the counts above 0.3 of the maximum, which is exact for
    a Gaussian peak.
    """
    low, high = np.percentile(values, (0.5, 99.5))
    if not high > low:
        return float(low), 0.0
    counts, edges = np.histogram(values, bins=128, range=(low, high))
    smooth = np.convolve(counts, np.ones(3) / 3, "same")
    top = int(np.argmax(smooth))
    first, last = top, top
    while first > 0 and smooth[first - 1] > 0.3 * smooth[top]:
        first -= 1
    while last < len(smooth) - 1 and smooth[last + 1] > 0.3 * smooth[top]:
        last += 1
    first, last = max(0, min(first, top - 3)), min(len(smooth), max(last, top + 3) + 1)
    return _gaussian(smooth[first:last], edges[first : last + 1])


def _gaussian(counts: FloatArray, edges: FloatArray) -> tuple[float, float]:
    centres = (edges[:-1] + edges[1:]) / 2
    bin_width = edges[1] - edges[0]
    curve = np.polyfit((centres - centres[0]) / bin_width, np.log(counts + 1), 2, w=counts + 1)
    if curve[0] >= 0:
        mean = float(np.average(centres, weights=counts + 1e-9))
        return mean, float(np.sqrt(np.average((centres - mean) ** 2, weights=counts + 1e-9)))
    peak = np.clip(-curve[1] / (2 * curve[0]), 0, len(centres) - 1)
    return float(centres[0] + peak * bin_width), float(bin_width / np.sqrt(-2 * curve[0]))


def _cells(heights: FloatArray, use: BoolArray) -> tuple[FloatArray, FloatArray, BoolArray]:
    a, b, c, d = heights[:-1, :-1], heights[:-1, 1:], heights[1:, :-1], heights[1:, 1:]
    whole = use[:-1, :-1] & use[:-1, 1:] & use[1:, :-1] & use[1:, 1:]
    if not whole.any():
        raise InputError("no 2 x 2 pixels are left to level by facets: mask less")
    return (c + d - a - b) / 2, (b + d - a - c) / 2, whole


def _facet_slope(slope_y: FloatArray, slope_x: FloatArray) -> FloatArray:
    square = slope_y**2 + slope_x**2
    scale = _FACET_SHARE * float(square.mean())
    if scale <= 0:
        return np.zeros(2)
    weight = np.exp(-square / scale)
    if weight.sum() <= 1e-9:  # every facet is as steep: nothing to choose between
        return np.array([slope_y.mean(), slope_x.mean()])
    return np.array([weight @ slope_y, weight @ slope_x]) / weight.sum()


def _check_degree(degree: int) -> None:
    if not 0 <= degree <= MOST_DEGREE:
        raise InputError(f"degree {degree}: expected 0 to {MOST_DEGREE}")
