"""Networks that stand on an encoder: one label per pixel."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from layerscope.training.networks.encoder import EncoderKind
from layerscope.training.networks.network import Architecture, Network
from layerscope.training.networks.pyramid import FPN, DeepLabV3Plus
from layerscope.training.networks.unet import UNet, UNetPlusPlus


class EncodedNetwork(Network):
    """Encoder, decoder, one convolution to logits, brought to full resolution."""

    def __init__(self, *, channels: int, outputs: int, encoder: EncoderKind, decoder: Any):
        part = encoder.make(channels=channels)
        super().__init__(channels, outputs, stride=part.strides[-1])
        self.encoder = part
        self.decoder = decoder(part)
        size = self.decoder.head_size
        self.head = nn.Conv2d(self.decoder.width, outputs, size, padding=size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, outputs, H, W) of images (N, channels, H, W)."""
        logits = self.head(self.decoder(self.encoder(x)))
        if self.decoder.stride == 1:
            return logits
        return F.interpolate(
            logits, scale_factor=self.decoder.stride, mode="bilinear", align_corners=False
        )


def _over(decoder: Any, description: str) -> Architecture:
    return Architecture(partial(EncodedNetwork, decoder=decoder), description, on_encoder=True)


UNET = _over(UNet, "U-Net at full resolution")
UNET_PLUS_PLUS = _over(UNetPlusPlus, "U-Net++: nested ways up; that of MicroNet and the WSe2 study")
PYRAMID = _over(FPN, "feature pyramid; lighter than U-Net, borders at a quarter of the resolution")
DEEPLAB = _over(DeepLabV3Plus, "DeepLabV3+: context at several reaches")
