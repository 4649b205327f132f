"""What is painted on one image: strokes that teach, a label picture, corrections; undo and redo.

    drawing = Drawing(shape)
    drawing.do(Stroke(...))
    drawing.undo()

The same edits in the same order give the same drawing: `replay` does those of a log again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerscope.errors import InputError
from layerscope.labelling.edits import Edit
from layerscope.labelling.scribbles import ERASER, MOST_CLASSES, Labels
from layerscope.labelling.strokes import CORRECTIONS, SCRIBBLES, Stroke

BASE = "base"
"""Layer: the label picture that was accepted or imported, before corrections."""

Box = tuple[int, int, int, int]
"""Top, left, bottom, right, half-open."""

_VALUES = 256


@dataclass(frozen=True)
class Placed:
    """A label picture laid under the corrections.

    Attributes
    ----------
    labels : ndarray of uint8, (H, W)
        0 where nobody knows.
    accepted : bool
        A person looked at it and said yes; imported pictures wait for that.
    """

    labels: Labels
    accepted: bool


@dataclass(frozen=True)
class _Patch:
    """What a part of some layers was before."""

    box: Box
    packed: Mapping[str, bytes]
    placed: bool
    accepted: bool


class Drawing:
    """The labels of one image while a person works on them.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image, px.
    """

    def __init__(self, shape: tuple[int, int]):
        self.shape = shape
        names = (SCRIBBLES, BASE, CORRECTIONS)
        self._layers = {name: np.zeros(shape, np.uint8) for name in names}
        self._counts = {name: np.zeros(_VALUES, np.int64) for name in (SCRIBBLES, "labels")}
        for counts in self._counts.values():
            counts[0] = shape[0] * shape[1]
        self._done: list[_Patch] = []
        self._undone: list[_Patch] = []
        self._placed = self._accepted = False

    @property
    def scribbles(self) -> Labels:
        """Strokes that teach, uint8 (H, W); a view that must not be changed."""
        return _locked(self._layers[SCRIBBLES])

    @property
    def labels(self) -> Labels | None:
        """The label picture with its corrections, uint8 (H, W); None where there is none."""
        return self.part((0, 0, *self.shape)) if self._placed else None

    @property
    def accepted(self) -> bool:
        """Whether a person accepted the label picture."""
        return self._placed and self._accepted

    @property
    def state(self) -> str:
        """``unlabelled``, ``painted``, ``imported`` or ``accepted``."""
        if self._placed:
            return "accepted" if self._accepted else "imported"
        painted = self._counts[SCRIBBLES][0] < self.shape[0] * self.shape[1]
        return "painted" if painted else "unlabelled"

    @property
    def can_undo(self) -> bool:
        """Whether there is something to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether something was taken back and nothing done since."""
        return bool(self._undone)

    def counts(self, layer: str) -> dict[int, int]:
        """Pixels of each value but 0 in ``scribbles``, or in the ``labels`` as corrected."""
        if layer != SCRIBBLES and not self._placed:
            return {}
        counts = self._counts[SCRIBBLES if layer == SCRIBBLES else "labels"]
        return {int(v): int(counts[v]) for v in np.flatnonzero(counts) if v}

    def part(self, box: Box, layer: str = "labels") -> Labels:
        """Copy of a part of the scribbles, or of the labels as corrected."""
        rows, columns = slice(box[0], box[2]), slice(box[1], box[3])
        if layer == SCRIBBLES:
            return self._layers[SCRIBBLES][rows, columns].copy()
        top = self._layers[CORRECTIONS][rows, columns]
        labels = np.where(top == 0, self._layers[BASE][rows, columns], top)
        labels[labels == ERASER] = 0
        return labels

    def paint(self, stroke: Stroke) -> Box:
        """Paint a stroke; returns the box in which something may have changed.

        Raises
        ------
        InputError
            If there is no label picture to correct, or a scribble has no class.
        """
        if stroke.layer == CORRECTIONS and not self._placed:
            raise InputError("there is no label picture to correct yet; accept one first")
        if stroke.value > MOST_CLASSES and stroke.layer == SCRIBBLES:
            raise InputError(f"a scribble of class {stroke.value}; expected 0 to {MOST_CLASSES}")
        top, left, mask = stroke.painted(self.shape)
        box = (top, left, top + mask.shape[0], left + mask.shape[1])
        if mask.size == 0:
            box = (0, 0, 0, 0)
        return self._change(stroke.layer, box, mask, stroke.value)

    def lay_scribbles(self, labels: Labels) -> Box:
        """Put scribbles from elsewhere in place of those that are there.

        Raises
        ------
        InputError
            If they have another size than the image.
        """
        self._check(labels)
        box = (0, 0, *self.shape)
        self._remember((SCRIBBLES,), box)
        self._count(SCRIBBLES, box, -1)
        self._layers[SCRIBBLES][...] = labels
        self._count(SCRIBBLES, box, 1)
        return box

    def clear(self, layer: str) -> Box:
        """Erase all strokes of a layer."""
        if layer not in (SCRIBBLES, CORRECTIONS):
            raise InputError(f"layer {layer!r}; expected {SCRIBBLES} or {CORRECTIONS}")
        return self._change(layer, (0, 0, *self.shape), np.ones(self.shape, bool), 0)

    def place(self, picture: Placed | None) -> Box:
        """Lay a label picture under the corrections, or take it away together with them.

        Raises
        ------
        InputError
            If it has another size than the image.
        """
        if picture is not None:
            self._check(picture.labels)
        box = (0, 0, *self.shape)
        self._remember((BASE, CORRECTIONS) if picture is None else (BASE,), box)
        self._count("labels", box, -1)
        if picture is None:
            self._layers[BASE].fill(0)
            self._layers[CORRECTIONS].fill(0)
        else:
            self._layers[BASE][...] = picture.labels
        self._placed, self._accepted = picture is not None, picture is not None and picture.accepted
        self._count("labels", box, 1)
        return box

    def undo(self) -> tuple[str, Box]:
        """Take back what was done last; returns the layer and the box that changed.

        Raises
        ------
        InputError
            If nothing was done.
        """
        if not self._done:
            raise InputError("nothing to undo")
        return self._swap(self._done, self._undone)

    def redo(self) -> tuple[str, Box]:
        """Do again what was taken back last.

        Raises
        ------
        InputError
            If nothing was taken back.
        """
        if not self._undone:
            raise InputError("nothing to redo")
        return self._swap(self._undone, self._done)

    def _check(self, labels: Labels) -> None:
        if labels.shape != self.shape:
            raise InputError(f"a label picture of {labels.shape} px for an image of {self.shape}")

    def _change(self, layer: str, box: Box, mask: Any, value: int) -> Box:
        self._remember((layer,), box)
        counted = SCRIBBLES if layer == SCRIBBLES else "labels"
        self._count(counted, box, -1)
        rows, columns = slice(box[0], box[2]), slice(box[1], box[3])
        self._layers[layer][rows, columns][mask[: box[2] - box[0], : box[3] - box[1]]] = value
        self._count(counted, box, 1)
        return box

    def _remember(self, layers: tuple[str, ...], box: Box) -> None:
        self._done.append(self._patch(layers, box))
        self._undone.clear()

    def _patch(self, layers: Iterable[str], box: Box) -> _Patch:
        rows, columns = slice(box[0], box[2]), slice(box[1], box[3])
        packed = {n: zlib.compress(self._layers[n][rows, columns].tobytes(), 1) for n in layers}
        return _Patch(box, packed, self._placed, self._accepted)

    def _swap(self, source: list[_Patch], target: list[_Patch]) -> tuple[str, Box]:
        patch = source.pop()
        target.append(self._patch(patch.packed, patch.box))
        top, left, bottom, right = patch.box
        layer = next(iter(patch.packed))
        counted = SCRIBBLES if layer == SCRIBBLES else "labels"
        self._count(counted, patch.box, -1)
        for name, packed in patch.packed.items():
            before = np.frombuffer(zlib.decompress(packed), np.uint8)
            where = self._layers[name][top:bottom, left:right]
            where[...] = before.reshape(where.shape)
        self._placed, self._accepted = patch.placed, patch.accepted
        self._count(counted, patch.box, 1)
        return layer, patch.box

    def _count(self, layer: str, box: Box, sign: int) -> None:
        found = np.bincount(self.part(box, layer).ravel(), minlength=_VALUES)
        self._counts[layer] += sign * found


def do_edit(
    drawing: Drawing,
    what: str,
    detail: Mapping[str, Any],
    picture: Callable[[str], Labels],
) -> tuple[str, Box] | None:
    """Do one edit of an image.

    Parameters
    ----------
    drawing : Drawing
    what, detail
        As in `Edit`.
    picture : callable
        Label picture of a hash.

    Returns
    -------
    tuple or None
        The layer and the box that changed; None for edits that change no pixel.
    """
    if what == "stroke":
        stroke = Stroke.from_json(detail)
        return stroke.layer, drawing.paint(stroke)
    if what in ("import", "accept"):
        labels = picture(str(detail["picture"]))
        if detail.get("layer") == SCRIBBLES:
            return SCRIBBLES, drawing.lay_scribbles(labels)
        return BASE, drawing.place(Placed(labels, what == "accept"))
    if what == "withdraw":
        return BASE, drawing.place(None)
    if what == "clear":
        return str(detail["layer"]), drawing.clear(str(detail["layer"]))
    if what in ("undo", "redo"):
        return drawing.undo() if what == "undo" else drawing.redo()
    return None


def replay(
    edits: Iterable[Edit], shape: tuple[int, int], picture: Callable[[str], Labels]
) -> Drawing:
    """Drawing of one image that its edits lead to.

    Parameters
    ----------
    edits : iterable of Edit
        Of that image, oldest first.
    shape : tuple of int
        Its height and width, px.
    picture : callable
        Label picture of a hash, for those that were accepted or imported.

    Raises
    ------
    InputError
        If an edit cannot be done.
    """
    drawing = Drawing(shape)
    for edit in edits:
        do_edit(drawing, edit.what, edit.detail, picture)
    return drawing


def _locked(labels: Labels) -> Labels:
    view = labels.view()
    view.flags.writeable = False
    return view
