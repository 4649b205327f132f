"""Largest rectangle inside each of many regions, at any angle.

Is there room for a device? Seven directions are tried per region: every 22.5 degrees, along its
bounding rectangle and along its two longest straight edges, as cleaved crystals offer the most room
along an edge. For each, 32 x 32 cells cover the region; a cell is free when the disc that touches
its sides is (read from the distance field, so that a crack thinner than a cell is not stepped
over). The largest block of free cells is found exactly, all regions at once, on rows packed into
32-bit words. The two best directions are then grown side by side to the edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray, IntArray

Words = npt.NDArray[np.uint32]
Float32 = npt.NDArray[np.float32]

_CELLS = 32
_FINALISTS = 2
_SLACK_PX = 0.3
_BATCH = 128
_MOST_STRIDES = 32
_SHARES = np.linspace(0.0, 1.0, 17)
_ROUND_DIRECTIONS = np.radians(np.arange(0, 90, 22.5)).tolist()


class InscribedRectangle(NamedTuple):
    """Length >= width, direction of the length counter-clockwise from x, and the centre."""

    length: float
    width: float
    angle_deg: float
    y: float
    x: float


class _Grids(NamedTuple):
    """Grids laid over regions, one row per region and direction.

    `origin` (b, 2) is the x, y of the grid's corner in the field, `along` (b, 2) the unit vector of
    its rows, `cell` (b, 2) a cell's size along and across, `region` (b,) whose it is, `free`
    (b, 32, 32) which cells lie inside the region.
    """

    origin: FloatArray
    along: FloatArray
    cell: FloatArray
    region: IntArray
    free: npt.NDArray[np.bool_]


def inscribed_rectangles(
    fields: Sequence[Float32], hulls: Sequence[FloatArray]
) -> list[InscribedRectangle]:
    """Largest inscribed rectangle of each region.

    Parameters
    ----------
    fields : sequence of ndarray of float32, (h, w)
        Distance of each pixel to the nearest background pixel, with a rim of background.
    hulls : sequence of ndarray, (m, 2)
        Convex hull of each region, x, y from the corner of its crop, in field pixels.

    Returns
    -------
    list of InscribedRectangle
        Lengths in field pixels, centres from the crop's corner.
    """
    found: list[InscribedRectangle] = []
    for i in range(0, len(fields), _BATCH):
        found += _search(fields[i : i + _BATCH], hulls[i : i + _BATCH])
    return found


def _search(fields: Sequence[Float32], hulls: Sequence[FloatArray]) -> list[InscribedRectangle]:
    grids = _lay_grids(fields, hulls)
    area, block = largest_blocks(_pack(grids.free))
    ranked = np.lexsort((-area * np.prod(grids.cell, axis=1), grids.region))
    per_region = len(ranked) // len(fields)
    finalists = ranked.reshape(len(fields), per_region)[:, :_FINALISTS].ravel()
    sides = block[finalists] * np.tile(grids.cell[finalists], 2)
    sides = _grow(fields, grids, finalists, sides)
    size = np.where(area[finalists] > 0, np.prod(sides[:, 2:] - sides[:, :2], axis=1), 0)
    best = size.reshape(len(fields), -1).argmax(axis=1) + np.arange(len(fields)) * _FINALISTS
    return [
        _describe(sides[i], grids.origin[finalists[i]], grids.along[finalists[i]], size[i])
        for i in best
    ]


def _lay_grids(fields: Sequence[Float32], hulls: Sequence[FloatArray]) -> _Grids:
    angle = np.array([_directions(hull) for hull in hulls])
    along = np.stack([np.cos(angle), np.sin(angle)], axis=2)
    low, high = np.empty_like(along), np.empty_like(along)
    for i, hull in enumerate(hulls):
        turned = hull @ np.concatenate([along[i], _across(along[i])]).T
        low[i] = turned.min(axis=0).reshape(2, -1).T
        high[i] = turned.max(axis=0).reshape(2, -1).T
    region = np.repeat(np.arange(len(fields)), angle.shape[1])
    low, high, along = (a.reshape(-1, 2) for a in (low, high, along))
    upright = high[:, 1] - low[:, 1] > high[:, 0] - low[:, 0]
    # Rows run along the longer extent: turn upright grids by a quarter.
    low[upright], high[upright], along[upright] = (
        np.stack([low[upright, 1], -high[upright, 0]], axis=1),
        np.stack([high[upright, 1], -low[upright, 0]], axis=1),
        _across(along)[upright],
    )
    cell = np.maximum(high - low, 1e-6) / _CELLS
    cell[:, 1] = np.where(cell[:, 0] > 2 * cell[:, 1], cell[:, 1], cell[:, 0])
    origin = low[:, :1] * along + low[:, 1:] * _across(along)
    # A cell is free when its centre is half a cell from the edge: half a pixel is the rim's share.
    enough = (cell[:, 1] / 2 + 0.5 - _SLACK_PX)[:, None, None]
    return _Grids(
        origin, along, cell, region, _sample(fields, region, origin, along, cell) >= enough
    )


def _sample(
    fields: Sequence[Float32],
    region: IntArray,
    origin: FloatArray,
    along: FloatArray,
    cell: FloatArray,
) -> Float32:
    """Distance field at the centre of every cell (b, 32, 32).

    A cell longer than high is sampled along its length, about once per height; the least counts.
    """
    parts = np.ceil(cell[:, 0] / cell[:, 1] - 1e-9).astype(int)
    step = along * (cell[:, 0] / parts)[:, None], _across(along) * cell[:, 1:]
    # Field pixel i lies at i - 0.5 from the crop's corner; the first sample at half a step.
    first = origin + (step[0] + step[1]) / 2 + 0.5
    to_field = np.stack([*step, first], axis=2)
    sampled = np.empty((len(region), _CELLS, _CELLS), np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for i, matrix, k, out in zip(region.tolist(), to_field, parts.tolist(), sampled, strict=True):
        if k == 1:
            cv2.warpAffine(fields[i], matrix, (_CELLS, _CELLS), dst=out, flags=flags)
        else:
            fine = cv2.warpAffine(fields[i], matrix, (_CELLS * k, _CELLS), flags=flags)
            # Slice by slice: a reduction over a short last axis is ten times slower.
            out[:] = reduce(np.minimum, [fine[:, j::k] for j in range(k)])
    return sampled


def _across(along: FloatArray) -> FloatArray:
    """Turn unit vectors (b, 2) by a quarter."""
    return np.stack([-along[:, 1], along[:, 0]], axis=1)


def _directions(hull: FloatArray) -> list[float]:
    """Seven angles in radians, a quarter turn apart being the same."""
    edges = np.concatenate([hull[1:], hull[:1]]) - hull
    longest = np.argsort(-(edges[:, 0] ** 2 + edges[:, 1] ** 2), kind="stable")[[0, 1 % len(hull)]]
    special = np.arctan2(edges[longest, 1], edges[longest, 0]).tolist()
    box = float(np.radians(cv2.minAreaRect(hull.astype(np.float32))[2]))
    return [*_ROUND_DIRECTIONS, *special, box]


def _pack(free: npt.NDArray[np.bool_]) -> Words:
    """Rows of 32 cells as words (b, 32), the first cell in the highest bit."""
    return np.packbits(free, axis=2).view(">u4")[..., 0].astype(np.uint32)


def largest_blocks(rows: Words) -> tuple[FloatArray, FloatArray]:
    """Largest all-ones rectangle of each bit image.

    Parameters
    ----------
    rows : ndarray of uint32, (b, 32)

    Returns
    -------
    area : ndarray, (b,)
        In cells; 0 where no bit is set.
    block : ndarray, (b, 4)
        ``left, top, right, bottom``, half-open.
    """
    area, block = np.zeros(len(rows), np.int64), np.zeros((len(rows), 4), np.int64)
    stacked = [rows]
    for height in range(2, rows.shape[1] + 1):
        stacked.append(stacked[-1][:, :-1] & rows[:, height - 1 :])
    # Squarish blocks first: the sooner a large one is known, the more rows the bound skips.
    for height in sorted(range(1, rows.shape[1] + 1), key=lambda h: (abs(h - 16), h)):
        _improve(area, block, stacked[height - 1], height)
    return area.astype(float), block.astype(float)


def _improve(area: IntArray, block: IntArray, words: Words, height: int) -> None:
    """Take every block of `height` rows that beats the best known one of its image."""
    hopeful = np.bitwise_count(words) * np.int64(height) > area[:, None]
    image, top = np.nonzero(hopeful)
    if len(image) == 0:
        return
    length, left = _longest_run(words[image, top])
    size = length * height
    best = np.zeros_like(area)
    np.maximum.at(best, image, size)
    wins = np.flatnonzero((size == best[image]) & (size > area[image]))
    _, first = np.unique(image[wins], return_index=True)
    wins = wins[first]
    chosen = image[wins]
    area[chosen] = size[wins]
    block[chosen] = np.stack(
        [left[wins], top[wins], left[wins] + length[wins], top[wins] + height], axis=1
    )


def _longest_run(words: Words) -> tuple[IntArray, IntArray]:
    """Length of the longest run of ones in each word, and its position from the highest bit.

    Runs of at least 1, 2, 4, 8, 16 are found by shifting and masking; the length is then composed
    from these powers, greatest first.
    """
    powers = [words]
    for step in (1, 2, 4, 8):
        powers.append(powers[-1] & (powers[-1] << np.uint32(step)))
    full = words == np.uint32(0xFFFFFFFF)
    starts = np.full_like(words, 0xFFFFFFFF)
    length = np.zeros(len(words), np.uint32)
    for step, runs in zip((16, 8, 4, 2, 1), reversed(powers), strict=True):
        longer = starts & (runs << length)
        found = longer != 0
        starts = np.where(found, longer, starts)
        length += found * np.uint32(step)
    length[full] = 32
    # The first start is the highest set bit.
    left = 31 - np.floor(np.log2(np.maximum(starts, 1).astype(float))).astype(np.int64)
    left[full] = 0
    return length.astype(np.int64), left


def _grow(
    fields: Sequence[Float32], grids: _Grids, rows: IntArray, sides: FloatArray
) -> FloatArray:
    """Push each side ``u0, v0, u1, v1`` outwards by up to 1.2 cells while it stays inside."""
    inside = _Inside(fields, grids, rows)
    sides = sides.reshape(-1, 2, 2).copy()  # rectangle, lower or upper, u or v
    for axis in (0, 1):
        step = inside.cell[:, axis, None] * np.array([-0.625, 0.625])
        inset = inside.cell[:, 1 - axis] * 0.02
        ends = sides[:, 0, 1 - axis] + inset, sides[:, 1, 1 - axis] - inset
        for _ in range(4):
            sides[:, :, axis] += step * _free(inside, sides[:, :, axis], step, ends, axis)
            step = step / 2
    return sides.reshape(-1, 4)


def _free(
    inside: _Inside,
    at: FloatArray,
    step: FloatArray,
    ends: tuple[FloatArray, FloatArray],
    axis: int,
) -> npt.NDArray[np.bool_]:
    """Whether the lower and the upper side (b, 2) can move by `step`."""
    # In strides below a pixel, lest a side jump over a crack; each row has a number of its own, so
    # that a rectangle does not depend on which others are in the batch.
    strides = np.clip(np.ceil(np.abs(step) / 0.9), 1, _MOST_STRIDES)
    free = np.ones(at.shape, bool)
    for stride in range(1, int(strides.max()) + 1):
        free &= inside.holds(at + step * np.minimum(stride / strides, 1), ends, axis)
    return free


class _Inside:
    """Looks up points of each rectangle's frame in the mask of its region."""

    def __init__(self, fields: Sequence[Float32], grids: _Grids, rows: IntArray):
        region = grids.region[rows]
        self.pixels = np.concatenate([f.ravel() for f in fields]) > 0
        start = np.cumsum([0, *(f.size for f in fields)])[region]
        shape = np.array([f.shape for f in fields])[region]
        self.start, self.last, self.stride = start, shape - 1, shape[:, 1]
        self.origin, self.along, self.cell = grids.origin[rows], grids.along[rows], grids.cell[rows]
        self.across = _across(self.along)

    def holds(
        self, at: FloatArray, ends: tuple[FloatArray, FloatArray], axis: int
    ) -> npt.NDArray[np.bool_]:
        """Whether 17 points of the two sides at `at` (b, 2), between `ends`, are all inside."""
        run = ends[0][:, None] + (ends[1] - ends[0])[:, None] * _SHARES
        fixed, moving = (self.along, self.across) if axis == 0 else (self.across, self.along)
        line, column = (
            self.origin[:, k, None, None]
            + at[:, :, None] * fixed[:, k, None, None]
            + (run * moving[:, k, None])[:, None]
            for k in (1, 0)
        )
        row = np.clip(np.floor(line).astype(np.int64) + 1, 0, self.last[:, 0, None, None])
        place = np.clip(np.floor(column).astype(np.int64) + 1, 0, self.last[:, 1, None, None])
        place += row * self.stride[:, None, None] + self.start[:, None, None]
        return np.asarray(self.pixels[place].all(axis=2))


def _describe(
    sides: FloatArray, origin: FloatArray, along: FloatArray, size: float
) -> InscribedRectangle:
    """Turn sides in the grid's frame into a rectangle in the image."""
    if size <= 0:
        return InscribedRectangle(0.0, 0.0, float("nan"), float("nan"), float("nan"))
    u, v = (sides[0] + sides[2]) / 2, (sides[1] + sides[3]) / 2
    x = origin[0] + u * along[0] - v * along[1]
    y = origin[1] + u * along[1] + v * along[0]
    length, width = sides[2] - sides[0], sides[3] - sides[1]
    angle = -np.degrees(np.arctan2(along[1], along[0]))
    if width > length:
        length, width, angle = width, length, angle + 90
    angle = 90 - (90 - angle) % 180
    return InscribedRectangle(float(length), float(width), float(angle), float(y), float(x))
