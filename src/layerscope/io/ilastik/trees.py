"""Decision trees as VIGRA stores them: two arrays of numbers per tree, and what they mean.

``topology`` (whole numbers): number of features, number of classes, then the nodes, the root first.
A node that asks is ``[0, p, left, right, column]``; `p` is its place in ``parameters``, where its
weight and its threshold stand: left where the feature is below the threshold. A node that answers
is ``[0x40000000, p]``; in ``parameters`` its weight, then a share for each class.
(VIGRA, ``random_forest/rf_nodeproxy.hxx``.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray
from layerscope.errors import InputError, UnreadableFile

_HEADER = 2
_ASKS = 0
_ANSWERS = 0x40000000
_ASKING, _ANSWERING = 5, 2
"""Numbers that a node takes in the topology."""

_ROWS = 32_768
"""Pixels that go through a tree at once: a row of theirs stays in the cache."""


@dataclass(frozen=True, eq=False)
class Nodes:
    """One tree with its nodes in a row, the root first, for going down it with many pixels at once.

    Attributes
    ----------
    column : ndarray of int32, (N,)
        Feature that a node asks for; -1 where it answers.
    threshold : ndarray of float64, (N,)
        Left below it.
    left, right : ndarray of int32, (N,)
        Next node; the node itself where it answers.
    shares : ndarray of float64, (N, K)
        Of the classes, where it answers.
    """

    column: npt.NDArray[np.int32]
    threshold: FloatArray
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    shares: FloatArray

    def add_shares(self, planes: npt.NDArray[np.float32], out: FloatArray) -> None:
        """Add the shares of the leaf that each pixel ends in to `out` (n, K).

        Parameters
        ----------
        planes : ndarray of float32, (F, n)
            A row per feature: pixels go down together, node by node, so that each question reads
            one row: less than half of the time of following every pixel.
        out : ndarray of float64, (n, K)
        """
        waiting = [(0, np.arange(planes.shape[1]))]
        while waiting:
            node, pixels = waiting.pop()
            if self.column[node] < 0:
                out[pixels] += self.shares[node]
                continue
            below = planes[self.column[node]].take(pixels) < self.threshold[node]
            ways = ((self.left[node], pixels[below]), (self.right[node], pixels[~below]))
            waiting += [(int(child), part) for child, part in ways if len(part)]


@dataclass(frozen=True, eq=False)
class TreeArrays:
    """The two arrays of a tree, as they are stored."""

    topology: npt.NDArray[np.int32]
    parameters: FloatArray

    @cached_property
    def nodes(self) -> Nodes:
        """The tree, decoded.

        Raises
        ------
        UnreadableFile
            If an address leads out of the arrays or back up, or a node is of another kind.
        """
        return _decode(self)

    @property
    def features(self) -> int:
        """Features that it was trained on."""
        return int(self.topology[0]) if len(self.topology) else 0

    @property
    def classes(self) -> int:
        """Classes that it tells apart."""
        return int(self.topology[1]) if len(self.topology) > 1 else 0


@dataclass(frozen=True, eq=False)
class VigraForest:
    """A trained random forest.

    Attributes
    ----------
    trees : tuple of TreeArrays
    labels : tuple of int
        Label that each class of the trees stands for.
    """

    trees: tuple[TreeArrays, ...]
    labels: tuple[int, ...]

    def __post_init__(self) -> None:
        counts = {(t.features, t.classes) for t in self.trees}
        if len(counts) != 1 or len(self.labels) != self.trees[0].classes:
            raise UnreadableFile(
                f"{len(self.trees)} trees for {sorted(counts)} features and classes and "
                f"{len(self.labels)} labels; expected trees of one forest"
            )

    @property
    def features(self) -> int:
        """Features that it was trained on."""
        return self.trees[0].features

    def probabilities(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Probability of every class of `labels`.

        Parameters
        ----------
        features : ndarray of float32, (n, F)
            In the order in which it was trained.

        Returns
        -------
        ndarray of float32, (n, K)
            The sum of the shares of all trees, over their sum over all classes.

        Raises
        ------
        InputError
            If there are other features than it was trained on.
        UnreadableFile
            If a tree is damaged.
        """
        if features.ndim != 2 or features.shape[1] != self.features:
            raise InputError(
                f"features {features.shape}; the forest was trained on {self.features} a pixel"
            )
        out = np.empty((len(features), len(self.labels)), np.float32)
        for start in range(0, len(features), _ROWS):
            planes = np.ascontiguousarray(features[start : start + _ROWS].T)
            total = np.zeros((planes.shape[1], len(self.labels)))
            for tree in self.trees:
                tree.nodes.add_shares(planes, total)
            out[start : start + _ROWS] = total / total.sum(1, keepdims=True)
        return out


