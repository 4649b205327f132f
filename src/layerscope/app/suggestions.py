"""Which image to label next: where the classifier is unsure, and what no labelled image looks like.

Score = uncertainty x distance, as in pool-based active learning with a diversity term
(B. Settles, Active Learning Literature Survey, 2009, section 5): uncertainty alone asks for ten
images of the same kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.app.painter import Painter
from layerscope.app.pictures import Picture, stretched
from layerscope.core.micrograph import Micrograph
from layerscope.errors import LayerscopeError
from layerscope.io.annotated.images import unit_pixels
from layerscope.labelling.painting import margin_uncertainty

_LOOK_PX = 128
_BINS = 16
_BLUR_PX = (1.0, 2.0, 4.0, 8.0)
_PATCH_PX = 160
_MOST_ASKED = 12
_PLACES = ((0.5, 0.5), (0.25, 0.3), (0.75, 0.7))
"""Middles of the patches that are looked at, as shares of height and width."""


@dataclass(frozen=True)
class Suggestion:
    """Why an image is worth labelling.

    Attributes
    ----------
    index : int
    uncertainty : float
        Mean over patches of it, 0 to 1; 1 before there is a classifier.
    distance : float
        From the nearest labelled image, 1: as far as any.
    """

    index: int
    uncertainty: float
    distance: float

    @property
    def score(self) -> float:
        """Larger: label it sooner."""
        return self.uncertainty * self.distance


class Suggester:
    """Ranks the images that are not accepted yet.

    Parameters
    ----------
    painter : Painter
    """

    def __init__(self, painter: Painter):
        self._painter, self._project = painter, painter.project
        self._looks: dict[int, npt.NDArray[np.float64]] = {}
        self._patches: dict[int, list[npt.NDArray[np.generic]]] = {}
        self._unsure: dict[int, tuple[int, float]] = {}

    def ranked(self) -> list[Suggestion]:
        """Return images that are not accepted, the most useful one first.

        Images that cannot be read are left out; of many, the `_MOST_ASKED` most different ones.
        """
        known = [i for i in range(len(self._project.images)) if self._look(i) is not None]
        states = {i: self._project.state(i).state for i in known}
        begun = [i for i in known if states[i] != "unlabelled"]
        distance = self._distances(known, begun)
        open_ones = [i for i in known if states[i] != "accepted"]
        nearest_last = sorted(open_ones, key=lambda i: (-distance[i], i))[:_MOST_ASKED]
        found = [Suggestion(i, self._uncertainty(i), distance[i]) for i in nearest_last]
        return sorted(found, key=lambda s: (-s.score, s.index))

    def _look(self, index: int) -> npt.NDArray[np.float64] | None:
        if index not in self._looks:
            try:
                image = self._project.micrograph(index)
                self._looks[index] = look_of(image)
                self._patches[index] = [p.copy() for p in patches_of(unit_pixels(image))]
            except LayerscopeError:
                return None
        return self._looks[index]

    def _distances(self, known: list[int], begun: list[int]) -> dict[int, float]:
        """Distance from the nearest image that was begun; at first, from the least typical one."""
        if not known:
            return {}
        looks = np.array([self._looks[i] for i in known])
        if begun:
            near = np.array([self._looks[i] for i in begun])
            far = np.sqrt(((looks[:, None] - near[None]) ** 2).sum(axis=2)).min(axis=1)
        else:
            far = -np.sqrt(((looks - np.median(looks, axis=0)) ** 2).sum(axis=1))
            far = far - far.min()
        top = float(far.max())
        share = far / top if top > 0 else np.ones(len(known))
        return dict(zip(known, share.tolist(), strict=True))

    def _uncertainty(self, index: int) -> float:
        revision = self._project.revision
        if not self._painter.has_strokes():
            return 1.0
        if self._unsure.get(index, (-1, 0.0))[0] != revision:
            classifier = self._painter.classifier()
            patches = self._patches[index]
            unsure = [margin_uncertainty(classifier.probabilities(p)).mean() for p in patches]
            self._unsure[index] = revision, float(np.mean(unsure))
        return self._unsure[index][1]


def look_of(image: Micrograph) -> npt.NDArray[np.float64]:
    """Describe an image in numbers: grey levels, and contrast at four sizes of detail."""
    picture = stretched(image)
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    factor = _LOOK_PX / max(grey.shape)
    size = max(8, round(grey.shape[1] * factor)), max(8, round(grey.shape[0] * factor))
    small: Picture = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
    levels = np.bincount(small.ravel() // (256 // _BINS), minlength=_BINS) / small.size
    values = small.astype(np.float32) / 255
    detail = [float((values - cv2.GaussianBlur(values, (0, 0), s)).std()) for s in _BLUR_PX]
    return np.concatenate([np.sqrt(levels), 4 * np.array(detail)])


def patches_of(pixels: npt.NDArray[np.generic]) -> Iterator[npt.NDArray[np.generic]]:
    """Few patches (h, w, C) of an image, the same ones each time."""
    height, width = pixels.shape[:2]
    for y, x in _PLACES:
        top = int(np.clip(y * height - _PATCH_PX / 2, 0, max(height - _PATCH_PX, 0)))
        left = int(np.clip(x * width - _PATCH_PX / 2, 0, max(width - _PATCH_PX, 0)))
        yield pixels[top : top + _PATCH_PX, left : left + _PATCH_PX]
