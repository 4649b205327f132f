"""The state of a training on disk: tensors and numbers in one .safetensors file, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from layerscope.errors import MissingExtra, UnreadableFile
from layerscope.io.atomic import write_bytes

FILE = "training.safetensors"
_KEY = "layerscope.training"
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Everything that the next step depends on.

    Attributes
    ----------
    tensors : mapping of str to Tensor
        ``network/...``, ``average/...``, ``best/...``, ``optimiser/<parameter>/...``.
    numbers : mapping
        What JSON holds: step, settings, history, best figure.
    """

    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """Tensors under ``name/``, by the rest of their names."""
        return {k[len(name) + 1 :]: v for k, v in self.tensors.items() if k.startswith(f"{name}/")}


def under(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put `tensors` under ``name/``, as copies on the CPU."""
    return {f"{name}/{k}": v.detach().cpu().contiguous().clone() for k, v in tensors.items()}


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint of `folder`; a kill at any moment leaves the old one or the new."""
    try:
        from safetensors.torch import save
    except ImportError:
        raise MissingExtra.of("keeping the state of a training", "train") from None

    numbers = {"version": _VERSION} | dict(checkpoint.numbers)
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / FILE, save(dict(checkpoint.tensors), {_KEY: json.dumps(numbers)}))


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the checkpoint of `folder`; None where there is none.

    Raises
    ------
    UnreadableFile
        If there is a file that is none of ours.
    """
    path = folder / FILE
    if not path.exists():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            numbers = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError) as reason:
        raise UnreadableFile(
            f"{path}: no state of a training ({type(reason).__name__}); delete it to start anew"
        ) from None
    if numbers.get("version") != _VERSION:
        raise UnreadableFile(f"{path}: from another version of layerscope; delete it")
    return Checkpoint(tensors, numbers)
