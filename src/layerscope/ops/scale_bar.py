"""A scale bar burnt into the picture: find it, and keep it out of the analysis.

A bar is told from a crystal by what no crystal has: one colour, white, black or pure, to within a
few levels; ends and edges that are straight lines along the pixel grid, sharp within three pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph

Levels = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]

_COLUMNS = 240  # of the reduced image that is searched; 1920 columns then cost 1.5 ms
_SHORTEST_PX, _SHORTEST_SHARE, _LONGEST_SHARE = 24, 1 / 50, 0.7
_ASPECT = 4
_SHORTEST_HAIRLINE_PX = 40
_STEP = 40  # levels between bar and surroundings
_SAME = 24  # levels within one bar: JPEG rings by 10 to 20 beside a sharp edge
_STRIP_SHARE = 0.25


@dataclass(frozen=True)
class ScaleBar:
    """A horizontal bar of one colour.

    Attributes
    ----------
    left, length_px : float
        Sub-pixel position of the left end (pixel edges, 0 is the image border) and the length.
    top, thickness_px : int
    colour : tuple of int
        R, G, B, 0 to 255.
    polarity : str
        ``"bright"`` or ``"dark"``, against its surroundings.
    contrast : float
        Largest channel difference to the surroundings, 0 to 255.
    text_box : tuple of int or None
        ``top, left, bottom, right`` of the line of text nearest to the bar.
    """

    left: float
    top: int
    length_px: float
    thickness_px: int
    colour: tuple[int, int, int]
    polarity: str
    contrast: float
    text_box: Box | None = None

    @property
    def box(self) -> Box:
        """``top, left, bottom, right`` in whole pixels, half-open."""
        left, right = np.floor(self.left + 0.25), np.ceil(self.left + self.length_px - 0.25)
        return self.top, int(left), self.top + self.thickness_px, int(right)


def levels_of(micrograph: Micrograph) -> Levels:
    """8-bit levels (H, W) or (H, W, 3), 255 at the white level."""
    data = micrograph.data
    if data.dtype == np.uint8:
        return data
    finite = np.nan_to_num(data.astype(np.float32), posinf=0, neginf=0)
    scaled: Levels = np.clip(finite * (255 / micrograph.white_level), 0, 255).astype(np.uint8)
    return scaled


def ink_of(levels: Levels, bar: ScaleBar) -> npt.NDArray[np.float32]:
    """How much each pixel has of the bar's colour: 1 as the bar, 0 at its contrast or beyond."""
    colour = np.array(bar.colour if levels.ndim == 3 else bar.colour[0])
    away = _distance(levels, colour)
    ink: npt.NDArray[np.float32] = np.clip(1 - away / np.float32(bar.contrast), 0, 1)
    return ink


def candidate_bars(levels: Levels) -> list[ScaleBar]:
    """Everything in 8-bit `levels` (H, W) or (H, W, 3) that is drawn like a bar, text unread."""
    found: list[ScaleBar] = []
    for row, left, right in _straight_edges(levels):
        centre = (left + right) / 2
        if any(
            abs(b.top + b.thickness_px / 2 - row) <= b.thickness_px / 2 + 4
            and b.left < centre < b.left + b.length_px
            for b in found
        ):
            continue  # its other edge
        bar = _bar_at_edge(levels, row, left, right)
        if bar is not None:
            found.append(bar)
    return found


