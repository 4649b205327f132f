"""Regions on neighbouring images: which could be one thing, and by how much the stage missed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from layerscope.core.results import UNKNOWN, BoolArray, CropMasks, FloatArray, IntArray
from layerscope.ops.agreement import (
    NOTHING,
    Agreement,
    Piece,
    agree_along_seam,
    agree_in_overlap,
    agree_in_place,
)
from layerscope.ops.mosaic import Fields, Pairs, solve_offsets

SEAM_PX = 6
"""Images that share less than this in width abut: their masks cannot be compared, only the cuts."""

LEAST_PX, LEAST_CUT_PX = 30.0, 4.0
"""Masks, or cuts, that share less ground prove nothing."""

_SURE_IOU = 0.75
_VOTE_AREA_PX = 120.0
_VOTE_PX = 3.0
_NEAR_PX = 3
_MOST_VOTES = 4
_EXACT, _ALIGNED = 2.0, 0.5
_LEAST_FIXED = 0.1
_CHUNK = 1 << 21


@dataclass(frozen=True)
class Regions:
    """All regions of a scan, image by image.

    Attributes
    ----------
    image : ndarray of int, (n,)
        Index of the image, ascending.
    box : ndarray of int, (n, 4)
        top, left, bottom, right on the image.
    area_px : ndarray, (n,)
    centre_px : ndarray, (n, 2)
        Row and column of the centre of mass, from the image's corner.
    answer : ndarray of int, (n,)
        Layers, `THICK` or `UNKNOWN`.
    cut : ndarray of bool, (n, 4)
        Whether the image border cuts it at top, left, bottom, right.
    """

    image: IntArray
    box: IntArray
    area_px: FloatArray
    centre_px: FloatArray
    answer: IntArray
    cut: BoolArray

    @property
    def whole(self) -> BoolArray:
        """Regions (n,) that no border cuts."""
        return np.asarray(~self.cut.any(axis=1))

    def compatible(self, pairs: Pairs) -> BoolArray:
        """Whether the layer answers of each pair (m, 2) may be of one thing."""
        first, second = self.answer[pairs].T
        return np.asarray((first == second) | (first == UNKNOWN) | (second == UNKNOWN))


class Pieces:
    """Masks of the regions near other images, eight pixels a byte."""

    def __init__(self, shapes: IntArray):
        self._shapes = shapes
        self._packed: dict[int, tuple[bytes, tuple[int, int], tuple[int, int], int]] = {}

    def keep(self, rows: IntArray, index: IntArray, image: int, masks: CropMasks) -> None:
        """Keep the masks at the positions `index`, as the regions `rows` of the scan."""
        for row, i in zip(rows.tolist(), index.tolist(), strict=True):
            crop, corner = masks.crops[i], masks.boxes[i, :2].tolist()
            packed = np.packbits(crop).tobytes()
            self._packed[row] = packed, crop.shape, (corner[0], corner[1]), image

    def __getitem__(self, row: int) -> Piece:
        packed, (height, width), corner, image = self._packed[row]
        flat = np.unpackbits(np.frombuffer(packed, np.uint8), count=height * width)
        rows, columns = self._shapes[image].tolist()
        return Piece(flat.reshape(height, width), corner, (rows, columns))


@dataclass(frozen=True)
class Neighbourhood:
    """Regions that may be one thing, and the images they are on.

    Attributes
    ----------
    images : ndarray of int, (k, 2)
        Neighbouring images.
    regions : ndarray of int, (m, 2)
        Regions of two neighbouring images within the stage's error of each other.
    on : ndarray of int, (m,)
        Row of `images` that each pair of regions is on, ascending.
    """

    images: Pairs
    regions: Pairs
    on: IntArray


def find_neighbours(regions: Regions, fields: Fields, slack_px: float) -> Neighbourhood:
    """Pairs of regions whose boxes come within `slack_px` of each other on the wafer."""
    images = fields.neighbours(slack_px)
    start = np.searchsorted(regions.image, np.arange(len(fields.corner_px) + 1))
    count = np.diff(start)
    box = on_wafer(regions, fields)
    found, on = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.int64)]
    for part in _chunks(count[images].sum(axis=1)):
        first = _reaching(images[part], 0, start, box, fields, slack_px)
        second = _reaching(images[part], 1, start, box, fields, slack_px)
        pairs, which = _products(first, second, len(images[part]))
        near = apart_px(box[pairs[:, 0]], box[pairs[:, 1]]) <= slack_px
        found.append(pairs[near])
        on.append(which[near] + part.start)
    return Neighbourhood(images, np.concatenate(found), np.concatenate(on))


def on_wafer(regions: Regions, fields: Fields) -> FloatArray:
    """Boxes (n, 4) in the common pixels."""
    return np.asarray(regions.box + np.tile(fields.corner_px[regions.image], 2), float)


def _chunks(work: IntArray) -> Iterator[slice]:
    """Cut a list into slices of bounded total work."""
    bins = np.cumsum(work) // _CHUNK
    edges = [0, *(np.flatnonzero(np.diff(bins)) + 1).tolist(), len(work)]
    for low, high in pairwise(edges):
        if low < high:
            yield slice(low, high)


def _reaching(
    images: Pairs, side: int, start: IntArray, box: FloatArray, fields: Fields, slack_px: float
) -> tuple[IntArray, IntArray]:
    """Regions of one side of each image pair that reach the other image, and their pair."""
    own, other = images[:, side], images[:, 1 - side]
    length = start[own + 1] - start[own]
    which = np.repeat(np.arange(len(images)), length)
    row = np.arange(length.sum()) + np.repeat(start[own] - (np.cumsum(length) - length), length)
    low = fields.corner_px[other[which]]
    frame = np.concatenate([low, low + fields.size_px[other[which]]], axis=1)
    near = apart_px(box[row], frame) <= slack_px
    return row[near], which[near]


def _products(
    first: tuple[IntArray, IntArray], second: tuple[IntArray, IntArray], count: int
) -> tuple[Pairs, IntArray]:
    """Every region of one side with every one of the other, image pair by image pair."""
    (row_a, which_a), (row_b, which_b) = first, second
    edges = np.searchsorted(which_b, np.arange(count + 1))
    length = np.diff(edges)[which_a]
    which = np.repeat(which_a, length)
    at = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    pairs = np.stack([np.repeat(row_a, length), row_b[edges[which] + at]], axis=1)
    return pairs.astype(np.int64), which


def apart_px(a: FloatArray, b: FloatArray) -> FloatArray:
    """Gap (n,) between boxes top, left, bottom, right: the larger of the two axes'."""
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    return np.asarray((low - high).max(axis=1))


