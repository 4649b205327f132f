"""From distances to probabilities that hold: temperature, wrong targets, outliers.

For class k with distance d_k (standard deviations) and volume V_k (square root of the determinant
of its covariance in contrast space) a region has the likelihood

    L_k = exp(-d_k^2 / 2T) / ((2 pi T)^(3/2) V_k),

a Gaussian whose covariance is inflated by the temperature T (Guo et al., ICML 2017, eq. 9, moved
to where distances mean something). Outliers are spread evenly over contrast space, one per unit of
contrast cubed, and are a share of 5 % of regions. For the published graphene table
(V about 3.5e-6) this alone puts the point of equal odds at 4.7 standard deviations, close to the
published gate of 5; the gate stays as a hard limit. A share `wrong_rate` of the regions wears a
clean colour of the wrong class (the target was another terrace, the label slipped): no residual
can show that, so it is mixed in evenly.

T and `wrong_rate` are fitted on regions of images that the head has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from layerscope.core.results import FloatArray, IntArray
from layerscope.errors import UnreadableFile
from layerscope.models.samples import Samples

_MOST_FOLDS = 5
_TEMPERATURES = np.logspace(-1, 1.2, 45)
_WRONG_RATES = np.concatenate([[0.0005], np.logspace(-3, -0.7, 24)])
_ECE_BINS = 10


@dataclass(frozen=True)
class ClassScores:
    """How far each region is from each class.

    Attributes
    ----------
    distance2 : ndarray, (n, K)
        Squared Mahalanobis distance.
    log_volume : ndarray, (n, K)
        Half the log determinant of the class covariance in contrast space, the region's own
        error included.
    """

    distance2: FloatArray
    log_volume: FloatArray


class Scorer(Protocol):
    """A head as calibration sees it."""

    @property
    def labels(self) -> tuple[int, ...]:
        """Layer number per class, 0 for bare substrate."""

    @property
    def prior(self) -> FloatArray:
        """Probability per class before the colour is seen, (K,)."""

    def score(self, contrast: FloatArray, contrast_se: FloatArray) -> ClassScores:
        """Distances of regions (n, 3) to all classes."""


@dataclass(frozen=True)
class Confidence:
    """How distances become probabilities; the defaults hold until data say better.

    Attributes
    ----------
    gate : float
        Beyond this distance (in inflated standard deviations) a region is an outlier, always.
    temperature : float
        Inflation of the class covariances.
    wrong_rate : float
        Share of regions that look like another class than they are.
    outlier_rate : float
        Share of regions that are of no class.
    """

    gate: float
    temperature: float = 1.0
    wrong_rate: float = 0.05
    outlier_rate: float = 0.05

    @classmethod
    def from_thresholds(cls, thresholds: Mapping[str, float], path: str | Path) -> Confidence:
        """Rebuild from the numbers on a card.

        Raises
        ------
        UnreadableFile
            If they are not these numbers, or out of range.
        """
        names = [f.name for f in fields(cls)]
        values = [thresholds.get(n) for n in names] if isinstance(thresholds, dict) else []
        numbers = [v for v in values if type(v) is float and 0 < v < 1e6]
        if len(numbers) != len(names) or max(numbers[2:]) >= 1:
            raise UnreadableFile(f"{path}: thresholds {values}, expected positive {names}")
        return cls(*numbers)

    def weigh(self, scores: ClassScores, prior: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Class probabilities (n, K) and outlier probability (n,); together they add to one."""
        t = self.temperature
        log = np.log(prior) - scores.log_volume - 1.5 * np.log(2 * np.pi * t)
        log = log - scores.distance2 / (2 * t)
        top = log.max(axis=1, keepdims=True, initial=-np.inf)
        share = np.exp(log - top)
        total = share.sum(axis=1, keepdims=True)
        known = np.log1p(-self.outlier_rate) + top[:, 0] + np.log(total[:, 0])
        outlier = 1 / (1 + np.exp(np.clip(known - np.log(self.outlier_rate), -700, 700)))
        near = scores.distance2.min(axis=1, initial=np.inf) <= self.gate**2 * t
        outlier = np.where(near, outlier, 1.0)
        mixed = (1 - self.wrong_rate) * share / total + self.wrong_rate / len(prior)
        return (1 - outlier[:, None]) * mixed, outlier


@dataclass(frozen=True)
class HeldOut:
    """Regions scored by a head that had not seen their image; truth is the class index.

    Attributes
    ----------
    scores : ClassScores
    truth : ndarray of int, (n,)
        -1 where the class was missing from the other images.
    prior : ndarray, (K,)
    n_images : int
    """

    scores: ClassScores
    truth: IntArray
    prior: FloatArray
    n_images: int

    def __len__(self) -> int:
        return len(self.truth)


