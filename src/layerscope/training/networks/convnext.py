"""ConvNeXt-Tiny (Liu et al., arXiv:2201.03545), named as in torchvision."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layerscope.training.networks.blocks import StochasticDepth
from layerscope.training.networks.encoder import Encoder, EncoderKind

_WIDTHS = (96, 192, 384, 768)
_DEPTHS = (3, 3, 9, 3)
_SKIPPED = 0.1  # share of images that the last block leaves out; falls to 0 at the first


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of maps (N, C, H, W)."""

    def __init__(self, width: int):
        super().__init__(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """`x` with mean 0 and variance 1 over the channels, then scaled."""
        x = F.layer_norm(
            x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps
        )
        return x.permute(0, 3, 1, 2)


class Permute(nn.Module):
    """Axes in another order."""

    def __init__(self, *order: int):
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        """`x` with its axes in that order."""
        return x.permute(*self.order)


class ConvNeXtBlock(nn.Module):
    """Depthwise 7 x 7, then two layers across channels, beside a shortcut."""

    def __init__(self, width: int, skipped: float):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(width, width, 7, padding=3, groups=width),
            Permute(0, 2, 3, 1),
            nn.LayerNorm(width, eps=1e-6),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            Permute(0, 3, 1, 2),
        )
        self.layer_scale = nn.Parameter(torch.full((width, 1, 1), 1e-6))
        self.depth = StochasticDepth(skipped)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same size."""
        return x + self.depth(self.layer_scale * self.block(x))


class ConvNeXt(Encoder):
    """Patches of 4 x 4 pixels and four stages; no features at half resolution."""

    first = "features.0.0.weight"
    strides = (4, 8, 16, 32)
    widths = _WIDTHS
    pooled = _WIDTHS[-1]

    def __init__(self, *, channels: int, top: bool = False):
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(channels, _WIDTHS[0], 4, 4), ChannelNorm(_WIDTHS[0]))
        parts: list[nn.Module] = [stem]
        done = 0
        for i, (width, depth) in enumerate(zip(_WIDTHS, _DEPTHS, strict=True)):
            if i:
                above = _WIDTHS[i - 1]
                parts.append(nn.Sequential(ChannelNorm(above), nn.Conv2d(above, width, 2, 2)))
            shares = [_SKIPPED * (done + j) / (sum(_DEPTHS) - 1) for j in range(depth)]
            parts.append(nn.Sequential(*(ConvNeXtBlock(width, share) for share in shares)))
            done += depth
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Sequential(*([ChannelNorm(_WIDTHS[-1])] if top else []))
        _start(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """See `Encoder`."""
        features = []
        for i, part in enumerate(self.features):
            x = part(x)
            if i % 2:
                features.append(x)
        return features

    def pool(self, x: Tensor) -> Tensor:
        """See `Encoder`; followed by the norm that stands before the classifier."""
        return self.classifier(self.forward(x)[-1].mean((2, 3), keepdim=True)).flatten(1)


def _start(module: nn.Module) -> None:
    """Weights as in the article: normal, cut at two sigma of 0.02."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            nn.init.zeros_(part.bias)


CONVNEXT_TINY = EncoderKind(ConvNeXt, "ConvNeXt-Tiny")
