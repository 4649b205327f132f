"""Numbers of a scan's report with their intervals: counts, shares, scanned area, outliers."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from layerscope.core.results import FloatArray, IntArray

_TAIL = 0.025
_MAD_TO_SD = 1.4826  # of a normal distribution
_FEWEST = 8
"""Images of one setup from which an outlier can be told."""


class Bounds(NamedTuple):
    """A figure and its 95 % interval; NaN ends where there is none."""

    value: float
    low: float
    high: float


def poisson_bounds(count: float) -> Bounds:
    """Exact 95 % interval of a Poisson mean (Garwood, Biometrika 28, 437 (1936))."""
    from scipy.special import gammaincinv

    low = float(gammaincinv(count, _TAIL)) if count > 0 else 0.0
    return Bounds(float(count), low, float(gammaincinv(count + 1, 1 - _TAIL)))


def share_bounds(hits: int, of: int) -> Bounds:
    """Exact 95 % interval of a share (Clopper and Pearson, Biometrika 26, 404 (1934))."""
    from scipy.special import betaincinv

    if of == 0:
        return Bounds(np.nan, np.nan, np.nan)
    low = float(betaincinv(hits, of - hits + 1, _TAIL)) if hits else 0.0
    high = float(betaincinv(hits + 1, of - hits, 1 - _TAIL)) if hits < of else 1.0
    return Bounds(hits / of, low, high)


def dispersion(counts: FloatArray) -> float:
    """Variance over mean of counts (n,): 1 for a Poisson process, more where they cluster."""
    if len(counts) < 2 or counts.mean() == 0:
        return float("nan")
    return float(counts.var(ddof=1) / counts.mean())


def union_area(boxes: FloatArray) -> float:
    """Area of the union of axis-parallel rectangles.

    Parameters
    ----------
    boxes : ndarray, (n, 4)
        ``left, top, right, bottom``.

    Notes
    -----
    Swept from top to bottom, one slab per distinct edge: exact. 20,000 rectangles on a jittered
    raster whose edges are whole numbers take 0.3 s.
    """
    boxes = boxes[np.argsort(boxes[:, 0], kind="stable")]
    left, top, right, bottom = boxes.T
    edges = np.unique(np.concatenate([top, bottom]))
    total = 0.0
    for low, high in pairwise(edges.tolist()):
        inside = np.flatnonzero((top <= low) & (bottom >= high))
        if len(inside):
            total += (high - low) * _union_length(left[inside], right[inside])
    return total


def _union_length(start: FloatArray, end: FloatArray) -> float:
    """Length of the union of intervals sorted by `start`."""
    reach = np.maximum.accumulate(end)
    before = np.concatenate([start[:1], np.maximum(start[1:], reach[:-1])])
    return float(np.maximum(end - before, 0).sum())


def robust_z(values: FloatArray, groups: IntArray, floor: float) -> FloatArray:
    """Distance from the median of the own group over 1.4826 times the median deviation.

    Parameters
    ----------
    values : ndarray, (n,)
    groups : ndarray of int, (n,)
    floor : float
        Smallest standard deviation that is believed: images of a chip without dirt agree so well
        that differences nobody cares for would stand out.

    Returns
    -------
    ndarray, (n,)
        NaN where the value is missing, or its group has fewer than 8.
    """
    z = np.full(len(values), np.nan)
    usable = np.isfinite(values)
    for group in np.unique(groups[usable]):
        rows = usable & (groups == group)
        if np.count_nonzero(rows) < _FEWEST:
            continue
        off = values[rows] - np.median(values[rows])
        z[rows] = off / max(_MAD_TO_SD * float(np.median(np.abs(off))), floor)
    return z


def median_bounds(values: FloatArray) -> Bounds:
    """Median of finite `values` with a 95 % interval from order statistics; NaN ends below 6.

    The ranks are those of the sign test (normal approximation; Conover, Practical Nonparametric
    Statistics, 3rd ed., sect. 3.2).
    """
    values = np.sort(values[np.isfinite(values)])
    n = len(values)
    if n == 0:
        return Bounds(np.nan, np.nan, np.nan)
    middle = float(np.median(values))
    if n < 6:
        return Bounds(middle, np.nan, np.nan)
    half = 1.96 * np.sqrt(n) / 2
    low = max(int(np.floor(n / 2 - half)), 0)
    high = min(int(np.ceil(n / 2 + half)), n - 1)
    return Bounds(middle, float(values[low]), float(values[high]))


def binned(values: FloatArray, bins: int, *, mean: bool = False) -> tuple[FloatArray, FloatArray]:
    """Summarise consecutive rows: quantiles 5, 50, 95 % (b, 3) and the middle row of each bin (b,).

    NaN rows are ignored; a bin without a number is left out. With `mean` the mean stands in place
    of the median, for shares that are mostly zero.
    """
    ends = np.linspace(0, len(values), min(bins, len(values)) + 1).astype(int)
    middle, found = [], []
    for start, end in pairwise(ends.tolist()):
        part = values[start:end]
        part = part[np.isfinite(part)]
        if len(part):
            middle.append((start + end - 1) / 2)
            low, centre, high = np.quantile(part, [0.05, 0.5, 0.95])
            found.append((low, part.mean() if mean else centre, high))
    return np.array(found, float).reshape(-1, 3), np.array(middle, float)
