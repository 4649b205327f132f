"""Counts of right, false and missed objects; panoptic quality and confusion made of them."""

from __future__ import annotations

import numpy as np

from layerscope.core.evaluation import Objects
from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.errors import InputError

MATCH_IOU = 0.5
"""Above it masks that do not overlap each other match in one way only (Kirillov et al.)."""


def count_objects(found: Objects, marked: Objects, iou: FloatArray, n_classes: int) -> FloatArray:
    """Count what is right, false and missed on one image, class by class.

    A found object is right if it and a marked one of its class have an IoU above `MATCH_IOU`; each
    marked object is found once, the largest overlaps first. What lies in a crowd is not counted.

    Parameters
    ----------
    found, marked : Objects
        n and m of them.
    iou : ndarray, (n, m)
        With crowds.
    n_classes : int
        Beside the background.

    Returns
    -------
    ndarray, (n_classes, 4)
        Right, false, missed, and the sum of the IoU of the right ones.

    Raises
    ------
    InputError
        If `iou` has another shape, or a class is beyond `n_classes`.
    """
    _check(found, marked, iou, n_classes)
    same = found.class_index[:, None] == marked.class_index[None, :]
    pairs = _pair(np.where(same & ~marked.crowd, iou, 0.0))
    inside = _in_crowd(marked, np.where(same, iou, 0.0))
    inside[pairs[:, 0]] = False
    counted = found.class_index[~inside], marked.class_index[~marked.crowd]
    right = found.class_index[pairs[:, 0]]
    length = n_classes + 1
    hits = np.bincount(right, minlength=length)
    overlap = np.bincount(right, iou[pairs[:, 0], pairs[:, 1]], minlength=length)
    false, missed = (np.bincount(c, minlength=length) - hits for c in counted)
    return np.stack([hits, false, missed, overlap], axis=1)[1:].astype(float)


def confuse_objects(found: Objects, marked: Objects, iou: FloatArray, n_classes: int) -> IntArray:
    """Count pairs of true and found classes on one image, paired whatever their class.

    Returns
    -------
    ndarray of int, (n_classes + 1, n_classes + 1)
        Rows the truth, columns the answer; 0 is nothing: row 0 false objects, column 0 missed ones.

    Raises
    ------
    InputError
        As `count_objects`.
    """
    _check(found, marked, iou, n_classes)
    pairs = _pair(np.where(marked.crowd, 0.0, iou))
    inside = _in_crowd(marked, iou)
    false = ~inside
    false[pairs[:, 0]] = False
    missed = ~marked.crowd
    missed[pairs[:, 1]] = False
    out = np.zeros((n_classes + 1, n_classes + 1), np.int64)
    np.add.at(out, (marked.class_index[pairs[:, 1]], found.class_index[pairs[:, 0]]), 1)
    np.add.at(out[0], found.class_index[false], 1)
    np.add.at(out[:, 0], marked.class_index[missed], 1)
    return out


def hits_of(found: Objects, marked: Objects, iou: FloatArray) -> BoolArray:
    """Which found objects (n,) are right; see `count_objects`. Those in a crowd count as right."""
    same = found.class_index[:, None] == marked.class_index[None, :]
    out = _in_crowd(marked, np.where(same, iou, 0.0))
    out[_pair(np.where(same & ~marked.crowd, iou, 0.0))[:, 0]] = True
    return out


def panoptic_quality(counts: FloatArray) -> FloatArray:
    """Panoptic, segmentation and recognition quality.

    Kirillov et al., arXiv 1801.00868, eq. 1: PQ = SQ x RQ, SQ the mean IoU of right objects,
    RQ = TP / (TP + FP/2 + FN/2).

    Parameters
    ----------
    counts : ndarray, (..., 4)
        From `count_objects`, added over images.

    Returns
    -------
    ndarray, (..., 3)
        NaN where there is neither a marked nor a found object.
    """
    right, false, missed, overlap = np.moveaxis(np.asarray(counts, float), -1, 0)
    rq = _share(right, right + (false + missed) / 2)
    sq = np.where(right > 0, overlap / np.maximum(right, 1e-300), np.where(np.isnan(rq), rq, 0.0))
    return np.stack([sq * rq, sq, rq], axis=-1)


def detection_scores(counts: FloatArray) -> FloatArray:
    """Precision, recall and F1 of objects, (..., 3) from (..., 4); NaN where undefined."""
    right, false, missed, _ = np.moveaxis(np.asarray(counts, float), -1, 0)
    precision, recall = _share(right, right + false), _share(right, right + missed)
    return np.stack([precision, recall, _share(right, right + (false + missed) / 2)], axis=-1)


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan)


def _check(found: Objects, marked: Objects, iou: FloatArray, n_classes: int) -> None:
    if iou.shape != (len(found), len(marked)):
        raise InputError(f"overlaps {iou.shape} of {len(found)} found and {len(marked)} marked")
    classes = np.concatenate([found.class_index, marked.class_index])
    if len(classes) and not 1 <= classes.min() <= classes.max() <= n_classes:
        raise InputError(f"classes {classes.min()} to {classes.max()}: expected 1 to {n_classes}")


def _pair(iou: FloatArray) -> IntArray:
    """Pairs (k, 2) above `MATCH_IOU`, each row and column once, the largest overlap first."""
    near = np.argwhere(iou > MATCH_IOU)
    near = near[np.argsort(-iou[near[:, 0], near[:, 1]], kind="stable")]
    rows: set[int] = set()
    columns: set[int] = set()
    kept = []
    for i, j in near.tolist():
        if i not in rows and j not in columns:
            rows.add(i)
            columns.add(j)
            kept.append((i, j))
    return np.array(kept, np.int64).reshape(-1, 2)


def _in_crowd(marked: Objects, iou: FloatArray) -> BoolArray:
    """Which found objects lie for more than a half in one crowd."""
    return np.asarray((iou[:, marked.crowd] > MATCH_IOU).any(axis=1))
