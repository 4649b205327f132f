"""Statistics of few values: means, rank correlations and outliers, with intervals."""

from __future__ import annotations

import numpy as np

from layerscope.core.results import FloatArray
from layerscope.measure.population import Estimate

FEWEST_SAMPLES = 5
"""Fewer give no rank correlation."""
_Z = 1.959964


def mean_interval(values: FloatArray) -> Estimate:
    """Mean of independent values (n,) with its 95 % t interval, or the reason for none."""
    from scipy.special import stdtrit

    known = values[np.isfinite(values)]
    n = len(known)
    if n < 2:
        value = float(known[0]) if n else float("nan")
        return Estimate(value, np.nan, np.nan, "none: one image" if n else "none: no value")
    half = float(stdtrit(n - 1, 0.975) * known.std(ddof=1) / np.sqrt(n))
    mean = float(known.mean())
    return Estimate(mean, mean - half, mean + half, f"95 %, t over {n} images")


def rank_correlation(x: FloatArray, y: FloatArray) -> Estimate:
    """Spearman's rank correlation of x and y (n,) with its 95 % interval.

    ``tanh(atanh(r) -+ 1.96 sqrt((1 + r^2 / 2) / (n - 3)))``; a perfect order counts there as one
    with two neighbours exchanged, as the formula has no width at 1.
    """
    from scipy.stats import rankdata

    n = len(x)
    if n < FEWEST_SAMPLES:
        reason = f"none: {n} samples, fewer than {FEWEST_SAMPLES}"
        return Estimate(np.nan, np.nan, np.nan, reason)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return Estimate(np.nan, np.nan, np.nan, "none: all values are the same")
    r = float(np.clip(np.corrcoef(rankdata(x), rankdata(y))[0, 1], -1, 1))
    most = 1 - 12 / (n * (n**2 - 1))
    inner = float(np.clip(r, -most, most))
    half = _Z * np.sqrt((1 + inner**2 / 2) / (n - 3))
    low, high = np.tanh(np.arctanh(inner) + np.array([-half, half])).tolist()
    return Estimate(r, min(low, r), max(high, r), f"95 %, Fisher z over {n} samples")


def robust_z(values: FloatArray, least_scale: float = 0.0) -> FloatArray:
    """Distance of each of `values` (n,) from their median, in robust standard deviations.

    The scale is the larger of those that the median and the upper quartile of the distances give:
    by the median alone, 5 of 12 samples left a trend that a second condition had blurred. NaN
    gives 0.
    """
    if not np.isfinite(values).any():
        return np.zeros(len(values))
    off = values - np.nanmedian(values)
    scale = max(robust_scale(off), least_scale)
    return np.zeros(len(values)) if scale == 0 else np.nan_to_num(off / scale)


def robust_scale(off: FloatArray) -> float:
    """Estimate the standard deviation of deviations `off` (n,), not all NaN, by quantiles."""
    half, quarter = np.nanquantile(np.abs(off), [0.5, 0.75])
    return float(max(half / 0.6745, quarter / 1.1503))


def sen_line(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Median of the slopes of all pairs, and the line's height at 0."""
    first, second = np.triu_indices(len(x), 1)
    apart = x[first] != x[second]
    if not apart.any():
        return float("nan"), float("nan")
    first, second = first[apart], second[apart]
    slope = float(np.median((y[second] - y[first]) / (x[second] - x[first])))
    return slope, float(np.median(y - slope * x))
