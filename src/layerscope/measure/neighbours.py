"""Distance from each flake to the nearest other one, edge to edge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from layerscope.core.results import FloatArray, IntArray

_BLOCK = 1 << 20


def nearest_flake_gap(
    outlines: Sequence[FloatArray],
    boxes: IntArray,
    flake_id: IntArray,
    spacing: tuple[float, float],
) -> FloatArray:
    """Gap between each region's flake and the nearest other flake.

    Parameters
    ----------
    outlines : sequence of ndarray, (m, 2)
        Centres of each region's outermost pixels, x, y in pixels.
    boxes : ndarray of int, (n, 4)
        ``top, left, bottom, right``, half-open.
    flake_id : ndarray of int, (n,)
    spacing : tuple of float
        Height and width of a pixel.

    Returns
    -------
    ndarray, (n,)
        Exact distance between the nearest pixel squares in the unit of `spacing`; 0 where flakes
        touch or overlap, NaN where there is no other flake.
    """
    flakes, member = np.unique(flake_id, return_inverse=True)
    gap = np.full(len(flakes), np.nan)
    if len(flakes) < 2:
        return gap[member]
    scale = np.array(spacing[::-1], float)
    order = np.argsort(member, kind="stable")
    starts = np.searchsorted(member[order], np.arange(len(flakes)))
    parts = np.split(order, starts[1:])
    points = [np.concatenate([outlines[i] for i in part]) * scale for part in parts]
    low = np.minimum.reduceat(boxes[order, :2], starts)[:, ::-1] * scale
    high = np.maximum.reduceat(boxes[order, 2:], starts)[:, ::-1] * scale
    known: dict[tuple[int, int], float] = {}
    for flake in range(len(flakes)):
        gap[flake] = _nearest(flake, points, low, high, scale, known)
    return gap[member]


def _nearest(
    flake: int,
    points: list[FloatArray],
    low: FloatArray,
    high: FloatArray,
    scale: FloatArray,
    known: dict[tuple[int, int], float],
) -> float:
    """Gap of one flake; others are tried in the order of their boxes' distance."""
    apart = np.hypot(*np.maximum(np.maximum(low - high[flake], low[flake] - high), 0).T)
    apart[flake] = np.inf
    best = np.inf
    for other in np.argsort(apart, kind="stable").tolist():
        if apart[other] >= best:
            break
        pair = (min(flake, other), max(flake, other))
        if pair not in known:
            known[pair] = _gap(points[flake], points[other], scale)
        best = min(best, known[pair])
    return best


def _gap(a: FloatArray, b: FloatArray, scale: FloatArray) -> float:
    """Smallest distance between pixel squares of size `scale` centred on `a` and on `b`."""
    limit = _centre_distance(a[:: max(len(a) // 16, 1)], b[:: max(len(b) // 16, 1)]).min()
    # The nearest squares' centres are at most one pixel diagonal farther apart than the squares.
    limit += np.hypot(*scale)
    a, b = _close_to(a, b, limit), _close_to(b, a, limit)
    rows = max(_BLOCK // len(b), 1)
    return min(_square_gap(a[i : i + rows], b, scale) for i in range(0, len(a), rows))


def _close_to(a: FloatArray, b: FloatArray, limit: float) -> FloatArray:
    away = np.maximum(np.maximum(b.min(axis=0) - a, a - b.max(axis=0)), 0)
    return a[np.einsum("ij,ij->i", away, away) <= limit**2 * (1 + 1e-9)]


def _centre_distance(a: FloatArray, b: FloatArray) -> FloatArray:
    dx = a[:, None, 0] - b[None, :, 0]
    dy = a[:, None, 1] - b[None, :, 1]
    return np.sqrt(dx * dx + dy * dy)


def _square_gap(a: FloatArray, b: FloatArray, scale: FloatArray) -> float:
    dx = np.maximum(np.abs(a[:, None, 0] - b[None, :, 0]) - scale[0], 0)
    dy = np.maximum(np.abs(a[:, None, 1] - b[None, :, 1]) - scale[1], 0)
    return float(np.sqrt((dx * dx + dy * dy).min()))
