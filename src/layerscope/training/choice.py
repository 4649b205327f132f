"""Which classifier to train: each candidate answers for specimens that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE
from layerscope.core.results import FloatArray
from layerscope.tasks.shares import ShareErrors
from layerscope.training.labelled import LabelledImages

MAJORITY = "most frequent class"


@dataclass(frozen=True)
class Candidate:
    """A way to classify pixels.

    Attributes
    ----------
    network : str
        ``forest``, or a name in `training.networks.NETWORKS`.
    normalisation : str
        A name in `ops.normalisation.NORMALISATIONS`.
    features : str
        Of a forest: a name in `ops.pixel_features.FEATURE_SETS`.
    members : int
        Networks that are trained apart and answer together.
    smoothing_px : int
        Of a forest: radius of `ops.guided.guided_maps`.
    """

    network: str
    normalisation: str
    features: str = ""
    members: int = 1
    smoothing_px: int = 0

    def __str__(self) -> str:
        what = f"{self.network} on {self.features} features" if self.features else self.network
        if self.smoothing_px:
            what += f", smoothed over {self.smoothing_px} px"
        what = f"{self.members} x {what}" if self.members > 1 else what
        return f"{what}, {self.normalisation}"


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a candidate said of one image that it had not seen.

    Attributes
    ----------
    image, fold : int
        Position of the image, number of the fold.
    confusion : ndarray, (K, K)
        Share of the labelled pixels, by true class (rows) and found class.
    scale : ndarray, (K,)
        `tasks.shares.expected_variance` of its probabilities.
    unsure : float
        Share of unsure pixels.
    spread : ndarray, (K,), or None
        Mean disagreement of the networks of an ensemble.
    """

    image: int
    fold: int
    confusion: FloatArray
    scale: FloatArray
    unsure: float
    spread: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class Trial:
    """A candidate and all that it said of held-out images.

    Attributes
    ----------
    candidate : Candidate
    answers : tuple of HeldOut
    """

    candidate: Candidate
    answers: tuple[HeldOut, ...]

    @property
    def folds(self) -> tuple[int, ...]:
        """Folds that it was tried on, ascending."""
        return tuple(sorted({a.fold for a in self.answers}))

    def confusion(self, folds: Sequence[int] | None = None) -> FloatArray:
        """Mean confusion over images, (K, K)."""
        chosen = [a.confusion for a in self.answers if folds is None or a.fold in folds]
        return np.asarray(np.mean(chosen, axis=0))

    def score(self, folds: Sequence[int] | None = None) -> float:
        """Mean intersection over union; see `mean_iou`."""
        return mean_iou(self.confusion(folds))


def confusion_of(
    true: npt.NDArray[np.uint8], found: npt.NDArray[np.uint8], classes: int, weights: Any = None
) -> FloatArray:
    """Share of pixels by true class (rows) and found class; sums to 1.

    Parameters
    ----------
    true, found : ndarray of uint8, (N,)
        Labelled pixels only.
    classes : int
    weights : ndarray, (N,), optional
    """
    pairs = true.astype(np.int64) * classes + found
    counts = np.bincount(pairs, weights, classes * classes).reshape(classes, classes)
    return np.asarray(counts / counts.sum())


def iou_of(confusion: FloatArray) -> FloatArray:
    """Intersection over union of each class, (K,); NaN for one that is neither true nor found."""
    both = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - both
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(union > 0, both / union, np.nan))


def mean_iou(confusion: FloatArray) -> float:
    """Mean of `iou_of` over classes that occur."""
    return float(np.nanmean(iou_of(confusion)))


def majority_trial(trial: Trial, shares: FloatArray) -> Trial:
    """Return what always saying the class of the largest share would score on the same images."""
    most = int(shares.argmax())
    answers = []
    for a in trial.answers:
        constant = np.zeros_like(a.confusion)
        constant[:, most] = a.confusion.sum(axis=1)
        answers.append(HeldOut(a.image, a.fold, constant, np.zeros_like(a.scale), 0.0))
    return Trial(Candidate(MAJORITY, ""), tuple(answers))


def score_model(path: Path, data: LabelledImages) -> float | None:
    """Mean IoU of a written model on labelled images, all pixels together; None without images."""
    from layerscope.models.file import read_model

    if not len(data):
        return None
    model = read_model(path)
    confusions = []
    for image, labels in zip(data.images, data.labels, strict=True):
        known = labels != IGNORE
        found = model.predict(image).argmax(axis=2).astype(np.uint8)
        confusions.append(confusion_of(labels[known], found[known], len(data.classes)))
    return mean_iou(np.mean(confusions, axis=0))


def best_trial(trials: Sequence[Trial]) -> Trial:
    """Trial with the highest score on the folds that all were tried on; the first of equals."""
    shared = sorted(set.intersection(*(set(t.folds) for t in trials)))
    return max(trials, key=lambda t: t.score(shared))


def trial_lines(trials: Sequence[Trial], n_folds: int) -> list[str]:
    """Table of trials: mean IoU of each fold, and over all folds that were run."""
    names = [str(t.candidate).rstrip(", ") for t in trials]
    width = max(map(len, names))
    head = " ".join(f"fold {k + 1:<2d}" for k in range(n_folds))
    lines = [f"{'held-out mean IoU':{width}s}  {head}     all"]
    for name, t in zip(names, trials, strict=True):
        cells = [f"{t.score([k]):7.3f}" if k in t.folds else "      -" for k in range(n_folds)]
        lines.append(f"{name:{width}s}  {' '.join(cells)} {t.score():7.3f}")
    return lines


def held_out_metrics(
    trial: Trial, majority: Trial, classes: Sequence[str], groups: Sequence[str]
) -> Mapping[str, Any]:
    """Return what the model card keeps of a trial."""
    confusion = trial.confusion()
    iou = iou_of(confusion)
    both = np.diag(confusion)
    dice = 2 * both / (confusion.sum(axis=0) + confusion.sum(axis=1) + 1e-12)
    errors = share_errors(trial, groups)
    return {
        "mean_iou": _short(mean_iou(confusion)),
        "mean_iou_majority": _short(majority.score()),
        "mean_iou_by_fold": [_short(trial.score([k])) for k in trial.folds],
        "iou": {c: _short(v) for c, v in zip(classes, iou, strict=True) if np.isfinite(v)},
        "dice": {c: _short(v) for c, v in zip(classes, dice, strict=True)},
        "held_out_images": len(trial.answers),
        "unsure_share_most": _short(max(a.unsure for a in trial.answers)),
        "share_errors": errors.as_metrics(),
    }


def share_errors(trial: Trial, groups: Sequence[str]) -> ShareErrors:
    """Errors of the shares of classes on held-out images; `groups` is of all images.

    Of an ensemble the scale with the narrower intervals is taken.
    """
    found = np.array([a.confusion.sum(axis=0) for a in trial.answers])
    true = np.array([a.confusion.sum(axis=1) for a in trial.answers])
    owners = [groups[a.image] for a in trial.answers]
    scales = {"variance": np.array([a.scale for a in trial.answers])}
    spreads = [a.spread for a in trial.answers if a.spread is not None]
    if len(spreads) == len(trial.answers):
        scales["spread"] = np.array(spreads)
    tried = [ShareErrors.measure(found, true, s, owners, by) for by, s in scales.items()]
    return min(tried, key=lambda errors: errors.log_width(scales[errors.by]))


def _short(value: float) -> float:
    return float(f"{value:.4g}")
