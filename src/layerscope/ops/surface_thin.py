"""A small copy of a height map, smooth enough that roughness no longer hides a layer.

Offsets of rows and the background are slow, layers are flat: 16 times fewer pixels hold both. What
is found on the copy is a correction in a form that any size can be filled with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray
from layerscope.ops.surface_fit import Terms, evaluate, legendre

TERMS: Terms = ((0, 1), (1, 1), (0, 2))
"""Tilt and bow along x, as scanners have them. With degree 3 too, three of 19 hard synthetic scans
had a bent background that no label could mend later; once terraces are known degree 3 is fitted."""
_SIGMA_PX = 2.5
_STRIDE_PX = 4
_MOST_ROWS = 100
_KNOWN_PIXEL = 0.6
_KNOWN_ROW = 0.35
"""Of a row; what scars leave of the others is told by the rows on both sides."""


@dataclass(frozen=True, eq=False)
class ThinMap:
    """Smoothed heights of every few pixels.

    Attributes
    ----------
    heights : ndarray, (h, w)
        nm, about 0.
    known : ndarray of bool, (h, w)
        Whether most of the pixels around are used.
    rows_px, columns_px : ndarray of int, (h,) and (w,)
        Where they lie in the whole map.
    shape : tuple of int
        Of the whole map.
    basis : ndarray, (terms, h, w)
        `TERMS`.
    """

    heights: FloatArray
    known: BoolArray
    rows_px: npt.NDArray[np.intp]
    columns_px: npt.NDArray[np.intp]
    shape: tuple[int, int]
    basis: FloatArray

    def less(self, correction: Correction) -> ThinMap:
        """Map without a correction."""
        surface = np.tensordot(correction.slopes_nm, self.basis, axes=1)
        heights = self.heights - correction.rows_nm[:, None] - surface
        return replace(self, heights=heights)


@dataclass(frozen=True, eq=False)
class Correction:
    """Height of each row of a thin map, (h,), and coefficients of `TERMS`."""

    rows_nm: FloatArray
    slopes_nm: FloatArray

    def plus(self, other: Correction) -> Correction:
        """Both after one another."""
        return Correction(self.rows_nm + other.rows_nm, self.slopes_nm + other.slopes_nm)


def make_thin(flat: FloatArray, use: BoolArray) -> ThinMap:
    """Thin copy of a nearly level map (H, W), without the rows of which little is known."""
    stride = max(_STRIDE_PX, -(-max(flat.shape) // _MOST_ROWS))
    weight = cv2.GaussianBlur(use.astype(np.float32), (0, 0), _SIGMA_PX)
    total = cv2.GaussianBlur(np.where(use, flat, 0.0).astype(np.float32), (0, 0), _SIGMA_PX)
    rows, columns = (np.arange(min(stride // 2, n - 1), n, stride) for n in flat.shape)
    told = np.mean(weight[np.ix_(rows, columns)] > _KNOWN_PIXEL, axis=1) > _KNOWN_ROW
    rows = rows[told] if told.any() else rows
    some = np.ix_(rows, columns)
    heights = (total[some] / np.maximum(weight[some], 1e-6)).astype(float)
    known = weight[some] > _KNOWN_PIXEL
    middle = float(np.median(heights[known])) if known.any() else 0.0
    shape = flat.shape[0], flat.shape[1]
    basis = basis_at(rows, columns, shape)
    return ThinMap(heights - middle, known, rows, columns, shape, basis)


def basis_at(
    rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], shape: tuple[int, int]
) -> FloatArray:
    """`TERMS` at rows (h,) and columns (w,) of a map of that shape, (terms, h, w)."""
    along_y, along_x = legendre(shape[0], 2)[rows], legendre(shape[1], 2)[columns]
    return np.stack([np.outer(along_y[:, i], along_x[:, j]) for i, j in TERMS])


def enlarge(correction: Correction, thin: ThinMap) -> FloatArray:
    """Correction of the whole map, (H, W): rows linearly between the thin ones."""
    rows = np.interp(np.arange(thin.shape[0]), thin.rows_px, correction.rows_nm)
    return evaluate(thin.shape, TERMS, correction.slopes_nm) + rows[:, None]
