"""How far a network looks: what decides whether windows of an image give the same numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_WIDEST_PX = 8192


def reach_of(network: nn.Module, channels: int, stride: int) -> int | None:
    """Measure how far from a pixel the answer may depend on the image.

    One half of an image is not a number; so is every answer that sees any of it. That also finds
    what no sum of kernel sizes does, such as pooling over the whole image. Maps of a lower
    resolution than the image's are interpolated by whoever runs the network, over one more pixel.

    Parameters
    ----------
    network : Module
        In evaluation mode, on the CPU.
    channels : int
    stride : int
        Height and width that it takes are multiples of it.

    Returns
    -------
    int or None
        In px, in the direction of the farthest; None if it is over 4000 px or everywhere.
    """
    width = 64 * stride
    while width <= max(_WIDEST_PX, 64 * stride):
        found = [_reach(network, channels, stride, width, tall) for tall in (False, True)]
        if all(r is not None for r in found):
            return max(r for r in found if r is not None)
        width *= 2
    return None


def _reach(network: nn.Module, channels: int, stride: int, width: int, tall: bool) -> int | None:
    """Reach along a strip whose middle is a multiple of the stride; None: it is too short."""
    middle = width // 2
    reach = 0
    for blind in (slice(0, middle), slice(middle, width)):
        strip = torch.zeros(1, channels, 2 * stride, width)
        strip[..., blind] = torch.nan
        lost = _ask(network, strip, tall).isnan().any(dim=0).any(dim=0).any(dim=0)
        scale = width // len(lost)
        other = lost[: middle // scale].flip(0) if blind.start else lost[middle // scale :]
        if other[-1]:
            return None
        reach = max(reach, (int(other.sum()) + int(scale > 1)) * scale)
    return reach


def _ask(network: nn.Module, strip: Tensor, tall: bool) -> Tensor:
    with torch.no_grad():
        told = network(strip.transpose(2, 3) if tall else strip)
    answer: Tensor = told[0] if isinstance(told, tuple) else told
    return answer.transpose(2, 3) if tall else answer
