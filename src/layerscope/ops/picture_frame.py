"""Where on an exported picture the micrograph is: a page of one colour, and a full rectangle on it.

The published study cuts at the first gap in row and column statistics; without a gap, or on a
dark page, that fails. Here each of the four sides is a straight edge between page and content,
every row and column between them has content, and the largest such rectangle wins. Colour bars
are too thin, text too sparse, charts too empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.ops.scale_bar import Box, Levels

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_AWAY = 16  # levels from the page: JPEG at quality 75 rings by 10 to 15
_CLOSE = 3  # px; noise that touches the page's colour is closed, a gap of three pixels is not
_RING = 4  # px: a page may itself have a border line
_LEAST_RING, _LEAST_PURE = 0.15, 0.3
_N_EDGES = 10  # candidates per side
_LEAST_SIDE_PX, _LEAST_SIDE_SHARE = 24, 0.15
_LEAST_FULL = 0.25
_STRENGTHS = (0.6, 0.3, 0.12)  # of the weakest side: first the sure ones
_THIN = 0.1  # of the rectangle's shorter side: text and bars are thinner
_MOST_FRAME_PX = 4
_LEAST_BAR_PX, _MOST_GAP_PX, _GAP_SHARE, _SAME_ACROSS = 6, 12, 0.5, 12


@dataclass(frozen=True, eq=False)
class Frame:
    """A micrograph on its page.

    Attributes
    ----------
    box : Box
        Of the micrograph, without the line drawn around it; the whole picture where there is no
        page.
    page : ndarray of uint8, (3,), or None
        Colour of the page.
    content : ndarray of bool, (H, W)
        True where the picture is not of the page's colour.
    rival : Box or None
        A second rectangle at least 0.8 times as large.
    """

    box: Box
    page: npt.NDArray[np.uint8] | None
    content: Mask
    rival: Box | None = None

    @property
    def is_cropped(self) -> bool:
        """Whether anything lies outside of the box."""
        return self.box != (0, 0, *self.content.shape)


def find_frame(rgb: Levels, crop: Box | None = None) -> Frame:
    """Find the micrograph on a picture (H, W, 3) of 8-bit levels; `crop` is known to be it."""
    height, width = rgb.shape[:2]
    if crop is not None:
        around = _page_colour(rgb)
        content = np.ones((height, width), bool)
        return Frame(crop, around, content if around is None else distance_to(rgb, around) > _AWAY)
    whole = Frame((0, 0, height, width), None, np.ones((height, width), bool))
    page = _page_colour(rgb)
    if page is None or min(height, width) < 2 * _LEAST_SIDE_PX:
        return whole
    away = distance_to(rgb, page)
    content = away > _AWAY
    closed = _closed(content)
    if not _is_uniform(rgb, page, ~closed):
        return whole
    found = _largest(closed)
    if not found:
        return Frame(whole.box, page, content)
    box = _without_frame(rgb, _refined(away, _without_bar(away, found[0])))
    return Frame(box, page, content, found[1] if len(found) > 1 else None)


def distance_to(rgb: Levels, colour: npt.NDArray[np.uint8]) -> Levels:
    """Largest channel difference of every pixel to `colour`, (H, W)."""
    away = cv2.absdiff(rgb, np.broadcast_to(colour, rgb.shape).copy())
    largest: Levels = cv2.max(cv2.max(away[..., 0], away[..., 1]), away[..., 2])
    return largest


def _page_colour(rgb: Levels) -> npt.NDArray[np.uint8] | None:
    """Return the commonest colour along the border, if it is common enough."""
    k = _RING
    sides = (rgb[:k], rgb[-k:], rgb[:, :k], rgb[:, -k:])
    ring = np.concatenate([side.reshape(-1, 3) for side in sides])
    packed = ring.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
    values, counts = np.unique(packed, return_counts=True)
    mode = int(values[np.argmax(counts)])
    page = np.array([mode >> 16, (mode >> 8) & 255, mode & 255], np.uint8)
    near = np.abs(ring.astype(np.int16) - page).max(axis=1) <= _AWAY
    return page if near.mean() >= _LEAST_RING else None


def _closed(content: Mask) -> Mask:
    kernel = np.ones((_CLOSE, _CLOSE), np.uint8)
    return np.asarray(cv2.morphologyEx(content.astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0)


def _is_uniform(rgb: Levels, page: npt.NDArray[np.uint8], margin: Mask) -> bool:
    """Whether the margin has one colour: a smooth specimen has noise, a page has none."""
    if margin.mean() < 0.01:
        return False
    pure = np.abs(rgb[margin].astype(np.int16) - page).max(axis=1) == 0
    return bool(pure.mean() >= _LEAST_PURE)


def _largest(content: Mask) -> list[Box]:
    """Return the largest full rectangle, and one that rivals it, if there are any."""
    boxes = _rectangles(content)
    for least in _STRENGTHS:
        found: list[Box] = []
        for row in boxes[boxes[:, 4] >= least][:400]:
            top, left, bottom, right = (int(v) for v in row[:4])
            box = (top, left, bottom, right)
            if any(_overlap(box, other) for other in found) or not _has_no_gutter(content, box):
                continue
            if found and _area(box) < 0.8 * _area(found[0]):
                break
            found.append(box)
            if len(found) == 2:
                break
        if found and (least == _STRENGTHS[0] or _is_alone(content, found)):
            return found
    return []


def _rectangles(content: Mask) -> Floats:
    """All rectangles between edges: top, left, bottom, right, strength; the largest first."""
    total = np.pad(content.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    height, width = content.shape
    rows, columns = _edges(content), _edges(content.T)
    mesh = np.meshgrid(rows[0], columns[0], rows[1], columns[1], indexing="ij")
    top, left, bottom, right = (axis.ravel() for axis in mesh)
    tall, wide = bottom - top, right - left
    least_tall = max(_LEAST_SIDE_PX, _LEAST_SIDE_SHARE * height)
    least_wide = max(_LEAST_SIDE_PX, _LEAST_SIDE_SHARE * width)
    keep = (tall >= least_tall) & (wide >= least_wide)
    top, left, bottom, right = top[keep], left[keep], bottom[keep], right[keep]

    def share(t: Floats, le: Floats, b: Floats, r: Floats) -> Floats:
        """Content in boxes; 0 for those without pixels, as outside of the picture."""
        t, b = np.clip(t, 0, height).astype(int), np.clip(b, 0, height).astype(int)
        le, r = np.clip(le, 0, width).astype(int), np.clip(r, 0, width).astype(int)
        inside = total[b, r] - total[t, r] - total[b, le] + total[t, le]
        return np.asarray(inside / np.maximum((b - t) * (r - le), 1))

    k = 3
    strength = np.min([
        share(top, left, top + k, right) - share(top - k, left, top, right),
        share(bottom - k, left, bottom, right) - share(bottom, left, bottom + k, right),
        share(top, left, bottom, left + k) - share(top, left - k, bottom, left),
        share(top, right - k, bottom, right) - share(top, right, bottom, right + k),
    ], axis=0) if len(top) else np.zeros(0)  # fmt: skip
    full = share(top, left, bottom, right) >= _LEAST_FULL
    boxes = np.stack([top, left, bottom, right, strength], axis=1)[full]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    ordered: Floats = boxes[np.lexsort((boxes[:, 1], boxes[:, 0], -area))]
    return ordered


def _edges(content: Mask) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows where content begins and ends (half-open), the picture's own border among them."""
    begins = np.count_nonzero(content[1:] & ~content[:-1], axis=1)
    ends = np.count_nonzero(~content[1:] & content[:-1], axis=1)
    n, least = len(content), max(12, 0.05 * content.shape[1])
    return (
        np.array([0, *(_peaks(begins, least) + 1)]),
        np.array([n, *(_peaks(ends, least) + 1)]),
    )


