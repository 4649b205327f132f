"""From scribbles to forests: which pixels are learned from, and what a second forest sees.

With autocontext (Z. Tu, X. Bai, IEEE PAMI 32, 1744, 2010) the probabilities of a first forest
become channels of the image that a second one learns from. On pixels that it has learned the first
forest is always right; the second would come to trust it too much. So what the second one learns
from was said by forests that had not seen that image, or that part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import IntArray
from layerscope.errors import InputError
from layerscope.labelling.classifier import PaintSettings, PixelClassifier
from layerscope.labelling.feature_cache import FeatureCache
from layerscope.labelling.scribbles import Labels, check_scribbles, count_labels
from layerscope.models.file import with_channels
from layerscope.models.forest import ForestSettings, PixelSamples, grow_forest
from layerscope.models.pixel_forest import PixelForest, forest_maps
from layerscope.models.trees import Trees, trees_of
from layerscope.ops.channels import FloatImage
from layerscope.ops.normalisation import as_unit, normalise

FOLDS = 3
STROKE_GAP_PX = 9
"""Pixels of a class with a smaller gap between them are one stroke, and held out together."""

_SAMPLED = 500


@dataclass(frozen=True, eq=False)
class Painted:
    """Scribbles on one image, and the chosen pixels that are learned from.

    Attributes
    ----------
    pixels : ndarray of float32, (H, W, C)
        Normalised.
    index : ndarray of int64, (n,)
        Flat positions, ascending.
    classes : ndarray of uint8, (n,)
        From 0.
    strokes : ndarray of int32, (n,)
        Number of the stroke, from 1 for each class.
    """

    pixels: FloatImage
    index: IntArray
    classes: npt.NDArray[np.uint8]
    strokes: npt.NDArray[np.int32]


def choose_pixels(
    scribbles: Sequence[Labels], classes: int, most: int, seed: int
) -> tuple[IntArray, ...]:
    """Choose the painted pixels that are learned from.

    Parameters
    ----------
    scribbles : sequence of ndarray of uint8, (H, W)
    classes : int
    most : int
        All are taken if there are no more. Else each class gives the same number, or all it has.
    seed : int
        A pixel's chance depends on it and on where the pixel is: of more scribbles the same
        pixels are chosen again, as far as there is room.

    Returns
    -------
    tuple of ndarray of int64
        Flat positions in each image, ascending.
    """
    said = [np.flatnonzero(labels) for labels in scribbles]
    values = [labels.ravel()[i] for labels, i in zip(scribbles, said, strict=True)]
    if sum(map(len, said)) <= most:
        return tuple(said)
    room = _room(count_labels(scribbles, classes), most)
    rank = [_shuffled(index, seed, image) for image, index in enumerate(said)]
    kept = [np.zeros(len(index), bool) for index in said]
    for value in range(1, classes + 1):
        ranks = np.concatenate([r[v == value] for r, v in zip(rank, values, strict=True)])
        if len(ranks) and room[value - 1]:
            last = np.partition(ranks, room[value - 1] - 1)[room[value - 1] - 1]
            for chosen, r, v in zip(kept, rank, values, strict=True):
                chosen |= (v == value) & (r <= last)
    return tuple(index[chosen] for index, chosen in zip(said, kept, strict=True))


def _room(counts: npt.NDArray[np.int64], most: int) -> list[int]:
    """Pixels of each class: all of the rare ones, equally many of the others."""
    room, left = np.zeros(len(counts), np.int64), most
    order = np.argsort(counts, kind="stable")
    for place, k in enumerate(order.tolist()):
        room[k] = min(int(counts[k]), left // (len(order) - place))
        left -= int(room[k])
    return [int(n) for n in room]


def _shuffled(index: IntArray, seed: int, image: int) -> npt.NDArray[np.uint64]:
    """Mix positions to numbers without order (splitmix64, S. Vigna, prng.di.unimi.it)."""
    x = index.astype(np.uint64) + np.uint64(((seed * 1_000_003 + image) << 40) % 2**64)
    x = x * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def learn_trees(
    rows: npt.NDArray[np.float32],
    values: npt.NDArray[np.uint8],
    classes: int,
    settings: PaintSettings,
    trees: int | None = None,
) -> Trees:
    """Grow a forest on features (n, F) and classes (n,) from 0."""
    grown = ForestSettings(trees or settings.trees, 1, settings.seed, settings.jobs)
    if len(np.unique(values)) < 2:
        raise InputError("scribbles of fewer than two classes; paint some pixels of another one")
    forest = grow_forest(PixelSamples(rows, values, np.ones(len(values))), grown)
    return trees_of(forest, classes)


def fit_pixels(
    images: Sequence[npt.NDArray[Any]],
    scribbles: Sequence[Labels],
    classes: Sequence[str],
    settings: PaintSettings | None = None,
    *,
    check: bool = False,
) -> PixelClassifier:
    """Learn from scribbles on one or several images.

    Parameters
    ----------
    images : sequence of ndarray, (H, W) or (H, W, C)
        uint8, uint16, or floating point from 0 to 1.
    scribbles : sequence of ndarray of uint8, (H, W)
        One for each image; 0 where nothing was said, else 1 to K.
    classes : sequence of str
        Names of the values 1 to K.
    settings : PaintSettings, optional
    check : bool
        Try it on held-out scribbles, which takes twice as long; the card then says how well it did.

    Returns
    -------
    PixelClassifier

    Raises
    ------
    InputError
        If scribbles do not fit their images, or are all of one class.
    """
    settings = settings or PaintSettings()
    painted = _painted(images, scribbles, len(classes), settings)
    first = [FeatureCache(p.pixels, settings.features).rows(p.index) for p in painted]
    values = np.concatenate([p.classes for p in painted])
    stages = [learn_trees(np.concatenate(first), values, len(classes), settings)]
    sample = [np.concatenate(first)[:_SAMPLED]]
    parts = fold_pixels(painted)
    metrics = _checked(first, painted, parts, len(classes), settings) if check else {}
    if settings.autocontext:
        second = _with_context(painted, first, parts, stages[0], len(classes), settings)
        stages.append(learn_trees(second, values, len(classes), settings))
        sample.append(second[:_SAMPLED])
    learned = {
        "images": len(painted),
        "metrics": metrics,
        "painted_pixels": dict(
            zip(classes, count_labels(scribbles, len(classes)).tolist(), strict=True)
        ),
        "learned_pixels": len(values),
    }
    channels = painted[0].pixels.shape[2]
    return PixelClassifier(
        tuple(classes), settings, tuple(stages), channels, learned, tuple(sample)
    )


def _painted(
    images: Sequence[npt.NDArray[Any]],
    scribbles: Sequence[Labels],
    classes: int,
    settings: PaintSettings,
) -> list[Painted]:
    for labels, image in zip(scribbles, images, strict=True):
        check_scribbles(labels, classes)
        if labels.shape != image.shape[:2]:
            raise InputError(f"scribbles of {labels.shape} on an image of {image.shape[:2]}")
    if np.count_nonzero(count_labels(scribbles, classes)) < 2:
        raise InputError("scribbles of fewer than two classes; paint some pixels of another one")
    chosen = choose_pixels(scribbles, classes, settings.most_pixels, settings.seed)
    used = [i for i, index in enumerate(chosen) if len(index)]
    units = {i: as_unit(images[i]) for i in used}
    channels = min(u.shape[2] for u in units.values())
    return [
        Painted(
            normalise(settings.normalisation, with_channels(units[i], channels)),
            chosen[i],
            scribbles[i].ravel()[chosen[i]] - np.uint8(1),
            _strokes(scribbles[i], classes).ravel()[chosen[i]],
        )
        for i in used
    ]


def _strokes(labels: Labels, classes: int) -> npt.NDArray[np.int32]:
    """Give each painted pixel the number of its stroke, (H, W), from 1 for each class."""
    found, near = np.zeros(labels.shape, np.int32), np.ones((STROKE_GAP_PX,) * 2, np.uint8)
    for k in range(1, classes + 1):
        mine = (labels == k).astype(np.uint8)
        if mine.any():
            joined = cv2.connectedComponents(cv2.dilate(mine, near), connectivity=8)[1]
            found[mine > 0] = joined[mine > 0]
    return found


def fold_pixels(painted: Sequence[Painted]) -> list[npt.NDArray[np.int64]]:
    """Part, 0 to `FOLDS` - 1, in which each chosen pixel is held out.

    Whole images if there are as many, else strokes: those of each class in turn.
    """
    if len(painted) >= FOLDS:
        return [np.full(len(p.index), i % FOLDS, np.int64) for i, p in enumerate(painted)]
    return [((p.strokes + i) % FOLDS).astype(np.int64) for i, p in enumerate(painted)]


def _fold_trees(
    first: Sequence[npt.NDArray[np.float32]],
    painted: Sequence[Painted],
    parts: Sequence[npt.NDArray[np.int64]],
    part: int,
    classes: int,
    settings: PaintSettings,
) -> Trees | None:
    """Forest of all but one part; None if they lack a class that the part could need."""
    values = np.concatenate([p.classes for p in painted])
    kept = np.concatenate(parts) != part
    if len(np.unique(values[kept])) < len(np.unique(values)):
        return None
    return learn_trees(np.concatenate(first)[kept], values[kept], classes, settings)


def _checked(
    first: Sequence[npt.NDArray[np.float32]],
    painted: Sequence[Painted],
    parts: Sequence[npt.NDArray[np.int64]],
    classes: int,
    settings: PaintSettings,
) -> dict[str, Any]:
    """Share of held-out painted pixels that the first forest calls by their class."""
    rows, values = np.concatenate(first), np.concatenate([p.classes for p in painted])
    found = np.full(len(values), -1)
    for part in range(FOLDS):
        trees = _fold_trees(first, painted, parts, part, classes, settings)
        here = np.concatenate(parts) == part
        if trees is not None and here.any():
            forest = PixelForest(trees)
            answer = forest.probabilities(np.ascontiguousarray(rows[here].T))
            found[here] = answer.argmax(axis=1)
    if np.any(found < 0):
        return {}
    right = [float((found[values == k] == k).mean()) for k in np.unique(values)]
    return {
        "balanced_accuracy": float(np.mean(right)),
        "held_out_by": "image" if len(painted) >= FOLDS else "stroke",
    }


def _with_context(
    painted: Sequence[Painted],
    first: Sequence[npt.NDArray[np.float32]],
    parts: Sequence[npt.NDArray[np.int64]],
    known: Trees,
    classes: int,
    settings: PaintSettings,
) -> npt.NDArray[np.float32]:
    """Features of images together with what forests that had not seen the part say of them."""
    rows: list[npt.NDArray[np.float32] | None] = [None] * len(painted)
    for part in range(FOLDS):
        trees = _fold_trees(first, painted, parts, part, classes, settings) or known
        forest = PixelForest(trees)
        for i, p in enumerate(painted):
            here = parts[i] == part
            if not here.any():
                continue
            said = forest_maps(p.pixels, [forest], settings.features)
            both = FeatureCache(np.concatenate([p.pixels, said], axis=2), settings.features)
            found = rows[i]
            rows[i] = found if found is not None else np.empty((len(here), both.count), np.float32)
            rows[i][here] = both.rows(p.index[here])  # type: ignore[index]
    return np.concatenate([r for r in rows if r is not None])
