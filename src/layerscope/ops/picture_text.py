"""Numbers with units on the page of a picture, and the axis that they make."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import cv2
import numpy as np

from layerscope.ops.picture_frame import Floats, Frame, distance_to, runs_of
from layerscope.ops.scale_bar import Box, Levels
from layerscope.ops.scale_text import Glyph, Ink, best_name

UNITS_NM = {"nm": 1.0, "µm": 1e3, "um": 1e3, "pm": 1e-3, "Å": 0.1}

_INK = (0.5, 0.35, 0.22, 0.15)  # points and signs of small print are faint
_MOST_PIECES = 1500
_SURE, _VERY_SURE = 0.6, 0.75
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*|0\.[0-9]+|[1-9][0-9]*\.[0-9]+)")
_STRAIGHT = 0.012  # residual of labels on an axis, share of its length


@dataclass(frozen=True)
class Label:
    """A line of text: a number, a unit, or both.

    Attributes
    ----------
    box : Box
    value : float or None
    unit : str
        One of `UNITS_NM`, or empty.
    text : str
        As read.
    sure : float
        Correlation of the least sure letter.
    """

    box: Box
    value: float | None
    unit: str
    text: str = ""
    sure: float = 1.0

    @property
    def height(self) -> int:
        """Rows."""
        return self.box[2] - self.box[0]

    def centre(self, axis: int) -> float:
        """Middle along the rows (0) or the columns (1), in pixel edges."""
        return (self.box[axis] + self.box[axis + 2]) / 2


@dataclass(frozen=True)
class Axis:
    """A linear scale: the value at both ends of a stretch of rows or columns, and its unit."""

    start: float
    stop: float
    unit: str
    n_labels: int


def read_labels(rgb: Levels, frame: Frame, avoid: Sequence[Box] = ()) -> list[Label]:
    """Read numbers and units on the page; boxes to `avoid` are the micrograph and the bar."""
    if frame.page is None or not frame.is_cropped:
        return []
    away = distance_to(rgb, frame.page)
    contrast = _contrast(away, [frame.box, *avoid])
    found: list[Label] = []
    for level in _INK:
        ink = np.clip(away / np.float32(contrast), 0, 1).astype(np.float32)
        pieces = _pieces(ink, level, [frame.box, *avoid])
        for line in _lines(pieces):
            label = _read(line)
            if label is None or _may_lack_sign(label, pieces):
                continue
            same = [other for other in found if _touch(label.box, other.box)]
            # A point or a sign may show only in fainter ink: the longer reading is the whole one.
            if all(len(label.text) > len(other.text) for other in same):
                found = [other for other in found if other not in same] + [label]
    return found


def marks_beside(frame: Frame, box: Box, along: int, after: bool) -> list[float]:
    """Middles of the tick marks that stand on one side of a bar or a micrograph."""
    content, sides = (frame.content, box) if along == 0 else (frame.content.T, _turned(box))
    edge = sides[3] + 2 if after else sides[1] - 4
    strip = content[sides[0] : sides[2], max(edge, 0) : edge + 2]
    if strip.shape[1] < 2:
        return []
    runs = runs_of(np.asarray(strip.all(axis=1)))
    return [sides[0] + (a + b) / 2 for a, b in runs if b - a <= 4]


def _turned(box: Box) -> Box:
    return box[1], box[0], box[3], box[2]


def read_axis(
    labels: Sequence[Label], along: int, ends: tuple[int, int], marks: Sequence[float] = ()
) -> Axis | None:
    """Fit a linear scale to labels beside a bar or a micrograph.

    Parameters
    ----------
    labels : sequence of Label
        Those beside it; one of them or more carries the unit.
    along : int
        0: along the rows, 1: along the columns.
    ends : (int, int)
        Half-open stretch of rows or columns.
    marks : sequence of float
        Places of tick marks; where every label has one, it counts in place of the label's middle.

    Returns
    -------
    Axis or None
        Values at the borders of the stretch. None where fewer than two numbers are read, they do
        not lie on a line, or the units are none or several.
    """
    units = {label.unit.replace("um", "µm") for label in labels if label.unit}
    numbers = [label for label in labels if label.value is not None]
    if len(units) != 1 or len(numbers) < 2:
        return None
    unit = units.pop()
    fit = _through_ends(numbers, along, ends) if len(numbers) == 2 else None
    fit = fit or _through_ticks(numbers, along, ends, marks)
    return None if fit is None or fit[0] == fit[1] else Axis(*fit, unit, len(numbers))


def _through_ends(
    numbers: Sequence[Label], along: int, ends: tuple[int, int]
) -> tuple[float, float] | None:
    """Two labels level with the ends, both within or both beyond: they name the ends."""
    low, high = sorted(numbers, key=lambda n: n.centre(along))
    first, last = low.centre(along) - ends[0], ends[1] - high.centre(along)
    size = [(n.box[along + 2] - n.box[along]) for n in (low, high)]
    close = all(abs(off) <= 0.5 * s + 0.8 * n.height
                for off, s, n in zip((first, last), size, (low, high), strict=True))  # fmt: skip
    if not close or low.value is None or high.value is None:
        return None
    return low.value, high.value


def _through_ticks(
    numbers: Sequence[Label], along: int, ends: tuple[int, int], marks: Sequence[float]
) -> tuple[float, float] | None:
    """Line through three numbers or more that agree, or through two that are very sure."""
    at = _places(numbers, along, marks)
    values = np.array([n.value for n in numbers], float)
    length = ends[1] - ends[0]
    best, chosen = (0, -np.inf), np.zeros(len(at), bool)
    for i, j in combinations(range(len(at)), 2):
        if abs(at[i] - at[j]) < 0.2 * length or values[i] == values[j]:
            continue
        place = at[i] + (values - values[i]) * (at[j] - at[i]) / (values[j] - values[i])
        inside = np.abs(place - at) <= max(_STRAIGHT * length, 1.0)
        rank = (int(inside.sum()), -float(np.abs(place - at)[inside].sum()))
        if rank > best:
            best, chosen = rank, inside
    sure = min((n.sure for n in numbers), default=0.0) >= _VERY_SURE and bool(marks)
    if chosen.sum() < (2 if sure else 3) or chosen.sum() < 0.6 * len(at):
        return None
    slope, offset = np.polyfit(at[chosen], values[chosen], 1)
    return float(offset + slope * ends[0]), float(offset + slope * ends[1])


def _places(numbers: Sequence[Label], along: int, marks: Sequence[float]) -> Floats:
    at = np.array([n.centre(along) for n in numbers])
    if not len(marks):
        return at
    nearest = np.array([min(marks, key=lambda m: abs(m - a)) for a in at])
    reach = 0.5 * max(n.height for n in numbers)
    own = len(set(nearest.tolist())) == len(at) and np.abs(nearest - at).max() <= reach
    return nearest if own else at


def _contrast(away: Levels, avoid: Sequence[Box]) -> float:
    outside = away.copy()
    for top, left, bottom, right in avoid:
        outside[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2] = 0
    inked = outside[outside > 64]
    return float(np.percentile(inked, 90)) if inked.size else 255.0


def _touch(a: Box, b: Box, grow: int = 0) -> bool:
    rows = a[0] - grow < b[2] and b[0] < a[2] + grow
    return rows and a[1] - grow < b[3] and b[1] < a[3] + grow


def _pieces(ink: Ink, level: float, avoid: Sequence[Box]) -> list[Glyph]:
    """Return connected ink of the size of letters, clear of the boxes: what touches is a tick."""
    stats = cv2.connectedComponentsWithStats((ink > level).astype(np.uint8), connectivity=8)[2][1:]
    most = max(24, min(ink.shape) // 8)
    found = []
    for x, y, w, h, area in stats.tolist():
        box = (y, x, y + h, x + w)
        if area < 1 or h > most or w > 3 * most or any(_touch(box, b, 1) for b in avoid):
            continue
        found.append(Glyph(*box, ink[y : y + h, x : x + w]))
    return _whole(found) if len(found) <= _MOST_PIECES else []


def _whole(pieces: list[Glyph]) -> list[Glyph]:
    """Join a ring with the A below it."""
    joined, used = [], set()
    for i, low in enumerate(pieces):
        for j, ring in enumerate(pieces):
            gap = low.top - ring.bottom
            above = -1 <= gap <= max(2, low.height // 6) and ring.height <= 0.45 * low.height
            round_ = abs(ring.width - ring.height) <= max(1, ring.height // 3)
            if above and round_ and low.left <= ring.left and ring.right <= low.right:
                left, right = low.left, low.right
                ink = np.zeros((low.bottom - ring.top, right - left), np.float32)
                ink[: ring.height, ring.left - left : ring.right - left] = ring.ink
                ink[low.top - ring.top :] = low.ink
                joined.append(Glyph(ring.top, left, low.bottom, right, ink))
                used |= {i, j}
    return joined + [p for i, p in enumerate(pieces) if i not in used]


def _lines(pieces: list[Glyph]) -> list[list[Glyph]]:
    """Pieces in rows of text, left to right; points and signs join the letters beside them."""
    left = sorted(pieces, key=lambda g: (g.left, g.top))
    lines: list[list[Glyph]] = []
    while left:
        line = [left.pop(0)]
        for glyph in list(left):
            if _continues(line, glyph):
                line.append(glyph)
                left.remove(glyph)
        lines.append(line)
    return [line for line in lines if max(g.height for g in line) >= 6]


def _continues(line: list[Glyph], glyph: Glyph) -> bool:
    tall = max(*(g.height for g in line), glyph.height)
    top, bottom = min(g.top for g in line), max(g.bottom for g in line)
    gap = glyph.left - max(g.right for g in line)
    if max(g.height for g in line) < 0.4 * tall:  # a sign before the first digit
        middle = (top + bottom) / 2
        return -1 <= gap <= 0.5 * tall and glyph.top < middle < glyph.bottom
    overlap = min(bottom, glyph.bottom) - max(top, glyph.top)
    return -1 <= gap <= 0.9 * tall and overlap >= 0.6 * glyph.height and glyph.height <= 1.7 * tall


def _read(line: list[Glyph]) -> Label | None:
    """Read a number, a unit, or both, whichever split is surest."""
    box = (
        min(g.top for g in line), line[0].left,
        max(g.bottom for g in line), max(g.right for g in line),
    )  # fmt: skip
    if len(line) > 10:
        return None
    best: tuple[float, Label] = (_SURE, Label(box, None, ""))
    for k in range(max(len(line) - 2, 0), len(line) + 1):
        number, unit = line[:k], line[k:]
        text, sure = _number(number) if number else ("", 1.0)
        name, unit_sure = _unit(unit, number) if unit else ("", 1.0)
        sure = min(sure, unit_sure)
        if sure > best[0] and (text or name):
            value = float(text) if text else None
            best = (sure, Label(box, value, name, text + name, sure))
    found = best[1]
    return found if found.value is not None or found.unit else None


def _may_lack_sign(label: Label, pieces: list[Glyph]) -> bool:
    """Whether unread ink, or the border of the picture, is where a minus sign would be."""
    top, left, bottom, _ = label.box
    if label.value is None or label.text.startswith("-"):
        return False
    return left <= 2 or any(  # a cut sign further in leaves ink
        left - 0.8 * (bottom - top) <= piece.right <= left + 1
        and top < (piece.top + piece.bottom) / 2 < bottom
        and piece.left < left
        for piece in pieces
    )


def _number(glyphs: list[Glyph]) -> tuple[str, float]:
    cap = max(g.height for g in glyphs)
    base = max(g.bottom for g in glyphs if g.height == cap)
    text, sure = "", 1.0
    for i, glyph in enumerate(glyphs):
        if glyph.height >= 0.8 * cap:
            name, score = best_name(glyph, "0123456789")
            if abs(glyph.bottom - base) > max(2, 0.15 * cap):
                return "", 0.0
        else:
            name, score = _small(glyph, cap, base, first=i == 0), 1.0
        text, sure = text + name, min(sure, score)
    if cap < 6 or any(_lost_point(*two, cap) for two in pairwise(zip(text, glyphs, strict=True))):
        return "", 0.0
    return (text, sure) if _NUMBER.fullmatch(text) else ("", 0.0)


def _lost_point(one: tuple[str, Glyph], two: tuple[str, Glyph], cap: int) -> bool:
    """Whether there is room between two digits for a point; a 1 has more room beside it."""
    room = 0.55 if "1" in (one[0], two[0]) else 0.42
    return one[0] != "-" and two[1].left - one[1].right > max(room * cap, 3)


def _small(glyph: Glyph, cap: int, base: int, *, first: bool) -> str:
    """Return a point on the line, a minus sign at half height, or "?"."""
    if max(glyph.width, glyph.height) <= max(0.34 * cap, 2) and abs(glyph.bottom - base) <= 1.5:
        return "."
    middle = (glyph.top + glyph.bottom) / 2
    at_half = 0.25 * cap <= base - middle <= 0.7 * cap
    flat = glyph.width >= 1.6 * glyph.height and 0.25 * cap <= glyph.width <= cap
    return "-" if first and flat and at_half else "?"


def _unit(glyphs: list[Glyph], number: list[Glyph]) -> tuple[str, float]:
    last = glyphs[-1]
    if len(glyphs) == 1:
        if last.width > 1.1 * last.height:
            return best_name(last, ("nm", "um", "µm", "pm"))
        name, score = best_name(last, ("Å", "A", "4", "1", "7", "m", "n"))
        return (name, score) if name == "Å" else ("", 0.0)
    first = glyphs[0]
    m_score = best_name(last, ("m", "n", "u", "a", "e"))
    if len(glyphs) != 2 or m_score[0] != "m" or last.height > 1.3 * last.width:
        return "", 0.0
    below = first.bottom - last.bottom
    hangs = below > max(0.1 * first.height, 1)
    letter, score = best_name(first, ("µ", "p") if hangs else ("n", "u"))
    alone = not number and abs(first.top - last.top) > max(0.25 * last.height, 2)
    return ("", 0.0) if alone else (letter + "m", min(score, m_score[1]))
