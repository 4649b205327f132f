"""A small classifier of micrographs for computers without a GPU and labels by the hundred."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from layerscope.training.networks.light import SeparableBlock
from layerscope.training.networks.network import Architecture, Network

_WIDTHS = (16, 32, 64, 96, 128)  # at 1/2, 1/4 ... 1/32 of the picture
_TOLD = 16
_USUAL = 4.0  # log10 of a magnification in the middle of those of a TEM


class LightClassifier(Network):
    """Answers to several questions, from a picture and its magnification; 0.1 million numbers.

    Features are pooled by mean, which counts, and by maximum, which finds the one spot that
    matters. The published classifiers on encoders pool by mean only.
    """

    def __init__(self, *, channels: int, outputs: int):
        super().__init__(channels, outputs, stride=2 ** len(_WIDTHS))
        self.body = nn.Sequential(
            nn.Conv2d(channels, _WIDTHS[0], 3, 2, 1, bias=False),
            nn.BatchNorm2d(_WIDTHS[0]),
            nn.ReLU(inplace=True),
            *(
                nn.Sequential(SeparableBlock(above, below, 2), SeparableBlock(below, below))
                for above, below in pairwise(_WIDTHS)
            ),
        )
        self.magnification = nn.Linear(1, _TOLD)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(2 * _WIDTHS[-1] + _TOLD, outputs)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, magnification: Tensor | None = None) -> Tensor:
        """Logits (N, outputs) of images (N, channels, H, W).

        Parameters
        ----------
        x : tensor (N, channels, H, W)
        magnification : tensor (N,), optional
            Times, e.g. 50 000. NaN, or none at all: unknown, and nothing is added for that image.
        """
        if magnification is None:
            magnification = torch.full(x.shape[:1], math.nan, device=x.device)
        known = magnification > 0
        log = torch.where(known, magnification, 1.0).log10().to(x) - _USUAL
        seen = torch.relu(self.magnification(log[:, None])) * known[:, None]
        features = self.body(x)
        pooled = torch.cat((features.mean((2, 3)), features.amax((2, 3)), seen), dim=1)
        return self.head(self.drop(pooled))


CATEGORIES_N = Architecture(
    partial(LightClassifier),
    "categories of a micrograph, small, for computers without a GPU",
    gives="numbers",
)
