"""Signs of failure: what the figures show to be wrong, and what helps against it.

A sign is stated only where the figures show it; the limits are written beside each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerscope.core.evaluation import ALL, Confusion, Figure
from layerscope.core.results import FloatArray


@dataclass(frozen=True, eq=False)
class Evidence:
    """What signs are read from.

    Attributes
    ----------
    figures : mapping of (str, str) to Figure
        By name and class.
    confusions : tuple of Confusion
    by_group : mapping of str to float
        Mean score of each specimen's images, 0 to 1.
    card_metrics : mapping
        What the model's card says of held-out images.
    most_marked, max_detections : int
        Objects of a class in one image, and how many were allowed.
    sure, right : float
        Mean probability of the answers and share of right ones; NaN where unknown.
    """

    figures: Mapping[tuple[str, str], Figure]
    confusions: tuple[Confusion, ...]
    by_group: Mapping[str, float]
    card_metrics: Mapping[str, Any]
    most_marked: int
    max_detections: int
    sure: float
    right: float

    def value(self, name: str) -> float:
        """Figure over all classes; NaN where there is none."""
        figure = self.figures.get((name, ALL))
        return float("nan") if figure is None else figure.value


def failure_signs(evidence: Evidence) -> tuple[str, ...]:
    """Every sign that the figures show, the gravest first."""
    return tuple(line for sign in _SIGNS for line in sign(evidence))


def _no_better(e: Evidence) -> Sequence[str]:
    """Limit: the interval, or without one the value, clears the trivial method's figure."""
    lines = []
    for name, what in (
        ("mask_ap50", "mask AP50"),
        ("object_f1", "F1 of objects"),
        ("foreground_iou", "foreground IoU"),
        ("mean_iou", "mean IoU"),
    ):
        figure = e.figures.get((name, ALL))
        if figure is None or not np.isfinite(figure.baseline):
            continue
        least = figure.low if np.isfinite(figure.low) else figure.value
        if least <= figure.baseline:
            lines.append(
                f"{what} {figure.value:.2f} is not shown to be better than "
                f"{figure.baseline_name} ({figure.baseline:.2f}): label more specimens, or do not "
                "use it here."
            )
    return lines


def _flattered(e: Evidence) -> Sequence[str]:
    """Limit: the most frequent class alone reaches the accuracy, and nine tenths."""
    figure = e.figures.get(("accuracy", ALL))
    if figure is None or not figure.baseline >= 0.9 or figure.value > figure.baseline + 0.01:
        return []
    return [
        f"Accuracy of pixels {figure.value:.3f} says nothing here: one class alone covers "
        f"{figure.baseline:.1%} of the images. Look at IoU and at the objects."
    ]


def _coarse(e: Evidence) -> Sequence[str]:
    """Limits: AP50 of 0.5 or more, of which AP50-90 keeps less than six tenths."""
    lines = []
    fifty, strict = e.value("mask_ap50"), e.value("mask_ap50_90")
    if fifty >= 0.5 and strict < 0.6 * fifty:
        lines.append(
            f"Mask AP50 is {fifty:.2f} but AP50-90 only {strict:.2f}: objects are found and their "
            "outlines are too coarse. A larger model, or images at a higher magnification."
        )
    boxes = e.value("box_ap50_90")
    if boxes - strict > 0.15:
        lines.append(
            f"Box AP50-90 is {boxes:.2f}, mask AP50-90 {strict:.2f}: objects are where they should "
            "be, their masks are not. Look for holes and ragged rims in the error maps."
        )
    return lines


def _one_sided(e: Evidence) -> Sequence[str]:
    """Limit: precision and recall 0.2 apart."""
    precision, recall = e.value("object_precision"), e.value("object_recall")
    if precision - recall >= 0.2:
        return [
            f"{1 - recall:.0%} of the objects are missed while {precision:.0%} of those found are "
            "right: lower the threshold, or label more of the missed kind."
        ]
    if recall - precision >= 0.2:
        return [
            f"{1 - precision:.0%} of what is found is no labelled object: raise the threshold "
            "(--min-score), add images with the look-alikes, or complete the labels."
        ]
    return []


