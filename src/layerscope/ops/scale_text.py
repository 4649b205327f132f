"""Read the few words that stand beside a scale bar: "10 µm", "200 nm", "0.5 mm".

Glyphs are separated as connected pieces of the bar's colour and compared, by normalised
correlation, with the same characters drawn in the fonts that come with matplotlib and OpenCV. The
grammar, a number and a unit, leaves few candidates per place. An answer is given only when
every glyph is sure.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from itertools import chain, pairwise, permutations, product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph, parse_length_nm
from layerscope.ops.scale_bar import Box, Levels, ScaleBar, ink_of, levels_of

if TYPE_CHECKING:
    from PIL import ImageFont

Ink = npt.NDArray[np.float32]

_SIDE = 20
_SURE, _SURE_ODD, _MARGIN = 0.65, 0.72, 0.05
# Thin strokes of small print have little ink; at a low threshold bold letters touch.
# Text on a ground that is nearer to its colour than the bar's ground needs a high one.
_INK = (0.5, 0.35, 0.22, 0.68, 0.84)
_INK_OF_STEMS = (0.5, 0.68, 0.84)  # where gaps of up to 2 px in a row are closed: stems become an m
# More pieces than this are the texture of the specimen: specks are left out, or all of it.
_MOST_PIECES = 250
_SMALL_PX, _SMALL_PENALTY = 11, 0.08  # in 10 px print m and n look alike
_DIGITS = "0123456789"
_UNITS = ("nm", "µm", "um", "mm")
_FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif",
          "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSansMono", "DejaVuSansMono-Bold",
          "DejaVuSansMono-Oblique", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic",
          "STIXGeneralBolIta", "cmss10", "cmr10", "default")  # fmt: skip
_HERSHEY = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_PLAIN,
            cv2.FONT_HERSHEY_COMPLEX)  # fmt: skip


class Glyph(NamedTuple):
    """One connected piece of ink, in image coordinates."""

    top: int
    left: int
    bottom: int
    right: int
    ink: Ink

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left


def read_scale_bar_length(micrograph: Micrograph, bar: ScaleBar) -> tuple[float, float] | None:
    """Length that the text beside `bar` gives.

    Parameters
    ----------
    micrograph : Micrograph
    bar : ScaleBar
        From `find_scale_bar`.

    Returns
    -------
    (length_nm, confidence) or None
        Confidence is the correlation of the least sure glyph, 0 to 1. None where any glyph is
        in doubt or the text is no number with nm, um or mm: then the user has to give it.
    """
    sure = _readings(levels_of(micrograph), bar)
    best = max(sure, key=lambda r: r[1], default=None)
    # Two readings that differ: one of them is not the bar's.
    return best[:2] if best is not None and len({r[0] for r in sure}) == 1 else None


def with_text(levels: Levels, bar: ScaleBar) -> ScaleBar:
    """Return `bar` with the box of its text: a line that can be read, else the nearest one."""
    read = max(_readings(levels, bar), key=lambda r: r[1], default=None)
    if read is not None:
        return replace(bar, text_box=read[2])
    boxes = [_box_of(line) for line in _lines(levels, bar, _INK[0])]
    near = [b for b in boxes if _gap(b, bar.box) <= 2 * (b[2] - b[0])]
    if not near:
        return bar
    top, left, bottom, right = near[0]
    # Not read, so some glyph is lost in the background, most often at an end.
    aside = 2 * (bottom - top)
    wide = (top, max(left - aside, 0), bottom, min(right + aside, levels.shape[1]))
    return replace(bar, text_box=wide)


def is_readable(levels: Levels, bar: ScaleBar) -> bool:
    """Whether some line beside `bar` is surely a length."""
    return bool(_readings(levels, bar))


def _readings(levels: Levels, bar: ScaleBar) -> list[tuple[float, float, Box]]:
    """Length in nm, confidence and box of every line that is sure, at every ink threshold."""
    lines = [_lines(levels, bar, ink) for ink in _INK]
    found = [(*read, _box_of(n)) for n in chain(*lines) if (read := _read_line(n)) is not None]
    if not found:
        lines += [_lines(levels, bar, ink, closed=True) for ink in _INK_OF_STEMS]
        found = [
            (*read, _box_of([*number, *unit]))
            for number, unit in _split_lines(lines)
            if (read := _read_split(number, unit)) is not None
        ]
    return found


def _split_lines(lines: list[list[list[Glyph]]]) -> Iterator[tuple[list[Glyph], list[Glyph]]]:
    """Yield numbers of one way to separate glyphs before units of another, on one base line.

    The thin arcs of a serif m need a low threshold, or a closing, with which bold digits run into
    each other.
    """
    for numbers, units in permutations(lines, 2):
        for line, other in product(numbers, units):
            for unit in (other[-1:], other[-2:]):
                number = [g for g in line if g.right <= unit[0].left]
                if len(number) < len(line) and number and _on_one_line(number, unit):
                    yield number, unit


def _on_one_line(number: list[Glyph], unit: list[Glyph]) -> bool:
    cap = max(g.height for g in number)
    near = 0 <= unit[0].left - number[-1].right <= 1.1 * cap
    return near and abs(unit[-1].bottom - number[0].bottom) <= max(0.15 * cap, 2)


def _lines(
    levels: Levels, bar: ScaleBar, least_ink: float, *, closed: bool = False
) -> list[list[Glyph]]:
    """Rows of two or more glyphs of the bar's colour, nearest to the bar first."""
    remaining = sorted(_glyphs(levels, bar, least_ink, closed), key=lambda g: g.left)
    lines = []
    while remaining:
        line = [remaining.pop(0)]
        for glyph in list(remaining):
            if _continues(line, glyph):
                line.append(glyph)
                remaining.remove(glyph)
        if 2 <= len(line) <= 9 and max(g.height for g in line) >= 6:
            lines.append(line)
    return sorted(lines, key=lambda line: _gap(_box_of(line), bar.box))


