"""From a trained answerer to the one file that users get, checked against what was trained."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from layerscope import __version__
from layerscope.core.results import FloatArray
from layerscope.errors import LayerscopeError, MissingExtra
from layerscope.io.atomic import write_bytes
from layerscope.models.answers import FEATURES, IMAGE, LOGITS, SCALE
from layerscope.models.card import ModelCard
from layerscope.models.file import CARD_KEY
from layerscope.models.session import open_session
from layerscope.models.trees_file import OPSET_ML, tree_nodes
from layerscope.training.category_features import FeatureAnswers
from layerscope.training.category_linear import LinearAnswers
from layerscope.training.category_trees import FLOOR, TreeAnswers

PARITY = 1e-3
"""Largest difference between the file and what was trained, in logits or 1/1000 of the largest."""

_OPSET, _IR = 18, 9
_BATCH = 64


def write_features(
    answers: FeatureAnswers,
    temperatures: FloatArray,
    card: ModelCard,
    path: Path,
    sample: FloatArray,
) -> ModelCard:
    """Write what answers from features as one ONNX file with its card.

    Parameters
    ----------
    answers : FeatureAnswers
    temperatures : ndarray, (K,)
        Divided by, inside of the file.
    card : ModelCard
        Parameters, parity and versions are filled in here.
    path : Path
    sample : ndarray, (n, F)
        The file is asked about these.

    Raises
    ------
    LayerscopeError
        If the file answers differently.
    MissingExtra
        If onnx is not installed.
    """
    try:
        from onnx import helper
    except ImportError:
        raise MissingExtra.of("writing a model", "train") from None

    parts = [_linear_part(m) if isinstance(m, LinearAnswers) else _trees_part(m)
             for m in answers.members]  # fmt: skip
    named = [part.name for part in parts]
    gain = 1 / (len(parts) * temperatures)
    joined = (
        helper.make_node("Sum", named, ["sum"]),
        helper.make_node("Mul", ["sum", "gain"], [LOGITS]),
    )
    seen = sample.astype(np.float32)
    graph = helper.make_graph(
        [*(node for part in parts for node in part.nodes), *joined],
        "layerscope",
        [_table(FEATURES, seen.shape[1])],
        [_table(LOGITS, len(gain))],
        [*(c for part in parts for c in part.constants), _constant("gain", gain)],
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", OPSET_ML)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR)
    filled = replace(
        card,
        parameters=answers.parameters,
        made_with={"layerscope": __version__}
        | {n: metadata.version(n) for n in ("scikit-learn", "onnx")},
    )
    wanted = answers.logits(seen.astype(float)) / temperatures
    return _write(model, filled, path, {FEATURES: seen}, wanted)


class _Part(NamedTuple):
    """Piece of a graph that gives logits under a name."""

    name: str
    nodes: list[Any]
    constants: list[Any]


def _linear_part(linear: LinearAnswers) -> _Part:
    """Standardised before, not folded into the weights: float32 would lose a small spread."""
    from onnx import helper

    nodes = [
        helper.make_node("Sub", [FEATURES, "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "spread"], ["scaled"]),
        helper.make_node("Gemm", ["scaled", "weights", "bias"], ["linear"], transB=1),
    ]
    names = ("mean", "spread", "weights", "bias")
    return _Part("linear", nodes, [_constant(n, getattr(linear, n)) for n in names])


def _trees_part(trees: TreeAnswers) -> _Part:
    from onnx import NodeProto, helper

    votes = [f"votes_{i}" for i in range(len(trees.forests))]
    nodes = [
        NodeProto.FromString(node)
        for forest, given in zip(trees.forests, votes, strict=True)
        for node in tree_nodes(forest, FEATURES, given)
    ]
    nodes += [
        helper.make_node("Sum", [*votes, "floor"], ["votes"]),
        helper.make_node("Log", ["votes"], ["trees"]),
    ]
    return _Part("trees", nodes, [_constant("floor", np.full(trees.answers, FLOOR))])


def _constant(name: str, value: FloatArray) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(value.astype(np.float32), name)


def _table(name: str, columns: int) -> Any:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", columns])


def write_network(network: Any, temperatures: FloatArray, card: ModelCard, path: Path) -> ModelCard:
    """Write a classifier as one ONNX file with its card, and its weights beside it.

    Parameters
    ----------
    network : training.networks.network.Network
        ``network(picture, scale)``; not changed.
    temperatures : ndarray, (K,)
    card : ModelCard
    path : Path

    Raises
    ------
    LayerscopeError
        If the file answers differently.
    MissingExtra
        If onnx is not installed.
    """
    import torch

    from layerscope.training.category_network import Calibrated
    from layerscope.training.export import bare_graph, quiet_exporter, versions, write_weights

    ready = Calibrated(network, temperatures).eval()
    side = int(card.settings["size_px"])
    rng = np.random.default_rng(0)
    image = rng.standard_normal((3, card.channels, side, side), np.float32)
    scale = np.array([np.nan, 2e3, 5e5], np.float32)
    try:
        with quiet_exporter():
            program = torch.onnx.export(
                ready, (torch.from_numpy(image), torch.from_numpy(scale)), dynamo=True,
                opset_version=_OPSET, verbose=False, input_names=[IMAGE, SCALE],
                output_names=[LOGITS],
                dynamic_shapes=({0: _dim()}, {0: _dim()}),
            )  # fmt: skip
    except ImportError:
        raise MissingExtra.of("writing a model file", "train") from None
    with torch.no_grad():
        wanted = ready(torch.from_numpy(image), torch.from_numpy(scale)).numpy()
    filled = replace(
        card, parameters=sum(p.numel() for p in network.parameters()), made_with=versions()
    )
    graph = bare_graph(program.model_proto)
    written = _write(graph, filled, path, {IMAGE: image, SCALE: scale}, wanted)
    write_weights(network.state_dict(), written, path.with_suffix(".safetensors"))
    return written


def _dim() -> Any:
    import torch

    return torch.export.Dim("n", min=1, max=_BATCH)


def _write(
    graph: Any,
    card: ModelCard,
    path: Path,
    feeds: dict[str, npt.NDArray[np.float32]],
    wanted: FloatArray,
) -> ModelCard:
    """Write a graph with its card if it answers as wanted; the same graph, the same bytes."""
    parity = _parity(graph.SerializeToString(), feeds, wanted)
    if not parity <= PARITY:
        raise LayerscopeError(f"file and training differ by {parity:.2g}; nothing was written")
    filled = replace(card, metrics={**card.metrics, "onnx_parity": float(f"{parity:.1e}")})
    del graph.metadata_props[:]
    entry = graph.metadata_props.add()
    entry.key, entry.value = CARD_KEY, filled.to_json()
    write_bytes(path, graph.SerializeToString(deterministic=True))
    return filled


def _parity(content: bytes, feeds: dict[str, npt.NDArray[np.float32]], wanted: FloatArray) -> float:
    found = open_session(content).run([LOGITS], feeds)[0]
    return float(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max()))
