"""The one drawing of a live view: the newest frame, what is on it, and how the session goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from layerscope.core.results import CropMasks, Detections
from layerscope.draw import (
    draw_labels,
    draw_outlines,
    draw_plates,
    label_texts,
)
from layerscope.live.analysis import Answer
from layerscope.live.figures import Figures
from layerscope.live.frame import Frame
from layerscope.live.motion import Shift
from layerscope.live.reader import Condition, SourceState
from layerscope.ops.lettering import INK, WHITE, Colour, Image, blend, letters, plate

_BLANK = (720, 1280)
_MOST_LABELS, _MOST_PLAIN = 24, 6
_DIMMED = 0.4
_AMBER: Colour = (255, 176, 0)
_GREEN: Colour = (0, 200, 140)
_RED: Colour = (255, 80, 60)
_GREY: Colour = (170, 170, 170)

_COLOURS = {
    Condition.OPENING: _GREY,
    Condition.LIVE: _GREEN,
    Condition.BLACK: _AMBER,
    Condition.LOST: _AMBER,
    Condition.ENDED: _GREY,
}


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that is in the drawing.

    Attributes
    ----------
    subject : str
        What is looked for, e.g. ``graphene on SiO2(90nm)/Si``.
    source : str
    state : SourceState
    figures : Figures
    frame : Frame or None
    answer : Answer or None
        Of this frame, or of an earlier one that `shift` is known to.
    shift : Shift or None
        How far the field has moved since the frame of the answer.
    frozen, recording : bool
    notes : tuple of str
        Lines for the user; the first is drawn.
    """

    subject: str
    source: str
    state: SourceState
    figures: Figures = field(default_factory=Figures)
    frame: Frame | None = None
    answer: Answer | None = None
    shift: Shift | None = None
    frozen: bool = False
    recording: bool = False
    notes: tuple[str, ...] = ()


def draw_scene(scene: Scene) -> Image:
    """Picture (H + strip, W, 3) of a scene.

    Outlines and labels are drawn where they hold: not on a lost, black or unrelated frame.
    """
    picture, text_px = _field(scene), _text_px(scene)
    if scene.state.condition in (Condition.LOST, Condition.BLACK):
        _print_in_middle(picture, scene.state.reason, text_px)
    elif scene.frame is None:
        _print_in_middle(picture, f"waiting for the first picture of {scene.source}", text_px)
    for row, note in enumerate(scene.notes[:2]):
        _print_note(picture, note, row, text_px)
    return np.vstack([_strip(scene, picture.shape[1], text_px), picture])


def _field(scene: Scene) -> Image:
    if scene.frame is None:
        return np.full((*_BLANK, 3), 60, np.uint8)
    shown = scene.frame.shown
    if scene.state.condition in (Condition.LOST, Condition.BLACK):
        return np.asarray(cv2.convertScaleAbs(shown, alpha=_DIMMED), np.uint8)
    answer = scene.answer
    if answer is None or answer.error or scene.shift is None:
        return shown.copy()
    return draw_answer(shown, answer, scene.shift)


def draw_answer(shown: Image, answer: Answer, shift: Shift) -> Image:
    """Draw outlines, labels, legend and scale bar on a frame that has moved by `shift`."""
    found, named = answer.detections, answer.named
    texts = _chosen(_texts(answer), found)
    moved, rows = shifted(found, shift)
    kept = replace(named, names=tuple(named.names[i] for i in rows)) if named else None
    picture = draw_outlines(shown, moved, kept)
    picture, clear = draw_plates(picture, found, answer.pixel_size, named)
    return draw_labels(picture, moved, [texts[i] for i in rows], keep_clear=clear, named=kept)


def _texts(answer: Answer) -> list[str]:
    """Label of each region: what it is, how sure that is, what it is made of, and its area."""
    found = answer.detections
    if answer.named is None:
        texts = label_texts(found, answer.pixel_size)
        return texts if answer.pixel_size is not None else _with_pixels(texts, found)
    sure = zip(answer.named.names, found.score.tolist(), strict=True)
    texts = [n if n == "unknown" else f"{n} {100 * score:.0f} %" for n, score in sure]
    if answer.made_of:
        texts = ["shape ?" if t == "unknown" else t for t in texts]
        texts = [f"{t}, {made}" for t, made in zip(texts, answer.made_of, strict=True)]
    if answer.pixel_size is None:
        return _with_pixels(texts, found)
    areas = found.masks.area_px * answer.pixel_size.um**2
    return [f"{t}, {a:.3g} µm²" for t, a in zip(texts, areas.tolist(), strict=True)]


def _with_pixels(texts: Sequence[str], found: Detections) -> list[str]:
    return [f"{t}, {a} px" for t, a in zip(texts, found.masks.area_px.tolist(), strict=True)]


