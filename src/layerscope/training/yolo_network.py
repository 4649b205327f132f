"""A one-stage network of objects with masks, from the published parts.

Backbone of cross-stage partial blocks (Wang et al., CSPNet, arXiv 1911.11929) whose bottlenecks are
all joined at the end (as in ELAN: Wang et al., arXiv 2211.04800), spatial pyramid pooling in a
chain (He et al., arXiv 1406.4729), a path aggregation neck (Liu et al., PANet, arXiv 1803.01534),
a decoupled head without anchor boxes (Ge et al., YOLOX, arXiv 2107.08430) whose box sides are
distributions (Li et al., generalised focal loss, arXiv 2006.04388), and masks from prototypes
(Bolya et al., YOLACT, arXiv 1904.02689). Widths and depths are those of the published sizes
(Terven et al., arXiv 2304.00501).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layerscope.errors import InputError, UnknownName
from layerscope.models.yolo_decode import N_PROTOTYPES
from layerscope.training.networks.blocks import ConvNormAct
from layerscope.training.networks.network import Network

BINS = 16
"""A side of a box is a distribution over 0 to 15 cells."""

STRIDES = (8, 16, 32)
"""Pixels per cell of the three levels."""

_PRIOR = 0.01  # probability of an object that an untrained cell gives (arXiv 1708.02002, 4.1)


@dataclass(frozen=True)
class Size:
    """Multiples of the published depths and widths.

    Attributes
    ----------
    depth, width : float
    widest : int
        Channels that no level exceeds, before the multiple.
    """

    depth: float
    width: float
    widest: int = 1024

    def channels(self, count: int) -> int:
        """Channels of a level: a multiple of 8."""
        return 8 * math.ceil(min(count, self.widest) * self.width / 8)

    def blocks(self, count: int) -> int:
        """Bottlenecks of a block, at least one."""
        return max(1, round(count * self.depth))


SIZES: Mapping[str, Size] = {
    "tiny": Size(1 / 3, 1 / 16),
    "n": Size(1 / 3, 1 / 4),
    "s": Size(1 / 3, 1 / 2),
    "m": Size(2 / 3, 3 / 4, 768),
    "half-n": Size(1 / 3, 1 / 8),
    "half-s": Size(1 / 3, 1 / 4),
    "half-m": Size(2 / 3, 3 / 8, 768),
}
"""The published n, s and m, the same at half the width, and one for trials."""


class Answer(NamedTuple):
    """What the network says of images, before it is decoded.

    Attributes
    ----------
    sides : Tensor, (N, places, 4, BINS)
        Logits of the distance from a place to the left, top, right, bottom, in cells.
    classes : Tensor, (N, places, classes)
        Logits.
    coefficients : Tensor, (N, places, 32)
    prototypes : Tensor, (N, 32, H/4, W/4)
    points : Tensor, (places, 2)
        Centre x, y of each place in pixels of the input.
    strides : Tensor, (places,)
    """

    sides: Tensor
    classes: Tensor
    coefficients: Tensor
    prototypes: Tensor
    points: Tensor
    strides: Tensor

    def boxes(self) -> Tensor:
        """Left, top, right, bottom in pixels of the input, (N, places, 4)."""
        reach = self.sides.softmax(-1) @ _bins(self.sides) * self.strides[:, None]
        return torch.cat((self.points - reach[..., :2], self.points + reach[..., 2:]), -1)

    def of(self, i: int) -> Answer:
        """Answer to image `i` alone, without the first dimension."""
        return Answer(
            self.sides[i], self.classes[i], self.coefficients[i], self.prototypes[i], self.points,
            self.strides,
        )  # fmt: skip


class Bottleneck(nn.Module):
    """Two 3 x 3 convolutions, added to what came in where `shortcut`."""

    def __init__(self, width: int, shortcut: bool):
        super().__init__()
        self.first, self.second = _conv(width, width, 3), _conv(width, width, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) as it came."""
        out = self.second(self.first(x))
        return x + out if self.shortcut else out


