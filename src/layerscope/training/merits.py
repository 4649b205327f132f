"""Figures of merit from counted images: value, interval over specimens, and a trivial method's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from layerscope.core.evaluation import ALL, Figure
from layerscope.core.results import FloatArray, IntArray
from layerscope.measure.scores_bootstrap import group_weights, interval_of, why_no_interval
from layerscope.measure.scores_panoptic import detection_scores, panoptic_quality
from layerscope.measure.scores_pixels import (
    PIXEL_SCORES,
    accuracy,
    class_scores,
    majority_table,
    mean_over_classes,
)
from layerscope.measure.scores_precision import (
    AREA_RANGES_PX,
    ClassRanking,
    average_precision,
    rank_class,
)
from layerscope.measure.scores_regression import score_numbers
from layerscope.training.tally import ObjectTally, Tally

OTSU = "islands of Otsu's threshold"
MAJORITY = "most frequent class everywhere"
MEAN = "mean of the labels"
COMMON = "most frequent class"

_AP = ("ap50_95", "ap50_90", "ap50", "ap75", "ar")
_Key = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Block:
    """Figures that are made together.

    Attributes
    ----------
    keys : tuple of (str, str)
        Name and class of each.
    tallies : tuple of Tally
        The images that have them.
    values : callable
        Takes weights (b, images) and returns the figures (b, k).
    baseline : ndarray, (k,)
    baseline_name : str
    no_interval : str
        Why none is made, or empty.
    note : str
        For figures that are NaN.
    """

    keys: tuple[_Key, ...]
    tallies: tuple[Tally, ...]
    values: Callable[[FloatArray], FloatArray]
    baseline: FloatArray
    baseline_name: str = ""
    no_interval: str = ""
    note: str = ""


def merit_figures(
    tallies: Sequence[Tally], classes: Sequence[str], *, max_detections: int, n_resamples: int
) -> tuple[Figure, ...]:
    """Every figure that the counts allow.

    Parameters
    ----------
    tallies : sequence of Tally
    classes : sequence of str
        The first is the background.
    max_detections, n_resamples : int
    """
    blocks = [
        *_precision_blocks(tallies, classes, max_detections),
        *_object_blocks(tallies, classes),
        *_pixel_blocks(tallies, classes),
        *_number_blocks(tallies, classes),
    ]
    return tuple(figure for block in blocks for figure in _figures(block, n_resamples))


def _figures(block: Block, n_resamples: int) -> list[Figure]:
    value = block.values(np.ones((1, len(block.tallies))))[0]
    groups = [t.group for t in block.tallies]
    why = block.no_interval or why_no_interval(groups)
    low = high = np.full(len(value), np.nan)
    if not why:
        weights = group_weights(groups, n_resamples=n_resamples)
        low, high = interval_of(block.values(weights))
    out = []
    for (name, group), *numbers in zip(block.keys, value, low, high, block.baseline, strict=True):
        v, a, b, base = map(float, numbers)
        note = block.note if np.isnan(v) else why
        if not note and np.isnan(a):
            note = "no interval: undefined in too many resamples"
        named = block.baseline_name if np.isfinite(base) else ""
        out.append(Figure(name, group, v, a, b, base, named, note))
    return out


def _precision_blocks(tallies: Sequence[Tally], classes: Sequence[str], most: int) -> list[Block]:
    used = tuple(t for t in tallies if t.objects is not None)
    if not used:
        return []
    shared = set.intersection(*(set(t.objects.ranked) for t in used if t.objects))
    return [
        block
        for kind in ("mask", "box")
        if kind in shared
        for block in (
            _mean_precision(used, classes, kind, most),
            _by_size(used, classes, kind, most),
        )
    ]


def _rankings(objects: Sequence[ObjectTally | None], kind: str) -> list[ClassRanking]:
    per_image = [o.ranked[kind] for o in objects if o is not None]
    return [rank_class(list(parts)) for parts in zip(*per_image, strict=True)]


def _mean_precision(used: tuple[Tally, ...], classes: Sequence[str], kind: str, most: int) -> Block:
    groups = [ALL, *classes[1:]] if len(classes) > 2 else [ALL]
    keys = tuple((f"{kind}_{name}", group) for group in groups for name in _AP)
    found = _rankings([t.objects for t in used], kind)

    def values(weights: FloatArray) -> FloatArray:
        return _average_figures(found, most, weights)[:, : len(keys)]

    islands = [t.otsu_objects for t in used]
    baseline = np.full(len(keys), np.nan)
    if all(i is not None for i in islands):
        once = np.ones((1, len(used)))
        baseline = _average_figures(_rankings(islands, kind), most, once)[0, : len(keys)]
        baseline = np.where(np.arange(len(keys)) < len(_AP), baseline, np.nan)
    return Block(keys, used, values, baseline, OTSU, note="nothing is labelled so")


def _average_figures(
    rankings: Sequence[ClassRanking], most: int, weights: FloatArray
) -> FloatArray:
    """Mean over classes, then each class; `_AP` of each, (b, (1 + classes) * 5)."""
    parts = []
    for ranking in rankings:
        p, r = average_precision(ranking, max_detections=most, weights=weights)
        parts.append(np.stack([p.mean(1), p[:, :9].mean(1), p[:, 0], p[:, 5], r.mean(1)], axis=1))
    each = np.stack(parts, axis=1)
    mean = mean_over_classes(np.moveaxis(each, 1, -1))
    return np.concatenate([mean[:, None], each], axis=1).reshape(len(weights), -1)


def _by_size(used: tuple[Tally, ...], classes: Sequence[str], kind: str, most: int) -> Block:
    """COCO's other figures: sizes, and recall with few objects allowed."""
    rankings = _rankings([t.objects for t in used], kind)
    sizes = list(AREA_RANGES_PX)[1:]
    few = [n for n in (1, 10) if n < most]
    keys = [f"{kind}_ap_{s}" for s in sizes] + [f"{kind}_ar_{s}" for s in sizes]
    keys += [f"{kind}_ar_{n}_per_image" for n in few]

    def values(weights: FloatArray) -> FloatArray:
        asked = [(s, most) for s in sizes] + [("all", n) for n in few]
        pairs = [
            [average_precision(r, area=a, max_detections=m, weights=weights) for r in rankings]
            for a, m in asked
        ]
        means = [
            [mean_over_classes(np.stack([x[k].mean(1) for x in pair], axis=1)) for pair in pairs]
            for k in (0, 1)
        ]
        return np.stack(means[0][:3] + means[1], axis=1)

    return Block(
        tuple((k, ALL) for k in keys),
        used,
        values,
        np.full(len(keys), np.nan),
        no_interval="no interval: made for the main figures only",
        note="nothing of this size is labelled",
    )


