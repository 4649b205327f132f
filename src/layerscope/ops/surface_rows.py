"""Offsets between rows: every row is scanned anew, and lands at another height."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import solveh_banded

from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError
from layerscope.ops.surface_fit import Levelled, bridge, fit_polynomial, row_medians, spread

LAGS = (1, 2, 3, 5, 8, 13, 21)
"""Rows that are compared. In 512 x 512 pixels of white noise of 0.1 nm offsets wander by 0.025 nm
with neighbours alone and by 0.005 nm with these; still longer ones meet too many island edges."""

_MATCH = 1.0
_TIE = 1e-6


def align_median(heights: FloatArray, use: BoolArray, *, quantile: float = 0.5) -> Levelled:
    """Subtract a quantile of each row. Bends rows that islands cover by half or more.

    Raises
    ------
    InputError
        If the quantile is not between 0 and 1.
    """
    if not 0 <= quantile <= 1:
        raise InputError(f"quantile {quantile}: expected 0 to 1")
    return _subtract(heights, bridge(row_medians(heights, use, quantile)))


def align_differences(heights: FloatArray, use: BoolArray) -> Levelled:
    """Make the median difference between rows zero, from rows 1 to 21 apart.

    Most pixels have the same neighbour one row on, whatever covers the rows, so islands stay: this
    is the method for films. A plane along y goes too.
    """
    return _subtract(heights, offsets_by_differences(heights, use), median=use)


def align_matching(heights: FloatArray, use: BoolArray) -> Levelled:
    """As by differences of rows, but flat stretches count more: weights ``exp(-(slope / s)^2)``."""
    steps = heights[1:] - heights[:-1]
    both = use[1:] & use[:-1]
    both[:, 1:-1] &= both[:, 2:] & both[:, :-2]
    slope = np.abs(np.gradient(heights, axis=1)[1:])
    flat = np.exp(-((slope / (spread(slope[both]) * _MATCH + 1e-12)) ** 2))
    centre = bridge(row_medians(steps, both))
    scale = spread((steps - centre[:, None])[both]) + 1e-12
    near = np.exp(-(((steps - centre[:, None]) / (2 * scale)) ** 2))
    weight = flat * near * both
    found = (weight * steps).sum(1) / np.maximum(weight.sum(1), 1e-12)
    jump = np.where(both.any(1), found, 0.0)
    return _subtract(heights, np.concatenate([[0.0], np.cumsum(jump)]), median=use)


def align_trimmed(heights: FloatArray, use: BoolArray, *, trim: float = 0.25) -> Levelled:
    """Subtract the mean of each row without the share `trim` at either end.

    Raises
    ------
    InputError
        If `trim` is not from 0 to below 0.5.
    """
    if not 0 <= trim < 0.5:
        raise InputError(f"trim {trim}: expected 0 to below 0.5")
    low = bridge(row_medians(heights, use, trim))[:, None]
    high = bridge(row_medians(heights, use, 1 - trim))[:, None]
    kept = use & (heights >= low - 1e-6) & (heights <= high + 1e-6)
    return _subtract(heights, bridge(_row_means(heights, kept)))


def align_polynomial(heights: FloatArray, use: BoolArray, *, degree: int = 1) -> Levelled:
    """Subtract a polynomial of `degree` 0 to 5 from each row on its own.

    Rows with fewer pixels than terms are left at the height that their neighbours give them.

    Raises
    ------
    InputError
        If the degree is out of range.
    """
    if not 0 <= degree <= 5:
        raise InputError(f"degree {degree}: expected 0 to 5")
    basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, heights.shape[1]), degree)
    weight = use.astype(float)
    normal = np.einsum("yx,xi,xj->yij", weight, basis, basis, optimize=True)
    right = (weight * heights) @ basis
    enough = use.sum(1) > degree
    found = np.full((len(heights), degree + 1), np.nan)
    solved = np.linalg.pinv(normal[enough], hermitian=True) @ right[enough][..., None]
    found[enough] = solved[..., 0]
    background = np.stack([bridge(c) for c in found.T], axis=1) @ basis.T
    return Levelled(heights - background, {"rows_without_fit": int((~enough).sum())})


def remove_drift(heights: FloatArray, use: BoolArray, *, degree: int = 3) -> Levelled:
    """Subtract the slow change of the height over the scan: a smooth curve along y.

    The polynomial of `degree` 1 to 5 through the row offsets by differences; rows keep their fast
    offsets.

    Raises
    ------
    InputError
        If the degree is out of range.
    """
    if not 1 <= degree <= 5:
        raise InputError(f"degree {degree}: expected 1 to 5")
    offsets = offsets_by_differences(heights, use)[:, None]
    slow = fit_polynomial(offsets, np.ones_like(offsets), tuple((i, 0) for i in range(degree + 1)))
    return _subtract(heights, slow[:, 0])


def offsets_by_differences(
    heights: FloatArray, use: BoolArray, lags: tuple[int, ...] = LAGS
) -> FloatArray:
    """Height offset of each row (H,), the first at 0, from typical differences between rows.

    Least squares over all pairs of rows that are one of `lags` apart; each pair says the mean of
    the differences within two spreads of their median.
    """
    n = len(heights)
    told = [(lag, *_jumps(heights, use, lag)) for lag in lags if lag < n]
    return solve_offsets(n, told)


def solve_offsets(n: int, jumps: list[tuple[int, FloatArray, FloatArray]]) -> FloatArray:
    """Height of each of `n` rows, the first at 0, by least squares.

    Parameters
    ----------
    n : int
    jumps : list of (lag, jump, weight)
        What the row `lag` further on stands higher, (n - lag,), and how much this counts. Lags
        ascend.
    """
    if not jumps:
        return np.zeros(n)
    bands, right = np.zeros((jumps[-1][0] + 1, n)), np.zeros(n)
    for lag, jump, weight in jumps:
        bands[lag, : n - lag] -= weight
        bands[0, lag:] += weight
        bands[0, : n - lag] += weight
        right[lag:] += weight * jump
        right[: n - lag] -= weight * jump
    # Rows without pixels follow their neighbours, and the sum of all offsets is free.
    bands[1, :-1] -= _TIE
    bands[0, 1:] += _TIE
    bands[0, :-1] += _TIE
    bands[0, 0] += _TIE
    found = solveh_banded(bands, right, lower=True)
    return np.asarray(found - found[0])


def _jumps(heights: FloatArray, use: BoolArray, lag: int) -> tuple[FloatArray, FloatArray]:
    both = use[lag:] & use[:-lag]
    steps = (heights[lag:] - heights[:-lag]).astype(np.float32)
    centre = bridge(row_medians(steps, both))
    away = np.abs(steps - centre[:, None].astype(np.float32))
    kept = both & (away <= 2 * 1.4826 * bridge(row_medians(away, both))[:, None] + 1e-9)
    n = np.count_nonzero(kept, axis=1)
    jump = np.where(n > 0, _row_means(steps, kept), 0.0)
    return jump, n / heights.shape[1] / lag**0.5


def _row_means(values: npt.NDArray[np.floating[Any]], use: BoolArray) -> FloatArray:
    n = np.count_nonzero(use, axis=1)
    total = values.sum(axis=1, where=use, dtype=float)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def _subtract(
    heights: FloatArray, offsets: FloatArray, median: BoolArray | None = None
) -> Levelled:
    flat = heights - offsets[:, None]
    return Levelled(flat if median is None else flat - np.median(flat[median]))
