"""ResNet-18, -34 and -50 (He et al., arXiv:1512.03385), named as in torchvision."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from layerscope.training.networks.blocks import start_convolutions
from layerscope.training.networks.encoder import Encoder, EncoderKind

_WIDTH = 64


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Features at the stride of the block."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 with the stride, 1 x 1 to four times the width, beside a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(inputs, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Features at the stride of the block."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet(Encoder):
    """Stem with a 7 x 7 convolution and four stages."""

    first = "conv1.weight"

    def __init__(
        self,
        *,
        channels: int,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, ...],
        width: int = _WIDTH,
        top: bool = False,
    ):
        super().__init__()
        del top  # nothing stands between the deepest features and the classifier
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.widths = add_stages(self, block, block.expansion, depths, width)
        self.pooled = self.widths[-1]
        start_convolutions(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """See `Encoder`."""
        features = [self.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(features[0])
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            features.append(x)
        return features

    def deepest(self) -> nn.Module:
        """See `Encoder`."""
        return self.layer4


def add_stages(
    encoder: nn.Module,
    block: Callable[..., nn.Module],
    expansion: int,
    depths: tuple[int, ...],
    width: int = _WIDTH,
) -> tuple[int, ...]:
    """Add layer1 to layer4 to `encoder`; return the widths of stem and stages."""
    widths = [width]
    for i, depth in enumerate(depths):
        inner = width * 2**i
        blocks = [block(widths[-1], inner, 2 if i else 1)]
        blocks += [block(inner * expansion, inner, 1) for _ in range(depth - 1)]
        setattr(encoder, f"layer{i + 1}", nn.Sequential(*blocks))
        widths.append(inner * expansion)
    return tuple(widths)


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """Make the 1 x 1 convolution that fits the input to the sum; None where it fits by itself."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


RESNET18_N = EncoderKind(
    partial(ResNet, block=BasicBlock, depths=(2, 2, 2, 2), width=_WIDTH // 4),
    "ResNet-18 with a quarter of the channels, for studies without a GPU",
)
RESNET18 = EncoderKind(partial(ResNet, block=BasicBlock, depths=(2, 2, 2, 2)), "ResNet-18")
RESNET34 = EncoderKind(partial(ResNet, block=BasicBlock, depths=(3, 4, 6, 3)), "ResNet-34")
RESNET50 = EncoderKind(partial(ResNet, block=Bottleneck, depths=(3, 4, 6, 3)), "ResNet-50")