def _object_blocks(tallies: Sequence[Tally], classes: Sequence[str]) -> list[Block]:
    used = tuple(t for t in tallies if t.objects is not None)
    if not used:
        return []
    names = ("pq", "sq", "rq", "object_precision", "object_recall", "object_f1")
    groups = [ALL, *classes[1:]] if len(classes) > 2 else [ALL]
    keys = tuple((name, group) for group in groups for name in names)
    counts = np.stack([t.objects.counts for t in used if t.objects])

    def values(weights: FloatArray) -> FloatArray:
        added = np.tensordot(weights, counts, axes=1)
        return _count_figures(added)[:, : len(keys)]

    baseline = np.full(len(keys), np.nan)
    islands = [t.otsu_objects.counts for t in used if t.otsu_objects is not None]
    if len(islands) == len(used):
        all_classes = _count_figures(np.sum(islands, axis=0)[None])[0, : len(names)]
        baseline[: len(names)] = all_classes
    note = "neither labelled nor found"
    out = [Block(keys, used, values, baseline, OTSU, note=note)]
    return [*out, _class_block(used)] if len(classes) > 2 else out


def _count_figures(counts: FloatArray) -> FloatArray:
    """Of counts (b, classes, 4): PQ as mean over classes, the others of all objects; then each.

    Kirillov et al. average PQ, SQ and RQ over classes; precision and recall are of the objects.
    """
    quality = mean_over_classes(np.moveaxis(panoptic_quality(counts), 1, -1))
    every = detection_scores(counts.sum(axis=1))
    each = np.concatenate([panoptic_quality(counts), detection_scores(counts)], axis=-1)
    whole = np.concatenate([quality, every], axis=-1)
    return np.concatenate([whole[:, None], each], axis=1).reshape(len(counts), -1)


