"""A small U-Net for computers without a GPU.

Its convolutions are depthwise-separable (Howard et al., arXiv:1704.04861) and its finest level has
half the resolution of the image. Measured at 512 x 512 x 3 with one CPU thread in ONNX Runtime:
15 ms for 0.16 million parameters, 35 ms for 0.63 million; a U-Net on ResNet-18 at full resolution
takes 582 ms. The bilinear step to full resolution acts on logits, so that borders still fall
between pixels of the half-resolution grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from torch import Tensor, cat, nn
from torch.nn import functional as F

from layerscope.training.networks.network import Architecture, Network

# Width of the levels at 1/2, 1/4 ... 1/32 of the image, in units of the first. The last level is
# not widened again: it would hold two thirds of all parameters.
_LEVELS = (1, 2, 4, 8, 8)


class SeparableBlock(nn.Sequential):
    """Depthwise 3 x 3, then pointwise convolution, each with batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__(
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class LightBody(nn.Module):
    """Encoder and decoder; features (N, width, H/2, W/2) of an image (N, channels, H, W)."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        widths = [width * factor for factor in _LEVELS]
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            SeparableBlock(width, width),
        )
        self.down = nn.ModuleList(
            nn.Sequential(SeparableBlock(above, below, 2), SeparableBlock(below, below))
            for above, below in pairwise(widths)
        )
        self.up = nn.ModuleList(
            nn.Sequential(SeparableBlock(below + above, above), SeparableBlock(above, above))
            for above, below in pairwise(widths)
        )
        _start(self)

    def forward(self, x: Tensor) -> Tensor:
        """Features at half the resolution of `x`."""
        x = self.stem(x)
        skips: list[Tensor] = []
        for stage in self.down:
            skips.append(x)
            x = stage(x)
        return self._decode(x, skips)

    def _decode(self, x: Tensor, skips: Sequence[Tensor]) -> Tensor:
        for stage, skip in zip(reversed(self.up), reversed(skips), strict=True):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = stage(cat((x, skip), dim=1))
        return x


class LightNetwork(Network):
    """`LightBody` with one pointwise convolution on top, brought to full resolution."""

    def __init__(self, *, channels: int, outputs: int, width: int):
        super().__init__(channels, outputs, stride=2 ** len(_LEVELS))
        self.body = LightBody(channels, width)
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, outputs, H, W) of images (N, channels, H, W)."""
        return F.interpolate(
            self.head(self.body(x)), scale_factor=2, mode="bilinear", align_corners=False
        )


def _start(module: nn.Module) -> None:
    """Weights that keep the variance through ReLUs (He et al., arXiv:1502.01852)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")


def _light(width: int) -> Architecture:
    return Architecture(
        partial(LightNetwork, width=width),
        "separable U-Net at half resolution, for computers without a GPU",
    )


LIGHT_N = _light(16)
LIGHT_S = _light(32)
LIGHT_M = _light(64)