def banner_top(levels: Levels) -> int | None:
    """Return the first row of a black or white banner at the bottom, if any; it may hold text."""
    height, width = levels.shape[:2]
    step = max(1, width // _COLUMNS)
    low = int(height * (1 - _STRIP_SHARE)) - 2
    if height < 32:
        return None
    colour = np.median(levels[-1, ::step], axis=0)
    near_grey = float(np.ptp(np.atleast_1d(colour))) <= 10
    if not near_grey or not _is_drawn_colour(np.atleast_1d(colour)):
        return None
    if np.mean(_distance(levels[-1, ::step], colour) <= 6) < 0.95:
        return None
    same = np.asarray(_distance(levels[low:, ::step], colour) <= 6).mean(axis=1)
    other = np.flatnonzero(same < 0.4)
    top = int(other[-1]) + 1 if len(other) else 0
    if top < 3 or len(same) - top < max(8, height // 50):
        return None
    return low + top if same[top + 1] >= 0.9 and same[top - 2] < 0.4 else None


def _straight_edges(levels: Levels) -> list[tuple[int, int, int]]:
    """Row, left and right of long horizontal steps; looks at every eighth column only."""
    height, width = levels.shape[:2]
    step = max(1, width // _COLUMNS)
    shortest = max(_SHORTEST_PX, int(width * _SHORTEST_SHARE))
    run = shortest // step - 1
    if height < 8 or width < 2 * shortest:
        return []
    few = cv2.resize(levels, (width // step, height), interpolation=cv2.INTER_NEAREST)
    change = _largest_channel(cv2.absdiff(few[2:], few[:-2]))
    steps = cv2.threshold(change, _STEP, 1, cv2.THRESH_BINARY)[1]
    # A corner of the opening at every long run; the anchor at its first column.
    starts = cv2.erode(steps, np.ones((1, run), np.uint8), anchor=(0, 0), borderValue=0)
    rows = np.flatnonzero(starts.any(axis=1))
    starts = starts[rows] & _starts_of_one_colour(few, rows, run)
    edges = []
    for row, found in zip(rows, starts, strict=True):
        columns = np.flatnonzero(found)
        if not len(columns):
            continue
        for part in np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1):
            edges.append((int(row) + 1, int(part[0]) * step, (int(part[-1]) + run - 1) * step))
    return edges


def _starts_of_one_colour(
    few: Levels, rows: npt.NDArray[np.intp], run: int
) -> npt.NDArray[np.uint8]:
    """Where, beside an edge between `rows` and two further, a run has one drawable colour.

    Textured specimens have hundreds of straight edges; this leaves a handful (20 ms to 3 ms).
    """
    found = np.zeros((len(rows), few.shape[1]), np.uint8)
    for offset in (-1, 0, 2, 3) if len(rows) else ():
        beside = few[np.clip(rows + offset, 0, len(few) - 1)]
        apart = _largest_channel(cv2.absdiff(beside[:, 1:], beside[:, :-1]))
        even = np.pad(apart <= _SAME, ((0, 0), (0, 1)), constant_values=True)
        high, low = _largest_channel(beside), ~_largest_channel(~beside)
        drawn = (low >= 200) | (high <= 60) | (high - low >= 120)
        ok = np.asarray(even & drawn, np.uint8)
        found |= cv2.erode(ok, np.ones((1, run), np.uint8), anchor=(0, 0), borderValue=0)
    return found


def _largest_channel(change: Levels) -> Levels:
    if change.ndim == 2:
        return change
    largest: Levels = cv2.max(cv2.max(change[..., 0], change[..., 1]), change[..., 2])
    return largest


def _bar_at_edge(levels: Levels, row: int, left: int, right: int) -> ScaleBar | None:
    """Try the rows on both sides of an edge as part of a bar."""
    for inside in (row + 1, row - 1, row + 2, row - 2):
        if 3 <= inside < len(levels) - 3:
            bar = _bar_through(levels, inside, left, right)
            if bar is not None:
                return bar
    return None


def _bar_through(levels: Levels, row: int, left: int, right: int) -> ScaleBar | None:
    run = np.sort(levels[row, left : right + 1], axis=0)
    # The median; `np.median` takes three times as long on so few rows.
    colour = (run[(len(run) - 1) // 2].astype(float) + run[len(run) // 2]) / 2
    if not _is_drawn_colour(np.atleast_1d(colour)):
        return None
    same = _is_near(levels[row : row + 1], colour)[0]
    if np.mean(same[left : right + 1]) < 0.97:
        return None
    first, last = _run_around(same, (left + right) // 2)
    length, width = last - first, len(same)
    if first < 4 or last > width - 4 or not _long_enough(length, width):
        return None
    top, bottom = _rows_alike(levels, colour, row, first, last)
    if bottom - top == 1 and not _is_hairline(colour, length):
        return None
    if (bottom - top) * _ASPECT > length or top < 3 or bottom > len(levels) - 3:
        return None
    return _measured(levels, colour, (top, first, bottom, last))


def _long_enough(length: int, width: int) -> bool:
    shortest = max(_SHORTEST_PX, width * _SHORTEST_SHARE)
    return shortest <= length <= width * _LONGEST_SHARE


def _is_drawn_colour(colour: npt.NDArray[Any]) -> bool:
    """White, black, or far from grey: what programs draw bars in."""
    low, high = float(colour.min()), float(colour.max())
    return low >= 200 or high <= 60 or high - low >= 120


def _is_hairline(colour: npt.NDArray[Any], length: int) -> bool:
    """Stricter for one row of pixels: a flake's rim or a letter may hold one that is straight."""
    low, high = float(colour.min()), float(colour.max())
    return length >= _SHORTEST_HAIRLINE_PX and (low >= 235 or high <= 55)


def _run_around(same: npt.NDArray[np.bool_], middle: int) -> tuple[int, int]:
    """Half-open run of true values around `middle`; empty if that one is false."""
    other = np.flatnonzero(~same)
    at = int(np.searchsorted(other, middle))
    first = int(other[at - 1]) + 1 if at > 0 else 0
    return first, int(other[at]) if at < len(other) else len(same)


def _rows_alike(
    levels: Levels, colour: npt.NDArray[Any], row: int, first: int, last: int
) -> tuple[int, int]:
    """Half-open range of the rows around `row` that are the bar over 90 % of its length."""
    reach = (last - first) // _ASPECT + 2
    low, high = max(row - reach, 0), min(row + reach + 1, len(levels))
    near = np.count_nonzero(_is_near(levels[low:high, first:last], colour), axis=1)
    top, bottom = _run_around(near >= 0.9 * (last - first), row - low)
    return low + top, low + bottom


def _measured(levels: Levels, colour: npt.NDArray[Any], box: Box) -> ScaleBar | None:
    """Check sides and uniformity, then find the ends to a fraction of a pixel."""
    top, first, bottom, last = box
    inner = levels[top + (bottom - top > 3) : bottom - (bottom - top > 3), first + 2 : last - 2]
    if float(cv2.meanStdDev(inner)[1].max()) > 8:
        return None
    outside = [levels[top - 3 : top - 1, first:last], levels[bottom + 1 : bottom + 3, first:last]]
    away = [_distance(side, colour) for side in outside]
    if any(np.mean(side >= _STEP) < 0.7 for side in away):
        return None
    ends = _distance(levels[top:bottom, [first - 3, last + 2]], colour)
    if np.mean(ends >= _STEP) < 0.7:
        return None
    left, right = _ends(_distance(levels[top:bottom, first - 4 : last + 4], colour), last - first)
    if np.ptp(left) > 1.5 or np.ptp(right) > 1.5:
        return None
    outer = np.concatenate([side.reshape(-1, _channels(levels)) for side in outside])
    contrast = float(np.median(np.concatenate([side.ravel() for side in away])))
    channel = np.broadcast_to(colour, (_channels(levels),))
    darker = float(channel.mean()) < float(outer.mean())
    rgb = tuple(int(v) for v in np.resize(channel, 3))
    start = first - 4 + float(np.median(left))
    length = float(np.median(right) - np.median(left))
    polarity = "dark" if darker else "bright"
    return ScaleBar(start, top, length, bottom - top, rgb, polarity, contrast)  # type: ignore[arg-type]


def _ends(away: npt.NDArray[np.float32], length: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Half-way points of both ends, per row, in pixel edges of `away` (rows, length + 8)."""

    def crossing(side: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Distance from the outer border of `side` (rows, 8), outside first, to half the step."""
        fraction = side / np.maximum(side[:, :2].mean(axis=1, keepdims=True), 1)
        after = np.argmax(fraction < 0.5, axis=1)
        rows = np.arange(len(side))
        high, low = fraction[rows, np.maximum(after - 1, 0)], fraction[rows, after]
        return after - 0.5 + (high - 0.5) / np.maximum(high - low, 1e-6)

    return crossing(away[:, :8]), length + 8 - crossing(away[:, :-9:-1])


def _channels(levels: Levels) -> int:
    return levels.shape[2] if levels.ndim == 3 else 1


def _is_near(pixels: Levels, colour: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Whether each pixel (h, w) is within `_SAME` of `colour` in every channel.

    A bright flake has dozens of edges to try; floats took 3 ms of them on such an image.
    """
    low, high = np.ceil(colour - _SAME), np.floor(colour + _SAME)
    if pixels.ndim == 2:
        return np.asarray((pixels >= low) & (pixels <= high))
    return np.asarray(cv2.inRange(pixels, low, high) > 0)


def _distance(pixels: Levels, colour: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Largest channel difference to `colour`; channels, if any, are the last axis."""
    away: npt.NDArray[np.float32] = np.abs(pixels.astype(np.float32) - colour.astype(np.float32))
    if np.size(colour) == 1:
        return away
    # Ten times faster than a reduction over an axis of three.
    return np.maximum(np.maximum(away[..., 0], away[..., 1]), away[..., 2])
