"""From a trained network to the one file that users get."""

from __future__ import annotations

import copy
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from layerscope import __version__
from layerscope.errors import InputError, LayerscopeError, MissingExtra
from layerscope.io.atomic import write_bytes
from layerscope.models.card import ModelCard
from layerscope.models.file import CARD_KEY, SPREAD
from layerscope.models.session import open_session
from layerscope.training.ensemble import Ensemble
from layerscope.training.reach import reach_of

PARITY = 1e-3
"""Largest difference between ONNX and torch, in logits or 1/1000 of the largest of them."""

_OUTPUTS = ["maps", SPREAD]
_HALF_ROUNDING = 2e-2  # weights of 11 bits through some 40 layers
_OPSET = 18


def export_model(
    network: nn.Module,
    card: ModelCard,
    path: str | os.PathLike[str],
    half: bool = False,
    beside: Mapping[str, str] | None = None,
) -> ModelCard:
    """Write a network as one ONNX file with its card, and its weights beside it.

    Parameters
    ----------
    network : Module
        Takes (N, card.channels, H, W); not changed. An `training.ensemble.Ensemble` is written
        with its spread as a second output.
    card : ModelCard
        Network, stride, reach, parameters, precision and versions are filled in here.
    path : path
        Ends in ``.onnx``. A sibling ``.safetensors`` gets the weights, for fine-tuning.
    half : bool
        Store weights as 16-bit floats: half the file. They become 32-bit floats when it is opened,
        because a CPU has no fast 16-bit arithmetic.
    beside : mapping of str to str, optional
        More texts to keep in the ONNX metadata, by key.

    Returns
    -------
    ModelCard
        As written; ``metrics["onnx_parity"]`` is the largest difference to torch that was found,
        ``metrics["half_rounding"]`` what 16-bit weights add, both relative to the largest logit.

    Raises
    ------
    InputError
        If `path` does not end in ``.onnx`` or the network does not answer with one map per class.
    LayerscopeError
        If ONNX Runtime and torch disagree.
    """
    target = _target(path)
    ready = copy.deepcopy(network).cpu().eval()
    stride = int(getattr(network, "stride", card.stride))
    _check_outputs(ready, card, stride)
    graph = _graph(ready, card.channels, stride)
    figures = {"onnx_parity": _distance(ready, graph, card.channels, stride, PARITY)}
    if half:
        _halve(graph)
        figures["half_rounding"] = _distance(ready, graph, card.channels, stride, _HALF_ROUNDING)
    filled = replace(
        card,
        network=card.network or str(getattr(network, "name", "")),
        stride=stride,
        margin_px=reach_of(ready, card.channels, stride),
        parameters=sum(p.numel() for p in network.parameters()),
        precision="fp16" if half else "fp32",
        metrics={**card.metrics, **figures},
        made_with=versions(),
    )
    write_graph(graph, filled, target, beside)
    write_weights(ready.state_dict(), filled, target.with_suffix(".safetensors"))
    return filled


def copy_model(
    source: Path, card: ModelCard, path: str | os.PathLike[str], beside: Mapping[str, str]
) -> ModelCard:
    """Write the graph and weights of one model file under another card.

    Parameters
    ----------
    source : Path
        Model file, with its weights beside it.
    card : ModelCard
    path : path
        Ends in ``.onnx``.
    beside : mapping of str to str
        As of `export_model`.

    Returns
    -------
    ModelCard
        As written.

    Raises
    ------
    InputError
        If `path` does not end in ``.onnx``, or the weights are missing.
    """
    import onnx
    from safetensors.torch import load

    target, weights = _target(path), source.with_suffix(".safetensors")
    if not weights.is_file():
        raise InputError(f"{weights}: not there; the weights of a model lie beside its file")
    filled = replace(card, made_with=versions())
    write_graph(onnx.load(source), filled, target, beside)
    write_weights(load(weights.read_bytes()), filled, target.with_suffix(".safetensors"))
    return filled


