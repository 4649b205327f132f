"""Networks by name: ``build("unet/resnet34", channels=3, outputs=4)``.

A name is that of an architecture, for those that stand on an encoder followed by a slash and the
encoder. Another package adds its own under the entry-point groups ``layerscope.networks``
(an `Architecture`) and ``layerscope.encoders`` (an `EncoderKind`).
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscope.errors import InputError
from layerscope.registry import Registry

if TYPE_CHECKING:
    from layerscope.training.networks.encoder import EncoderKind
    from layerscope.training.networks.network import Architecture, Network

_HERE = "layerscope.training.networks"

NETWORKS = Registry(
    "network",
    {
        "light-n": f"{_HERE}.light:LIGHT_N",
        "light-s": f"{_HERE}.light:LIGHT_S",
        "light-m": f"{_HERE}.light:LIGHT_M",
        "plain-n": f"{_HERE}.plain:PLAIN_N",
        "plain-s": f"{_HERE}.plain:PLAIN_S",
        "flake-n": f"{_HERE}.flake:FLAKE_N",
        "flake-s": f"{_HERE}.flake:FLAKE_S",
        "flake-m": f"{_HERE}.flake:FLAKE_M",
        "unet": f"{_HERE}.encoded:UNET",
        "unet++": f"{_HERE}.encoded:UNET_PLUS_PLUS",
        "fpn": f"{_HERE}.encoded:PYRAMID",
        "deeplabv3+": f"{_HERE}.encoded:DEEPLAB",
        "mask2former": f"{_HERE}.mask2former:MASK2FORMER",
        "mask2former-n": f"{_HERE}.mask2former:MASK2FORMER_N",
        "cnnsc": f"{_HERE}.vectors:CNNSC",
        "regressor": f"{_HERE}.vectors:TUNED",
        "frozen": f"{_HERE}.vectors:FROZEN",
        "categories": f"{_HERE}.vectors:CATEGORIES",
        "categories-n": f"{_HERE}.micrograph:CATEGORIES_N",
    },
)

ENCODERS = Registry(
    "encoder",
    {
        "resnet18": f"{_HERE}.resnet:RESNET18",
        "resnet18-n": f"{_HERE}.resnet:RESNET18_N",
        "resnet34": f"{_HERE}.resnet:RESNET34",
        "resnet50": f"{_HERE}.resnet:RESNET50",
        "se-resnext50": f"{_HERE}.se_resnext:SE_RESNEXT50",
        "se-resnext101": f"{_HERE}.se_resnext:SE_RESNEXT101",
        "efficientnet-b0": f"{_HERE}.inverted:EFFICIENTNET_B0",
        "convnext-tiny": f"{_HERE}.convnext:CONVNEXT_TINY",
        "mobilenetv3-large": f"{_HERE}.inverted:MOBILENET_V3_LARGE",
        "mobilenetv3-small": f"{_HERE}.inverted:MOBILENET_V3_SMALL",
    },
)

MAX_CHANNELS = 4


def build(
    name: str,
    *,
    channels: int,
    outputs: int,
    weights: str | Path | None = None,
    seed: int = 0,
    **options: Any,
) -> Network:
    """Make the network called `name`.

    Parameters
    ----------
    name : str
        One of `network_names`.
    channels : int
        Channels of the image, 1 to 4.
    outputs : int
        Maps (or numbers) that come out: one per class, or as many as the caller's heads need.
    weights : str or path, optional
        ``"imagenet"``, ``"micronet"`` or ``"imagenet-micronet"``: those published for the encoder,
        downloaded once if they are not there (`layerscope.training.weight_files`). A path or an
        address: a file of weights of the encoder or of the whole network. None: the network starts
        from scratch.
    seed : int
        Decides the starting weights; the random state of the caller is left as it is.
    **options
        Sizes that the architecture lets the caller choose, e.g. ``hidden=(64, 32)`` of `frozen`.

    Returns
    -------
    Network
        In training mode. ``forward(x)`` takes (N, channels, H, W) float32, H and W multiples of
        ``stride``, and returns logits (N, outputs, H, W), or numbers (N, outputs) where the
        architecture ``gives`` those. Its ``origin`` says where the weights
        come from.

    Raises
    ------
    UnknownName
        No such network.
    InputError
        A number of channels or outputs that no network takes, or weights of another network.
    UnreadableFile
        Weights that are not there, are damaged or could run code.
    """
    import torch

    from layerscope.training.weights import load_weights

    if not 1 <= channels <= MAX_CHANNELS:
        raise InputError(f"{channels} channels; a network takes 1 to {MAX_CHANNELS}: choose some")
    if outputs < 1:
        raise InputError(f"{outputs} outputs; a network needs 1 or more")
    architecture, encoder = _parts(name)
    _check_options(name, architecture, options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = architecture.make(channels=channels, outputs=outputs, **encoder, **options)
    network.name, network.channels, network.outputs = name, channels, outputs
    network.origin = "starts from scratch"
    if weights is not None:
        load_weights(network, _weights_file(name, weights))
    return network


def _check_options(name: str, architecture: Architecture, options: Mapping[str, Any]) -> None:
    fixed = {"self", "channels", "outputs", "encoder", "decoder", "size", "width"}
    known = sorted(set(signature(architecture.make).parameters) - fixed)
    for option in options:
        if option not in known:
            raise InputError(
                f"option {option!r} of network {name}: it has {', '.join(known) or 'none'}"
            )


def _weights_file(name: str, weights: str | Path) -> str | Path:
    from layerscope.training.weight_files import SOURCES, find_weights, is_address, weights_at

    if is_address(weights):
        return weights_at(str(weights))
    if weights not in SOURCES:
        return weights
    _, _, encoder = name.partition("/")
    if not encoder:
        raise InputError(f"{weights} weights are those of an encoder, and {name} has none")
    return find_weights(encoder, str(weights))


def network_names() -> tuple[str, ...]:
    """Return all names that `build` takes, each architecture with each encoder."""
    names: list[str] = []
    for name in NETWORKS:
        on_encoder = NETWORKS[name].on_encoder
        names += [f"{name}/{encoder}" for encoder in ENCODERS] if on_encoder else [name]
    return tuple(names)


def _parts(name: str) -> tuple[Architecture, dict[str, EncoderKind]]:
    """Architecture of `name` and, where it stands on one, the keyword of its encoder."""
    head, slash, encoder = name.partition("/")
    if head == "yolo":
        raise InputError(
            f"network {name!r} trains by the loop of ultralytics, not by this one: see "
            "layerscope.training.networks.yolo.YoloFinder"
        )
    architecture: Architecture = NETWORKS[head]
    if architecture.on_encoder and not encoder:
        raise InputError(
            f"network {head!r} stands on an encoder: write {head}/resnet18, or another of "
            f"{', '.join(ENCODERS)} after the slash"
        )
    if slash and not architecture.on_encoder:
        raise InputError(f"network {name!r}: {head} has no encoder; write {head}")
    return architecture, {"encoder": ENCODERS[encoder]} if encoder else {}


__all__ = ["ENCODERS", "MAX_CHANNELS", "NETWORKS", "build", "network_names"]
