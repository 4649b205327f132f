"""A small U-Net that trains fast without a GPU.

Its convolutions are dense and narrow. Depthwise-separable ones (`light`) need fewer operations and
more time: a CPU library is fast at matrix products and slow at what lies between them. Measured
with one thread, four patches of 256 x 256 px, forward and backward: 0.14 s for 0.91 million
parameters here, 0.70 s for the 0.58 million of light-s, 0.79 s for a U-Net on ResNet-18.

The coarsest level has 1/64 of the resolution: a pixel of the answer depends on 317 px around it, so
that the inside of a flake larger than a patch still sees an edge.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from torch import Tensor, cat, nn
from torch.nn import functional as F

from layerscope.training.networks.blocks import ConvNormAct, start_convolutions
from layerscope.training.networks.network import Architecture, Network


class PlainNetwork(Network):
    """Encoder and decoder of dense 3 x 3 convolutions, the finest at half resolution."""

    def __init__(self, *, channels: int, outputs: int, width: tuple[int, ...]):
        super().__init__(channels, outputs, stride=2 ** len(width))
        self.stem = _pair(channels, width[0], stride=2)
        self.down = nn.ModuleList(_pair(a, b, stride=2) for a, b in pairwise(width))
        self.up = nn.ModuleList(_pair(b + a, a) for a, b in pairwise(width))
        self.head = nn.Conv2d(width[0], outputs, 1)
        start_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, outputs, H, W) of images (N, channels, H, W)."""
        x = self.stem(x)
        skips: list[Tensor] = []
        for stage in self.down:
            skips.append(x)
            x = stage(x)
        for stage, skip in zip(reversed(self.up), reversed(skips), strict=True):
            x = stage(cat((F.interpolate(x, scale_factor=2, mode="nearest"), skip), dim=1))
        return F.interpolate(self.head(x), scale_factor=2, mode="bilinear", align_corners=False)


def _pair(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        ConvNormAct(inputs, outputs, stride=stride, act=nn.ReLU(inplace=True)),
        ConvNormAct(outputs, outputs, act=nn.ReLU(inplace=True)),
    )


def _plain(*width: int) -> Architecture:
    return Architecture(
        partial(PlainNetwork, width=width),
        "dense U-Net at half resolution, quick to train without a GPU",
    )


PLAIN_N = _plain(16, 32, 48, 64, 96, 96)
PLAIN_S = _plain(24, 48, 96, 128, 160, 160)
