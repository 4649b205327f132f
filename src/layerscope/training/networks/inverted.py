"""EfficientNet-B0 and MobileNetV3, made of inverted residuals and named as in torchvision.

Tan and Le, arXiv:1905.11946; Howard et al., arXiv:1905.02244; the block: Sandler et al.,
arXiv:1801.04381.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from layerscope.training.networks.blocks import (
    ConvNormAct,
    SqueezeExcitation,
    StochasticDepth,
    start_convolutions,
)
from layerscope.training.networks.encoder import Encoder, EncoderKind


@dataclass(frozen=True)
class BlockPlan:
    """Sizes of one inverted residual; `squeezed` 0 leaves squeeze-and-excitation out."""

    size: int
    inputs: int
    inner: int
    outputs: int
    stride: int
    squeezed: int
    act: type[Any]
    gate: type[Any]
    skipped: float = 0.0


class InvertedResidual(nn.Module):
    """Widen, convolve per channel, weigh the channels, narrow."""

    def __init__(self, plan: BlockPlan, norm: dict[str, Any]):
        super().__init__()
        inner = plan.inner
        layers: list[nn.Module] = []
        if inner != plan.inputs:
            layers.append(ConvNormAct(plan.inputs, inner, 1, act=_act(plan.act), **norm))
        layers.append(
            ConvNormAct(inner, inner, plan.size, plan.stride, inner, _act(plan.act), **norm)
        )
        if plan.squeezed:
            act = nn.SiLU if plan.act is nn.SiLU else nn.ReLU
            layers.append(SqueezeExcitation(inner, plan.squeezed, act(inplace=True), plan.gate()))
        layers.append(ConvNormAct(inner, plan.outputs, 1, **norm))
        self.block = nn.Sequential(*layers)
        self.adds = plan.stride == 1 and plan.inputs == plan.outputs
        self.depth = StochasticDepth(plan.skipped)

    def forward(self, x: Tensor) -> Tensor:
        """Features at the stride of the block."""
        return x + self.depth(self.block(x)) if self.adds else self.block(x)


class FeatureStack(Encoder):
    """Encoder whose parts stand in one sequence, `features`; cut where the resolution falls."""

    first = "features.0.0.weight"

    def __init__(self, parts: Sequence[nn.Module], widths: Sequence[int], strides: Sequence[int]):
        super().__init__()
        self.features = nn.Sequential(*parts)
        ends = [i - 1 for i in range(1, len(strides)) if strides[i] > 1] + [len(strides) - 1]
        self.cuts = tuple(ends)
        self.widths = tuple(widths[i] for i in ends)
        self.pooled = self.widths[-1]

    def forward(self, x: Tensor) -> list[Tensor]:
        """See `Encoder`."""
        features = []
        for i, part in enumerate(self.features[: self.cuts[-1] + 1]):
            x = part(x)
            if i in self.cuts:
                features.append(x)
        return features

    def pool(self, x: Tensor) -> Tensor:
        """See `Encoder`; the last 1 x 1 convolution acts first where the encoder has it."""
        x = self.forward(x)[-1]
        for part in self.features[self.cuts[-1] + 1 :]:
            x = part(x)
        return x.mean((2, 3))

    def deepest(self) -> nn.Module:
        """See `Encoder`."""
        return nn.ModuleList(self.features[self.cuts[-2] + 1 : self.cuts[-1] + 1])


# expansion, size of the kernel, stride, outputs, blocks; Table 1 of arXiv:1905.11946
_B0 = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_B0_SKIPPED = 0.2  # share of images that the last block leaves out; falls to 0 at the first


def efficientnet_b0(*, channels: int, top: bool = False) -> FeatureStack:
    """EfficientNet-B0; `top` adds the last 1 x 1 convolution, to 1280 channels."""
    parts: list[nn.Module] = [ConvNormAct(channels, 32, 3, 2, act=nn.SiLU(inplace=True))]
    widths, strides, done = [32], [2], 0
    n_blocks = sum(row[-1] for row in _B0)
    for expansion, size, stride, outputs, depth in _B0:
        blocks = []
        for i in range(depth):
            inputs = outputs if i else widths[-1]
            plan = BlockPlan(
                size, inputs, expansion * inputs, outputs, 1 if i else stride, inputs // 4,
                nn.SiLU, nn.Sigmoid, _B0_SKIPPED * (done + i) / n_blocks,
            )  # fmt: skip
            blocks.append(InvertedResidual(plan, {}))
        parts.append(nn.Sequential(*blocks))
        widths.append(outputs)
        strides.append(stride)
        done += depth
    return _stack(parts, widths, strides, ConvNormAct, 1280, nn.SiLU, top)


# size of the kernel, inner width, outputs, squeeze-and-excitation, hard swish, stride;
# Tables 1 and 2 of arXiv:1905.02244
_LARGE = (
    (3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2),
    (5, 120, 40, 1, 0, 1), (5, 120, 40, 1, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1),
    (3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1),
    (5, 672, 160, 1, 1, 2), (5, 960, 160, 1, 1, 1), (5, 960, 160, 1, 1, 1),
)  # fmt: skip
_SMALL = (
    (3, 16, 16, 1, 0, 2), (3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1), (5, 96, 40, 1, 1, 2),
    (5, 240, 40, 1, 1, 1), (5, 240, 40, 1, 1, 1), (5, 120, 48, 1, 1, 1), (5, 144, 48, 1, 1, 1),
    (5, 288, 96, 1, 1, 2), (5, 576, 96, 1, 1, 1), (5, 576, 96, 1, 1, 1),
)  # fmt: skip
# The momentum of the article, 0.01, is meant for millions of images: after 50 steps from scratch
# the running means were still 60 % those of the start, and a network with a training loss of 0.40
# found nothing at all in evaluation (graphene_hrtem, Dice 0.00; 0.39 with the usual 0.1).
_MOBILE_NORM: dict[str, Any] = {"eps": 0.001}


def mobilenet_v3(*, channels: int, rows: Sequence[Any], top: bool = False) -> FeatureStack:
    """MobileNetV3; `top` adds the last 1 x 1 convolution, to six times the width."""
    conv: Any = partial(ConvNormAct, **_MOBILE_NORM)
    parts: list[nn.Module] = [conv(channels, 16, 3, 2, act=nn.Hardswish(inplace=True))]
    widths, strides = [16], [2]
    for size, inner, outputs, squeezes, hard, stride in rows:
        plan = BlockPlan(
            size, widths[-1], inner, outputs, stride, _eighths(inner // 4) if squeezes else 0,
            nn.Hardswish if hard else nn.ReLU, nn.Hardsigmoid,
        )  # fmt: skip
        parts.append(InvertedResidual(plan, _MOBILE_NORM))
        widths.append(outputs)
        strides.append(stride)
    return _stack(parts, widths, strides, conv, 6 * widths[-1], nn.Hardswish, top)


def _stack(
    parts: list[nn.Module],
    widths: list[int],
    strides: list[int],
    conv: Any,
    pooled: int,
    act: type[Any],
    top: bool,
) -> FeatureStack:
    if top:
        parts = [*parts, conv(widths[-1], pooled, 1, act=_act(act))]
    encoder = FeatureStack(parts, widths, strides)
    encoder.pooled = pooled if top else encoder.pooled
    start_convolutions(encoder)
    return encoder


def _act(kind: type[Any]) -> nn.Module:
    return kind(inplace=True)


def _eighths(width: int) -> int:
    """Round to the nearest multiple of 8, never below 90 % of `width` nor below 8."""
    near = max(8, (width + 4) // 8 * 8)
    return near + 8 if near < 0.9 * width else near


EFFICIENTNET_B0 = EncoderKind(efficientnet_b0, "EfficientNet-B0")
MOBILENET_V3_LARGE = EncoderKind(partial(mobilenet_v3, rows=_LARGE), "MobileNetV3-Large")
MOBILENET_V3_SMALL = EncoderKind(partial(mobilenet_v3, rows=_SMALL), "MobileNetV3-Small")
