"""Forests as ONNX graphs, written and read without the onnx package.

The operator is ``TreeEnsembleClassifier`` of ``ai.onnx.ml``; numbers of fields are those of
``onnx.proto``, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. A forest that asks what
another said of the surroundings stands beside it in the same graph: the first takes ``features``
and answers with ``context``, the last answers with ``probabilities``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.results import IntArray
from layerscope.errors import UnreadableFile
from layerscope.models.protobuf import chunk, fields_of, integers, number, varints
from layerscope.models.trees import LEAF, Trees

INPUT_NAMES = ("features", "features_with_context")
OUTPUT_NAME, CONTEXT_NAME = "probabilities", "context"
OPSET, OPSET_ML, IR_VERSION = 17, 3, 9

_TREES_PER_NODE = 5
"""Few trees stay in the processor's cache while all pixels pass: 100 trees with 412,000 nodes take
10 us per pixel in operators of five, 34 us in one operator (ONNX Runtime, one thread)."""

_OPERATOR, _DOMAIN = "TreeEnsembleClassifier", "ai.onnx.ml"
_FLOATS, _INTS, _STRINGS = (7, 6), (8, 7), (9, 8)  # field and kind of an attribute
_INTEGER, _TEXT = (3, 2), (4, 3)
_MODES = ("BRANCH_LEQ", "LEAF")


def forest_graph(stages: Sequence[Trees], metadata: Mapping[str, str] | None = None) -> bytes:
    """Write one forest, or one and the one that sees its answers, as an ONNX model.

    Parameters
    ----------
    stages : sequence of Trees
        One or two.
    metadata : mapping of str to str, optional
        Kept in the file.

    Returns
    -------
    bytes
        A serialised ``ModelProto``; the same for the same trees.
    """
    last = len(stages) - 1
    outputs = [OUTPUT_NAME if i == last else CONTEXT_NAME for i in range(len(stages))]
    graph = [chunk(2, "pixel_forest")]
    for trees, taken, given in zip(stages, INPUT_NAMES, outputs, strict=False):
        graph += [chunk(1, node) for node in tree_nodes(trees, taken, given)]
    graph += [
        chunk(11, _table(name, trees.features))
        for name, trees in zip(INPUT_NAMES, stages, strict=False)
    ]
    graph += [chunk(12, _table(name, stages[0].classes)) for name in reversed(outputs)]
    opsets = [chunk(8, number(2, OPSET)), chunk(8, chunk(1, _DOMAIN) + number(2, OPSET_ML))]
    kept = [chunk(14, chunk(1, k) + chunk(2, v)) for k, v in (metadata or {}).items()]
    return b"".join([number(1, IR_VERSION), *opsets, chunk(7, b"".join(graph)), *kept])


def _table(name: str, columns: int) -> bytes:
    """Describe a float32 table (N, columns)."""
    shape = chunk(1, chunk(2, "N")) + chunk(1, number(1, columns))
    return chunk(1, name) + chunk(2, chunk(1, number(1, 1) + chunk(2, shape)))


def tree_nodes(trees: Trees, taken: str, given: str) -> Iterator[bytes]:
    """Write the operators, each a ``NodeProto``, that ask `trees` about the table `taken`.

    The last gives the probabilities under the name `given`.
    """
    shares = []
    for first in range(0, len(trees), _TREES_PER_NODE):
        shares.append(f"{given}_{first}")
        yield _node(
            _OPERATOR, [taken], [f"{shares[-1]}_class", shares[-1]], _DOMAIN,
            _attributes(trees, first, min(first + _TREES_PER_NODE, len(trees))),
        )  # fmt: skip
    yield _node("Sum", shares, [given], "", b"")


def _node(
    operator: str, taken: Sequence[str], given: Sequence[str], domain: str, attributes: bytes
) -> bytes:
    parts = [chunk(1, name) for name in taken] + [chunk(2, name) for name in given]
    return b"".join([*parts, chunk(4, operator), attributes, chunk(7, domain)])


def _attribute(name: str, kind: tuple[int, int], content: bytes) -> bytes:
    """Encode an attribute; `content` holds its fields already."""
    return chunk(5, chunk(1, name) + content + number(20, kind[1]))


def _ints(name: str, values: IntArray | npt.NDArray[np.int32]) -> bytes:
    return _attribute(name, _INTS, chunk(_INTS[0], varints(values)))


def _floats(name: str, values: npt.NDArray[np.float32]) -> bytes:
    return _attribute(name, _FLOATS, chunk(_FLOATS[0], values.astype("<f4").tobytes()))


def _attributes(trees: Trees, first: int, last: int) -> bytes:
    """Trees `first` to `last`, as the attributes of one operator."""
    nodes = slice(int(trees.starts[first]), int(trees.starts[last]))
    starts = trees.starts[first : last + 1] - nodes.start
    tree = np.repeat(np.arange(last - first), np.diff(starts))
    inner, share = trees.feature[nodes] != LEAF, trees.share[nodes]
    own = np.arange(len(inner)) - starts[tree]
    # Of two classes ONNX Runtime takes a lone score for that of the second: zeros are written too.
    leaf, column = np.nonzero(((share > 0) | (trees.classes == 2)) & ~inner[:, None])
    shift = nodes.start + starts[tree]
    modes = b"".join(chunk(_STRINGS[0], _MODES[0] if i else _MODES[1]) for i in inner.tolist())
    return b"".join(
        [
            _ints("nodes_treeids", tree),
            _ints("nodes_nodeids", own),
            _ints("nodes_featureids", np.where(inner, trees.feature[nodes], 0)),
            _floats("nodes_values", trees.threshold[nodes]),
            _attribute("nodes_modes", _STRINGS, modes),
            _ints("nodes_truenodeids", np.where(inner, trees.left[nodes] - shift, 0)),
            _ints("nodes_falsenodeids", np.where(inner, trees.right[nodes] - shift, 0)),
            _ints("class_treeids", tree[leaf]),
            _ints("class_nodeids", own[leaf]),
            _ints("class_ids", column),
            _floats("class_weights", share[leaf, column]),
            _ints("classlabels_int64s", np.arange(trees.classes)),
            _attribute("post_transform", _TEXT, chunk(_TEXT[0], "NONE")),
        ]
    )


def read_forests(content: bytes) -> tuple[Trees, ...]:
    """Read the forests of an ONNX model that layerscope wrote.

    Parameters
    ----------
    content : bytes
        A serialised ``ModelProto``.

    Returns
    -------
    tuple of Trees
        The one that others ask, then the one that answers.

    Raises
    ------
    UnreadableFile
        If it holds other operators than tree ensembles and their sum.
    """
    try:
        return _read(content)
    except (KeyError, IndexError, ValueError, TypeError, OverflowError) as reason:
        raise UnreadableFile(f"the trees of this model cannot be used: {reason}") from None


def _read(content: bytes) -> tuple[Trees, ...]:
    graph = _messages(content, 7)[0]
    widths = dict(_width(described) for described in _messages(graph, 11))
    groups: dict[str, list[dict[str, Any]]] = {}
    for node in _messages(graph, 1):
        operator = _messages(node, 4)[0].decode()
        if operator == _OPERATOR:
            name = _messages(node, 1)[0].decode()
            groups.setdefault(name, []).append(dict(_read_attribute(a) for a in _messages(node, 5)))
        elif operator != "Sum":
            raise UnreadableFile(f"a forest with the operator {operator}; expected trees alone")
    known = [name for name in INPUT_NAMES if name in groups]
    if not known or len(known) < len(groups):
        raise UnreadableFile("a forest without trees, or with an unknown input")
    return tuple(_trees(groups[name], widths[name]) for name in known)


def _messages(message: bytes, wanted: int) -> list[bytes]:
    return [v for field, _, v in fields_of(message) if field == wanted and isinstance(v, bytes)]


def _width(described: bytes) -> tuple[str, int]:
    name, kind = _messages(described, 1)[0].decode(), _messages(described, 2)[0]
    shape = _messages(_messages(kind, 1)[0], 2)[0]
    size = [v for field, _, v in fields_of(_messages(shape, 1)[1]) if field == 1]
    return name, int(size[0])


def _read_attribute(message: bytes) -> tuple[str, Any]:
    name, found = "", ""
    several: list[bytes] = []
    one: list[int] = []
    kinds = {_FLOATS[0]: "<f4", _INTS[0]: "int", _STRINGS[0]: "text"}
    for field, _, value in fields_of(message):
        if field == 1 and isinstance(value, bytes):
            name = value.decode()
        elif field in kinds:
            found = kinds[field]
            if isinstance(value, bytes):
                several.append(value)
            else:
                one.append(value)
    if found == "<f4":  # packed, or four bytes each: the same when joined
        return name, np.frombuffer(b"".join(several), "<f4")
    if found == "int":
        return name, integers(b"".join(several)) if several else np.array(one, np.int64)
    return name, [v.decode() for v in several]


def _trees(groups: Sequence[Mapping[str, Any]], features: int) -> Trees:
    parts = [_group(group, features) for group in groups]
    shift = np.cumsum([0, *(len(p.feature) for p in parts)])
    moved = [p.starts[:-1] + s for p, s in zip(parts, shift, strict=False)]

    def children(which: str) -> npt.NDArray[np.int32]:
        both = zip(parts, shift, strict=False)
        return np.concatenate(
            [np.where(p.feature != LEAF, getattr(p, which) + s, 0) for p, s in both]
        ).astype(np.int32)

    return Trees(
        np.concatenate([*moved, shift[-1:]]),
        np.concatenate([p.feature for p in parts]),
        np.concatenate([p.threshold for p in parts]),
        children("left"),
        children("right"),
        np.concatenate([p.share for p in parts]),
        features,
    )


def _group(found: Mapping[str, Any], features: int) -> Trees:
    """Trees of one operator."""
    tree = found["nodes_treeids"]
    starts = np.concatenate([np.flatnonzero(np.diff(tree, prepend=-1)), [len(tree)]])
    leaf = np.array([mode == _MODES[1] for mode in found["nodes_modes"]])
    if not set(found["nodes_modes"]) <= set(_MODES) or np.any(np.diff(tree) < 0):
        raise UnreadableFile(f"trees with other questions than {_MODES[0]}, or out of order")
    share = np.zeros((len(tree), len(found["classlabels_int64s"])), np.float32)
    share[starts[found["class_treeids"]] + found["class_nodeids"], found["class_ids"]] = found[
        "class_weights"
    ]
    first = starts[:-1][np.repeat(np.arange(len(starts) - 1), np.diff(starts))]
    return Trees(
        starts.astype(np.int64),
        np.where(leaf, LEAF, found["nodes_featureids"]).astype(np.int32),
        np.where(leaf, 0, found["nodes_values"]).astype(np.float32),
        np.where(leaf, 0, found["nodes_truenodeids"] + first).astype(np.int32),
        np.where(leaf, 0, found["nodes_falsenodeids"] + first).astype(np.int32),
        share,
        features,
    )