def encode_nodes(nodes: Nodes, features: int) -> TreeArrays:
    """Arrays of a tree; the reverse of `TreeArrays.nodes`."""
    classes = nodes.shares.shape[1]
    asks = nodes.column >= 0
    sizes = np.where(asks, _ASKING, _ANSWERING)
    places = _HEADER + np.r_[0, np.cumsum(sizes)[:-1]]
    values = np.where(asks, 2, 1 + classes)
    starts = np.r_[0, np.cumsum(values)[:-1]]
    topology, parameters = [features, classes], []
    for i in range(len(asks)):
        if asks[i]:
            ways = (places[nodes.left[i]], places[nodes.right[i]], nodes.column[i])
            topology += [_ASKS, starts[i], *ways]
            parameters += [1.0, nodes.threshold[i]]
        else:
            topology += [_ANSWERS, starts[i]]
            parameters += [1.0, *nodes.shares[i]]
    return TreeArrays(np.array(topology, np.int32), np.array(parameters, float))


def _decode(tree: TreeArrays) -> Nodes:
    """Walk the tree from its root; every node is met once, or the file is damaged."""
    topology, parameters = tree.topology.tolist(), tree.parameters
    number: dict[int, int] = {}
    found: list[Sequence[int]] = []
    waiting = [_HEADER]
    while waiting:
        place = waiting.pop()
        node = _node(topology, place)
        if place in number:
            raise UnreadableFile(f"tree: two ways lead to the node at {place}: damaged")
        number[place] = len(found)
        found.append(node)
        if node[0] == _ASKS:
            waiting += [node[3], node[2]]
    return _in_a_row(found, number, parameters, (tree.features, tree.classes))


def _node(topology: Sequence[int], place: int) -> Sequence[int]:
    kind = topology[place] if _HEADER <= place < len(topology) else -1
    length = {_ASKS: _ASKING, _ANSWERS: _ANSWERING}.get(kind)
    if length is None or place + length > len(topology):
        raise UnreadableFile(f"tree: no node of a known kind at {place} of {len(topology)}")
    return topology[place : place + length]


def _in_a_row(
    found: Sequence[Sequence[int]],
    number: dict[int, int],
    parameters: FloatArray,
    of: tuple[int, int],
) -> Nodes:
    features, classes = of
    n = len(found)
    column, own = np.full(n, -1, np.int32), np.arange(n, dtype=np.int32)
    left, right = own.copy(), own.copy()
    threshold, shares = np.zeros(n), np.zeros((n, classes))
    for i, node in enumerate(found):
        asks = node[0] == _ASKS
        values = parameters[max(node[1], 0) : max(node[1], 0) + (2 if asks else 1 + classes)]
        if len(values) < (2 if asks else 1 + classes) or not np.isfinite(values).all():
            raise UnreadableFile(f"tree: parameters at {node[1]} are missing or not finite")
        if not asks:
            shares[i] = values[1:]
        elif not 0 <= node[4] < features:
            raise UnreadableFile(f"tree: asks for feature {node[4]} of {features}")
        else:
            left[i], right[i], column[i] = number[node[2]], number[node[3]], node[4]
            threshold[i] = values[1]
    if (shares[column < 0] < 0).any() or not (shares[column < 0].sum(1) > 0).all():
        raise UnreadableFile("tree: an answer with shares below 0, or of 0 in all")
    return Nodes(column, threshold, left, right, shares)
