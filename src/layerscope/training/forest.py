"""A forest of decision trees over pixel features: useful from a handful of labelled images.

Training needs no torch. The trees go into the same kind of file as a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerscope import __version__
from layerscope.core.examples import IGNORE
from layerscope.core.results import IntArray
from layerscope.errors import InputError, LayerscopeError, MissingExtra
from layerscope.io.atomic import write_bytes
from layerscope.models.card import ModelCard
from layerscope.models.file import CARD_KEY, open_session

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

FloatMatrix = npt.NDArray[np.float32]
OPSET_ML = 3
OPSET = 17
INPUT_NAME, OUTPUT_NAME = "features", "probabilities"
PARITY = 1e-5
"""Largest difference of a probability between the file and the forest."""

_TREES_PER_NODE = 5
"""Few trees stay in the processor's cache while all pixels pass: 100 trees with 412,000 nodes take
10 us per pixel in operators of five, 34 us in one operator (ONNX Runtime, one thread)."""


@dataclass(frozen=True)
class ForestSettings:
    """How a forest is grown.

    Attributes
    ----------
    trees : int
    least_leaf : int
        Samples that a leaf holds at least.
    seed : int
    jobs : int
        Trees grown at once; has no influence on the result.
    """

    trees: int = 100
    least_leaf: int = 2
    seed: int = 0
    jobs: int = 1


@dataclass(frozen=True, eq=False)
class PixelSamples:
    """Features and classes of pixels that were drawn from labelled images.

    Attributes
    ----------
    features : ndarray of float32, (N, F)
    classes : ndarray of uint8, (N,)
    weights : ndarray of float64, (N,)
        Pixels of the images that each one stands for, up to a factor.
    """

    features: FloatMatrix
    classes: npt.NDArray[np.uint8]
    weights: npt.NDArray[np.float64]


def draw_pixels(
    labels: npt.NDArray[np.uint8], number: int, rng: np.random.Generator
) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """Draw labelled pixels of one image, half of them evenly over its classes.

    Parameters
    ----------
    labels : ndarray of uint8, (H, W)
        Pixels that are `IGNORE` are not drawn.
    number : int
        About how many; no pixel is drawn twice.
    rng : Generator

    Returns
    -------
    index : ndarray of int64
        Into the flattened image, ascending.
    weights : ndarray of float64
        Inverse of the chance to be drawn, so that sums over classes estimate those of the image.
    """
    flat = labels.ravel()
    counts = np.bincount(flat, minlength=IGNORE + 1)[:IGNORE]
    present = np.flatnonzero(counts)
    total = int(counts.sum())
    parts: list[IntArray] = []
    weights: list[npt.NDArray[np.float64]] = []
    for value in present.tolist():
        share = 0.5 * counts[value] / total + 0.5 / len(present)
        wanted = min(int(counts[value]), max(1, round(number * share)))
        where = np.flatnonzero(flat == value)
        parts.append(np.sort(rng.choice(where, wanted, replace=False)))
        weights.append(np.full(wanted, counts[value] / wanted))
    if not parts:
        return np.empty(0, np.int64), np.empty(0)
    index = np.concatenate(parts)
    order = np.argsort(index)
    return index[order], np.concatenate(weights)[order]


def join_samples(samples: Sequence[PixelSamples]) -> PixelSamples:
    """All samples of several images as one."""
    return PixelSamples(
        np.concatenate([s.features for s in samples]),
        np.concatenate([s.classes for s in samples]),
        np.concatenate([s.weights for s in samples]),
    )


def grow_forest(samples: PixelSamples, settings: ForestSettings) -> RandomForestClassifier:
    """Grow a random forest on pixels (L. Breiman, Machine Learning 45, 5, 2001).

    Raises
    ------
    InputError
        If there are fewer than two classes.
    """
    from sklearn.ensemble import RandomForestClassifier

    if len(np.unique(samples.classes)) < 2:
        raise InputError("only one class is labelled; label pixels of a second one")
    forest = RandomForestClassifier(
        n_estimators=settings.trees,
        min_samples_leaf=settings.least_leaf,
        random_state=settings.seed,
        n_jobs=settings.jobs,
    )
    return forest.fit(
        samples.features, samples.classes, sample_weight=samples.weights / samples.weights.mean()
    )


def forest_graph(forest: RandomForestClassifier, outputs: int) -> Any:
    """Write a forest as an ONNX graph.

    Parameters
    ----------
    forest : RandomForestClassifier
        Grown by `grow_forest`; its classes are indices below `outputs`.
    outputs : int
        Classes of the model; those that the forest never saw get probability 0.

    Returns
    -------
    onnx.ModelProto
        ``features`` (N, F) float32 -> ``probabilities`` (N, outputs) float32, by the operator
        ``TreeEnsembleClassifier`` of ``ai.onnx.ml``.

    Raises
    ------
    MissingExtra
        If onnx is not installed.

    Notes
    -----
    scikit-learn compares float32 features with float64 thresholds. Each threshold is rounded down
    to float32, which sends every float32 feature the same way.
    """
    try:
        from onnx import TensorProto, helper
    except ImportError:
        raise MissingExtra.of("writing a model", "train") from None

    parts = [_one_tree(tree.tree_, forest, outputs) for tree in forest.estimators_]
    groups = [parts[i : i + _TREES_PER_NODE] for i in range(0, len(parts), _TREES_PER_NODE)]
    names = [f"share_{i}" for i in range(len(groups))]
    nodes = [
        helper.make_node(
            "TreeEnsembleClassifier",
            [INPUT_NAME],
            [f"class_{i}", name],
            domain="ai.onnx.ml",
            post_transform="NONE",
            classlabels_int64s=list(range(outputs)),
            **_attributes(group),
        )
        for i, (name, group) in enumerate(zip(names, groups, strict=True))
    ]
    nodes.append(helper.make_node("Sum", names, [OUTPUT_NAME]))
    width = forest.n_features_in_
    graph = helper.make_graph(
        nodes,
        "pixel_forest",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, ["N", width])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["N", outputs])],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", OPSET_ML)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def _attributes(trees: Sequence[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    """Attributes of one operator for several trees."""
    joined = {name: [v for tree in trees for v in tree[name]] for name in trees[0]}
    for kind, one in (("nodes", "nodes_nodeids"), ("class", "class_ids")):
        joined[f"{kind}_treeids"] = [i for i, tree in enumerate(trees) for _ in tree[one]]
    return joined


def _one_tree(tree: Any, forest: RandomForestClassifier, outputs: int) -> dict[str, list[Any]]:
    inner = tree.children_left >= 0
    nodes = np.arange(tree.node_count)
    values = tree.value[:, 0, :]
    share = np.zeros((tree.node_count, outputs))
    share[:, forest.classes_] = values / values.sum(axis=1, keepdims=True) / len(forest.estimators_)
    # Of two classes ONNX Runtime takes a lone score for that of the second: zeros are written too.
    told = (share > 0) | (outputs == 2)
    leaves, column = np.nonzero(told & ~inner[:, None])
    return {
        "nodes_nodeids": nodes.tolist(),
        "nodes_featureids": np.where(inner, tree.feature, 0).tolist(),
        "nodes_values": np.where(inner, _down(tree.threshold), 0).tolist(),
        "nodes_modes": np.where(inner, "BRANCH_LEQ", "LEAF").tolist(),
        "nodes_truenodeids": np.where(inner, tree.children_left, 0).tolist(),
        "nodes_falsenodeids": np.where(inner, tree.children_right, 0).tolist(),
        "class_nodeids": leaves.tolist(),
        "class_ids": column.tolist(),
        "class_weights": share[leaves, column].astype(np.float32).tolist(),
    }


def _down(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Largest float32 that is not above each threshold."""
    near = thresholds.astype(np.float32)
    below = np.nextafter(near, np.float32(-np.inf))
    return np.where(near.astype(np.float64) > thresholds, below, near)


