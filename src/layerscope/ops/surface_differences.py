"""Slow errors of rows and background, from differences of pixels that have no step between them.

On a rough oxide the difference of two pixels is as wide as a layer, and its mean over a row holds
every rim that the row crosses: offsets by differences wander by half a layer over a scan. On a thin
copy the roughness is a third; the differences across rims then stand apart from the rest and weigh
nothing (Geman and McClure's redescending weights, tightened in turns).
"""

from __future__ import annotations

import numpy as np

from layerscope.core.results import BoolArray, FloatArray
from layerscope.ops.surface_fit import spread
from layerscope.ops.surface_rows import solve_offsets
from layerscope.ops.surface_thin import TERMS, Correction, ThinMap

_LAGS = (1, 2, 4, 8)
_SMALLEST = 8
_ROUNDS = 12
_WIDEST, _TIGHTEST = 3.0, 1.0
"""Spreads at which a difference weighs a quarter: at first and at last."""


def slow_error(thin: ThinMap) -> Correction:
    """Fit the background along x to differences along rows, then heights of rows to the others.

    A map of fewer than 8 x 8 pixels is left as it is.
    """
    if min(thin.heights.shape) < _SMALLEST or np.count_nonzero(thin.known) < _SMALLEST**2:
        return Correction(np.zeros(len(thin.heights)), np.zeros(len(TERMS)))
    slopes = _slopes(thin)
    rest = thin.less(Correction(np.zeros(len(thin.heights)), slopes))
    return Correction(_rows(rest), slopes)


def _slopes(thin: ThinMap) -> FloatArray:
    columns = thin.basis
    pairs = [
        (thin.heights[:, lag:] - thin.heights[:, :-lag],
         thin.known[:, lag:] & thin.known[:, :-lag],
         columns[..., lag:] - columns[..., :-lag], lag)
        for lag in _LAGS if lag < thin.heights.shape[1]
    ]  # fmt: skip
    found = np.asarray(np.zeros(len(TERMS)), float)
    for reach in np.linspace(_WIDEST, _TIGHTEST, _ROUNDS):
        normal, right = 1e-9 * np.eye(len(TERMS)), np.zeros(len(TERMS))
        for steps, both, rises, lag in pairs:
            rest = steps - np.tensordot(found, rises, axes=1)
            weight = _weights(rest, both, reach) / lag**0.5
            flat = (rises * weight).reshape(len(TERMS), -1)
            normal += flat @ rises.reshape(len(TERMS), -1).T
            right += flat @ steps.ravel()
        found = np.asarray(np.linalg.solve(normal, right))
    return found


def _rows(thin: ThinMap) -> FloatArray:
    n = len(thin.heights)
    pairs = [
        (lag, thin.heights[lag:] - thin.heights[:-lag], thin.known[lag:] & thin.known[:-lag])
        for lag in _LAGS if lag < n
    ]  # fmt: skip
    rows = np.zeros(n)
    for reach in np.linspace(_WIDEST, _TIGHTEST, _ROUNDS):
        jumps = []
        for lag, steps, both in pairs:
            rest = steps - (rows[lag:] - rows[:-lag])[:, None]
            weight = _weights(rest, both, reach)
            mass = weight.sum(axis=1)
            jump = (weight * steps).sum(axis=1) / np.maximum(mass, 1e-9)
            jumps.append((lag, jump, mass / thin.heights.shape[1] / lag**0.5))
        rows = solve_offsets(n, jumps)
    return rows


def _weights(rest: FloatArray, both: BoolArray, reach: float) -> FloatArray:
    square = (reach * spread(rest[both])) ** 2 + 1e-12
    return np.where(both, (square / (square + rest**2)) ** 2, 0.0)
