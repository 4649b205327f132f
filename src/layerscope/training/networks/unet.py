"""U-Net and U-Net++ over the features of an encoder.

Ronneberger et al., arXiv:1505.04597; Zhou et al., arXiv:1807.10165. Widths and layers are those in
which the published WSe2 and MicroNet models were trained, so that parameter counts agree with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, cat, nn
from torch.nn import functional as F

from layerscope.training.networks.blocks import ConvNormAct, start_convolutions
from layerscope.training.networks.encoder import Encoder

_WIDTHS = {16: 256, 8: 128, 4: 64, 2: 32, 1: 16}  # channels of the decoder by stride


class UpBlock(nn.Module):
    """Double the resolution, join the maps of that resolution, convolve twice."""

    def __init__(self, below: int, joined: int, outputs: int):
        super().__init__()
        self.conv1 = ConvNormAct(below + joined, outputs, act=nn.ReLU(inplace=True))
        self.conv2 = ConvNormAct(outputs, outputs, act=nn.ReLU(inplace=True))

    def forward(self, below: Tensor, joined: Sequence[Tensor] = ()) -> Tensor:
        """Give maps at the resolution of `joined`, twice that of `below`."""
        x = F.interpolate(below, scale_factor=2, mode="nearest")
        return self.conv2(self.conv1(cat((x, *joined), dim=1)))


class UNet(nn.Module):
    """Up from the deepest features to full resolution, joining what the encoder has on the way."""

    stride = 1
    width = _WIDTHS[1]
    head_size = 3

    def __init__(self, encoder: Encoder):
        super().__init__()
        widths = dict(zip(encoder.strides, encoder.widths, strict=True))
        below = encoder.widths[-1]
        self.up = nn.ModuleList()
        for stride, width in _WIDTHS.items():
            self.up.append(UpBlock(below, widths.get(stride, 0), width))
            below = width
        self.missing = len(_WIDTHS) - len(widths) + 1  # finest levels that the encoder has not
        start_convolutions(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Give maps (N, 16, H, W) from features, finest first."""
        *joined, x = features
        skips = [[f] for f in reversed(joined)] + [[]] * self.missing
        for block, skip in zip(self.up, skips, strict=True):
            x = block(x, skip)
        return x


class UNetPlusPlus(nn.Module):
    """A way up from every level of the encoder.

    The way that starts at level s (0 is the deepest) makes a map at each finer level l from its map
    below and from all there is at l: the encoder's features and the maps of the ways that started
    above s. Only the way from the deepest has the decoder's widths and goes to full resolution.
    """

    stride = 1
    width = _WIDTHS[1]
    head_size = 3

    def __init__(self, encoder: Encoder):
        super().__init__()
        inputs = list(reversed(encoder.widths))
        widths = [_WIDTHS[s] for s in (*reversed(encoder.strides[:-1]), *_left(encoder))]
        self.levels = len(inputs) - 1
        self.ways = nn.ModuleDict()
        for level in range(1, self.levels + 1):
            here = inputs[level]
            for start in range(level):
                below = widths[level - 2] if not start and level > 1 else inputs[level - 1]
                outputs = here if start else widths[level - 1]
                self.ways[f"{start}_{level}"] = UpBlock(below, here * (level - start), outputs)
        rest = widths[self.levels - 1 :]
        self.last = nn.ModuleList(UpBlock(a, 0, b) for a, b in pairwise(rest))
        start_convolutions(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Give maps (N, 16, H, W) from features, finest first."""
        encoded = list(reversed(features))
        below = {0: encoded[0]}  # start of a way -> its map at the level below
        for level in range(1, self.levels + 1):
            maps = {level: encoded[level]}
            for start in reversed(range(level)):
                joined = [maps[s] for s in sorted(maps)]
                maps[start] = self.ways[f"{start}_{level}"](below[start], joined)
            below = maps
        x = below[0]
        for block in self.last:
            x = block(x)
        return x


def _left(encoder: Encoder) -> list[int]:
    """Strides finer than those of the encoder, coarsest first."""
    return [s for s in _WIDTHS if s < encoder.strides[0]]
