"""Distance from each flake to the nearest other one, edge to edge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray, IntArray

_BRANCH = 8
"""Points of a small box, and small boxes of a large one."""

_FEW = 3000
"""Blocks of which all pairs are compared, 9 million at most."""
_NEAR, _ROWS = 24, 128

Boxes = tuple[FloatArray, FloatArray]
"""Lower and upper corners, (2, n) each."""
Level = tuple[int, Boxes, Boxes]
"""Pixels per box, one pixel of each box, and the boxes."""


def nearest_flake_gap(
    outlines: Sequence[npt.NDArray[np.number]], flake_id: IntArray, spacing: tuple[float, float]
) -> FloatArray:
    """Gap between each region's flake and the nearest other flake.

    Boxes around 64 neighbours on an outline are compared first, then those around 8, then pixels:
    only pairs that can still be the nearest are opened. 80 ms fell to 6 on the worst real image.

    Parameters
    ----------
    outlines : sequence of ndarray, (m, 2)
        Centres of the pixels on each region's outlines, x, y in pixels, along the outline.
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
    if len(flakes) < 2:
        return np.full(len(member), np.nan)
    points, owner = _blocks(outlines, member)
    half = np.array(spacing[::-1], float)[:, None] / 2
    pixels = points * 2 * half - half, points * 2 * half + half
    best2 = np.full(len(flakes), np.inf)
    levels = [
        (
            size,
            (pixels[0][:, size // 2 :: size], pixels[1][:, size // 2 :: size]),
            _around(pixels, size),
        )
        for size in (_BRANCH**2, _BRANCH, 1)
    ]
    for first, second in _pairs(levels[0][2], owner, best2):
        _lower(best2, levels, owner, first, second)
    return np.asarray(np.sqrt(best2)[member])


def _pairs(
    blocks: Boxes, owner: IntArray, best2: FloatArray
) -> Iterator[tuple[IntArray, IntArray]]:
    """Pairs of blocks that may hold the nearest pixels of their flakes.

    All pairs of few blocks. Of many, as on a mosaic, first those of neighbouring centres; what they
    lower `best2` to is how far a second look has to reach.
    """
    if len(owner) <= _FEW:
        first, second = np.nonzero(owner[:, None] < owner)
        yield first, second
        return
    from scipy.spatial import KDTree

    low, high = blocks
    centre, radius = (low + high).T / 2, np.hypot(*(high - low)) / 2
    tree, near = KDTree(centre), min(_NEAR, len(owner))
    farthest = float(np.hypot(*np.ptp(centre, axis=0))) + 1
    for rows in np.array_split(np.arange(len(owner)), -(-len(owner) // _ROWS)):
        second = np.asarray(tree.query(centre[rows], near)[1], np.int64).ravel()
        yield _apart(owner, np.repeat(rows, near), second)
    for rows in np.array_split(np.arange(len(owner)), -(-len(owner) // _ROWS)):
        reach = np.sqrt(best2[owner[rows]]) + radius[rows] + radius.max()
        found = tree.query_ball_point(centre[rows], np.minimum(reach, farthest))
        first = np.repeat(rows, [len(f) for f in found])
        yield _apart(owner, first, np.concatenate(found).astype(np.int64))


def _apart(owner: IntArray, first: IntArray, second: IntArray) -> tuple[IntArray, IntArray]:
    """Those pairs that are of two flakes."""
    other = owner[first] != owner[second]
    return first[other], second[other]


def _lower(
    best2: FloatArray, levels: Sequence[Level], owner: IntArray, first: IntArray, second: IntArray
) -> None:
    """Lower the squared gap of each flake to the least among the pairs of blocks given."""
    for size, one, around in levels:
        mine, other = (owner[side * size // _BRANCH**2] for side in (first, second))
        near2 = _apart2(one, first, second)
        np.minimum.at(best2, mine, near2)
        np.minimum.at(best2, other, near2)
        if size == 1:
            break
        gap2 = _apart2(around, first, second)
        open_ = np.flatnonzero(gap2 <= np.maximum(best2[mine], best2[other]))
        first, second = (side[open_][:, None, None] * _BRANCH for side in (first, second))
        steps = np.arange(_BRANCH)
        first, second = (
            side.ravel() for side in np.broadcast_arrays(first + steps[:, None], second + steps)
        )


def _blocks(
    outlines: Sequence[npt.NDArray[np.number]], member: IntArray
) -> tuple[FloatArray, IntArray]:
    """Outline points (2, m) in blocks of 64 of one flake, and the flake of each block.

    The last point of a flake fills its last block.
    """
    order = np.argsort(member, kind="stable")
    length = np.array([len(outlines[i]) for i in order])
    total = np.bincount(member[order], length).astype(np.int64)
    blocks = -(-total // _BRANCH**2)
    start = np.cumsum(total) - total
    owner = np.repeat(np.arange(len(total)), blocks)
    rank = np.arange(blocks.sum() * _BRANCH**2) - np.repeat(
        (np.cumsum(blocks) - blocks) * _BRANCH**2, blocks * _BRANCH**2
    )
    at = np.minimum(rank, np.repeat(total - 1, blocks * _BRANCH**2))
    at += np.repeat(start, blocks * _BRANCH**2)
    points = np.concatenate([outlines[i] for i in order.tolist()])
    return points.T.astype(float)[:, at], owner


def _around(pixels: Boxes, size: int) -> Boxes:
    low, high = (corner.reshape(2, -1, size) for corner in pixels)
    return low.min(axis=2), high.max(axis=2)


def _apart2(boxes: Boxes, first: IntArray, second: IntArray) -> FloatArray:
    """Squared gap between boxes `first` and `second`, 0 where they meet."""
    low, high = boxes
    total = np.zeros(len(first))
    for axis in (0, 1):
        one, two = low[axis], high[axis]
        gap = np.maximum(one[first] - two[second], one[second] - two[first])
        np.maximum(gap, 0, out=gap)
        gap *= gap
        total += gap
    return total