class SplitBlock(nn.Module):
    """Cross-stage partial block: one half passes by, the other through a chain; all are joined."""

    def __init__(self, inputs: int, outputs: int, count: int, shortcut: bool = False):
        super().__init__()
        half = outputs // 2
        self.split = _conv(inputs, 2 * half)
        self.chain = nn.ModuleList(Bottleneck(half, shortcut) for _ in range(count))
        self.join = _conv((2 + count) * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H, W)."""
        parts = list(self.split(x).chunk(2, 1))
        for link in self.chain:
            parts.append(link(parts[-1]))
        return self.join(torch.cat(parts, 1))


class PoolingChain(nn.Module):
    """Largest values within 5, 9 and 13 cells, by the same 5 x 5 pooling in a chain."""

    def __init__(self, width: int):
        super().__init__()
        half = width // 2
        self.squeeze, self.join = _conv(width, half), _conv(4 * half, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) as it came."""
        parts = [self.squeeze(x)]
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], 5, 1, 2))
        return self.join(torch.cat(parts, 1))


class Backbone(nn.Module):
    """Features at 1/8, 1/16 and 1/32 of the image."""

    def __init__(self, channels: int, size: Size):
        super().__init__()
        widths = [size.channels(c) for c in (64, 128, 256, 512, 1024)]
        self.stem = _conv(channels, widths[0], 3, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(
                _conv(above, below, 3, 2), SplitBlock(below, below, size.blocks(count), True)
            )
            for above, below, count in zip(widths, widths[1:], (3, 6, 6, 3), strict=False)
        )
        self.pooling = PoolingChain(widths[-1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, channels, H, W) to three levels, finest first."""
        x, levels = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels[1], levels[2], self.pooling(levels[3])


class Neck(nn.Module):
    """Path aggregation: coarse levels go up to fine ones, and fine ones down again."""

    def __init__(self, size: Size):
        super().__init__()
        fine, middle, coarse = (size.channels(c) for c in (256, 512, 1024))
        count = size.blocks(3)
        self.up_middle = SplitBlock(coarse + middle, middle, count)
        self.up_fine = SplitBlock(middle + fine, fine, count)
        self.down_fine = _conv(fine, fine, 3, 2)
        self.down_middle = SplitBlock(fine + middle, middle, count)
        self.shrink_middle = _conv(middle, middle, 3, 2)
        self.down_coarse = SplitBlock(middle + coarse, coarse, count)

    def forward(self, levels: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Three levels, finest first, to three of the same sizes."""
        fine, middle, coarse = levels
        middle = self.up_middle(torch.cat((_doubled(coarse), middle), 1))
        fine = self.up_fine(torch.cat((_doubled(middle), fine), 1))
        middle = self.down_middle(torch.cat((self.down_fine(fine), middle), 1))
        coarse = self.down_coarse(torch.cat((self.shrink_middle(middle), coarse), 1))
        return fine, middle, coarse


class Head(nn.Module):
    """Three branches per level: sides of the box, classes, coefficients of the mask."""

    def __init__(self, widths: tuple[int, ...], classes: int):
        super().__init__()
        sides = max(16, widths[0] // 4, 4 * BINS)
        named = max(widths[0], min(classes, 100))
        mask = max(widths[0] // 4, N_PROTOTYPES)
        self.sides = nn.ModuleList(_branch(w, sides, 4 * BINS) for w in widths)
        self.classes = nn.ModuleList(_branch(w, named, classes) for w in widths)
        self.coefficients = nn.ModuleList(_branch(w, mask, N_PROTOTYPES) for w in widths)
        for branch in self.sides:
            nn.init.ones_(branch[-1].bias)
        for branch in self.classes:
            nn.init.constant_(branch[-1].bias, -math.log((1 - _PRIOR) / _PRIOR))

    def forward(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Three levels to the three answers (N, places, numbers)."""
        sides, classes, coefficients = (
            torch.cat([_in_rows(b(x)) for b, x in zip(branches, levels, strict=True)], 1)
            for branches in (self.sides, self.classes, self.coefficients)
        )
        return sides, classes, coefficients


class Prototypes(nn.Sequential):
    """Masks of which all objects are made, at a quarter of the image's resolution."""

    def __init__(self, inputs: int, width: int):
        super().__init__(
            _conv(inputs, width, 3),
            nn.ConvTranspose2d(width, width, 2, 2),
            _conv(width, width, 3),
            _conv(width, N_PROTOTYPES),
        )


class YoloNetwork(Network):
    """Objects with masks; ``outputs`` is the number of classes."""

    def __init__(self, *, channels: int, outputs: int, size: Size):
        super().__init__(channels, outputs, stride=STRIDES[-1])
        widths = tuple(size.channels(c) for c in (256, 512, 1024))
        self.backbone = Backbone(channels, size)
        self.neck = Neck(size)
        self.head = Head(widths, outputs)
        self.prototypes = Prototypes(widths[0], size.channels(256))

    def forward(self, x: Tensor) -> Answer:
        """Answer to images (N, channels, H, W), H and W multiples of 32."""
        levels = self.neck(self.backbone(x))
        sides, classes, coefficients = self.head(levels)
        points, strides = _places(levels)
        sides = sides.unflatten(-1, (4, BINS))
        return Answer(sides, classes, coefficients, self.prototypes(levels[0]), points, strides)


class Decoded(nn.Module):
    """The network with its answer in the layout of `models.yolo`: what a model file holds."""

    def __init__(self, network: YoloNetwork):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes, classes and coefficients (N, 4 + classes + 32, places), and prototypes."""
        answer = self.network(images)
        low, high = answer.boxes().split(2, -1)
        rows = ((low + high) / 2, high - low, answer.classes.sigmoid(), answer.coefficients)
        return torch.cat(rows, -1).transpose(1, 2), answer.prototypes


def build_yolo(size: str, classes: int, *, channels: int = 3, seed: int = 0) -> YoloNetwork:
    """Make a network of one of `SIZES`, from scratch.

    Parameters
    ----------
    size : str
    classes : int
    channels : int
    seed : int
        Decides the starting weights; the random state of the caller is left as it is.

    Raises
    ------
    UnknownName
        No such size.
    InputError
        If there is no class.
    """
    if size not in SIZES:
        raise UnknownName.of("size", size, SIZES)
    if classes < 1:
        raise InputError(f"{classes} classes: expected 1 or more")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = YoloNetwork(channels=channels, outputs=classes, size=SIZES[size])
    network.name = f"yolo-{size}"
    return network


def _conv(inputs: int, outputs: int, size: int = 1, stride: int = 1) -> ConvNormAct:
    return ConvNormAct(inputs, outputs, size, stride, act=nn.SiLU(inplace=True), eps=1e-3)


def _branch(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        _conv(inputs, width, 3), _conv(width, width, 3), nn.Conv2d(width, outputs, 1)
    )


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _in_rows(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def _bins(like: Tensor) -> Tensor:
    return torch.arange(BINS, dtype=like.dtype, device=like.device)


def _places(levels: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Centres x, y (places, 2) of the cells of all levels, and pixels per cell (places,)."""
    points, strides = [], []
    for level, stride in zip(levels, STRIDES, strict=True):
        rows, columns = level.shape[2:]
        y = (torch.arange(rows, dtype=torch.float32, device=level.device) + 0.5) * stride
        x = (torch.arange(columns, dtype=torch.float32, device=level.device) + 0.5) * stride
        grid = torch.stack((x.expand(rows, columns), y[:, None].expand(rows, columns)), -1)
        points.append(grid.reshape(-1, 2))
        strides.append(torch.full_like(points[-1][:, 0], stride))
    return torch.cat(points), torch.cat(strides)
