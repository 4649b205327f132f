"""Masks as polygons along the pixels' edges, and polygons as masks.

Coordinates have their origin at the corner of the image's first pixel, x to the right and y down,
as in QuPath and COCO. A pixel belongs to a polygon when its centre does (even-odd rule), so that a
mask survives the way there and back exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.errors import InputError

Ring = list[tuple[int, int]]
Polygon = list[Ring]


def outline_polygons(crop: BoolArray, origin: tuple[int, int] = (0, 0)) -> list[Polygon]:
    """Trace a mask along its pixels' edges.

    Parameters
    ----------
    crop : ndarray of bool, (h, w)
    origin : tuple of int
        Row and column of the crop in the image.

    Returns
    -------
    list of polygons
        Each an outer ring and its holes; a ring is a list of corners x, y, not closed, that meets
        no corner twice. Pixels that touch only at a corner are different polygons.
    """
    rimmed = np.pad(crop, 1)
    rings = [simple for ring in _rings(rimmed) for simple in _split(ring)]
    outer: list[Ring] = []
    holes: list[Ring] = []
    for ring in rings:
        start = min(range(len(ring)), key=lambda i: (ring[i][1], ring[i][0]))
        ring = ring[start:] + ring[:start]
        x, y = ring[0]
        # Below and right of a ring's first corner lies the mask, or else what a hole encloses.
        (outer if rimmed[y + 1, x + 1] else holes).append(_turned(ring, not rimmed[y + 1, x + 1]))
    polygons = [[ring] for ring in sorted(outer, key=lambda r: (r[0][1], r[0][0]))]
    for ring in sorted(holes, key=lambda r: (r[0][1], r[0][0])):
        polygons[_owner(ring, polygons)].append(ring)
    return [[_moved(ring, origin) for ring in polygon] for polygon in polygons]


def fill_polygon(rings: Sequence[FloatArray], shape: tuple[int, int]) -> BoolArray:
    """Mask (H, W) of the pixels whose centres lie inside an odd number of `rings`.

    Parameters
    ----------
    rings : sequence of ndarray, (m, 2)
        Corners x, y; closed by itself.
    shape : tuple of int
        Height and width of the image; what lies outside is cut off.

    Raises
    ------
    InputError
        If a ring has fewer than three corners or a number that is not finite.
    """
    toggles = np.zeros((shape[0], shape[1] + 1), np.int32)
    for ring in rings:
        if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3 or not np.isfinite(ring).all():
            raise InputError(f"a polygon of shape {ring.shape}: expected three or more finite x, y")
        row, x = _crossings(ring, shape[0])
        column = np.clip(np.ceil(x - 0.5), 0, shape[1]).astype(np.int64)
        np.add.at(toggles, (row, column), 1)
    return np.asarray(np.cumsum(toggles, axis=1)[:, :-1] % 2 == 1)


def _crossings(ring: FloatArray, height: int) -> tuple[IntArray, FloatArray]:
    """Rows whose centre line the ring crosses, and where; one entry per crossing."""
    (x0, y0), (x1, y1) = ring.T, np.roll(ring, -1, axis=0).T
    # Half-open in y: a corner on a centre line counts for one of its two edges.
    first = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), 0, height).astype(np.int64)
    count = last - first
    edge = np.repeat(np.arange(len(ring)), count)
    row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    share = (row + 0.5 - y0[edge]) / (y1 - y0)[edge]
    return row, x0[edge] + share * (x1 - x0)[edge]


def _rings(rimmed: BoolArray) -> Iterator[Ring]:
    """Link corners to closed rings; one where pixels touch diagonally is met twice.

    A vertex is a corner when its 2 x 2 neighbourhood is not symmetric about an axis through it. On
    every grid line corners pair up, left with right and upper with lower, to edges.
    """
    a, b, c, d = rimmed[:-1, :-1], rimmed[:-1, 1:], rimmed[1:, :-1], rimmed[1:, 1:]
    turns = ((a ^ b ^ c ^ d) | ((a == d) & (b == c) & (a != b))).astype(np.int64)
    turns += (a == d) & (b == c) & (a != b)
    y, x = np.nonzero(turns)
    times = turns[y, x]
    y, x = np.repeat(y, times), np.repeat(x, times)
    along_row = np.arange(len(x)) ^ 1
    by_column = np.lexsort((np.arange(len(x)), y, x))
    along_column = np.empty(len(x), np.int64)
    along_column[by_column] = by_column[np.arange(len(x)) ^ 1]
    corners = list(zip(x.tolist(), y.tolist(), strict=True))
    return _walk(corners, along_row.tolist(), along_column.tolist())


def _walk(corners: Ring, along_row: list[int], along_column: list[int]) -> Iterator[Ring]:
    seen = [False] * len(corners)
    for start in range(len(corners)):
        if seen[start]:
            continue
        ring, here = [], start
        while not seen[here]:
            across = along_row[here]
            seen[here] = seen[across] = True
            ring += [corners[here], corners[across]]
            here = along_column[across]
        yield ring


def _split(ring: Ring) -> Iterator[Ring]:
    """Cut a ring into simple ones if it should meet a corner twice."""
    if len(set(ring)) == len(ring):
        yield ring
        return
    path: Ring = []
    place: dict[tuple[int, int], int] = {}
    for corner in ring:
        if corner in place:
            loop = path[place[corner] :]
            yield loop
            for left in loop:
                del place[left]
            del path[len(path) - len(loop) :]
        place[corner] = len(path)
        path.append(corner)
    yield path


def _turned(ring: Ring, hole: bool) -> Ring:
    """Outer rings run right along their top edge, holes down their left one."""
    rightwards = ring[1][1] == ring[0][1]
    return ring if rightwards != hole else [ring[0], *reversed(ring[1:])]


def _owner(hole: Ring, polygons: list[Polygon]) -> int:
    """Index of the innermost outer ring around `hole`."""
    if len(polygons) == 1:
        return 0
    x, y = hole[0][0] + 0.5, hole[0][1] + 0.5
    around = [i for i, p in enumerate(polygons) if _encloses(p[0], x, y)]
    return min(around, key=lambda i: _area(polygons[i][0]))


def _encloses(ring: Ring, x: float, y: float) -> bool:
    """Whether a ring of the pixel grid encloses a pixel's centre."""
    upright = zip(ring, [*ring[1:], ring[0]], strict=True)
    return sum(p[0] > x and min(p[1], q[1]) < y < max(p[1], q[1]) for p, q in upright) % 2 == 1


def _area(ring: Ring) -> float:
    x, y = np.array(ring, float).T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _moved(ring: Ring, origin: tuple[int, int]) -> Ring:
    return [(x + origin[1], y + origin[0]) for x, y in ring]
