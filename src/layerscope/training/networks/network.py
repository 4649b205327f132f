"""What every network is and says about itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


class Network(nn.Module):
    """A network that says what it takes and where its weights come from.

    Attributes
    ----------
    name : str
        What `layerscope.training.networks.build` was asked for.
    channels, outputs : int
        Channels of the image, maps that come out.
    stride : int
        Height and width of the input are multiples of it.
    origin : str
        Where the weights come from, as a sentence.
    """

    name: str = ""
    origin: str = "starts from scratch"

    def __init__(self, channels: int, outputs: int, stride: int):
        super().__init__()
        self.channels = channels
        self.outputs = outputs
        self.stride = stride


@dataclass(frozen=True)
class Architecture:
    """One entry of `layerscope.training.networks.NETWORKS`.

    Parameters
    ----------
    make : callable
        ``make(channels=, outputs=)`` -> Network.
    description : str
        One line for the reference.
    """

    make: Callable[..., Network]
    description: str


def count_parameters(module: nn.Module) -> int:
    """Count the trainable numbers of `module`."""
    return sum(p.numel() for p in module.parameters())
