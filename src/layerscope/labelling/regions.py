"""Where to paint next: windows where the classifier is unsure, each unlike those before it.

Uncertainty alone sends a person to the same kind of place again and again. So the windows are
chosen one after the other, each with the largest product of its mean uncertainty and its distance,
in the space of features, to the nearest window that was chosen or painted already (greedy
k-centres: O. Sener, S. Savarese, ICLR 2018).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.labelling.classifier import PixelClassifier
from layerscope.labelling.doubt import doubt
from layerscope.labelling.feature_cache import FeatureCache
from layerscope.labelling.scribbles import Labels
from layerscope.models.file import with_channels
from layerscope.models.pixel_forest import PixelForest
from layerscope.ops.normalisation import as_unit, normalise
from layerscope.ops.tiles import Window

_STEP = 8  # pixels between those of a window that are asked about
_BLOCK_PX = 1024


@dataclass(frozen=True)
class Region:
    """A window of an image where painting is worth most.

    Attributes
    ----------
    image : str
    window : Window
    uncertainty : float
        Mean of the window, 0 to 1.
    distance : float
        To the nearest window that was chosen or painted before, 0 to 1 of the largest one.
    """

    image: str
    window: Window
    uncertainty: float
    distance: float


@dataclass(frozen=True, eq=False)
class _Candidate:
    image: str
    window: Window
    uncertainty: float
    looks: npt.NDArray[np.float32]
    painted: bool


def next_regions(
    classifier: PixelClassifier,
    images: Iterable[tuple[str, npt.NDArray[Any], Labels | None]],
    number: int,
    *,
    kind: str = "margin",
) -> list[Region]:
    """Choose windows to paint next.

    Parameters
    ----------
    classifier : PixelClassifier
        Its first forest is asked.
    images : iterable of (name, image, scribbles or None)
    number : int
        Windows wanted; fewer if there are no more.
    kind : str
        One of `doubt.DOUBTS`.

    Returns
    -------
    list of Region
        The most useful first.
    """
    forest = PixelForest(classifier.stages[0], _BLOCK_PX)
    all_of_them = [
        candidate
        for name, image, labels in images
        for candidate in _candidates(classifier, forest, name, image, labels, kind)
    ]
    return _choose(all_of_them, number)


def _candidates(
    classifier: PixelClassifier,
    forest: PixelForest,
    name: str,
    image: npt.NDArray[Any],
    labels: Labels | None,
    kind: str,
) -> Iterable[_Candidate]:
    pixels = with_channels(as_unit(image), classifier.channels)
    pixels = normalise(classifier.settings.normalisation, pixels)
    cache = FeatureCache(pixels, classifier.settings.features)
    for tile, planes in cache.tiles(Window(0, 0, *pixels.shape[:2])):
        seen = planes[:, _STEP // 2 :: _STEP, _STEP // 2 :: _STEP].reshape(len(planes), -1)
        if not seen.size:
            continue
        unsure = doubt(forest.probabilities(np.ascontiguousarray(seen)), kind)
        painted = labels is not None and bool(
            labels[tile.top : tile.bottom, tile.left : tile.right].any()
        )
        looks = np.concatenate([seen.mean(axis=1), seen.std(axis=1)])
        yield _Candidate(name, tile, float(unsure.mean(dtype=float)), looks, painted)


def _choose(candidates: list[_Candidate], number: int) -> list[Region]:
    if not candidates:
        return []
    looks = np.stack([c.looks for c in candidates]).astype(float)
    looks = (looks - looks.mean(axis=0)) / (looks.std(axis=0) + 1e-12)
    unsure = np.array([c.uncertainty for c in candidates])
    painted = np.array([c.painted for c in candidates])
    far = np.ones(len(candidates))
    if painted.any():
        far = np.min([_distances(looks, i) for i in np.flatnonzero(painted).tolist()], axis=0)
    largest = max(float(np.max([_distances(looks, i).max() for i in (0, len(looks) - 1)])), 1e-12)
    far = np.minimum(far / largest, 1) if painted.any() else far
    free, chosen = ~painted, []
    for _ in range(min(number, int(free.sum()))):
        best = int(np.argmax(np.where(free, unsure * far, -1)))
        c = candidates[best]
        chosen.append(Region(c.image, c.window, c.uncertainty, float(far[best])))
        free[best] = False
        far = np.minimum(far, _distances(looks, best) / largest)
    return chosen


def _distances(looks: npt.NDArray[np.float64], place: int) -> npt.NDArray[np.float64]:
    return np.sqrt(((looks - looks[place]) ** 2).mean(axis=1))
