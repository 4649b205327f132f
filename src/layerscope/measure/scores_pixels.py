"""Scores of classified pixels: everything follows from the table of truth against answer."""

from __future__ import annotations

import numpy as np

from layerscope.core.examples import IGNORE, ClassPixels
from layerscope.core.results import FloatArray, IntArray
from layerscope.errors import InputError

PIXEL_SCORES = ("iou", "dice", "precision", "recall", "specificity")
"""Columns of `class_scores`."""


def confuse_pixels(truth: ClassPixels, answer: ClassPixels, n_classes: int) -> IntArray:
    """Count pixels by true class (rows) and answered class (columns).

    Parameters
    ----------
    truth, answer : ndarray of uint8, (H, W)
        Classes 0 to ``n_classes - 1``; where either is `IGNORE` a pixel is not counted.
    n_classes : int
        With the background.

    Returns
    -------
    ndarray of int, (n_classes, n_classes)

    Raises
    ------
    InputError
        If shapes differ or a class is out of range.
    """
    if truth.shape != answer.shape:
        raise InputError(f"labels of {truth.shape} and an answer of {answer.shape} px")
    pairs = np.bincount(
        (truth.astype(np.int32).ravel() << 8) | answer.astype(np.int32).ravel(), minlength=1 << 16
    ).reshape(256, 256)
    seen = pairs[:IGNORE, :IGNORE]
    if seen[n_classes:].any() or seen[:, n_classes:].any():
        raise InputError(f"a class beyond {n_classes - 1}: expected 0 to {n_classes - 1} or 255")
    return seen[:n_classes, :n_classes].astype(np.int64)


def class_scores(count: IntArray | FloatArray) -> FloatArray:
    """IoU, Dice, precision, recall and specificity of every class.

    Parameters
    ----------
    count : ndarray, (..., K, K)
        From `confuse_pixels`, added over whatever belongs together.

    Returns
    -------
    ndarray, (..., K, 5)
        In the order of `PIXEL_SCORES`. NaN where nothing defines it: IoU and Dice of a class that
        is neither there nor answered, precision of one never answered, recall of one not there.
    """
    table = np.asarray(count, float)
    right = np.diagonal(table, axis1=-2, axis2=-1)
    there, answered = table.sum(axis=-1), table.sum(axis=-2)
    absent = table.sum(axis=(-2, -1))[..., None] - there
    return np.stack(
        [
            _share(right, there + answered - right),
            _share(2 * right, there + answered),
            _share(right, answered),
            _share(right, there),
            _share(absent - (answered - right), absent),
        ],
        axis=-1,
    )


def accuracy(count: IntArray | FloatArray) -> FloatArray:
    """Share of right pixels, (...) from (..., K, K); NaN without pixels."""
    table = np.asarray(count, float)
    right = np.diagonal(table, axis1=-2, axis2=-1).sum(axis=-1)
    return _share(right, table.sum(axis=(-2, -1)))


def mean_over_classes(scores: FloatArray) -> FloatArray:
    """Mean over the last axis of what is not NaN; NaN where all is."""
    known = np.isfinite(scores)
    return _share(np.where(known, scores, 0.0).sum(axis=-1), known.sum(axis=-1).astype(float))


def majority_table(count: IntArray | FloatArray) -> FloatArray:
    """Table (..., K, K) if every pixel were given the most frequent true class."""
    there = np.asarray(count, float).sum(axis=-1)
    out = np.zeros(np.shape(count))
    most = np.expand_dims(there.argmax(axis=-1), (-2, -1))
    np.put_along_axis(out, np.broadcast_to(most, (*there.shape, 1)), there[..., None], axis=-1)
    return out


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan)