def _peaks(counts: npt.NDArray[np.int64], least: float) -> npt.NDArray[np.int64]:
    """Highest places, three apart."""
    spread = cv2.dilate(counts.astype(np.float32)[:, None], np.ones((5, 1), np.uint8))[:, 0]
    at = np.flatnonzero((counts >= spread) & (counts >= least))
    order = np.lexsort((at, -counts[at]))
    return at[order[:_N_EDGES]]


def _has_no_gutter(content: Mask, box: Box) -> bool:
    """Whether no row or column of the rectangle is nearly all page."""
    inside = content[box[0] : box[2], box[1] : box[3]]
    for axis in (0, 1):
        lines = inside.mean(axis=axis)
        pairs = (lines[1:] + lines[:-1]) / 2
        if pairs.min() < 0.25 * np.median(pairs):
            return False
    return True


def _is_alone(content: Mask, found: list[Box]) -> bool:
    """Whether nothing but text and bars lies outside.

    Where the substrate has the page's colour, a few islands may make a rectangle by chance.
    """
    outside = content.astype(np.uint8)
    for top, left, bottom, right in found:
        outside[top:bottom, left:right] = 0
    top, left, bottom, right = found[0]
    k = max(9, int(_THIN * min(bottom - top, right - left)))
    return not cv2.morphologyEx(outside, cv2.MORPH_OPEN, np.ones((k, k), np.uint8)).any()


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _without_bar(away: Levels, box: Box) -> Box:
    """Cut off a colour bar that JPEG has joined to the micrograph across a gap of few pixels."""
    top, left, bottom, right = box
    part = away[top:bottom, left:right]
    turned = (part, part.T, part[::-1], part[:, ::-1].T)
    cut = [_bar_px(lines) for lines in turned]
    return top + cut[0], left + cut[1], bottom - cut[2], right - cut[3]


