"""A model as a package of the BioImage Model Zoo, for Fiji, QuPath, napari and ilastik.

The resource description of a zip file, format 0.5: https://github.com/bioimage-io/spec-bioimage-io.
It is written as JSON, which is YAML 1.2 too.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from layerscope.errors import InputError
from layerscope.io.atomic import write_bytes
from layerscope.models.card import ModelCard
from layerscope.models.file import Model, activated
from layerscope.ops.normalisation import IMAGENET_MEAN, IMAGENET_SD, normalise

FORMAT_VERSION = "0.5.6"  # the first with softmax

_CHANNELS = {1: ["grey"], 3: ["red", "green", "blue"]}
_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]+")
_DAY = (1980, 1, 1, 0, 0, 0)  # the same model gives the same bytes


def write_package(
    model: Model, path: Path, *, licence: str = "", authors: tuple[str, ...] = ()
) -> None:
    """Write a model as a zip file of the BioImage Model Zoo.

    Parameters
    ----------
    model : Model
        Of one file.
    path : Path
        Ends in ``.zip``.
    licence : str
        SPDX name, such as ``CC-BY-4.0``; by default that of the training data, if there is one.
    authors : tuple of str

    Raises
    ------
    InputError
        If the licence is not known, or the format has no word for the model's input.
    """
    card = model.card
    if card.output in ("answers", "objects"):
        what = "answers to questions" if card.output == "answers" else "objects with classes"
        raise InputError(f"the BioImage Model Zoo has no word for {what}; use --to onnx")
    before = _preprocessing(card)
    if len(model.members) > 1 or model.members[0].tells_spread:
        raise InputError("the BioImage Model Zoo has no word for an ensemble; use --to onnx")
    if path.suffix != ".zip":
        raise InputError(f"{path.name}: expected a name that ends in .zip")
    said = licence or _licence(card)
    image, maps = _example(model)
    files = {
        "model.onnx": model.path.read_bytes(),
        "test_input.npy": _npy(image),
        "test_output.npy": _npy(maps),
        "README.md": _readme(card).encode(),
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    scale = image.shape[2] // maps.shape[2]
    description = {
        "type": "model",
        "format_version": FORMAT_VERSION,
        "name": re.sub(r"[^\w\- ()]", "-", card.name, flags=re.ASCII).ljust(5, "_")[:128],
        "description": f"{card.task} of micrographs of 2D materials: {', '.join(card.classes)}",
        "authors": [{"name": name} for name in authors or ("unknown",)],
        "cite": [],
        "license": said,
        "documentation": "README.md",
        "tags": ["2d-materials", "microscopy", "segmentation", card.task],
        "inputs": [_input(card, before, hashes["test_input.npy"])],
        "outputs": [_output(card, scale, hashes["test_output.npy"])],
        "weights": {
            "onnx": {
                "source": "model.onnx",
                "sha256": hashes["model.onnx"],
                "opset_version": int(card.made_with.get("opset", 18)),
            }
        },
        "config": {"layerscope": json.loads(card.to_json())},
    }
    text = json.dumps(description, indent=1, ensure_ascii=False)
    write_bytes(path, _zipped({"rdf.yaml": text.encode(), **files}))


def _licence(card: ModelCard) -> str:
    """Licence of the training data where there is just one, as SPDX writes it."""
    found = {source.licence for source in card.trained_on}
    only = found.pop() if len(found) == 1 else ""
    if not _SPDX.fullmatch(only):
        raise InputError("licence not known; give an SPDX name, e.g. --licence CC-BY-4.0")
    return only


def _preprocessing(card: ModelCard) -> list[dict[str, Any]]:
    """Say in the words of the format what `ops.normalisation` does."""
    plane = ["y", "x"]
    known: dict[str, list[dict[str, Any]]] = {
        "unit": [],
        "standard": [
            {"id": "zero_mean_unit_variance", "kwargs": {"axes": plane, "eps": 1e-6}},
        ],
        "percentile": [
            {
                "id": "scale_range",
                "kwargs": {"axes": plane, "min_percentile": 1.0, "max_percentile": 99.0},
            },
            {"id": "clip", "kwargs": {"min": -1.0, "max": 2.0}},
        ],
        "imagenet": [
            {
                "id": "fixed_zero_mean_unit_variance",
                "kwargs": {
                    "axis": "channel",
                    "mean": _per_channel(IMAGENET_MEAN, card.channels),
                    "std": _per_channel(IMAGENET_SD, card.channels),
                },
            }
        ],
    }
    if card.input != "image" or card.normalisation not in known:
        what = card.normalisation if card.input == "image" else card.input
        raise InputError(
            f"the BioImage Model Zoo has no word for {what!r}; use --to onnx, or train with one of"
            f" {', '.join(known)}"
        )
    return known[card.normalisation]


def _per_channel(values: Any, channels: int) -> list[float]:
    shown = [float(v) for v in values] if channels == 3 else [float(np.mean(values))] * channels
    return [round(v, 6) for v in shown]


def _least(card: ModelCard) -> int:
    """Smallest side whose middle no border reaches; the format asks for that."""
    return -(-(2 * (card.margin_px or 0) + 1) // card.stride) * card.stride


def _example(model: Model) -> tuple[Any, Any]:
    """Image (1, C, H, W) from 0 to 1 that looks like nothing, and what the package makes of it."""
    card, side = model.card, _least(model.card)
    rng = np.random.default_rng(0)
    image = rng.random((side, side, card.channels), np.float32)
    seen = normalise(card.normalisation, image).transpose(2, 0, 1)[None]
    maps = activated(model.logits(np.ascontiguousarray(seen))[0], card.output)[None]
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None]), np.ascontiguousarray(maps)


def _input(card: ModelCard, before: list[dict[str, Any]], sha256: str) -> dict[str, Any]:
    names = _CHANNELS.get(card.channels, [f"channel_{i}" for i in range(card.channels)])
    size = {"min": _least(card), "step": card.stride}
    return {
        "id": "image",
        "description": "levels from 0 (dark) to 1 (white)",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": names},
            {"type": "space", "id": "y", "size": size},
            {"type": "space", "id": "x", "size": size},
        ],
        "data": {"type": "float32", "range": [0.0, 1.0]},
        "preprocessing": before,
        "test_tensor": {"source": "test_input.npy", "sha256": sha256},
    }


def _output(card: ModelCard, scale: int, sha256: str) -> dict[str, Any]:
    halo = {} if card.margin_px is None else {"halo": card.margin_px // scale}
    softmax = [{"id": "softmax", "kwargs": {"axis": "channel"}}]
    return {
        "id": "maps",
        "description": "probabilities from 0 to 1",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": [_identifier(name) for name in card.classes]},
            *(
                {
                    "type": "space",
                    "id": axis,
                    "size": {"tensor_id": "image", "axis_id": axis},
                    "scale": float(scale),
                    **halo,
                }
                for axis in ("y", "x")
            ),
        ],
        "data": {"type": "float32", "range": [0.0, 1.0]},
        "postprocessing": softmax if card.output == "classes" else [{"id": "sigmoid"}],
        "test_tensor": {"source": "test_output.npy", "sha256": sha256},
    }


def _identifier(name: str) -> str:
    """Name a channel as a programming language would, which the format asks for."""
    word = re.sub(r"\W", "_", name, flags=re.ASCII)
    return word if word.isidentifier() else f"class_{word}"


def _readme(card: ModelCard) -> str:
    metrics = [f"- {name}: {value}" for name, value in sorted(card.metrics.items())]
    sources = [
        f"- {s.name}, {s.images} images: {s.licence or 'licence not told'}; {s.attribution}"
        for s in card.trained_on
    ]
    size = card.pixel_size_nm
    at = f"Trained at {size[0]:g} to {size[1]:g} nm per pixel." if size else ""
    lines = [
        f"# {card.name}", "", f"Made by layerscope. Task: {card.task}. {at}", "", "## Classes", "",
        *(f"- {name}" for name in card.classes), "", "## Training data", "",
        *(sources or ["- not told"]), "", "## Validation", "", *(metrics or ["- none"]), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _npy(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=False)
    return stream.getvalue()


def _zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _DAY), content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()