def _class_block(used: tuple[Tally, ...]) -> Block:
    """Share of the objects that were found whose class is right."""
    tables = np.stack([t.objects.confusion[1:, 1:] for t in used if t.objects])

    def values(weights: FloatArray) -> FloatArray:
        return accuracy(np.tensordot(weights, tables, axes=1))[:, None]

    trivial = accuracy(majority_table(tables.sum(axis=0)))
    keys = (("object_class_accuracy", ALL),)
    return Block(keys, used, values, np.array([trivial]), COMMON, note="no object was found")


def _pixel_blocks(tallies: Sequence[Tally], classes: Sequence[str]) -> list[Block]:
    used = tuple(t for t in tallies if t.pixels is not None)
    if not used:
        return []
    tables = np.stack([t.pixels for t in used if t.pixels is not None])
    overall = ("mean_iou", "mean_dice", "accuracy")
    keys = [(name, ALL) for name in overall]
    keys += [(name, group) for group in classes for name in PIXEL_SCORES]

    def values(weights: FloatArray) -> FloatArray:
        return _pixel_figures(np.tensordot(weights, tables, axes=1))

    trivial = _pixel_figures(majority_table(tables.sum(axis=0))[None])[0]
    note = "the class is neither labelled nor answered"
    blocks = [Block(tuple(keys), used, values, trivial, MAJORITY, note=note)]
    return [*blocks, _foreground_block(used)]


def _pixel_figures(tables: FloatArray) -> FloatArray:
    scores = class_scores(tables)
    means = [mean_over_classes(scores[..., i]) for i in (0, 1)]
    whole = np.stack([*means, accuracy(tables)], axis=1)
    return np.concatenate([whole, scores.reshape(len(tables), -1)], axis=1)


def _foreground_block(used: tuple[Tally, ...]) -> Block:
    """Any class against the background."""
    tables = np.stack([_binary(t.pixels) for t in used if t.pixels is not None])

    def values(weights: FloatArray) -> FloatArray:
        return class_scores(np.tensordot(weights, tables, axes=1))[:, 1, :2]

    otsu = [t.otsu_pixels for t in used if t.otsu_pixels is not None]
    baseline = np.full(2, np.nan)
    if len(otsu) == len(used):
        baseline = class_scores(np.sum(otsu, axis=0))[1, :2]
    keys = (("foreground_iou", ALL), ("foreground_dice", ALL))
    return Block(keys, used, values, baseline, OTSU, note="there is background only")


def _binary(table: IntArray) -> FloatArray:
    rows = np.stack([table[0], table[1:].sum(axis=0)])
    return np.asarray(np.stack([rows[:, 0], rows[:, 1:].sum(axis=1)], axis=1), float)


def _number_blocks(tallies: Sequence[Tally], classes: Sequence[str]) -> list[Block]:
    used = tuple(t for t in tallies if t.fraction is not None)
    shares = [t.fraction for t in used if t.fraction is not None]
    return [
        _number_block(used, np.stack([s[:, i] for s in shares]), classes[i + 1])
        for i in range(len(classes) - 1)
        if shares
    ]


def _number_block(used: tuple[Tally, ...], shares: FloatArray, group: str) -> Block:
    truth, estimate = shares[:, 0], shares[:, 1]

    def values(weights: FloatArray) -> FloatArray:
        return np.array([score_numbers(estimate, truth, w)[:4] for w in weights])

    mean = np.full(len(truth), truth.mean())
    trivial = np.array(score_numbers(mean, truth)[:4])
    names = ("fraction_rmse", "fraction_mae", "fraction_bias", "fraction_r2")
    keys = tuple((name, group) for name in names)
    note = score_numbers(estimate, truth).note
    return Block(keys, used, values, trivial, MEAN, note=note)
