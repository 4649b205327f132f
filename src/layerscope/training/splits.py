"""Splits of a data set by specimen: examples of one group never lie on both sides.

Tiles or images of one specimen look alike; a split between them measures memory, not learning.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from layerscope.core.results import IntArray
from layerscope.errors import InputError

Split = tuple[IntArray, IntArray]


def grouped_folds(groups: Sequence[str], n_folds: int, seed: int = 0) -> list[Split]:
    """Split examples for cross-validation.

    Parameters
    ----------
    groups : sequence of str
        Group of each example.
    n_folds : int
        2 or more, not more than there are groups.
    seed : int
        Which groups meet in a fold. The order of the examples has no influence.

    Returns
    -------
    list of (train, test)
        Positions, ascending. Each example is in one test part. The folds are as equal in size as
        whole groups allow: the largest group goes first, each to the smallest fold.

    Raises
    ------
    InputError
        If there are fewer groups than folds.
    """
    names, sizes = _shuffled(groups, seed)
    if not 2 <= n_folds <= len(names):
        raise InputError(
            f"{n_folds} folds of {len(names)} groups: expected 2 to {len(names)}; label more "
            "specimens, or tell groups apart with groups.csv"
        )
    filled = np.zeros(n_folds, np.int64)
    fold_of: dict[str, int] = {}
    for i in sorted(range(len(names)), key=lambda i: -sizes[i]):
        fold = int(filled.argmin())
        fold_of[names[i]] = fold
        filled[fold] += sizes[i]
    folds = np.array([fold_of[g] for g in groups])
    return [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(n_folds)]


def hold_out(groups: Sequence[str], share: float = 0.2, seed: int = 0) -> Split:
    """Keep about `share` of the examples for a test, in whole groups.

    Parameters
    ----------
    groups : sequence of str
        Group of each example.
    share : float
        Between 0 and 1. Groups are drawn and kept where that brings the test part nearer to its
        share; neither part is empty.
    seed : int
        The order of the examples has no influence.

    Returns
    -------
    train, test : ndarray of int
        Positions, ascending.

    Raises
    ------
    InputError
        If there are fewer than two groups, or no such share.
    """
    names, sizes = _shuffled(groups, seed)
    if not 0 < share < 1:
        raise InputError(f"a share of {share}: expected between 0 and 1")
    if len(names) < 2:
        raise InputError(
            f"{len(names)} group cannot be split; label a second specimen, or tell groups apart "
            "with groups.csv"
        )
    wanted, taken = share * len(groups), 0
    test: set[str] = set()
    for name, size in zip(names, sizes, strict=True):
        nearer = abs(taken + size - wanted) < abs(taken - wanted)
        if nearer and len(test) + 1 < len(names):
            test.add(name)
            taken += size
    test = test or {min(zip(sizes, names, strict=True), key=lambda pair: pair[0])[1]}
    is_test = np.array([g in test for g in groups])
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def _shuffled(groups: Sequence[str], seed: int) -> tuple[list[str], list[int]]:
    """Distinct groups in an order drawn by `seed`, and the number of examples of each."""
    names, counts = np.unique(np.asarray(groups, str), return_counts=True)
    order = np.random.default_rng([seed, 0x5B17]).permutation(len(names))
    return [str(names[i]) for i in order], [int(counts[i]) for i in order]
