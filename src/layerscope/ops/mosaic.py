"""The fields of a scan as rectangles in one frame of camera pixels, and where they really lie.

The camera does not turn during a scan, so that the inverse of the stage's matrix makes every image
an upright rectangle of its own size. What two images both show tells by how much the stage missed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from layerscope.core.results import FloatArray, IntArray

Pairs = IntArray
"""Pairs (m, 2) of indices, the lower first, sorted."""

_ROUNDS = 4
_OUTLIER_PX = 3.0


@dataclass(frozen=True)
class Fields:
    """Rectangles of n images in common pixels, rows before columns.

    Attributes
    ----------
    corner_px : ndarray, (n, 2)
        Top left; NaN for an image without a place, which is nobody's neighbour.
    size_px : ndarray, (n, 2)
        Height and width.
    """

    corner_px: FloatArray
    size_px: FloatArray

    def moved(self, offset_px: FloatArray) -> Fields:
        """Return the fields displaced by `offset_px` (n, 2)."""
        return replace(self, corner_px=self.corner_px + offset_px)

    def overlap_px(self, pairs: Pairs) -> FloatArray:
        """Height and width (m, 2) that two fields share; negative is the gap between them."""
        low = self.corner_px[pairs].max(axis=1)
        high = (self.corner_px + self.size_px)[pairs].min(axis=1)
        return np.asarray(high - low)

    def neighbours(self, slack_px: float) -> Pairs:
        """Pairs of fields that overlap or come within `slack_px` of it."""
        from scipy.spatial import cKDTree

        placed = np.flatnonzero(np.isfinite(self.corner_px).all(axis=1))
        if len(placed) < 2:
            return np.zeros((0, 2), np.int64)
        reach = self.size_px.max(axis=0) + slack_px
        tree = cKDTree((self.corner_px + self.size_px / 2)[placed] / reach)
        pairs = np.sort(placed[tree.query_pairs(1.0, p=np.inf, output_type="ndarray")], axis=1)
        pairs = pairs[(self.overlap_px(pairs) > -slack_px).all(axis=1)]
        return np.asarray(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))], np.int64)


def solve_offsets(
    count: int, pairs: Pairs, shift_px: FloatArray, weight: FloatArray, prior_px: float
) -> FloatArray:
    """By how much the stage missed on each image, so that neighbours agree.

    Least squares over the whole scan: each pair says by how much more its second image is off than
    its first, and each image is believed to be off by about `prior_px`, so that parts of the scan
    that nothing ties together stay where the stage says. Pairs that contradict the rest by more
    than 3 px lose their weight (Cauchy's function).

    Parameters
    ----------
    count : int
        Images.
    pairs : ndarray of int, (m, 2)
    shift_px : ndarray, (m, 2)
        Offset of the second image minus offset of the first.
    weight : ndarray, (m, 2)
        Per axis, in units of 1 / px^2; 0 where an axis was not measured.
    prior_px : float
        Standard deviation of the stage's error.

    Returns
    -------
    ndarray, (count, 2)
    """
    offset = np.zeros((count, 2))
    if len(pairs) == 0:
        return offset
    for axis in (0, 1):
        trust = np.ones(len(pairs))
        for _ in range(_ROUNDS):
            offset[:, axis] = _solve(
                count, pairs, shift_px[:, axis], weight[:, axis] * trust, prior_px
            )
            error = offset[pairs[:, 1], axis] - offset[pairs[:, 0], axis] - shift_px[:, axis]
            trust = 1 / (1 + (error / _OUTLIER_PX) ** 2)
    return offset


def _solve(
    count: int, pairs: Pairs, shift: FloatArray, weight: FloatArray, prior_px: float
) -> FloatArray:
    from scipy.sparse import coo_array, csc_array
    from scipy.sparse.linalg import spsolve

    first, second = pairs.T
    own = np.bincount(first, weight, count) + np.bincount(second, weight, count) + prior_px**-2
    rows = np.concatenate([np.arange(count), first, second])
    columns = np.concatenate([np.arange(count), second, first])
    values = np.concatenate([own, -weight, -weight])
    normal = csc_array(coo_array((values, (rows, columns)), shape=(count, count)))
    pull = np.bincount(second, weight * shift, count) - np.bincount(first, weight * shift, count)
    return np.asarray(spsolve(normal, pull))
