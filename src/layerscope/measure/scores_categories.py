"""Scores of answers to one question, and of two labellers against each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from layerscope.core.evaluation import Figure
from layerscope.core.results import FloatArray, IntArray
from layerscope.errors import InputError
from layerscope.measure.scores_bootstrap import group_weights, interval_of, why_no_interval
from layerscope.measure.scores_pixels import (
    accuracy,
    class_scores,
    majority_table,
    mean_over_classes,
)

CATEGORY_SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "kappa")
"""Columns of `category_scores`."""

_F1, _RECALL = 1, 3  # columns of `class_scores`: Dice of counts is F1


def category_scores(count: IntArray | FloatArray) -> FloatArray:
    """Accuracy, balanced accuracy, macro-F1 and Cohen's kappa.

    Balanced accuracy is the mean recall of the answers that occur; macro-F1 the mean F1 of those
    that occur or are given. Kappa (J. Cohen, Educ. Psychol. Meas. 20, 37 (1960)) is the share of
    agreement beyond that of chance: 0 for any constant answer.

    Parameters
    ----------
    count : ndarray, (..., K, K)
        Images by true (rows) and given answer (columns).

    Returns
    -------
    ndarray, (..., 4)
        In the order of `CATEGORY_SCORES`; NaN without images, and for kappa where both sides always
        give one and the same answer.
    """
    table = np.asarray(count, float)
    each = class_scores(table)
    return np.stack(
        [
            accuracy(table),
            mean_over_classes(each[..., _RECALL]),
            mean_over_classes(each[..., _F1]),
            _kappa(table),
        ],
        axis=-1,
    )


def _kappa(table: FloatArray) -> FloatArray:
    whole = table.sum(axis=(-2, -1))
    safe = np.where(whole > 0, whole, 1.0)
    chance = (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1) / safe**2
    agreed = np.diagonal(table, axis1=-2, axis2=-1).sum(axis=-1) / safe
    room = 1 - chance
    known = (whole > 0) & (room > 1e-12)
    return np.where(known, (agreed - chance) / np.where(known, room, 1.0), np.nan)


def answer_tables(
    truth: IntArray, given: IntArray, n_answers: int, weights: FloatArray | None = None
) -> FloatArray:
    """Count images by true (rows) and given answer (columns).

    Parameters
    ----------
    truth, given : ndarray of int, (n,)
        Positions of answers.
    n_answers : int
    weights : ndarray, (b, n), optional
        How often each image counts; one table per row. Default once, one table.

    Returns
    -------
    ndarray, (b, K, K) or (K, K)

    Raises
    ------
    InputError
        If the sides are not of one length, or an answer is out of range.
    """
    if truth.shape != given.shape or truth.ndim != 1:
        raise InputError(f"answers of {truth.shape} and {given.shape}: expected (n,) of both")
    both = np.concatenate([truth, given])
    if len(both) and not (both.min() >= 0 and both.max() < n_answers):
        raise InputError(f"answers {both.min()} to {both.max()}: expected 0 to {n_answers - 1}")
    pairs = np.zeros((len(truth), n_answers * n_answers))
    pairs[np.arange(len(truth)), truth * n_answers + given] = 1
    if weights is None:
        return np.asarray(pairs.sum(axis=0).reshape(n_answers, n_answers))
    return np.asarray((weights @ pairs).reshape(len(weights), n_answers, n_answers))


def category_figures(
    question: str, truth: IntArray, given: IntArray, n_answers: int, groups: Sequence[str]
) -> tuple[Figure, ...]:
    """Scores of one question with 95 % intervals over specimens, beside the majority answer's.

    Parameters
    ----------
    question : str
    truth, given : ndarray of int, (n,)
    n_answers : int
    groups : sequence of str, (n,)
        Specimen of each image.
    """
    table = answer_tables(truth, given, n_answers)
    value, trivial = category_scores(table), category_scores(majority_table(table))
    note = "no image" if not len(truth) else why_no_interval(groups)
    low = high = np.full(len(CATEGORY_SCORES), np.nan)
    if not note:
        drawn = answer_tables(truth, given, n_answers, group_weights(groups))
        low, high = interval_of(category_scores(drawn))
    return tuple(
        Figure(
            name, question, float(value[i]), float(low[i]), float(high[i]), float(trivial[i]),
            "most frequent answer", note,
        )
        for i, name in enumerate(CATEGORY_SCORES)
    )  # fmt: skip