@dataclass(frozen=True)
class _Vote:
    """What one pair of regions says about the offset of its two images; NaN: nothing."""

    shift_px: tuple[float, float]
    weight: tuple[float, float]


def measure_offsets(
    regions: Regions, fields: Fields, near: Neighbourhood, pieces: Pieces, slack_px: float
) -> FloatArray:
    """Error (n, 2) of the stage on each image in px, from the regions that two images show.

    Regions seen whole twice say it by their centres of mass; where there are none, masks are
    moved until they agree, and along a seam without overlap the cuts are.
    """
    votes = _whole_votes(regions, fields, near, slack_px)
    reach = max(round(slack_px), 1)
    lap = fields.overlap_px(near.images).min(axis=1)
    edges = np.searchsorted(near.on, np.arange(len(near.images) + 1))
    for k in np.flatnonzero(np.diff(edges)).tolist():
        if k not in votes:
            pairs = near.regions[edges[k] : edges[k + 1]]
            cast = _seam_vote if lap[k] < SEAM_PX else _mask_votes
            votes[k] = list(cast(regions, fields, pairs, pieces, reach))
    told = [(k, _elect(votes[k])) for k in sorted(votes) if votes[k]]
    which = np.array([k for k, _ in told], np.int64)
    shift = np.array([v[0] for _, v in told]).reshape(-1, 2)
    weight = np.array([v[1] for _, v in told]).reshape(-1, 2)
    count = len(fields.corner_px)
    return solve_offsets(count, near.images[which], shift, weight, max(slack_px / 3, 0.5))


def _whole_votes(
    regions: Regions, fields: Fields, near: Neighbourhood, slack_px: float
) -> dict[int, list[_Vote]]:
    """Regions of one size, shape and answer that both images show whole."""
    a, b = near.regions.T
    size = regions.box[:, 2:] - regions.box[:, :2]
    place = regions.centre_px + fields.corner_px[regions.image]
    shift = place[a] - place[b]
    alike = np.abs(size[a] - size[b]) <= 3 + 0.05 * size[a]
    area = np.minimum(regions.area_px[a], regions.area_px[b])
    good = (
        regions.whole[a] & regions.whole[b] & regions.compatible(near.regions)
        & alike.all(axis=1) & (area >= 0.8 * np.maximum(regions.area_px[a], regions.area_px[b]))
        & (np.abs(shift) <= slack_px).all(axis=1)
    )  # fmt: skip
    votes: dict[int, list[_Vote]] = {}
    for k, (y, x) in zip(near.on[good].tolist(), shift[good].tolist(), strict=True):
        votes.setdefault(k, []).append(_Vote((y, x), (_EXACT, _EXACT)))
    return votes


def _mask_votes(
    regions: Regions, fields: Fields, pairs: Pairs, pieces: Pieces, reach: int
) -> Iterator[_Vote]:
    """Displacements at which the masks of single regions agree; the largest regions only."""
    pairs = pairs[regions.compatible(pairs)]
    order = np.argsort(-regions.area_px[pairs].min(axis=1), kind="stable")
    for i, j in pairs[order[:_MOST_VOTES]].tolist():
        found = compare_masks(regions, fields, i, j, pieces, reach)
        if found.iou >= _SURE_IOU and found.least_px >= _VOTE_AREA_PX:
            yield _vote_of(found)


