"""Parts that several networks are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvNormAct(nn.Sequential):
    """Convolution that keeps the size (up to its stride), batch norm, activation.

    Parameters
    ----------
    inputs, outputs : int
    size : int
        Side of the kernel.
    stride, groups : int
    act : module or None
    eps : float
        Of the batch norm.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int = 3,
        stride: int = 1,
        groups: int = 1,
        act: nn.Module | None = None,
        eps: float = 1e-5,
    ):
        layers = [
            nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps),
        ]
        super().__init__(*layers, *([act] if act is not None else []))


class SqueezeExcitation(nn.Module):
    """Weigh the channels by what the whole picture holds (Hu et al., arXiv:1709.01507)."""

    def __init__(self, width: int, squeezed: int, act: nn.Module, gate: nn.Module):
        super().__init__()
        self.fc1 = nn.Conv2d(width, squeezed, 1)
        self.act = act
        self.fc2 = nn.Conv2d(squeezed, width, 1)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        """`x` with each channel times a number between 0 and 1."""
        return x * self.gate(self.fc2(self.act(self.fc1(x.mean((2, 3), keepdim=True)))))


class StochasticDepth(nn.Module):
    """Leave a branch out for a share of the images while training (arXiv:1603.09382)."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """`x`, or zero for some images of the batch, on average `x`."""
        if not self.training or self.share == 0:
            return x
        stays = torch.rand(x.shape[0], 1, 1, 1, device=x.device) >= self.share
        return x * stays / (1 - self.share)


class SeparableConv(nn.Sequential):
    """Depthwise 3 x 3, then pointwise convolution, each without norm (arXiv:1610.02357)."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1):
        super().__init__(
            nn.Conv2d(inputs, inputs, 3, 1, dilation, dilation=dilation, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
        )


def start_convolutions(module: nn.Module) -> None:
    """Give convolutions weights that keep the variance through ReLUs (arXiv:1502.01852)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
