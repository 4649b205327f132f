"""A person paints, a forest answers: classes and their doubt for every pixel.

`fit_pixels` learns from scribbles on several images at once; `PaintSession` answers while somebody
paints on one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import IntArray
from layerscope.errors import InputError
from layerscope.labelling.classifier import PaintSettings, PixelClassifier
from layerscope.labelling.doubt import margin as margin_uncertainty
from layerscope.labelling.feature_cache import FeatureCache
from layerscope.labelling.learning import choose_pixels, fit_pixels, learn_trees
from layerscope.labelling.scribbles import Labels, paint
from layerscope.models.pixel_forest import PixelForest
from layerscope.ops.channels import FloatImage
from layerscope.ops.normalisation import as_unit, normalise
from layerscope.ops.tiles import Window

__all__ = [
    "Answer", "PaintSession", "PaintSettings", "PixelClassifier", "fit_pixels",
    "margin_uncertainty",
]  # fmt: skip

COARSE_STEP = 4
"""A coarse answer looks at one pixel of 4 x 4, and is bent in between."""

_COARSE_BLOCK_PX = 4096  # of a tile of 256 x 256
_KEPT_STROKES = 100


@dataclass(frozen=True, eq=False)
class Answer:
    """What the classifier says of the pixels of a window.

    Attributes
    ----------
    probabilities : ndarray of float32, (h, w, K)
        They sum to 1.
    uncertainty : ndarray of float32, (h, w)
        1 - (largest - second largest probability): 1 where two classes are equally likely.
    """

    probabilities: FloatImage
    uncertainty: npt.NDArray[np.float32]


class PaintSession:
    """One image that somebody paints on: every scribble is followed by an answer.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, C)
        uint8, uint16, or floating point from 0 to 1.
    classes : sequence of str
        Names of the values 1 to K of scribbles.
    settings : PaintSettings, optional

    Notes
    -----
    Of features only those of windows that were asked about, and of painted pixels, are computed.
    A coarse answer comes from fewer trees, pixels and samples (`PaintSettings`); one that is not
    coarse is that of `classifier`, without its second stage.
    """

    def __init__(
        self,
        image: npt.NDArray[Any],
        classes: Sequence[str],
        settings: PaintSettings | None = None,
    ):
        self._classes, self._settings = tuple(classes), settings or PaintSettings()
        self._image = image
        pixels = normalise(self._settings.normalisation, as_unit(image))
        self._features = FeatureCache(pixels, self._settings.features)
        self._labels: Labels = np.zeros(image.shape[:2], np.uint8)
        self._before: list[tuple[int, int, Labels]] = []
        self._index: IntArray = np.empty(0, np.int64)
        self._rows = np.empty((0, self._features.count), np.float32)
        self._forests: dict[bool, PixelForest] = {}
        self._learned: tuple[int, ...] = ()
        self._version = 0
        self._teachers: tuple[PaintSession, ...] = (self,)

    @property
    def labels(self) -> Labels:
        """All scribbles, uint8 (H, W); a copy."""
        return self._labels.copy()

    def scribble(self, labels_patch: Labels, top: int, left: int) -> None:
        """Add a stroke.

        Parameters
        ----------
        labels_patch : ndarray of uint8, (h, w)
            0 leaves what is there, 1 to K paints a class, `scribbles.ERASER` takes back.
        top, left : int
            Where the patch lies in the image.

        Raises
        ------
        InputError
            For a value above K, or another type.
        """
        painted = paint(self._labels, labels_patch, top, left, classes=len(self._classes))
        changed = np.flatnonzero((painted != self._labels).any(axis=1))
        if len(changed):
            first, last = int(changed[0]), int(changed[-1]) + 1
            columns = np.flatnonzero((painted != self._labels)[first:last].any(axis=0))
            start, stop = int(columns[0]), int(columns[-1]) + 1
            self._before.append((first, start, self._labels[first:last, start:stop].copy()))
        else:
            self._before.append((0, 0, np.empty((0, 0), np.uint8)))
        del self._before[:-_KEPT_STROKES]
        self._labels = painted
        self._version += 1

    def undo(self) -> None:
        """Take the last stroke back; without one nothing happens."""
        if not self._before:
            return
        top, left, part = self._before.pop()
        restored = self._labels.copy()
        restored[top : top + part.shape[0], left : left + part.shape[1]] = part
        self._labels = restored
        self._version += 1

    def learn_from(self, sessions: Sequence[PaintSession]) -> None:
        """Learn from the scribbles of several images; answers are those of `fit_pixels` on them.

        Parameters
        ----------
        sessions : sequence of PaintSession
            In the order of their images; this one among them if it is to learn from itself.

        Raises
        ------
        InputError
            If one has other classes, settings or channels.
        """
        for other in sessions:
            asked = (other._classes, other._settings, other._features.count)
            if asked != (self._classes, self._settings, self._features.count):
                raise InputError("sessions of other classes, settings or channels cannot be joined")
        if self._teachers != tuple(sessions):
            self._teachers = tuple(sessions)
            self._forests.clear()

    def look(self, window: Window) -> None:
        """Compute the features of a window before anybody paints: the first answer comes sooner."""
        for _ in self._features.tiles(window):
            pass

    def rest(self) -> None:
        """Forget the features of all pixels but the painted ones, until somebody asks again."""
        self._features.forget()

    def answer(self, window: Window, *, coarse: bool = False) -> Answer:
        """Ask about the pixels of a window.

        Parameters
        ----------
        window : Window
            Inside of the image.
        coarse : bool
            Quickly, from a part of the pixels and a part of the trees.

        Raises
        ------
        InputError
            If fewer than two classes have scribbles, or the window is not inside of the image.
        """
        height, width = self._labels.shape
        if window & Window(0, 0, height, width) != window or not window.size_px:
            raise InputError(f"window {window} of an image of {height} x {width} px")
        forest = self._forest(coarse)
        shape = window.bottom - window.top, window.right - window.left
        out = np.empty((*shape, len(self._classes)), np.float32)
        for tile, planes in self._features.tiles(window):
            maps = _ask(forest, planes, COARSE_STEP if coarse else 1)
            both = tile & window
            out[
                both.top - window.top : both.bottom - window.top,
                both.left - window.left : both.right - window.left,
            ] = maps[
                both.top - tile.top : both.bottom - tile.top,
                both.left - tile.left : both.right - tile.left,
            ]
        return Answer(out, margin_uncertainty(out))

    def classifier(self) -> PixelClassifier:
        """Everything that was painted, learned.

        Raises
        ------
        InputError
            If fewer than two classes have scribbles.
        """
        return fit_pixels([self._image], [self._labels], self._classes, self._settings)

    def _forest(self, coarse: bool) -> PixelForest:
        versions = tuple(teacher._version for teacher in self._teachers)
        if versions != self._learned:
            self._forests.clear()
            self._learned = versions
        if coarse not in self._forests:
            settings = self._settings
            most, trees, block = settings.most_pixels, settings.trees, None
            if coarse:
                most, trees, block = settings.quick_pixels, settings.quick_trees, _COARSE_BLOCK_PX
            rows, values = self._chosen(most)
            grown = learn_trees(rows, values, len(self._classes), replace(settings, trees=trees))
            self._forests[coarse] = PixelForest(grown, block)
        return self._forests[coarse]

    def _chosen(self, most: int) -> tuple[npt.NDArray[np.float32], Labels]:
        """Features (n, F) and classes (n,) from 0 of the pixels that are learned from."""
        painted = [teacher._labels for teacher in self._teachers]
        chosen = choose_pixels(painted, len(self._classes), most, self._settings.seed)
        pairs = list(zip(self._teachers, chosen, strict=True))
        rows = [self._rows[:0], *(teacher._known(index) for teacher, index in pairs)]
        values = [np.empty(0, np.uint8), *(t._labels.ravel()[i] - np.uint8(1) for t, i in pairs)]
        return np.concatenate(rows), np.concatenate(values)

    def _known(self, index: IntArray) -> npt.NDArray[np.float32]:
        """Features of painted pixels, of which most were known before the last stroke."""
        new = np.setdiff1d(index, self._index, assume_unique=True)
        if len(new):
            both = np.concatenate([self._index, new])
            rows = np.concatenate([self._rows, self._features.rows(new)])
            order = np.argsort(both)
            self._index, self._rows = both[order], rows[order]
        return self._rows[np.searchsorted(self._index, index)]


def _ask(forest: PixelForest, planes: npt.NDArray[np.float32], step: int) -> FloatImage:
    """Probabilities (h, w, K) of a tile with the features (F, h, w)."""
    height, width = planes.shape[1:]
    if step > 1:
        rows = np.minimum(np.arange(0, height, step) + step // 2, height - 1)
        columns = np.minimum(np.arange(0, width, step) + step // 2, width - 1)
        planes = np.ascontiguousarray(planes[:, rows][:, :, columns])
    maps = forest.probabilities(planes.reshape(len(planes), -1))
    maps = maps.reshape(*planes.shape[1:], -1)
    if step == 1:
        return maps
    bent = cv2.resize(maps, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(bent, np.float32).reshape(height, width, -1)