def _bar_px(lines: Levels) -> int:
    """Lines up to the end of the gap behind a bar that lies along the first lines; 0 without."""
    n = len(lines) // 4
    mean = lines.mean(axis=1)
    low = mean < _GAP_SHARE * np.median(mean)
    for first, last in runs_of(low[:n]):
        if first < _LEAST_BAR_PX or last - first > _MOST_GAP_PX or last == n:
            continue
        middle = lines[first // 3 : first - first // 3].astype(np.int16)
        across = np.ptp(middle, axis=0)
        if np.median(across) <= _SAME_ACROSS and np.ptp(np.median(middle, axis=0)) > 60:
            return last
    return 0


def _refined(away: Levels, box: Box) -> Box:
    """Move each side to where the mean distance to the page is half of that inside.

    Chroma of a JPEG bleeds over the edge by up to two pixels; the half-way point stays.
    """
    top, left, bottom, right = box
    rows = away[:, left:right].mean(axis=1)
    columns = away[top:bottom].mean(axis=0)
    n, m = len(rows), len(columns)
    return (
        _half_way(rows, top),
        _half_way(columns, left),
        n - _half_way(rows[::-1], n - bottom),
        m - _half_way(columns[::-1], m - right),
    )


def _half_way(profile: Floats, at: int) -> int:
    if at < 2:
        return at
    inner = float(np.median(profile[at + 1 : at + 6]))
    outer = float(profile[max(at - 5, 0) : at - 1].min())
    near = profile[max(at - 3, 0) : at + 4] >= (inner + outer) / 2
    return max(at - 3, 0) + int(np.argmax(near)) if near.any() else at


def _without_frame(rgb: Levels, box: Box) -> Box:
    """Peel the line drawn around the micrograph: of one colour, which the next rows are not."""
    sides = [0, 0, 0, 0]
    part = rgb[box[0] : box[2], box[1] : box[3]]
    turned = (part, part.transpose(1, 0, 2), part[::-1], part[:, ::-1].transpose(1, 0, 2))
    for side, lines in enumerate(turned):
        sides[side] = _frame_px(lines)
    return (box[0] + sides[0], box[1] + sides[1], box[2] - sides[2], box[3] - sides[3])


def _frame_px(lines: Levels) -> int:
    """Thickness of the frame along the first of the lines."""
    for k in range(min(_MOST_FRAME_PX, len(lines) // 8)):
        colour = np.median(lines[k], axis=0)
        same = np.abs(lines[k] - colour).max(axis=1) <= 40
        inner = np.abs(lines[k + 3 : k + 8] - colour).max(axis=2) <= 40
        if same.mean() < 0.9 or inner.mean() > 0.7:
            return k
    return min(_MOST_FRAME_PX, len(lines) // 8)


def runs_of(present: Mask) -> list[tuple[int, int]]:
    """Half-open runs of true values."""
    edges = np.flatnonzero(np.diff(np.pad(present.astype(np.int8), 1)))
    return [(int(a), int(b)) for a, b in list(pairwise(edges))[::2]]