def _glyphs(levels: Levels, bar: ScaleBar, least_ink: float, closed: bool) -> list[Glyph]:
    top, left, bottom, right = bar.box
    up, aside = int(np.clip(bar.length_px, 40, 160)), int(np.clip(1.5 * bar.length_px, 160, 320))
    height, width = levels.shape[:2]
    y0, y1 = max(top - up, 0), min(bottom + up, height)
    x0, x1 = max(left - aside, 0), min(right + aside, width)
    ink = ink_of(levels[y0:y1, x0:x1], bar)
    ink[max(top - 1 - y0, 0) : bottom + 1 - y0, left - x0 - 1 : right + 1 - x0] = (
        0  # µ may touch it
    )
    binary = (ink > least_ink).astype(np.uint8)
    if closed:
        binary = cv2.morphologyEx(binary, cv2.MORPH_CLOSE, np.ones((1, 3), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
    pieces = stats[1:count]
    if count > _MOST_PIECES:
        pieces = pieces[pieces[:, cv2.CC_STAT_AREA] >= 6]
    if len(pieces) > _MOST_PIECES:
        return []
    found = []
    for x, y, w, h, area in pieces.tolist():
        inside = x > 0 and y > 0 and x + w < x1 - x0 and y + h < y1 - y0
        # A point in small print is 2 px; a letter is at most four times as wide as high ("mm").
        if inside and area >= 2 and w <= 4 * h and h <= 100:
            found.append(Glyph(y0 + y, x0 + x, y0 + y + h, x0 + x + w, ink[y : y + h, x : x + w]))
    return found


def _continues(line: list[Glyph], glyph: Glyph) -> bool:
    """Whether `glyph`, further right, stands on the line: near, alike in height, overlapping."""
    tall = max(g.height for g in line)
    top, bottom = min(g.top for g in line), max(g.bottom for g in line)
    gap = glyph.left - max(g.right for g in line)
    overlap = min(bottom, glyph.bottom) - max(top, glyph.top)
    alike = glyph.height <= 1.6 * tall and (glyph.height >= 0.4 * tall or _is_point(glyph, line))
    return -1 <= gap <= 1.1 * max(tall, glyph.height) and overlap >= 0.6 * glyph.height and alike


def _is_point(glyph: Glyph, line: list[Glyph]) -> bool:
    tall = max(g.height for g in line)
    size = max(glyph.width, glyph.height)
    small = 0.08 * tall <= min(glyph.width, glyph.height) and size <= max(0.32 * tall, 2)
    return small and abs(glyph.bottom - line[0].bottom) <= max(0.12 * tall, 1.5)


def _box_of(line: list[Glyph]) -> Box:
    return (
        min(g.top for g in line),
        min(g.left for g in line),
        max(g.bottom for g in line),
        max(g.right for g in line),
    )


def _gap(a: Box, b: Box) -> float:
    rows = max(a[0] - b[2], b[0] - a[2], 0)
    columns = max(a[1] - b[3], b[1] - a[3], 0)
    return float(np.hypot(rows, columns))


def _read_line(line: list[Glyph]) -> tuple[float, float] | None:
    """Length in nm and confidence, over the ways to split the line into number and unit."""
    answers = [_read_split(line[:-1], line[-1:]), _read_split(line[:-2], line[-2:])]
    sure = [a for a in answers if a is not None]
    return max(sure, key=lambda a: a[1], default=None)


def _read_split(number: list[Glyph], unit: list[Glyph]) -> tuple[float, float] | None:
    if not number or number[0].height < 6:
        return None
    digits = [g for g in number if not _is_point(g, [number[0]])]
    cap = float(np.median([g.height for g in digits]))
    if any(abs(g.height - cap) > max(0.12 * cap, 1.5) for g in digits):
        return None
    gaps = [b.left - a.right for a, b in pairwise(number)]
    if max(gaps, default=0) > 0.4 * cap:  # room for a point that was lost in the background
        return None
    name, sure = _read_unit(unit, cap, number[0].bottom)
    if cap < _SMALL_PX:
        sure -= _SMALL_PENALTY
    text = ""
    for glyph in number:
        if _is_point(glyph, [number[0]]):
            text += "."
            continue
        digit, score = best_name(glyph, _DIGITS)
        text, sure = text + digit, min(sure, score)
    return _checked(text, name, sure)


def _checked(text: str, unit: str, sure: float) -> tuple[float, float] | None:
    """Accept what is sure: more readily the 1, 2, 5 that programs choose."""
    if not unit or text.count(".") > 1 or text[0] == "." or text[-1] == "." or len(text) > 5:
        return None
    if text[0] == "0" and not text.startswith("0."):
        return None
    leading = text.replace(".", "").strip("0")
    if sure < (_SURE if leading in ("1", "2", "5") else _SURE_ODD):
        return None
    return parse_length_nm(f"{text} {unit}"), sure


def _read_unit(unit: list[Glyph], cap: float, baseline: int) -> tuple[str, float]:
    """Name and score of a unit of one (letters touching) or two pieces; "" if it is none."""
    last = unit[-1]
    if not 0.5 * cap <= last.height <= 1.45 * cap:
        return "", 0.0
    if len(unit) == 1:
        return best_name(last, _UNITS) if last.width > 1.1 * last.height else ("", 0.0)
    first = unit[0]
    m_score = best_name(last, ("m",))[1]
    standing = abs(last.bottom - baseline) <= max(0.15 * cap, 2)
    if not standing or not 0.5 * cap <= first.height <= 1.45 * cap:
        return "", 0.0
    below = first.bottom - last.bottom
    letters: tuple[str, ...] = ("n", "u", "m") if below <= max(0.1 * cap, 1) else ("µ",)
    letter, score = best_name(first, letters)
    return letter + "m", min(score, m_score)


def best_name(glyph: Glyph, names: tuple[str, ...] | str) -> tuple[str, float]:
    """Best of `names` for a glyph; its score is cut to 0 when another is as good."""
    vector, shape = _normal(glyph.ink), np.log(glyph.width / glyph.height)
    scores = {}
    for name in names:
        vectors, shapes = _templates(name)
        # 0.35 per factor e of aspect: fonts differ by up to 1.5, 1 and 0 by more.
        scores[name] = float((vectors @ vector - 0.35 * np.abs(shapes - shape)).max())
    ranked = sorted(scores, key=lambda n: scores[n], reverse=True)
    first = ranked[0]
    rivals = [n for n in ranked[1:] if n.replace("u", "µ") != first.replace("u", "µ")]
    if rivals and scores[first] - scores[rivals[0]] < _MARGIN:
        return first, 0.0
    return first, scores[first]


@functools.cache
def _templates(name: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Return normal vectors (n, _SIDE**2) and log aspects (n,) of `name` in every font."""
    # The Computer Modern files have no µ, Pillow's own (a 1 without foot, as Arial) is not whole.
    fonts = [f for f in _FONTS if name.isascii() or f[:2] not in ("cm", "de")]
    drawn = [_drawn_truetype(name, font) for font in fonts]
    if name.isascii():
        drawn += [_drawn_hershey(name, face, bold) for face in _HERSHEY for bold in (1, 3)]
    crops = [_cropped(ink) for ink in drawn if ink.any()]
    vectors = np.array([_normal(ink) for ink in crops])
    return vectors, np.array([np.log(ink.shape[1] / ink.shape[0]) for ink in crops])


def _drawn_truetype(name: str, font: str) -> Ink:
    from PIL import Image, ImageDraw

    canvas = Image.new("L", (32 * len(name) + 40, 64))
    ImageDraw.Draw(canvas).text((16, 10), name, 255, _face(font))
    ink: Ink = np.asarray(canvas, np.float32) / np.float32(255)
    return ink


@functools.cache
def _face(font: str) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    if font == "default":
        return cast("ImageFont.FreeTypeFont", ImageFont.load_default(32))
    spec = find_spec("matplotlib")  # found, not imported: that takes half a second
    folder = Path((spec and spec.origin) or "").parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(folder / f"{font}.ttf", 32, layout_engine=ImageFont.Layout.BASIC)


def _drawn_hershey(name: str, face: int, thickness: int) -> Ink:
    canvas = np.zeros((80, 48 * len(name) + 48), np.uint8)
    cv2.putText(canvas, name, (16, 52), face, 1.3, 255, thickness, cv2.LINE_AA)
    ink: Ink = canvas.astype(np.float32) / np.float32(255)
    return ink


def _cropped(ink: Ink) -> Ink:
    rows, columns = np.flatnonzero((ink > 0.5).any(1)), np.flatnonzero((ink > 0.5).any(0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _normal(ink: Ink) -> npt.NDArray[np.float32]:
    """Ink on a square grid, softened, with zero mean and unit norm."""
    shrink = max(ink.shape) > _SIDE
    size = (_SIDE, _SIDE)
    square = cv2.resize(ink, size, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
    soft = cv2.GaussianBlur(square, (0, 0), 1.0)
    centred = (soft - soft.mean()).ravel()
    normal: npt.NDArray[np.float32] = centred / max(float(np.linalg.norm(centred)), 1e-6)
    return normal