def _seam_vote(
    regions: Regions, fields: Fields, pairs: Pairs, pieces: Pieces, reach: int
) -> Iterator[_Vote]:
    """Displacement at which all cuts along a seam agree: a single one can fit in many places."""
    first, second = (np.unique(side).tolist() for side in pairs.T)
    found = compare_cuts(regions, fields, first, second, pieces, reach)
    if found.iou >= _SURE_IOU and found.least_px >= 2 * LEAST_CUT_PX:
        yield _vote_of(found)


def _vote_of(found: Agreement) -> _Vote:
    """Weigh each axis by the square of how well it is determined."""
    shift = [
        s if f > _LEAST_FIXED else np.nan for s, f in zip(found.shift_px, found.fixed, strict=True)
    ]
    weight = [_ALIGNED * f**2 for f in found.fixed]
    return _Vote((shift[0], shift[1]), (weight[0], weight[1]))


def _elect(votes: list[_Vote]) -> tuple[FloatArray, FloatArray]:
    """Offset and weight per axis that most of the weight agrees on within `_VOTE_PX`."""
    shift = np.array([v.shift_px for v in votes])
    weight = np.array([v.weight for v in votes])
    with np.errstate(invalid="ignore"):
        close = ~(np.abs(shift[:, None] - shift) > _VOTE_PX).any(axis=2)
    chosen = close[int(np.argmax(close @ weight.sum(axis=1)))]
    weight = weight * (np.isfinite(shift) & chosen[:, None])
    total, mean = weight.sum(axis=0), np.where(weight > 0, shift, 0) * weight
    return np.asarray(mean.sum(axis=0) / np.maximum(total, 1e-9)), total


def _corner_of_second(regions: Regions, fields: Fields, i: int, j: int) -> tuple[float, float]:
    """Corner of the image of region j on the image of region i."""
    y, x = fields.corner_px[regions.image[j]] - fields.corner_px[regions.image[i]]
    return float(y), float(x)


def compare_masks(
    regions: Regions, fields: Fields, i: int, j: int, pieces: Pieces, reach: int
) -> Agreement:
    """Compare two regions inside the overlap of their images."""
    corner, a, b = _corner_of_second(regions, fields, i, j), pieces[i], pieces[j]
    found = agree_in_place(a, b, corner)
    if reach == 0 or (reach <= _NEAR_PX and _settled(found, a, b)):
        return found
    return agree_in_overlap(a, b, corner, reach)


def _settled(found: Agreement, a: Piece, b: Piece) -> bool:
    """Whether moving the masks by a few pixels would change nothing: four times as fast."""
    if found.iou >= _SURE_IOU:
        return True
    if found.contained >= 0.3:
        return False
    width = min(cv2.countNonZero(p.mask) / max(p.mask.shape) for p in (a, b))
    return bool(width > (3 if found.common_px > 0 else 1.5) * _NEAR_PX)


def compare_cuts(
    regions: Regions,
    fields: Fields,
    first: Sequence[int],
    second: Sequence[int],
    pieces: Pieces,
    reach: int,
) -> Agreement:
    """Compare where the seam between two images cuts regions of one and of the other.

    Only cuts of regions with the same layer answer agree.
    """
    corner = _corner_of_second(regions, fields, first[0], second[0])
    a, b = pieces[first[0]].shape, pieces[second[0]].shape
    lap = [min(a[k], corner[k] + b[k]) - max(0.0, corner[k]) for k in (0, 1)]
    along = 0 if lap[1] <= lap[0] else 1
    after = corner[1 - along] > 0
    answers = sorted({int(regions.answer[r]) for r in (*first, *second)})
    cuts = [
        _cut_profiles([(answers.index(regions.answer[r]), pieces[r]) for r in rows], along, last)
        for rows, last in ((first, after), (second, not after))
    ]
    if lap[along] < SEAM_PX or not all(c.any() for c in cuts):
        return NOTHING
    return agree_along_seam(cuts[0], cuts[1], corner[along], reach, along)


def _cut_profiles(rows: list[tuple[int, Piece]], along: int, last: bool) -> BoolArray:
    """Which pixels (k, n) of an image's last or first line along an axis each answer covers."""
    across = 1 - along
    profiles = np.zeros((max(k for k, _ in rows) + 1, rows[0][1].shape[along]), bool)
    for answer, piece in rows:
        start, end = piece.corner[across], piece.corner[across] + piece.mask.shape[across]
        if end >= piece.shape[across] if last else start <= 0:
            line = np.take(piece.mask, -1 if last else 0, axis=across) > 0
            at = piece.corner[along]
            profiles[answer, at : at + len(line)] |= line
    return profiles
