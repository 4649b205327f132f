"""A person paints, a forest answers: classes and their doubt for every pixel.

`fit_pixels` learns from scribbles on several images at once; `PaintSession` answers while somebody
paints on one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.errors import InputError
from layerscope.labelling.scribbles import Labels, check_scribbles, count_labels, paint
from layerscope.ops.channels import FloatImage
from layerscope.ops.normalisation import as_unit, normalise
from layerscope.ops.pixel_features import pixel_features
from layerscope.ops.tiles import Window


@dataclass(frozen=True)
class PaintSettings:
    """How a pixel classifier is made.

    Attributes
    ----------
    features : str
        One of `ops.pixel_features.FEATURE_SETS`.
    normalisation : str
        One of `ops.normalisation.NORMALISATIONS`.
    trees : int
    seed : int
    autocontext : bool
        A second forest also sees what the first one says of the surroundings.
    """

    features: str = "scales"
    normalisation: str = "unit"
    trees: int = 100
    seed: int = 0
    autocontext: bool = False


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


@dataclass(frozen=True, eq=False)
class PixelClassifier:
    """A trained pixel classifier.

    Attributes
    ----------
    classes : tuple of str
    settings : PaintSettings
    forest : object
    """

    classes: tuple[str, ...]
    settings: PaintSettings
    forest: Any = field(repr=False)

    def probabilities(self, image: npt.NDArray[Any]) -> FloatImage:
        """Probabilities (H, W, K) of the classes of an image (H, W) or (H, W, C)."""
        pixels = normalise(self.settings.normalisation, as_unit(image))
        planes = pixel_features(pixels, self.settings.features)
        shares = self.forest.predict_proba(planes.reshape(len(planes), -1).T)
        out = np.zeros((len(shares), len(self.classes)), np.float32)
        out[:, self.forest.classes_] = shares
        return out.reshape(*pixels.shape[:2], -1)


def margin_uncertainty(probabilities: FloatImage) -> npt.NDArray[np.float32]:
    """1 - (largest - second largest) of probabilities (..., K)."""
    best = np.sort(probabilities, axis=-1)[..., -2:]
    return np.asarray(1 - (best[..., 1] - best[..., 0]), np.float32)


def fit_pixels(
    images: Sequence[npt.NDArray[Any]],
    scribbles: Sequence[Labels],
    classes: Sequence[str],
    settings: PaintSettings | None = None,
) -> PixelClassifier:
    """Learn from scribbles on one or several images.

    Parameters
    ----------
    images : sequence of ndarray, (H, W) or (H, W, C)
        uint8, uint16, or floating point from 0 to 1.
    scribbles : sequence of ndarray of uint8, (H, W)
        One for each image.
    classes : sequence of str
        Names of the values 1 to K.
    settings : PaintSettings, optional

    Raises
    ------
    InputError
        If scribbles do not fit their images, or are all of one class.
    """
    from sklearn.ensemble import RandomForestClassifier

    settings = settings or PaintSettings()
    rows, values = [], []
    for image, labels in zip(images, scribbles, strict=True):
        check_scribbles(labels, len(classes))
        planes = pixel_features(
            normalise(settings.normalisation, as_unit(image)), settings.features
        )
        rows.append(planes[:, labels > 0].T)
        values.append(labels[labels > 0] - 1)
    if (count_labels(scribbles, len(classes)) > 0).sum() < 2:
        raise InputError("scribbles of fewer than two classes; paint some pixels of another one")
    forest = RandomForestClassifier(settings.trees, random_state=settings.seed)
    forest.fit(np.concatenate(rows), np.concatenate(values))
    return PixelClassifier(tuple(classes), settings, forest)


class PaintSession:
    """One image that somebody paints on: every scribble is followed by an answer.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, C)
        uint8, uint16, or floating point from 0 to 1.
    classes : sequence of str
        Names of the values 1 to K of scribbles.
    settings : PaintSettings, optional
    """

    def __init__(
        self,
        image: npt.NDArray[Any],
        classes: Sequence[str],
        settings: PaintSettings | None = None,
    ):
        self._image = image
        self._classes = tuple(classes)
        self._settings = settings or PaintSettings()
        self._history = [np.zeros(image.shape[:2], np.uint8)]
        self._classifier: PixelClassifier | None = None

    @property
    def labels(self) -> Labels:
        """All scribbles, uint8 (H, W); a copy."""
        return self._history[-1].copy()

    def scribble(self, labels_patch: Labels, top: int, left: int) -> None:
        """Add a stroke.

        Parameters
        ----------
        labels_patch : ndarray of uint8, (h, w)
            0 leaves what is there, 1 to K paints a class, `scribbles.ERASER` takes back.
        top, left : int
            Where the patch lies in the image.
        """
        self._history.append(paint(self._history[-1], labels_patch, top, left))
        self._classifier = None

    def undo(self) -> None:
        """Take the last stroke back; without one nothing happens."""
        if len(self._history) > 1:
            self._history.pop()
        self._classifier = None

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
            If fewer than two classes have scribbles.
        """
        return self._answer(window)

    def _answer(self, window: Window) -> Answer:
        probabilities = self.classifier().probabilities(self._image)
        part = probabilities[window.top : window.bottom, window.left : window.right]
        return Answer(part, margin_uncertainty(part))

    def classifier(self) -> PixelClassifier:
        """Everything that was painted, learned."""
        if self._classifier is None:
            self._classifier = fit_pixels(
                [self._image], [self.labels], self._classes, self._settings
            )
        return self._classifier
