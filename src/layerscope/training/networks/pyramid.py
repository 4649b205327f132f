"""FPN and DeepLabV3+ over the features of an encoder.

Kirillov et al., arXiv:1901.02446, on Lin et al., arXiv:1612.03144; Chen et al., arXiv:1802.02611.
Bilinear steps do not align corners: aligned ones would make a value depend on the size of the tile.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, cat, nn
from torch.nn import functional as F

from layerscope.errors import InputError
from layerscope.training.networks.blocks import ConvNormAct, SeparableConv, start_convolutions
from layerscope.training.networks.encoder import Encoder, dilate

_PYRAMID = 256
_MERGED = 128
_NORM_GROUPS = 32
_ATROUS_RATES = (12, 24, 36)
_ATROUS = 256
_FINE = 48


class FPN(nn.Module):
    """Features of all levels brought to one width, to stride 4, and summed."""

    stride = 4
    width = _MERGED
    head_size = 1

    def __init__(self, encoder: Encoder):
        super().__init__()
        widths = encoder.widths[-4:]  # strides 4 to 32
        self.lateral = nn.ModuleList(nn.Conv2d(width, _PYRAMID, 1) for width in widths)
        self.climbs = nn.ModuleList(_Climb(steps) for steps in range(len(widths)))
        self.dropout = nn.Dropout2d(0.2, inplace=True)
        start_convolutions(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Give maps (N, 128, H / 4, W / 4) from features, finest first."""
        maps = [layer(f) for layer, f in zip(self.lateral, features[-4:], strict=True)]
        for i in reversed(range(len(maps) - 1)):
            maps[i] = maps[i] + F.interpolate(maps[i + 1], scale_factor=2, mode="nearest")
        raised = [part(x) for part, x in zip(self.climbs, maps, strict=True)]
        return self.dropout(sum(raised[1:], raised[0]))


class _Climb(nn.Module):
    """Convolve and double, `steps` times; once without doubling for 0."""

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(_MERGED if i else _PYRAMID, _MERGED, 3, padding=1, bias=False),
                nn.GroupNorm(_NORM_GROUPS, _MERGED),
                nn.ReLU(inplace=True),
            )
            for i in range(max(1, steps))
        )

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = conv(x)
            if self.steps:
                x = _enlarge(x, 2)
        return x


class DeepLabV3Plus(nn.Module):
    """Context at several reaches beside the fine features of stride 4.

    The deepest stage keeps stride 16 and looks twice as far instead, where the encoder allows it
    (ConvNeXt halves by convolutions without overlap and stays at 32). One branch sees the mean of
    the whole input, as published: near its edges a tile is not exactly the image.
    """

    stride = 4
    width = _ATROUS
    head_size = 1

    def __init__(self, encoder: Encoder):
        super().__init__()
        deepest = encoder.deepest()
        if deepest is not None:
            dilate(deepest)
        self.ratio = (encoder.strides[-1] if deepest is None else encoder.strides[-2]) // 4
        self.context = nn.Sequential(
            _AtrousPyramid(encoder.widths[-1]), *_separable(_ATROUS, _ATROUS)
        )
        self.fine = ConvNormAct(encoder.widths[-4], _FINE, 1, act=nn.ReLU())
        self.merge = nn.Sequential(*_separable(_ATROUS + _FINE, _ATROUS))
        start_convolutions(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Give maps (N, 256, H / 4, W / 4) from features, finest first."""
        x = _enlarge(self.context(features[-1]), self.ratio)
        return self.merge(cat((x, self.fine(features[-4])), dim=1))


class _AtrousPyramid(nn.Module):
    """One pointwise, three dilated separable convolutions and the mean, joined."""

    def __init__(self, inputs: int):
        super().__init__()
        self.branches = nn.ModuleList(
            [
                ConvNormAct(inputs, _ATROUS, 1, act=nn.ReLU()),
                *(nn.Sequential(*_separable(inputs, _ATROUS, r)) for r in _ATROUS_RATES),
            ]
        )
        self.mean = ConvNormAct(inputs, _ATROUS, 1, act=nn.ReLU())
        self.join = nn.Sequential(
            ConvNormAct(_ATROUS * (len(_ATROUS_RATES) + 2), _ATROUS, 1, act=nn.ReLU()),
            nn.Dropout(0.5),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] == 1:
            raise InputError("a batch of 1 image; DeepLabV3+ trains on 2 or more: raise the batch")
        mean = self.mean(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return self.join(cat([*(branch(x) for branch in self.branches), mean], dim=1))


def _separable(inputs: int, outputs: int, dilation: int = 1) -> tuple[nn.Module, ...]:
    return SeparableConv(inputs, outputs, dilation), nn.BatchNorm2d(outputs), nn.ReLU()


def _enlarge(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
