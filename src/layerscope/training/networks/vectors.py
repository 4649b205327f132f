"""Networks that answer an image with numbers: coverage of a patch, categories of a micrograph.

Coverage: the regressors of the published WSe2 study, as its code has them. Categories: one linear
head per question over pooled features and the magnification.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from layerscope.errors import InputError
from layerscope.training.networks.encoder import EncoderKind
from layerscope.training.networks.network import Architecture, Network

_SIDE = 224


class CnnSc(Network):
    """CNNsc of the study: four convolutions and three layers, for patches of one size.

    Parameters
    ----------
    channels, outputs : int
    widths, hidden : tuple of int
        Channels of the convolutions, at most 5 of them, and lengths of the layers between. The
        study found its values by a search.
    side_px : int
        Of a patch; 224 in the study.
    """

    def __init__(
        self,
        *,
        channels: int,
        outputs: int,
        widths: tuple[int, ...] = (32, 16, 8, 4),
        hidden: tuple[int, ...] = (200, 100),
        side_px: int = _SIDE,
    ):
        super().__init__(channels, outputs, stride=side_px)
        layers: list[nn.Module] = []
        side = side_px
        for before, after in pairwise((channels, *widths)):
            layers += [nn.Conv2d(before, after, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
            side = (side - 4) // 2
        if side < 1:
            raise InputError(
                f"{len(widths)} convolutions leave nothing of {side_px} px: take fewer"
            )
        self.features = nn.Sequential(*layers)
        self.head = _layers((widths[-1] * side**2, *hidden), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Numbers (N, outputs) of patches (N, channels, side_px, side_px)."""
        side = self.stride
        if tuple(x.shape[-2:]) != (side, side):
            raise InputError(
                f"a patch of {x.shape[-2]} x {x.shape[-1]} px; cnnsc takes {side} x {side}: "
                "cut or resample it"
            )
        return self.head(self.features(x).flatten(1))


class TunedRegressor(Network):
    """CNN-I and CNN-M: a pretrained encoder, all of it trained on, with numbers from 0 to 1."""

    def __init__(self, *, channels: int, outputs: int, encoder: EncoderKind):
        part = encoder.make(channels=channels, top=True)
        super().__init__(channels, outputs, stride=part.strides[-1])
        self.encoder = part
        self.head = nn.Sequential(
            nn.Linear(part.pooled, 100),
            nn.ReLU(inplace=True),
            nn.Dropout(0.25),
            nn.Linear(100, outputs),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Numbers (N, outputs), 0 to 1, of patches (N, channels, H, W)."""
        return self.head(self.encoder.pool(x))


class FrozenRegressor(Network):
    """MLP-I and MLP-M: three layers on the features of an encoder that stays as it is.

    `head` alone may be trained on `features` that were computed once. `hidden`: lengths of the
    layers between; the study found its values by a search.
    """

    def __init__(
        self,
        *,
        channels: int,
        outputs: int,
        encoder: EncoderKind,
        hidden: tuple[int, ...] = (120, 84),
    ):
        part = encoder.make(channels=channels, top=True)
        super().__init__(channels, outputs, stride=part.strides[-1])
        self.encoder = part
        self.head = _layers((part.pooled, *hidden), outputs)
        self.freeze_encoder()

    def features(self, x: Tensor) -> Tensor:
        """Vectors (N, pooled) of patches (N, channels, H, W)."""
        with torch.no_grad():
            return self.encoder.pool(x)

    def forward(self, x: Tensor) -> Tensor:
        """Numbers (N, outputs) of patches (N, channels, H, W)."""
        return self.head(self.features(x))


class Classifier(Network):
    """Answers to several questions about a micrograph, from its picture and its magnification.

    `outputs` is the number of all answers; the caller knows which belong to which question. One
    linear layer is then the same as one per question.
    """

    _MAGNIFIED = 32
    _USUAL = 4.0  # log10 of a magnification in the middle of those of a TEM

    def __init__(self, *, channels: int, outputs: int, encoder: EncoderKind):
        part = encoder.make(channels=channels, top=True)
        super().__init__(channels, outputs, stride=part.strides[-1])
        self.encoder = part
        self.magnification = nn.Linear(1, self._MAGNIFIED)
        self.head = nn.Linear(part.pooled + self._MAGNIFIED, outputs)

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
        log = torch.where(known, magnification, 1.0).log10().to(x) - self._USUAL
        seen = torch.relu(self.magnification(log[:, None])) * known[:, None]
        return self.head(torch.cat((self.encoder.pool(x), seen), dim=1))


def _layers(widths: tuple[int, ...], outputs: int) -> nn.Sequential:
    """Linear layers with ReLUs between, none after the last."""
    parts: list[nn.Module] = []
    for before, after in pairwise(widths):
        parts += [nn.Linear(before, after), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts, nn.Linear(widths[-1], outputs))


def _numbers(make: Any, description: str, on_encoder: bool = True) -> Architecture:
    return Architecture(partial(make), description, on_encoder, gives="numbers")


CNNSC = _numbers(CnnSc, "CNNsc: coverage of a 224 px patch, from scratch", on_encoder=False)
TUNED = _numbers(TunedRegressor, "CNN-I, CNN-M: coverage of a patch, encoder trained on")
FROZEN = _numbers(FrozenRegressor, "MLP-I, MLP-M: coverage of a patch, encoder kept as it is")
CATEGORIES = _numbers(Classifier, "categories of a micrograph, from picture and magnification")
