"""Decision trees as arrays: what a forest is, whoever grew it and whatever asks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerscope.core.results import IntArray
from layerscope.errors import InputError

if TYPE_CHECKING:
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        RandomForestClassifier,
        RandomForestRegressor,
    )

LEAF = -1


@dataclass(frozen=True, eq=False)
class Trees:
    """Several decision trees over the same features; their leaves' shares add up to a probability.

    Attributes
    ----------
    starts : ndarray of int64, (T + 1,)
        Tree t has the nodes ``starts[t]`` to ``starts[t + 1]``; the first is its root.
    feature : ndarray of int32, (N,)
        What an inner node looks at; `LEAF` at a leaf.
    threshold : ndarray of float32, (N,)
        A feature of at most this goes left.
    left, right : ndarray of int32, (N,)
        Child, as a position in all nodes; 0 at a leaf.
    share : ndarray of float32, (N, K)
        What a leaf adds to the probability of each class.
    features : int
        How many the trees may look at.
    """

    starts: IntArray
    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float32]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    share: npt.NDArray[np.float32]
    features: int

    def __post_init__(self) -> None:
        nodes = len(self.feature)
        if any(len(a) != nodes for a in (self.threshold, self.left, self.right, self.share)):
            raise InputError("trees: expected as many of everything as there are nodes")
        ends = self.starts[:1].tolist(), self.starts[-1:].tolist()
        if len(self) < 1 or ends != ([0], [nodes]) or np.any(np.diff(self.starts) < 1):
            raise InputError("trees: expected one or more, that share out the nodes")
        inner = self.feature != LEAF
        position = np.arange(nodes)
        both = np.concatenate([self.left[inner], self.right[inner]])
        if np.any(both <= np.tile(position[inner], 2)) or np.any(both >= nodes):
            raise InputError("trees: a child must come after its parent")
        if len(np.unique(both)) < len(both):
            raise InputError("trees: two nodes have the same child")
        if np.any(self.feature >= self.features) or np.any(self.feature < LEAF):
            raise InputError(f"trees: they look at features beyond {self.features}")

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.share.shape[1])

    @property
    def splits(self) -> int:
        """Inner nodes of all trees."""
        return int((self.feature != LEAF).sum())

    @property
    def pure(self) -> bool:
        """Whether every leaf votes for one class, and all votes weigh the same."""
        leaves = self.share[self.feature == LEAF]
        told = leaves[leaves > 0]
        return bool(np.all((leaves > 0).sum(axis=1) == 1) and np.ptp(told) <= 1e-6 * told.max())

    def probabilities(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Ask the trees as they are defined, node by node; slow, for comparison.

        Parameters
        ----------
        rows : ndarray of float32, (n, F)

        Returns
        -------
        ndarray, (n, K)
        """
        total = np.zeros((len(rows), self.classes))
        everyone = np.arange(len(rows))
        for root in self.starts[:-1].tolist():
            at = np.full(len(rows), root)
            while np.any(moving := self.feature[at] != LEAF):
                here, who = at[moving], everyone[moving]
                goes_left = rows[who, self.feature[here]] <= self.threshold[here]
                at[moving] = np.where(goes_left, self.left[here], self.right[here])
            total += self.share[at]
        return total


def trees_of(forest: RandomForestClassifier | ExtraTreesClassifier, classes: int) -> Trees:
    """Take the trees out of a forest of scikit-learn.

    Parameters
    ----------
    forest : RandomForestClassifier or ExtraTreesClassifier
        Its classes are indices below `classes`.
    classes : int
        Those that the forest never saw get probability 0.

    Notes
    -----
    scikit-learn compares float32 features with float64 thresholds. Each threshold is rounded down
    to float32, which sends every float32 feature the same way.
    """
    shares = np.concatenate([_shares(t.tree_) for t in forest.estimators_])
    of_all = np.zeros((len(shares), classes), np.float32)
    of_all[:, np.asarray(forest.classes_, int)] = shares / len(forest.estimators_)
    return _joined(forest, of_all)


def regression_trees(forest: RandomForestRegressor) -> Trees:
    """Take the trees out of a forest of scikit-learn that predicts one number.

    Each leaf's share is its own prediction: the forest's is the mean over the trees.
    """
    return _joined(forest, np.concatenate([t.tree_.value[:, 0, :] for t in forest.estimators_]))


def _joined(forest: Any, share: npt.NDArray[Any]) -> Trees:
    trees = [t.tree_ for t in forest.estimators_]
    starts = np.concatenate([[0], np.cumsum([t.node_count for t in trees])]).astype(np.int64)
    inner = np.concatenate([t.children_left >= 0 for t in trees])
    return Trees(
        starts,
        np.where(inner, np.concatenate([t.feature for t in trees]), LEAF).astype(np.int32),
        np.where(inner, round_down(np.concatenate([t.threshold for t in trees])), 0).astype("f4"),
        _children([t.children_left for t in trees], starts, inner),
        _children([t.children_right for t in trees], starts, inner),
        np.where(inner[:, None], 0, share).astype(np.float32),
        int(forest.n_features_in_),
    )


def _shares(tree: Any) -> npt.NDArray[np.float64]:
    values = tree.value[:, 0, :]
    return np.asarray(values / values.sum(axis=1, keepdims=True))


def _children(
    of_trees: Sequence[IntArray], starts: IntArray, inner: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int32]:
    moved = [child + start for child, start in zip(of_trees, starts[:-1], strict=True)]
    return np.where(inner, np.concatenate(moved), 0).astype(np.int32)


def round_down(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Largest float32 that is not above each threshold."""
    near = thresholds.astype(np.float32)
    below = np.nextafter(near, np.float32(-np.inf))
    return np.where(near.astype(np.float64) > thresholds, below, near)
