"""Pixel forests tried on held-out specimens, from features that are computed once per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE
from layerscope.core.results import IntArray
from layerscope.models.forest import ForestSettings, PixelSamples, grow_forest, join_samples
from layerscope.ops.channels import FloatImage
from layerscope.ops.normalisation import normalise
from layerscope.ops.pixel_features import Strip, pixel_features, strips
from layerscope.tasks.phases import sureness
from layerscope.tasks.shares import expected_variance
from layerscope.training.choice import Candidate, HeldOut, Trial, confusion_of
from layerscope.training.forest import draw_pixels
from layerscope.training.labelled import LabelledImages
from layerscope.training.splits import Split

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

_MOST_PX = 60_000_000
"""Channel values that features are computed of, over all images: a minute and a half of one core.
Of larger sets each image gives some strips."""
_STRIP_VALUES = 60_000_000  # features held at once by one worker: 240 MB, and its surroundings
_MOST_JOBS = 4
_LEAST_ROWS = 64
_CHECKED = 400_000
_FEWEST_CHECKED, _MOST_CHECKED = 4_000, 30_000  # per image


@dataclass(frozen=True, eq=False)
class ForestData:
    """Pixels of every image for one candidate.

    Attributes
    ----------
    candidate : Candidate
    learned : tuple of PixelSamples
        Of each image, half of them evenly over its classes.
    checked : tuple of PixelSamples
        Of each image, evenly over its pixels.
    classes : int
    """

    candidate: Candidate
    learned: tuple[PixelSamples, ...]
    checked: tuple[PixelSamples, ...]
    classes: int


def sample_images(
    data: LabelledImages, candidate: Candidate, pixels: int, *, seed: int = 0, jobs: int = 1
) -> ForestData:
    """Compute the features of drawn pixels of every image.

    Parameters
    ----------
    data : LabelledImages
    candidate : Candidate
        A forest.
    pixels : int
        To learn from, over all images.
    seed : int
        What is drawn of an image depends on it and on the position of the image.
    jobs : int
        Images worked on at once; no result depends on it.
    """
    numbers = (
        -(-pixels // len(data)),
        int(np.clip(_CHECKED // len(data), _FEWEST_CHECKED, _MOST_CHECKED)),
    )

    def one(index: int) -> tuple[PixelSamples, PixelSamples]:
        return _sample(data, index, candidate, numbers, np.random.default_rng([seed, index]))

    with ThreadPoolExecutor(int(np.clip(jobs, 1, _MOST_JOBS))) as pool:
        drawn = list(pool.map(one, range(len(data))))
    return ForestData(
        candidate, tuple(a for a, _ in drawn), tuple(b for _, b in drawn), len(data.classes)
    )


def _sample(
    data: LabelledImages,
    index: int,
    candidate: Candidate,
    numbers: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[PixelSamples, PixelSamples]:
    labels, image = data.labels[index], normalise(candidate.normalisation, data.unit(index))
    taken = _strips(labels, candidate, (len(data), data.channels), rng)
    seen = np.full_like(labels, IGNORE)
    for strip in taken:
        seen[strip.top : strip.bottom] = labels[strip.top : strip.bottom]
    evenly = _evenly(seen, numbers[1], rng)
    chosen = draw_pixels(seen, numbers[0], rng), (evenly, np.ones(len(evenly)))
    tables = _features(image, taken, candidate, [index for index, _ in chosen])
    learned, checked = (
        PixelSamples(table, seen.ravel()[index], weights)
        for table, (index, weights) in zip(tables, chosen, strict=True)
    )
    return learned, checked


def _strips(
    labels: npt.NDArray[np.uint8],
    candidate: Candidate,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> list[Strip]:
    """Choose strips of one of `size` images and channels, as many as its part of work allows."""
    (images, channels), width = size, labels.shape[1]
    rows = int(np.clip(_STRIP_VALUES // (width * 54 * channels), _LEAST_ROWS, labels.shape[0]))
    cut = strips(labels.shape, candidate.features, rows)
    usable = [s for s in cut if (labels[s.top : s.bottom] != IGNORE).any()]
    number = max(1, round(_MOST_PX / (images * channels * width * rows)))
    return [usable[i] for i in np.sort(rng.permutation(len(usable))[:number])]


def _features(
    image: FloatImage, taken: Sequence[Strip], candidate: Candidate, wanted: Sequence[IntArray]
) -> list[npt.NDArray[np.float32]]:
    """Features (n, F) of the pixels at each of the ascending flat indices `wanted`."""
    width = image.shape[1]
    parts: list[list[npt.NDArray[np.float32]]] = [[] for _ in wanted]
    for strip in taken:
        planes = pixel_features(image[strip.first : strip.last], candidate.features)
        inner = planes[:, strip.top - strip.first : strip.bottom - strip.first]
        matrix = inner.reshape(len(inner), -1)
        for index, part in zip(wanted, parts, strict=True):
            here = index[(index >= strip.top * width) & (index < strip.bottom * width)]
            part.append(np.ascontiguousarray(matrix[:, here - strip.top * width].T))
    return [np.concatenate(part) for part in parts]


def _evenly(labels: npt.NDArray[np.uint8], number: int, rng: np.random.Generator) -> IntArray:
    known = np.flatnonzero(labels.ravel() != IGNORE)
    return np.sort(rng.choice(known, min(number, len(known)), replace=False))


def grow_folds(
    drawn: ForestData, folds: Sequence[Split], settings: ForestSettings
) -> dict[int, RandomForestClassifier]:
    """Grow a forest per fold, by its number; a fold that teaches one class only is left out."""
    grown = {}
    for k, (train, _) in enumerate(folds):
        samples = join_samples([drawn.learned[i] for i in train])
        if len(np.unique(samples.classes)) > 1:
            grown[k] = grow_forest(samples, settings)
    return grown


def try_forest(
    drawn: ForestData,
    folds: Sequence[Split],
    settings: ForestSettings,
    grown: Mapping[int, RandomForestClassifier] | None = None,
) -> Trial:
    """Ask a forest per fold about the specimens that it has not seen.

    Parameters
    ----------
    drawn : ForestData
    folds : sequence of (train, test)
    settings : ForestSettings
    grown : mapping, optional
        From `grow_folds`; default: grown here.
    """
    forests = grow_folds(drawn, folds, settings) if grown is None else grown
    answers = [_ask(f, drawn, int(i), k) for k, f in forests.items() for i in folds[k][1]]
    return Trial(drawn.candidate, tuple(answers))


def _ask(forest: RandomForestClassifier, drawn: ForestData, image: int, fold: int) -> HeldOut:
    checked = drawn.checked[image]
    probability = np.zeros((len(checked.classes), drawn.classes), np.float32)
    probability[:, forest.classes_] = forest.predict_proba(checked.features)
    found = probability.argmax(axis=1).astype(np.uint8)
    return HeldOut(
        image,
        fold,
        confusion_of(checked.classes, found, drawn.classes),
        expected_variance(probability),
        sureness(probability)[1],
    )


def grow_final(drawn: ForestData, settings: ForestSettings) -> RandomForestClassifier:
    """Grow the forest of all images."""
    return grow_forest(join_samples(drawn.learned), settings)