def _small(e: Evidence) -> Sequence[str]:
    """Limit: AP of small objects 0.3 under that of large ones."""
    small, large = e.value("mask_ap_small"), e.value("mask_ap_large")
    if large - small >= 0.3:
        return [
            f"AP is {small:.2f} for objects below 32 x 32 px and {large:.2f} above 96 x 96 px: "
            "small ones need a higher magnification or a model of finer stride."
        ]
    return []


def _uneven(e: Evidence) -> Sequence[str]:
    """Limit: a specimen 0.2 under the median of at least three."""
    if len(e.by_group) < 3:
        return []
    median = float(np.median(list(e.by_group.values())))
    worst = sorted((v, k) for k, v in e.by_group.items() if median - v >= 0.2)
    named = ", ".join(f"{k} ({v:.2f})" for v, k in worst[:3])
    if not worst:
        return []
    return [
        f"{len(worst)} of {len(e.by_group)} specimens score far below the median of {median:.2f}: "
        f"{named}. Light, focus or magnification differ there; label one image of each, or train "
        "with stronger augmentation."
    ]


def _drifted(e: Evidence) -> Sequence[str]:
    """Limit: a figure of the card 0.15 above the same figure here."""
    lines = []
    for name, promised in sorted(e.card_metrics.items()):
        here = e.value(name)
        if isinstance(promised, (int, float)) and promised - here >= 0.15:
            lines.append(
                f"{name} was {promised:.2f} on held-out images when it was trained and is "
                f"{here:.2f} here: light, magnification or material differ from the training "
                "images. Fine-tune on a few of these."
            )
    return lines


def _confused(e: Evidence) -> Sequence[str]:
    """Limit: a fifth of a class taken for one other class."""
    lines = []
    for table in e.confusions:
        share = table.count / np.maximum(table.count.sum(axis=1, keepdims=True), 1)
        for i, j in np.argwhere(share >= 0.2).tolist():
            if i != j and (i > 0 and j > 0):
                lines.append(
                    f"{share[i, j]:.0%} of the {table.unit} of {table.truth[i]} are taken for "
                    f"{table.answer[j]}: label more of both, or join the two classes."
                )
    return lines


def _overconfident(e: Evidence) -> Sequence[str]:
    """Limit: an error of 0.1; 0.05 comes from chance alone with a hundred objects."""
    error = max((e.value(n) for n in ("pixel_ece", "object_ece")), key=lambda v: (v == v, v))
    if not error > 0.1:
        return []
    way = "more sure than right" if e.sure > e.right else "less sure than right"
    return [
        f"Probabilities are off by {error:.2f} on average, mostly {way}: use them to order "
        "answers, not as chances."
    ]


def _biased(e: Evidence) -> Sequence[str]:
    """Limits: an interval without zero, and a percentage point."""
    lines = []
    for (name, group), figure in e.figures.items():
        if name != "fraction_bias" or not abs(figure.value) >= 0.01:
            continue
        if figure.low > 0 or figure.high < 0:
            way = "over" if figure.value > 0 else "under"
            lines.append(
                f"The area of {group} is {way}estimated by {abs(figure.value) * 100:.1f} points "
                f"[{figure.low * 100:+.1f} to {figure.high * 100:+.1f}]; errors do not cancel over "
                "many images."
            )
    return lines


def _cut_off(e: Evidence) -> Sequence[str]:
    """Limit: more objects of a class in one image than a method may find."""
    if e.most_marked <= e.max_detections:
        return []
    return [
        f"An image holds {e.most_marked} objects of one class, and only {e.max_detections} found "
        "ones are counted, as COCO has it: recall is too low; use --max-detections "
        f"{10 ** len(str(e.most_marked))}."
    ]


_SIGNS: tuple[Callable[[Evidence], Sequence[str]], ...] = (
    _no_better,
    _drifted,
    _uneven,
    _coarse,
    _one_sided,
    _small,
    _confused,
    _overconfident,
    _biased,
    _cut_off,
    _flattered,
)


def mean_by_group(groups: Sequence[str], scores: FloatArray) -> dict[str, float]:
    """Mean of the known scores of each specimen, by name."""
    known = [(g, s) for g, s in zip(groups, scores.tolist(), strict=True) if np.isfinite(s)]
    names = sorted({g for g, _ in known})
    return {n: float(np.mean([s for g, s in known if g == n])) for n in names}