def write_forest(
    forest: RandomForestClassifier, card: ModelCard, path: Path, sample: FloatMatrix
) -> ModelCard:
    """Write a forest as one ONNX file with its card.

    Parameters
    ----------
    forest : RandomForestClassifier
    card : ModelCard
        Parameters, parity and versions are filled in here.
    path : Path
    sample : ndarray of float32, (n, F)
        The file is asked about these and must agree with the forest.

    Raises
    ------
    LayerscopeError
        If ONNX Runtime and scikit-learn differ by more than `PARITY`.
    MissingExtra
        If onnx is not installed.
    """
    graph = forest_graph(forest, len(card.classes))
    parity = _parity(forest, graph.SerializeToString(), sample)
    if not parity <= PARITY:
        raise LayerscopeError(f"ONNX and forest differ by {parity:.2g}; the model was not written")
    filled = replace(
        card,
        parameters=sum(int(t.tree_.node_count) for t in forest.estimators_),
        metrics={**card.metrics, "onnx_parity": float(f"{parity:.1e}")},
        made_with={"layerscope": __version__}
        | {n: metadata.version(n) for n in ("scikit-learn", "onnx")},
    )
    entry = graph.metadata_props.add()
    entry.key, entry.value = CARD_KEY, filled.to_json()
    write_bytes(path, graph.SerializeToString(deterministic=True))
    return filled


def _parity(forest: RandomForestClassifier, graph: bytes, sample: FloatMatrix) -> float:
    answer = open_session(graph).run([OUTPUT_NAME], {INPUT_NAME: sample})[0]
    wanted = np.zeros_like(answer)
    wanted[:, forest.classes_] = forest.predict_proba(sample)
    return float(np.abs(answer - wanted).max())
