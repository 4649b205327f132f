"""From a trained answerer to the one file that users get, checked against what was trained."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope import __version__
from layerscope.core.results import FloatArray
from layerscope.errors import LayerscopeError, MissingExtra
from layerscope.io.atomic import write_bytes
from layerscope.models.answers import FEATURES, IMAGE, LOGITS, SCALE
from layerscope.models.card import ModelCard
from layerscope.models.file import CARD_KEY, open_session
from layerscope.training.category_linear import LinearAnswers

PARITY = 1e-3
"""Largest difference between the file and what was trained, in logits or 1/1000 of the largest."""

_OPSET, _IR = 18, 9
_BATCH = 64


def write_linear(
    linear: LinearAnswers, temperatures: FloatArray, card: ModelCard, path: Path, sample: FloatArray
) -> ModelCard:
    """Write a linear model on features as one ONNX file with its card.

    Parameters
    ----------
    linear : LinearAnswers
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
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise MissingExtra.of("writing a model", "train") from None

    # Standardised before, not folded into the weights: float32 would lose what a small spread has.
    constants = {
        "mean": linear.mean,
        "spread": linear.spread,
        "weights": linear.weights / temperatures[:, None],
        "bias": linear.bias / temperatures,
    }
    graph = helper.make_graph(
        [
            helper.make_node("Sub", [FEATURES, "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "spread"], ["scaled"]),
            helper.make_node("Gemm", ["scaled", "weights", "bias"], [LOGITS], transB=1),
        ],
        "layerscope",
        [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["N", len(linear.mean)])],
        [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["N", len(linear.bias)])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR
    )
    seen = sample.astype(np.float32)
    wanted = linear.logits(seen.astype(float)) / temperatures
    filled = replace(
        card,
        parameters=linear.weights.size + linear.bias.size,
        made_with={"layerscope": __version__}
        | {n: metadata.version(n) for n in ("scikit-learn", "onnx")},
    )
    return _write(model, filled, path, {FEATURES: seen}, wanted)


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
