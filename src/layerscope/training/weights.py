"""Pretrained weights of a file into a network, with a report of what matched.

Files are read as tensors only: a pickle that would run code is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscope.errors import InputError, UnreadableFile
from layerscope.training.weight_files import checksum

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class KeyMatch:
    """What of a file fitted the network.

    Parameters
    ----------
    source : str
        Path of the file.
    sha256 : str
        Its checksum.
    part : str
        ``"network"``, ``"encoder"`` or ``"model"``: what the file was loaded into.
    matched, missing, unexpected : tuple of str
        Keys that were loaded; that the network has and the file has not; the other way round.
    reshaped : tuple of str
        Keys of both, in other shapes, that were left at their start: ``"key (a) not (b)"``.
    adapted : str
        What was done to the first convolution so that it takes the channels of the network.
    """

    source: str
    sha256: str
    part: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]
    adapted: str = ""

    @property
    def share(self) -> float:
        """Share of matched keys among all of part and file: a deeper network's file fits badly."""
        return len(self.matched) / max(1, self.total + len(self.unexpected))

    @property
    def total(self) -> int:
        """Number of keys of the part."""
        return len(self.matched) + len(self.missing) + len(self.reshaped)

    def describe(self) -> str:
        """One line for a log or a model card."""
        words = [
            f"{self.part} from {Path(self.source).name} (sha256 {self.sha256[:12]})",
            f"{len(self.matched)} of {self.total} entries",
        ]
        for count, what in (
            (len(self.missing), "missing"),
            (len(self.reshaped), "of another shape"),
            (len(self.unexpected), "not used"),
        ):
            words += [f"{count} {what}"] if count else []
        return ", ".join([*words, *([self.adapted] if self.adapted else [])])


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors, .pth, .pt or .pth.tar file, by name.

    A checkpoint that keeps them under ``state_dict`` or ``model`` is opened, and a prefix that all
    keys share because of the wrapper they were saved from (``module.``) is dropped.

    Raises
    ------
    UnreadableFile
        A file that is missing, damaged, holds no tensors, or could run code when opened.
    """
    path = Path(path)
    if not path.is_file():
        raise UnreadableFile(f"{path}: no such file of weights")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    return _flat(content, path)


def load_weights(network: nn.Module, path: str | Path, *, least: float = 0.9) -> KeyMatch:
    """Load a file into `network`, or into its encoder if that fits better.

    Parameters
    ----------
    network : torch module
        Is changed; its ``origin`` says so if it has one.
    path : path
        See `read_state`.
    least : float
        Share of entries, 0 to 1, that must match: of those of network and file together, so that
        neither a shallower nor a deeper network's file passes. Those of an ImageNet classifier are
        too few to matter.

    Returns
    -------
    KeyMatch

    Raises
    ------
    UnreadableFile
        See `read_state`.
    InputError
        Fewer entries match: the file belongs to another network.
    """
    if not 0 < least <= 1:
        raise InputError(f"least={least}: a share of entries is above 0 and at most 1")
    state = read_state(path)
    plans = [_plan(part, module, state) for part, module in _parts(network)]
    reports = [plan.report(Path(path)) for plan in plans]
    plan, report = max(zip(plans, reports, strict=True), key=lambda both: both[1].share)
    if report.share < least:
        raise InputError(
            f"{path}: {len(report.matched)} of {report.total} entries of the {plan.part} match, "
            f"{len(report.unexpected)} have no place in it, {least:.0%} must agree; "
            f"{_example(report)}: choose the file of this network"
        )
    plan.module.load_state_dict(plan.fitting, strict=False)
    if hasattr(network, "origin"):
        network.origin = report.describe()
    return report


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UnreadableFile(f"{path}: no whole .safetensors file ({_line(error)})") from None


def _read_torch(path: Path) -> Any:
    import pickle
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about files older than its zip format
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnreadableFile(
            f"{path}: refused, it holds more than tensors and could run code ({_line(error)}); "
            "save its state dict as .safetensors where you trust it"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise UnreadableFile(f"{path}: no whole file of weights ({_line(error)})") from None


def _line(error: Exception) -> str:
    """First line of a message, without its advice."""
    return re.split(r"[\n.]", str(error).strip())[0][:120]


# Counters of batches decide nothing, and files older than them lack them.
_COUNTER = "num_batches_tracked"
_WRAPPERS = ("module.", "features.module.", "model.", "_orig_mod.")


def _flat(content: Any, path: Path) -> dict[str, Tensor]:
    import torch

    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    items = content.items() if isinstance(content, Mapping) else ()
    state = {str(k): v for k, v in items if isinstance(v, torch.Tensor)}
    if not state:
        raise UnreadableFile(f"{path}: no tensors by name in it; a state dict was expected")
    for prefix in _WRAPPERS:
        if all(key.startswith(prefix) for key in state):
            inner = "features." if prefix.startswith("features.") else ""
            state = {inner + key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _parts(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Name what a file may be of: the whole, its encoder, the library's model that it wraps."""
    encoder, model = getattr(network, "encoder", None), getattr(network, "model", None)
    inner = [("encoder", encoder)] if hasattr(encoder, "first") else []
    inner += [("model", model)] if model is not None else []
    return [("network", network), *inner]


