"""How far the answer of a forest is smoothed, chosen on specimens that it has not seen.

A forest decides pixel by pixel, and its answer is speckled. Smoothing needs areas, not single
pixels: of every held-out image one is asked about as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE
from layerscope.ops.channels import FloatImage
from layerscope.ops.guided import guided_maps
from layerscope.ops.normalisation import normalise
from layerscope.ops.pixel_features import REACH_PX, pixel_features
from layerscope.tasks.phases import sureness
from layerscope.tasks.shares import expected_variance
from layerscope.training.choice import Candidate, HeldOut, Trial, confusion_of
from layerscope.training.labelled import LabelledImages
from layerscope.training.splits import Split

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

Area = tuple[slice, slice]

RADII_PX = (0, 2, 4, 8)
"""Half windows that are tried."""

_ALL_PX = 1_500_000  # asked about, over all images: a quarter of a minute of one core
_LEAST_PX, _MOST_PX = 96, 512  # side of the area of one image
_STEP = 8  # wide features are computed on every eighth pixel
_LEAST_GAIN = 0.002  # of the mean IoU; less is chance, and unsmoothed answers are simpler


def try_smoothing(
    data: LabelledImages,
    candidate: Candidate,
    folds: Sequence[Split],
    grown: Mapping[int, RandomForestClassifier],
    seed: int = 0,
) -> Trial | None:
    """Ask the forests of the folds about areas of what they have not seen, smoothed in every way.

    Parameters
    ----------
    data : LabelledImages
    candidate : Candidate
        A forest.
    folds : sequence of (train, test)
    grown : mapping of int to forest
        By number of the fold; from `forest_trial.grow_folds`.
    seed : int
        Which area of an image is asked about.

    Returns
    -------
    Trial or None
        Of the radius with the best mean IoU over all areas; None if no radius is better than none.
    """
    answers: dict[int, list[HeldOut]] = {r: [] for r in RADII_PX}
    side = int(np.clip((_ALL_PX / max(len(data), 1)) ** 0.5, _LEAST_PX, _MOST_PX))
    for k, forest in grown.items():
        for i in folds[k][1]:
            for radius, answer in _ask(data, candidate, forest, int(i), k, side, seed).items():
                answers[radius].append(answer)
    trials = [
        Trial(replace(candidate, smoothing_px=r), tuple(found)) for r, found in answers.items()
    ]
    best = max(trials, key=Trial.score)
    gain = best.score() - trials[0].score()
    return best if best.candidate.smoothing_px and gain >= _LEAST_GAIN else None


def _ask(
    data: LabelledImages,
    candidate: Candidate,
    forest: RandomForestClassifier,
    image: int,
    fold: int,
    side: int,
    seed: int,
) -> dict[int, HeldOut]:
    """Answers about one area of an image, by radius."""
    labels = data.labels[image]
    area = _area(labels, side, np.random.default_rng([seed, image, 0x5E0]))
    whole = normalise(candidate.normalisation, data.unit(image))
    pixels, known = whole[area], labels[area] != IGNORE
    maps = _maps(forest, whole, area, candidate.features, len(data.classes))
    out = {}
    for radius in RADII_PX:
        probability = guided_maps(maps, pixels, radius)
        found = probability.argmax(axis=2).astype(np.uint8)
        out[radius] = HeldOut(
            image,
            fold,
            confusion_of(labels[area][known], found[known], len(data.classes)),
            expected_variance(probability, known),
            sureness(probability, known)[1],
        )
    return out


def _area(labels: npt.NDArray[np.uint8], side: int, rng: np.random.Generator) -> Area:
    """Rows and columns around a labelled pixel, inside of the image."""
    where = np.flatnonzero(labels.ravel() != IGNORE)
    middle = divmod(int(rng.choice(where)), labels.shape[1])
    starts = [
        int(np.clip(m - side // 2, 0, max(n - side, 0)))
        for m, n in zip(middle, labels.shape, strict=True)
    ]
    (top, left), (height, width) = starts, labels.shape
    return slice(top, min(top + side, height)), slice(left, min(left + side, width))


def _maps(
    forest: RandomForestClassifier, whole: FloatImage, area: Area, features: str, classes: int
) -> FloatImage:
    """Probabilities of an area, whose features see what is around it."""
    halo, step = -(-REACH_PX[features] // _STEP) * _STEP, _STEP
    seen = tuple(slice(max(s.start - halo, 0) // step * step, s.stop + halo) for s in area)
    inner = tuple(
        slice(s.start - v.start, s.stop - v.start) for s, v in zip(area, seen, strict=True)
    )
    planes = pixel_features(np.ascontiguousarray(whole[seen]), features)[:, *inner]
    out = np.zeros((planes[0].size, classes), np.float32)
    out[:, forest.classes_] = forest.predict_proba(planes.reshape(len(planes), -1).T)
    return out.reshape(*planes.shape[1:], classes)