def shifted(detections: Detections, shift: Shift) -> tuple[Detections, list[int]]:
    """Move detections, cut at the border; also returns which of them are still in the frame."""
    dy, dx = round(shift.y_px), round(shift.x_px)
    if dy == 0 == dx:
        return detections, list(range(len(detections)))
    height, width = detections.masks.shape
    moved = detections.masks.boxes + np.array([dy, dx, dy, dx])
    boxes, crops, rows = [], [], []
    for i, ((top, left, bottom, right), crop) in enumerate(
        zip(moved.tolist(), detections.masks.crops, strict=True)
    ):
        y0, x0, y1, x1 = max(top, 0), max(left, 0), min(bottom, height), min(right, width)
        if y0 >= y1 or x0 >= x1:
            continue
        part = crop[y0 - top : y1 - top, x0 - left : x1 - left]
        if part.any():
            boxes.append((y0, x0, y1, x1))
            crops.append(np.ascontiguousarray(part))
            rows.append(i)
    masks = CropMasks(np.array(boxes, np.int64).reshape(-1, 4), tuple(crops), (height, width))
    return replace(detections[np.array(rows, int)], masks=masks), rows


def _chosen(texts: Sequence[str], detections: Detections) -> list[str]:
    """Labels of the largest regions with a number, and of the few largest without one."""
    layers = detections.layers
    numbers = np.ones(len(texts)) if layers is None else layers.n_layers
    order = np.argsort(-detections.masks.area_px, kind="stable")
    counted, plain = order[numbers[order] > 0], order[numbers[order] <= 0]
    kept = {*counted[:_MOST_LABELS].tolist(), *plain[:_MOST_PLAIN].tolist()}
    return [text if i in kept else "" for i, text in enumerate(texts)]


def _text_px(scene: Scene) -> int:
    shape = scene.frame.shown.shape[:2] if scene.frame else _BLANK
    return int(np.clip(round(min(shape) / 48), 11, 40))


def _strip(scene: Scene, width: int, text_px: int) -> Image:
    """Write the line above the picture: state and subject on the left, figures on the right."""
    strip = np.full((2 * text_px, width, 3), INK, np.uint8)
    colour, word = _COLOURS[scene.state.condition], scene.state.condition.value.upper()
    if scene.frozen:
        colour, word = WHITE, "FROZEN"
    middle, x = strip.shape[0] // 2, text_px
    cv2.circle(strip, (x, middle), text_px // 3, colour, -1, cv2.LINE_AA)
    x = _print(strip, word, x + text_px, text_px, colour)
    if scene.recording:
        cv2.circle(strip, (x + 2 * text_px, middle), text_px // 3, _RED, -1, cv2.LINE_AA)
        x = _print(strip, "REC", x + 3 * text_px, text_px, _RED)
    right = letters(figures_text(scene.figures), text_px)
    start = max(width - right.shape[1] - text_px, 0)
    _print(strip, f"{scene.subject}   {scene.source}", x + text_px, text_px, WHITE, start - text_px)
    if start > x:
        blend(strip, right, (_top(strip, text_px), start), WHITE)
    return strip


def figures_text(figures: Figures) -> str:
    """Figures of a session in a few words."""
    latency = "–" if figures.latency_ms is None else f"{figures.latency_ms:.0f}"
    return (
        f"shown {figures.shown_fps:.0f} /s   analysed {figures.analysed_fps:.0f} /s   "
        f"latency {latency} ms   dropped {figures.dropped}"
    )


def _print(
    strip: Image, text: str, left: int, text_px: int, colour: Colour, end: int | None = None
) -> int:
    """Print a text on the strip, cut off at `end`; returns where it ends."""
    shape = letters(text, text_px)
    room = strip.shape[1] if end is None else end
    if end is not None and left + shape.shape[1] > room:
        while len(text) > 1 and left + letters(text + "…", text_px).shape[1] > room:
            text = text[:-1].rstrip()
        shape = letters(text + "…", text_px)
    if left < room:
        blend(strip, shape[:, : room - left], (_top(strip, text_px), left), colour)
    return left + shape.shape[1]


def _top(strip: Image, text_px: int) -> int:
    return (strip.shape[0] - round(1.3 * text_px)) // 2


def _print_in_middle(picture: Image, text: str, text_px: int) -> None:
    """Print a line nobody overlooks, in place."""
    size = round(1.4 * text_px)
    lines = _wrapped(text, size, picture.shape[1] - 4 * size)
    shapes = [letters(line, size) for line in lines]
    high, wide = sum(s.shape[0] for s in shapes) + size, max(s.shape[1] for s in shapes) + 2 * size
    top, left = (picture.shape[0] - high) // 2, (picture.shape[1] - wide) // 2
    plate(picture, (max(top, 0), max(left, 0), top + high, left + wide))
    cv2.rectangle(picture, (left, top), (left + wide, top + high), _AMBER, max(2, size // 10))
    y = top + size // 2
    for shape in shapes:
        blend(picture, shape, (y, left + (wide - shape.shape[1]) // 2), _AMBER)
        y += shape.shape[0]


def _wrapped(text: str, size: int, room: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and letters(longer, size).shape[1] > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _print_note(picture: Image, note: str, row: int, text_px: int) -> None:
    """Print a line of the upper left corner, in place."""
    size = round(0.85 * text_px)
    room = picture.shape[1] - 3 * text_px
    while len(note) > 1 and letters(note, size).shape[1] > room:
        note = note[:-2].rstrip(" …") + "…"
    shape = letters(note, size)
    top = text_px // 2 + row * (shape.shape[0] + text_px // 2)
    box = (top, text_px // 2, top + shape.shape[0], text_px // 2 + shape.shape[1] + text_px)
    plate(picture, box)
    blend(picture, shape, (box[0], text_px), WHITE)