def hold_out(build: Callable[[Samples], Scorer], samples: Samples) -> HeldOut:
    """Score every image by a head built from the other images (at most five folds).

    A class that only one image shows cannot be tested: its regions are left out, and counted in
    `metrics` as such.
    """
    regions = samples.region_means()
    labels = np.unique(samples.layers)
    folds = [np.arange(samples.n_groups)[f::_MOST_FOLDS] for f in range(_MOST_FOLDS)]
    parts, truths = [], []
    for fold in folds if samples.n_groups > 1 else []:
        test = regions.take(np.flatnonzero(np.isin(regions.group, fold)))
        rest = samples.take(np.flatnonzero(~np.isin(samples.group, fold)))
        if len(test) and np.any(rest.layers > 0):
            scorer = build(rest)
            parts.append(_aligned(scorer, test, labels))
            seen = np.isin(test.layers, scorer.labels)
            truths.append(np.where(seen, np.searchsorted(labels, test.layers), -1))
    prior = np.full(len(labels), 1 / len(labels))
    if not parts:
        nothing = np.zeros((0, len(labels)))
        return HeldOut(ClassScores(nothing, nothing), np.zeros(0, np.int64), prior, 0)
    distance2, log_volume = (np.concatenate(p) for p in zip(*parts, strict=True))
    return HeldOut(
        ClassScores(distance2, log_volume), np.concatenate(truths), prior, samples.n_groups
    )


def fit_confidence(held_out: HeldOut, start: Confidence) -> Confidence:
    """Temperature and wrong rate that make the held-out answers most probable.

    The defaults act as weak priors (log T is 0 +- 0.7; the wrong rate counts as ten regions at
    its default), so that a few regions move them little and none leaves them as they are. A
    labelled region may be an outlier itself: calling it unknown costs at most -ln(outlier_rate),
    or one odd label would make all other answers timid.
    """
    known = held_out.truth >= 0
    scores = ClassScores(held_out.scores.distance2[known], held_out.scores.log_volume[known])
    truth = held_out.truth[known]
    best, chosen = -np.inf, start
    for temperature in _TEMPERATURES:
        honest = replace(start, temperature=float(temperature), wrong_rate=0.0)
        probability, outlier = honest.weigh(scores, held_out.prior)
        hit, inside = probability[np.arange(len(truth)), truth], 1 - outlier
        tolerated = start.outlier_rate * outlier
        for rate in _WRONG_RATES:
            mixed = (1 - rate) * hit + rate / len(held_out.prior) * inside + tolerated
            gain = np.log(mixed).sum() - 0.5 * (np.log(temperature) / 0.7) ** 2
            gain += 10 * (
                start.wrong_rate * np.log(rate) + (1 - start.wrong_rate) * np.log1p(-rate)
            )
            if gain > best:
                best = gain
                chosen = replace(start, temperature=float(temperature), wrong_rate=float(rate))
    return chosen


def metrics(held_out: HeldOut, confidence: Confidence) -> dict[str, Any]:
    """Held-out figures for the card; just the counts where nothing could be held out.

    ``ece`` is the expected calibration error of the top answer over ten bins of equal count,
    unknown counted as one more answer that is never true.
    """
    known = held_out.truth >= 0
    counts = {
        "held_out_regions": int(known.sum()),
        "held_out_images": held_out.n_images,
        "untestable_regions": int((~known).sum()),
    }
    if not known.any():
        return counts
    probability, outlier = confidence.weigh(held_out.scores, held_out.prior)
    full, truth = np.column_stack([probability, outlier])[known], held_out.truth[known]
    hit = full[np.arange(len(truth)), truth]
    right = full.argmax(axis=1) == truth
    return counts | {
        "accuracy": float(right.mean()),
        "log_loss": float(-np.log(np.maximum(hit, 1e-12)).mean()),
        "brier": float(((full**2).sum(axis=1) - 2 * hit + 1).mean()),
        "ece": _calibration_error(full.max(axis=1), right),
        "unknown_share": float((full.argmax(axis=1) == len(held_out.prior)).mean()),
    }


def _aligned(scorer: Scorer, test: Samples, labels: IntArray) -> tuple[FloatArray, FloatArray]:
    """Scores with one column per class of the whole set; infinitely far where it is missing."""
    scores = scorer.score(test.contrast, test.contrast_se)
    distance2 = np.full((len(test), len(labels)), np.inf)
    log_volume = np.zeros_like(distance2)
    for k, label in enumerate(scorer.labels):
        if label in labels:
            at = int(np.searchsorted(labels, label))
            distance2[:, at] = scores.distance2[:, k]
            log_volume[:, at] = scores.log_volume[:, k]
    return distance2, log_volume


def _calibration_error(top: FloatArray, right: IntArray) -> float:
    """As `measure.reliability`, which this layer of the package may not import; tests compare."""
    last = np.ceil(np.arange(1, _ECE_BINS) * len(top) / _ECE_BINS).astype(int) - 1
    bins = np.searchsorted(np.sort(top)[last], top, side="left")
    gap = np.bincount(bins, right - top, minlength=_ECE_BINS)
    return float(np.abs(gap).sum() / len(top))
