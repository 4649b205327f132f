"""Average precision of found objects with classes, over a set of images, in a few figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from layerscope.core.evaluation import Objects
from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError
from layerscope.measure.scores_overlap import box_area, box_iou, mask_iou
from layerscope.measure.scores_precision import average_precision, match_objects, rank_class

Pair = tuple[Objects, Objects]
"""What was found on an image, and what is marked there."""


def object_figures(pairs: Sequence[Pair], n_classes: int) -> dict[str, float]:
    """Mean over classes of average precision, of masks and of boxes.

    ``mask_ap50``, ``mask_ap50_90`` (IoU 0.50 to 0.90), ``mask_ap50_95``, the same of boxes; 0 where
    nothing is found. Classes of which nothing is marked do not count.

    Parameters
    ----------
    pairs : sequence of (Objects, Objects)
        One per image, found and marked.
    n_classes : int

    Raises
    ------
    InputError
        If there is no image, or nothing is marked at all.
    """
    if not pairs or not any(len(marked) for _, marked in pairs):
        raise InputError(f"{len(pairs)} images: expected marked objects on one or more")
    out: dict[str, float] = {}
    for kind in ("mask", "box"):
        rows = [_precision(pairs, k, kind) for k in range(1, n_classes + 1)]
        mean = np.nanmean(np.stack([r for r in rows if not np.isnan(r).all()]), axis=0)
        out[f"{kind}_ap50"] = float(mean[0])
        out[f"{kind}_ap50_90"] = float(mean[:9].mean())
        out[f"{kind}_ap50_95"] = float(mean.mean())
    return out


def _precision(pairs: Sequence[Pair], class_index: int, kind: str) -> FloatArray:
    ranked = []
    for every_found, every_marked in pairs:
        found, marked = every_found.of_class(class_index), every_marked.of_class(class_index)
        if kind == "mask":
            iou = mask_iou(found.masks, marked.masks, marked.crowd)
            area = found.masks.area_px, marked.masks.area_px
        else:
            iou = box_iou(found.masks.boxes, marked.masks.boxes, marked.crowd)
            area = box_area(found.masks.boxes), box_area(marked.masks.boxes)
        ranked.append(match_objects(found, marked, iou, area))
    return average_precision(rank_class(ranked))[0][0]


def right_objects(found: Objects, marked: Objects, least_iou: float = 0.5) -> BoolArray:
    """Which found objects are right, (n,): class and mask; each marked one is found once.

    The most probable goes first, and takes the marked object that it overlaps most.
    """
    iou = mask_iou(found.masks, marked.masks)
    iou[found.class_index[:, None] != marked.class_index[None, :]] = 0
    out = np.zeros(len(found), bool)
    for i in np.argsort(-found.score, kind="stable").tolist():
        if iou.shape[1] and iou[i].max() >= least_iou:
            out[i] = True
            iou[:, iou[i].argmax()] = 0
    return out
