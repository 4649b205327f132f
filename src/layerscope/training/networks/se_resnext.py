"""SE-ResNeXt-50 and -101 (32x4d), named as in the files of MicroNet and its ancestors.

Hu et al., arXiv:1709.01507, on Xie et al., arXiv:1611.05431.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from layerscope.training.networks.blocks import SqueezeExcitation, start_convolutions
from layerscope.training.networks.encoder import Encoder, EncoderKind
from layerscope.training.networks.resnet import add_stages, shortcut

_GROUPS = 32
_REDUCTION = 16


class SEResNeXtBlock(nn.Module):
    """Bottleneck with 32 groups and squeeze-and-excitation before the sum."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        inner, outputs = width * 2, width * 4  # 4 channels per group at width 64
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=_GROUPS, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.se_module = SqueezeExcitation(
            outputs, outputs // _REDUCTION, nn.ReLU(inplace=True), nn.Sigmoid()
        )
        self.downsample = shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Features at the stride of the block."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.se_module(self.bn3(self.conv3(out)))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class SEResNeXt(Encoder):
    """Stem with a 7 x 7 convolution and four stages."""

    first = "layer0.conv1.weight"

    def __init__(self, *, channels: int, depths: tuple[int, ...], top: bool = False):
        super().__init__()
        del top  # nothing stands between the deepest features and the classifier
        self.layer0 = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(channels, 64, 7, 2, 3, bias=False),
                bn1=nn.BatchNorm2d(64),
                relu1=nn.ReLU(inplace=True),
            )
        )
        self.pool0 = nn.MaxPool2d(3, 2)
        self.widths = add_stages(self, SEResNeXtBlock, 4, depths)
        self.pooled = self.widths[-1]
        start_convolutions(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """See `Encoder`."""
        features = [self.layer0(x)]
        # The published networks pool up to the last started window, which torch.export cannot do
        # for unknown sizes. Values are positive: a border of 0 on the far sides does the same.
        x = self.pool0(F.pad(features[0], (0, 1, 0, 1)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            features.append(x)
        return features

    def deepest(self) -> nn.Module:
        """See `Encoder`."""
        return self.layer4


SE_RESNEXT50 = EncoderKind(partial(SEResNeXt, depths=(3, 4, 6, 3)), "SE-ResNeXt-50 32x4d")
SE_RESNEXT101 = EncoderKind(partial(SEResNeXt, depths=(3, 4, 23, 3)), "SE-ResNeXt-101 32x4d")
