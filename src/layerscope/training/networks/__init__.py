"""Networks by name: ``build("unet/resnet34", channels=3, outputs=4)``.

A name is that of an architecture, for those that stand on an encoder followed by a slash and the
encoder. Another package adds its own under the entry-point groups ``layerscope.networks``
(an `Architecture`) and ``layerscope.encoders`` (an `EncoderKind`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerscope.errors import InputError
from layerscope.registry import Registry

if TYPE_CHECKING:
    from layerscope.training.networks.network import Architecture, Network

_HERE = "layerscope.training.networks"

NETWORKS = Registry(
    "network",
    {
        "light-n": f"{_HERE}.light:LIGHT_N",
        "light-s": f"{_HERE}.light:LIGHT_S",
        "light-m": f"{_HERE}.light:LIGHT_M",
        "flake-n": f"{_HERE}.flake:FLAKE_N",
        "flake-s": f"{_HERE}.flake:FLAKE_S",
        "flake-m": f"{_HERE}.flake:FLAKE_M",
    },
)

MAX_CHANNELS = 4


def build(name: str, *, channels: int, outputs: int, seed: int = 0) -> Network:
    """Make the network called `name`.

    Parameters
    ----------
    name : str
        A name of `NETWORKS`.
    channels : int
        Channels of the image, 1 to 4.
    outputs : int
        Maps that come out: one per class, or as many as the heads of the caller need.
    seed : int
        Decides the starting weights; the random state of the caller is left as it is.

    Returns
    -------
    Network
        In training mode. ``forward(x)`` takes (N, channels, H, W) float32, H and W multiples of
        ``stride``, and returns logits (N, outputs, H, W).

    Raises
    ------
    UnknownName
        No such network.
    InputError
        A number of channels or outputs that no network takes.
    """
    import torch

    if not 1 <= channels <= MAX_CHANNELS:
        raise InputError(f"{channels} channels; a network takes 1 to {MAX_CHANNELS}: choose some")
    if outputs < 1:
        raise InputError(f"{outputs} outputs; a network needs 1 or more")
    architecture: Architecture = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = architecture.make(channels=channels, outputs=outputs)
    network.name, network.channels, network.outputs = name, channels, outputs
    network.origin = "starts from scratch"
    return network


__all__ = ["MAX_CHANNELS", "NETWORKS", "build"]
