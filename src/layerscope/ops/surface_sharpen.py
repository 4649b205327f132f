"""The background that makes the terraces of a nearly level map sharpest."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray
from layerscope.ops.surface_fit import legendre

_TERMS = ((0, 1), (1, 0), (0, 2), (1, 1), (2, 0), (3, 0))
_STRIDE = 4
_REACH_NM = 0.5
"""First search. Rows aligned by differences are off by 0.05 to 0.13 nm on rough oxide, slopes along
x by as much."""
_TRIES, _ROUNDS, _ZOOM = 13, 3, 0.4
_BIN_SHARE = 0.06


def sharpen(flat: FloatArray, use: BoolArray) -> FloatArray:
    """Subtract the polynomial that makes the histogram of heights most peaked.

    Peaked is the sum of squares of the density (Renyi's entropy of order 2): a film and its
    substrate count with one peak each, wherever they are, so that no label is needed yet. Slow
    errors of row offsets go too, which pure differences between rows cannot see.

    Parameters
    ----------
    flat : ndarray, (H, W)
        Level to about 0.5 nm.
    use : ndarray of bool, (H, W)
    """
    values, where = _thin(flat, use)
    if values.size < 64:
        return flat
    along_y, along_x = legendre(flat.shape[0], 3), legendre(flat.shape[1], 3)
    basis = [np.outer(along_y[:, i], along_x[:, j]) for i, j in _TERMS]
    columns = [b[::_STRIDE, ::_STRIDE][where] for b in basis]
    out = flat
    for column, surface, found in zip(columns, basis, _search(values, columns), strict=True):
        out = out - found * (surface - column.mean())
    return out


def _thin(flat: FloatArray, use: BoolArray) -> tuple[npt.NDArray[np.float64], BoolArray]:
    """Every fourth pixel each way of the smoothed map, without the outermost ones of the values."""
    smooth = cv2.blur(np.where(use, flat, 0.0), (5, 5))
    weight = cv2.blur(use.astype(float), (5, 5))
    thin = np.s_[::_STRIDE, ::_STRIDE]
    where = weight[thin] > 0.99
    found = smooth[thin]
    if where.any():
        low, high = np.percentile(found[where], (0.5, 99.0))
        where &= (found >= low) & (found <= high)
    return found[where], where


def _search(values: FloatArray, columns: list[FloatArray]) -> FloatArray:
    """Amplitude of each column in turn, each round on a finer grid."""
    found, rest, reach = np.zeros(len(columns)), values, _REACH_NM
    bin_nm = max(_BIN_SHARE * float(np.std(values)), 1e-6)
    for _ in range(_ROUNDS):
        for k, column in enumerate(columns):
            grid = np.linspace(-reach, reach, _TRIES)
            scores = [_peakedness(rest - a * column, bin_nm) for a in grid]
            best = float(grid[int(np.argmax(scores))])
            found[k] += best
            rest = rest - best * column
        reach *= _ZOOM
    return found


def _peakedness(values: FloatArray, bin_nm: float) -> float:
    at = ((values - values.min()) / bin_nm).astype(np.intp)
    counts = np.convolve(np.bincount(at), (0.25, 0.5, 0.25))
    return float(counts @ counts)