def _target(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if target.suffix != ".onnx":
        raise InputError(f"{target.name}: expected a name that ends in .onnx")
    return target


def versions() -> dict[str, str]:
    """Versions of what makes a model file."""
    made = {n: metadata.version(n) for n in ("torch", "onnx")}
    return {"layerscope": __version__, "opset": str(_OPSET)} | made


def write_graph(
    graph: Any, card: ModelCard, path: Path, beside: Mapping[str, str] | None = None
) -> None:
    """Write an ONNX graph (``onnx.ModelProto``) with a card; the same graph, the same bytes."""
    del graph.metadata_props[:]
    for key, text in {CARD_KEY: card.to_json(), **(beside or {})}.items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, text
    write_bytes(path, graph.SerializeToString(deterministic=True))


def write_weights(state: Mapping[str, torch.Tensor], card: ModelCard, path: Path) -> None:
    """Write weights for fine-tuning, with the card in the header."""
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    write_bytes(path, save(tensors, {CARD_KEY: card.to_json()}))


def _check_outputs(network: nn.Module, card: ModelCard, stride: int) -> None:
    with torch.no_grad():
        answer = _answers(network, torch.zeros(1, card.channels, 2 * stride, 2 * stride))[0]
    if answer.dim() != 4:
        raise InputError(f"the network answers with {tuple(answer.shape)}; a model file holds maps")
    if answer.shape[1] != len(card.classes):
        raise InputError(
            f"the network answers with {answer.shape[1]} maps; the card names {len(card.classes)}"
        )


def _answers(network: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    answer = network(images)
    return answer if isinstance(answer, tuple) else (answer,)


def _graph(network: nn.Module, channels: int, stride: int) -> Any:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtra.of("writing a model file", "train") from None

    batch, rows, columns = (torch.export.Dim(n, min=1, max=4096) for n in ("n", "rows", "columns"))
    example = torch.zeros(2, channels, 3 * stride, 4 * stride)
    with quiet_exporter():
        program = torch.onnx.export(
            network, (example,), dynamo=True, opset_version=_OPSET, verbose=False,
            input_names=["image"], output_names=_OUTPUTS[: 1 + isinstance(network, Ensemble)],
            dynamic_shapes=({0: batch, 2: stride * rows, 3: stride * columns},),
        )  # fmt: skip
    return bare_graph(program.model_proto)


def bare_graph(graph: Any) -> Any:
    """Drop what the exporter notes on each node: names of its source files, 60 % of the size."""
    graph.graph.name, graph.doc_string = "layerscope", ""
    for node in graph.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for part in (*graph.graph.input, *graph.graph.output, *graph.graph.value_info):
        del part.metadata_props[:]
    del graph.graph.metadata_props[:]
    return graph


def _halve(graph: Any) -> None:
    """Store kernels as 16-bit floats followed by a cast, which runs once at opening.

    Biases and the scales of a resize stay as they are: they are few.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for constant in graph.graph.initializer:
        if constant.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(constant)
        if values.ndim < 2 or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = constant.name
        constant.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def _distance(network: nn.Module, graph: Any, channels: int, stride: int, most: float) -> float:
    """Largest difference of the logits, relative to the largest of them if that is over 1."""
    session = open_session(graph.SerializeToString())
    worst = 0.0
    for rows, columns in ((2, 3), (5, 4)):
        image = _noise(channels, rows * stride, columns * stride)
        with torch.no_grad():
            wanted = [a.numpy() for a in _answers(network, torch.from_numpy(image))]
        for found, right in zip(session.run(None, {"image": image}), wanted, strict=True):
            worst = max(worst, float(np.abs(found - right).max() / max(1.0, np.abs(right).max())))
    if not worst <= most:
        raise LayerscopeError(f"ONNX and torch differ by {worst:.2g}; the model was not written")
    return float(f"{worst:.1e}")


def _noise(channels: int, height: int, width: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((1, channels, height, width), np.float32)


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep the exporter from talking; its warnings are about its own internals."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
