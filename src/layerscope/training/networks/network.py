"""What every network is and says about itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from layerscope.errors import InputError


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
    frozen : bool
        The encoder does not learn.
    """

    name: str = ""
    origin: str = "starts from scratch"

    def __init__(self, channels: int, outputs: int, stride: int):
        super().__init__()
        self.channels = channels
        self.outputs = outputs
        self.stride = stride
        self.frozen = False

    def freeze_encoder(self) -> None:
        """Let the encoder stay as it is: no weight of it learns, nor a running mean.

        Raises
        ------
        InputError
            A network without a part that is called encoder.
        """
        if not hasattr(self, "encoder"):
            raise InputError(f"network {self.name} has no encoder that could be frozen")
        self.encoder.requires_grad_(False)
        self.frozen = True
        self.train(self.training)

    def train(self, mode: bool = True) -> Network:
        """Set the mode of all that is not frozen."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self


@dataclass(frozen=True)
class Architecture:
    """One entry of `layerscope.training.networks.NETWORKS`.

    Parameters
    ----------
    make : callable
        ``make(channels=, outputs=)`` -> Network; also ``encoder=``, an `EncoderKind`, if
        `on_encoder`.
    description : str
        One line for the reference.
    on_encoder : bool
        The name needs an encoder after a slash.
    gives : str
        ``"maps"``: logits (N, outputs, H, W); ``"numbers"``: (N, outputs).
    """

    make: Callable[..., Network]
    description: str
    on_encoder: bool = False
    gives: str = "maps"


@dataclass(frozen=True, eq=False)
class FoundMask:
    """An object that a network of instances proposes.

    Parameters
    ----------
    class_index : int
        0 is the background.
    score : float
        0 to 1.
    mask : bool tensor (H, W)
    """

    class_index: int
    score: float
    mask: Tensor


def count_parameters(module: nn.Module) -> int:
    """Count the trainable numbers of `module`."""
    return sum(p.numel() for p in module.parameters())