@dataclass(frozen=True)
class _Plan:
    """A file held against one part of a network."""

    part: str
    module: nn.Module
    state: Mapping[str, Tensor]
    fitting: dict[str, Tensor]
    wanted: tuple[str, ...]
    adapted: str

    def report(self, path: Path) -> KeyMatch:
        ours = self.module.state_dict()
        matched = tuple(k for k in self.wanted if k in self.fitting)
        there = [k for k in self.wanted if k in self.state and k not in self.fitting]
        return KeyMatch(
            source=str(path),
            sha256=checksum(path),
            part=self.part,
            matched=matched,
            missing=tuple(k for k in self.wanted if k not in self.state),
            unexpected=tuple(k for k in self.state if k not in ours and not k.endswith(_COUNTER)),
            reshaped=tuple(
                f"{k} {tuple(self.state[k].shape)} not {tuple(ours[k].shape)}" for k in there
            ),
            adapted=self.adapted,
        )


def _plan(part: str, module: nn.Module, state: Mapping[str, Tensor]) -> _Plan:
    ours = module.state_dict()
    wanted = tuple(key for key in ours if not key.endswith(_COUNTER))
    for prefix in ("", "encoder.", "backbone."):  # an encoder saved inside another network
        inner = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if part == "encoder" and sum(k in inner for k in wanted) > len(wanted) / 2:
            state = inner
            break
    fitting = {k: v for k, v in state.items() if k in ours and v.shape == ours[k].shape}
    first = getattr(module, "first", "")
    adapted = ""
    if first in state and first not in fitting and first in ours:
        weight, adapted = adapt_channels(state[first], ours[first].shape[1])
        if weight.shape == ours[first].shape:
            fitting[first] = weight
    return _Plan(part, module, state, fitting, wanted, adapted if first in fitting else "")


def adapt_channels(weight: Tensor, channels: int) -> tuple[Tensor, str]:
    """Weights of a first convolution made for RGB, for another number of channels.

    Parameters
    ----------
    weight : tensor (outputs, 3, h, w)
    channels : int
        1: the sum, which answers a grey picture as the old weights answer it given three times.
        2: the mean over colours, times 3/2 each, so that the sum over channels stays.
        4: the three as they are and zero for the fourth, which learns.

    Returns
    -------
    tensor (outputs, channels, h, w)
        `weight` itself if it has that many, or is not made for RGB.
    str
        What was done, empty for nothing.
    """
    import torch

    if weight.ndim != 4 or weight.shape[1] != 3 or channels == 3:
        return weight, ""
    if channels == 1:
        return weight.sum(1, keepdim=True), "first convolution summed over RGB"
    if channels == 2:
        mean = weight.mean(1, keepdim=True) * 1.5
        return mean.repeat(1, 2, 1, 1), "first convolution averaged over RGB"
    rest = torch.zeros_like(weight[:, :1]).repeat(1, channels - 3, 1, 1)
    return torch.cat((weight, rest), dim=1), "first convolution starts at 0 beyond RGB"


def _example(report: KeyMatch) -> str:
    if report.reshaped:
        return f"for example {report.reshaped[0]}"
    wanted = report.missing[0] if report.missing else report.matched[0]
    return f"for example {wanted} is missing and {(*report.unexpected, 'nothing')[0]} is there"


__all__ = ["KeyMatch", "adapt_channels", "load_weights", "read_state"]
