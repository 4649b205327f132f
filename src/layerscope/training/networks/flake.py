"""`flake-n`, `-s` and `-m`: terraces by foreground, boundary and depth, made for two CPU cores.

A U-shaped network of separable convolutions that works at half resolution. Its input is contrast
against the bare substrate, which it compresses before the first convolution: one layer of hBN is
0.02 and a mirror-like flake is 5, and both must be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Self

from torch import Tensor, nn
from torch.nn import functional

from layerscope.training.networks.network import Architecture, Network

MAPS = ("foreground", "boundary", "depth")
"""Outputs in order; see `training.flake_targets`."""


@dataclass(frozen=True)
class FlakeSize:
    """Widths of the levels at strides 2, 4, 8, 16 and 32, and blocks at each."""

    widths: tuple[int, ...]
    blocks: tuple[int, ...]


class FlakeNetwork(Network):
    """Logits of `MAPS`, (N, outputs, H, W), from contrast (N, channels, H, W).

    Attributes
    ----------
    half : bool
        Leave the logits at half resolution, (N, outputs, H / 2, W / 2), as the finder reads them.
    keep_norms : bool
        Normalise by the statistics learned before, also in training: those of a few patches of a
        few images are none to learn.
    """

    def __init__(self, *, size: FlakeSize, channels: int, outputs: int):
        super().__init__(channels, outputs, stride=2 ** len(size.widths))
        self.half, self.keep_norms = False, False
        widths = size.widths
        self.stem = _convolution(channels, widths[0], 3, step=2)
        self.encoder = nn.ModuleList(
            _stage(widths[max(i - 1, 0)], widths[i], size.blocks[i], step=2 if i else 1)
            for i in range(len(widths))
        )
        self.lateral = nn.ModuleList(
            nn.Conv2d(below, above, 1, bias=False) for above, below in pairwise(widths)
        )
        self.decoder = nn.ModuleList(Block(width) for width in widths[:-1])
        self.last = Block(widths[0])
        self.head = nn.Conv2d(widths[0], outputs, 1)

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation; norms stay in evaluation with `keep_norms`."""
        super().train(mode)
        for part in self.modules():
            if self.keep_norms and isinstance(part, nn.BatchNorm2d):
                part.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.stem(8 * x / (1 + 8 * x.abs()))
        levels = []
        for stage in self.encoder:
            x = stage(x)
            levels.append(x)
        for i in reversed(range(len(self.decoder))):
            wide = functional.interpolate(self.lateral[i](x), scale_factor=2.0, mode="nearest")
            x = self.decoder[i](levels[i] + wide)
        logits: Tensor = self.head(self.last(x))
        if self.half:
            return logits
        return functional.interpolate(
            logits, scale_factor=2.0, mode="bilinear", align_corners=False
        )


class Block(nn.Module):
    """Residual separable convolution: 3 x 3 per channel, then across channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return functional.relu(x + self.body(x))


def _convolution(before: int, after: int, kernel: int, step: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, step, kernel // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )


def _stage(before: int, after: int, blocks: int, step: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    if step > 1:
        parts += [
            nn.Conv2d(before, before, 3, step, 1, groups=before, bias=False),
            nn.BatchNorm2d(before),
            *_convolution(before, after, 1, 1),
        ]
    return nn.Sequential(*parts, *(Block(after) for _ in range(blocks)))


FLAKE_N = Architecture(
    partial(FlakeNetwork, size=FlakeSize((16, 32, 64, 128, 192), (0, 2, 3, 4, 4))),
    "Terraces by foreground, boundary and depth; smallest",
)
FLAKE_S = Architecture(
    partial(FlakeNetwork, size=FlakeSize((32, 64, 128, 192, 256), (1, 2, 4, 4, 3))),
    "Terraces by foreground, boundary and depth; small",
)
FLAKE_M = Architecture(
    partial(FlakeNetwork, size=FlakeSize((48, 96, 192, 288, 384), (2, 3, 5, 5, 3))),
    "Terraces by foreground, boundary and depth; middle",
)
