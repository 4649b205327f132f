"""Mask2Former (Cheng et al., arXiv:2112.01527) through transformers.

The network proposes masks, each with a class. Summed over the proposals they are one label per
pixel, which is what `forward` gives; `Mask2FormerNetwork.find` keeps them apart as instances.
Configurations are made here: nothing is asked of a hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layerscope.errors import InputError, MissingExtra
from layerscope.training.networks.network import Architecture, FoundMask, Network

_STRIDE = 32
_LEAST = 1e-6  # added to a score before its logarithm


@dataclass(frozen=True)
class Size:
    """Sizes of the Swin encoder and of the decoder; the first is that of the article's Swin-T."""

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    hidden: int
    encoder_layers: int
    decoder_layers: int
    queries: int


TINY = Size(96, (2, 2, 6, 2), (3, 6, 12, 24), 256, 6, 10, 100)
NANO = Size(24, (1, 1, 2, 1), (1, 2, 4, 8), 64, 2, 4, 50)


class Mask2FormerNetwork(Network):
    """Proposed masks with classes; the first class is the background."""

    def __init__(self, *, channels: int, outputs: int, size: Size):
        super().__init__(channels, outputs, stride=_STRIDE)
        self.model = _model(channels, outputs, size)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, outputs, H, W) of images (N, channels, H, W).

        The softmax of them is the share of each class in the scores that the proposals give a
        pixel.
        """
        classes, masks = self._propose(x)
        scores = torch.einsum("nqc,nqhw->nchw", classes[..., :-1], masks)
        return torch.log(self._to_size(scores, x) + _LEAST)

    def find(self, x: Tensor, least: float = 0.5) -> list[list[FoundMask]]:
        """Objects of each image: proposals of no background, best first.

        Parameters
        ----------
        x : tensor (N, channels, H, W)
        least : float
            Least score: probability of the class times mean probability inside the mask.
        """
        with torch.inference_mode():
            classes, masks = self._propose(x)
            masks = self._to_size(masks, x)
        return [_kept(c, m, least) for c, m in zip(classes, masks, strict=True)]

    def matching_loss(
        self, x: Tensor, masks: Sequence[Tensor], classes: Sequence[Tensor]
    ) -> Tensor:
        """Loss of the article: each true mask is compared with the proposal that is nearest.

        Parameters
        ----------
        x : tensor (N, channels, H, W)
        masks : sequence of N tensors (K, H, W)
            True masks of each image, background included as one of them if wanted.
        classes : sequence of N integer tensors (K,)
            Their classes.
        """
        if len(masks) != len(x) or len(classes) != len(x):
            raise InputError(
                f"masks of {len(masks)} and classes of {len(classes)} images for {len(x)} images"
            )
        answer = self.model(
            pixel_values=x,
            mask_labels=[m.to(x) for m in masks],
            class_labels=[c.long() for c in classes],
        )
        return answer.loss.squeeze()

    def _propose(self, x: Tensor) -> tuple[Tensor, Tensor]:
        answer = self.model(pixel_values=x)
        classes = answer.class_queries_logits.softmax(-1)
        return classes, answer.masks_queries_logits.sigmoid()

    @staticmethod
    def _to_size(maps: Tensor, x: Tensor) -> Tensor:
        return F.interpolate(maps, size=x.shape[-2:], mode="bilinear", align_corners=False)


def _kept(classes: Tensor, masks: Tensor, least: float) -> list[FoundMask]:
    found = []
    probability, index = classes[:, :-1].max(-1)
    for p, i, mask in zip(probability.tolist(), index.tolist(), masks, strict=True):
        inside = mask > 0.5
        if i == 0 or p < least or not inside.any():
            continue
        score = p * float(mask[inside].mean())
        if score >= least:
            found.append(FoundMask(i, score, inside))
    return sorted(found, key=lambda f: -f.score)


def _model(channels: int, outputs: int, size: Size) -> nn.Module:
    try:
        from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig
    except ImportError:
        raise MissingExtra.of("mask2former", "train") from None

    backbone: Any = SwinConfig(
        num_channels=channels,
        embed_dim=size.width,
        depths=list(size.depths),
        num_heads=list(size.heads),
        window_size=7,
        drop_path_rate=0.3 if size is TINY else 0.0,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        num_labels=outputs,
        num_queries=size.queries,
        feature_size=size.hidden,
        mask_feature_size=size.hidden,
        hidden_dim=size.hidden,
        encoder_feedforward_dim=4 * size.hidden,
        dim_feedforward=8 * size.hidden,
        encoder_layers=size.encoder_layers,
        decoder_layers=size.decoder_layers,
    )
    return Mask2FormerForUniversalSegmentation(config)


MASK2FORMER = Architecture(
    partial(Mask2FormerNetwork, size=TINY), "Mask2Former on Swin-T: instances; for a GPU"
)
MASK2FORMER_N = Architecture(
    partial(Mask2FormerNetwork, size=NANO), "Mask2Former, small: instances, for trying out"
)
