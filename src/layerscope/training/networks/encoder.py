"""What an encoder gives: features of an image at falling resolution.

Modules are named as in the state dicts that are commonly published for ImageNet, so that such a
file loads key by key (`layerscope.training.weights`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


class Encoder(nn.Module):
    """Base of the encoders.

    Attributes
    ----------
    widths : tuple of int
        Channels of the features, finest first.
    strides : tuple of int
        Pixels of the image per pixel of the features, each twice the one before.
    pooled : int
        Length of the vector that `pool` gives.
    first : str
        Key of the first convolution, the one that sees the channels of the image.
    """

    widths: tuple[int, ...]
    strides: tuple[int, ...] = (2, 4, 8, 16, 32)
    pooled: int
    first: str

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features (N, widths[i], H / strides[i], W / strides[i]) of images (N, channels, H, W)."""
        raise NotImplementedError

    def pool(self, x: Tensor) -> Tensor:
        """One vector (N, pooled) per image: the mean of the deepest features."""
        return self.forward(x)[-1].mean((2, 3))

    def deepest(self) -> nn.Module | None:
        """Return the part that halves the resolution last, None if it cannot be dilated instead."""
        return None


@dataclass(frozen=True)
class EncoderKind:
    """One entry of `layerscope.training.networks.ENCODERS`.

    Parameters
    ----------
    make : callable
        ``make(channels=, top=)`` -> Encoder. With `top` it has the layers between the deepest
        features and the classifier, which `pool` needs and pixels do not.
    description : str
        One line for the reference.
    """

    make: Callable[..., Encoder]
    description: str


def dilate(part: nn.Module, rate: int = 2) -> None:
    """Let `part` keep the resolution and look `rate` times as far (arXiv:1706.05587)."""
    for layer in part.modules():
        if isinstance(layer, nn.Conv2d) and (layer.stride != (1, 1) or layer.kernel_size != (1, 1)):
            layer.stride = (1, 1)
            layer.dilation = (rate, rate)
            layer.padding = tuple(size // 2 * rate for size in layer.kernel_size)
