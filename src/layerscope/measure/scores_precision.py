"""Average precision and recall of found objects, as COCO defines them.

Lin et al., arXiv 1405.0312, in the form of the official evaluation: objects are taken in falling
score; each gets the free marked object that it overlaps most; precision is made monotonic and read
at 101 recalls. Crowds and objects outside of the area range are neither right nor wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from layerscope.core.evaluation import Objects
from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.errors import InputError

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""0.50, 0.55 ... 0.95; the first nine make AP50-90."""

AREA_RANGES_PX: dict[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""COCO's, both ends inclusive."""

_RECALLS = np.linspace(0.0, 1.0, 101)
_AT_ONCE = 4_000_000  # elements of one table of resamples and objects: 32 MB


class Ranked(NamedTuple):
    """Found objects of one image and class after matching, best score first.

    Attributes
    ----------
    score : ndarray, (n,)
    hit, ignored : ndarray of bool, (areas, thresholds, n)
    counted : ndarray of int, (areas,)
        Marked objects that had to be found.
    """

    score: FloatArray
    hit: BoolArray
    ignored: BoolArray
    counted: IntArray


@dataclass(frozen=True, eq=False)
class ClassRanking:
    """Found objects of one class over all images, best score first.

    Attributes
    ----------
    score : ndarray, (n,)
    image : ndarray of int, (n,)
    rank : ndarray of int, (n,)
        Place within its image, from 0.
    hit, ignored : ndarray of bool, (areas, thresholds, n)
    counted : ndarray of int, (areas, images)
    """

    score: FloatArray
    image: IntArray
    rank: IntArray
    hit: BoolArray
    ignored: BoolArray
    counted: IntArray


def match_objects(
    found: Objects,
    marked: Objects,
    iou: FloatArray,
    area_px: tuple[IntArray, IntArray],
    *,
    max_detections: int = 100,
) -> Ranked:
    """Match what was found on one image with what is marked there; both of one class.

    Parameters
    ----------
    found, marked : Objects
        n and m of them.
    iou : ndarray, (n, m)
        From `mask_iou` or `box_iou`, with crowds.
    area_px : pair of ndarray of int, (n,) and (m,)
    max_detections : int
        Found objects beyond it, the worst, are left out.

    Raises
    ------
    InputError
        If `iou` has another shape.
    """
    if iou.shape != (len(found), len(marked)):
        raise InputError(f"overlaps {iou.shape} of {len(found)} found and {len(marked)} marked")
    order = np.argsort(-found.score, kind="stable")[:max_detections]
    beyond = [_outside(area) for area in area_px]
    skipped = beyond[1] | marked.crowd
    hit, ignored = _match(iou[order], skipped, marked.crowd)
    ignored |= ~hit & beyond[0][:, None, order]
    counted = np.count_nonzero(~skipped, axis=1).astype(np.int64)
    return Ranked(found.score[order], hit, ignored, counted)


def _outside(area: IntArray) -> BoolArray:
    limits = np.array(list(AREA_RANGES_PX.values()))
    return np.asarray((area < limits[:, :1]) | (area > limits[:, 1:]))


def _match(iou: FloatArray, skipped: BoolArray, crowd: BoolArray) -> tuple[BoolArray, BoolArray]:
    """Which of the ranked objects (n, m) hit, and hit only what is not counted."""
    n, m = iou.shape
    shape = len(skipped), len(IOU_THRESHOLDS)
    taken = np.zeros((*shape, m), bool)
    hit, ignored = np.zeros((*shape, n), bool), np.zeros((*shape, n), bool)
    for i in np.flatnonzero((iou >= IOU_THRESHOLDS[0]).any(axis=1)).tolist():
        near = np.flatnonzero(iou[i] >= IOU_THRESHOLDS[0])
        free = ~taken[..., near] | crowd[near]
        fits = free & (iou[i, near] >= IOU_THRESHOLDS[:, None])
        proper = fits & ~skipped[:, None, near]
        wanted = np.where(proper.any(axis=-1, keepdims=True), proper, fits)
        # The last of equal overlaps, as the official evaluation takes it.
        best = len(near) - 1 - np.argmax(np.where(wanted, iou[i, near], -1)[..., ::-1], axis=-1)
        hit[..., i] = wanted.any(axis=-1)
        area, level = np.nonzero(hit[..., i])
        partner = near[best[area, level]]
        taken[area, level, partner] = True
        ignored[area, level, i] = skipped[area, partner]
    return hit, ignored


def rank_class(images: Sequence[Ranked]) -> ClassRanking:
    """Join the images of one class, in their order."""
    if not images:
        raise InputError("no image to rank: expected at least one")
    score = np.concatenate([r.score for r in images])
    order = np.argsort(-score, kind="stable")
    image = np.repeat(np.arange(len(images)), [len(r.score) for r in images])
    rank = np.concatenate([np.arange(len(r.score)) for r in images])
    return ClassRanking(
        score[order],
        image[order],
        rank[order],
        np.concatenate([r.hit for r in images], axis=-1)[..., order],
        np.concatenate([r.ignored for r in images], axis=-1)[..., order],
        np.stack([r.counted for r in images], axis=1),
    )


def average_precision(
    ranking: ClassRanking,
    *,
    area: str = "all",
    max_detections: int = 100,
    weights: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Average precision and recall of one class at every threshold.

    Parameters
    ----------
    ranking : ClassRanking
    area : str
        One of `AREA_RANGES_PX`.
    max_detections : int
        Per image.
    weights : ndarray, (b, images), optional
        How often each image counts, one row per resample; default once.

    Returns
    -------
    precision, recall : ndarray, (b, thresholds)
        NaN where nothing is marked.
    """
    index = _area_index(area)
    every = np.ones((1, ranking.counted.shape[1])) if weights is None else weights
    precision = np.full((len(every), len(IOU_THRESHOLDS)), np.nan)
    recall = precision.copy()
    step = max(1, _AT_ONCE // max(1, len(ranking.score)))
    for start in range(0, len(every), step):
        part = slice(start, start + step)
        precision[part], recall[part] = _averages(ranking, index, max_detections, every[part])
    return precision, recall


def _area_index(area: str) -> int:
    if area not in AREA_RANGES_PX:
        raise InputError(f"area range {area!r}: expected {', '.join(AREA_RANGES_PX)}")
    return list(AREA_RANGES_PX).index(area)


def _averages(
    ranking: ClassRanking, area: int, max_detections: int, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    wanted = weights @ ranking.counted[area]
    precision = np.full((len(weights), len(IOU_THRESHOLDS)), np.nan)
    recall = precision.copy()
    known = np.flatnonzero(wanted > 0)
    for level in range(len(IOU_THRESHOLDS)):
        used = ~ranking.ignored[area, level] & (ranking.rank < max_detections)
        weight = weights[:, ranking.image[used]]
        x, y = _curves(ranking.hit[area, level, used], weight, np.maximum(wanted, 1e-300))
        for row in known.tolist():
            place = np.searchsorted(x[row], _RECALLS, side="left")
            inside = place < x.shape[1]
            precision[row, level] = y[row, place[inside]].sum() / len(_RECALLS)
            recall[row, level] = x[row, -1] if x.shape[1] else 0.0
    return precision, recall


def _curves(
    hit: BoolArray, weight: FloatArray, wanted: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Recall and monotonic precision (b, n) after each found object."""
    right = np.cumsum(weight * hit, axis=1)
    seen = np.cumsum(weight, axis=1)
    share = right / np.maximum(seen, 1e-300)
    falling = np.maximum.accumulate(share[:, ::-1], axis=1)[:, ::-1]
    return right / wanted[:, None], falling


def precision_recall_curve(
    ranking: ClassRanking, *, threshold: float = 0.5, max_detections: int = 100
) -> tuple[FloatArray, FloatArray]:
    """Recall and precision after each found object, best score first; empty if nothing is marked.

    Raises
    ------
    InputError
        If `threshold` is none of `IOU_THRESHOLDS`.
    """
    level = np.flatnonzero(np.isclose(IOU_THRESHOLDS, threshold))
    if not len(level):
        raise InputError(f"threshold {threshold}: expected one of {IOU_THRESHOLDS.round(2)}")
    wanted = int(ranking.counted[0].sum())
    used = ~ranking.ignored[0, level[0]] & (ranking.rank < max_detections)
    hit = ranking.hit[0, level[0], used]
    if wanted == 0 or not len(hit):
        return np.zeros(0), np.zeros(0)
    right = np.cumsum(hit)
    return right / wanted, right / np.arange(1, len(hit) + 1)
