"""Overlap of boxes left, top, right, bottom, as networks of objects are taught by it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_EPS = 1e-7


def plain_overlap(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4), broadcast; 0 of empty boxes."""
    common = _common(one, other)
    return common / (_area(one) + _area(other) - common).clamp(min=_EPS)


def complete_overlap(one: Tensor, other: Tensor) -> Tensor:
    """Overlap less a penalty for distance and for another shape, -1.5 or more to 1.

    Zheng et al., AAAI 2020 (arXiv 1911.08287), eq. 10 and 11: the squared distance of the centres
    over that of the corners of the box around both, and a measure v of how the aspect ratios
    differ, weighted by ``v / (1 - IoU + v)``.

    Parameters
    ----------
    one, other : Tensor, (..., 4)
    """
    overlap = plain_overlap(one, other)
    around = torch.maximum(one[..., 2:], other[..., 2:]) - torch.minimum(
        one[..., :2], other[..., :2]
    )
    apart = ((one[..., :2] + one[..., 2:]) - (other[..., :2] + other[..., 2:])) / 2
    distance = apart.square().sum(-1) / (around.square().sum(-1) + _EPS)
    shape = (4 / math.pi**2) * (_angle(one) - _angle(other)).square()
    with torch.no_grad():
        weight = shape / (1 - overlap + shape + _EPS)
    return overlap - distance - weight * shape


def _common(one: Tensor, other: Tensor) -> Tensor:
    low = torch.maximum(one[..., :2], other[..., :2])
    high = torch.minimum(one[..., 2:], other[..., 2:])
    return (high - low).clamp(min=0).prod(-1)


def _area(box: Tensor) -> Tensor:
    return (box[..., 2:] - box[..., :2]).clamp(min=0).prod(-1)


def _angle(box: Tensor) -> Tensor:
    width, height = (box[..., 2:] - box[..., :2]).clamp(min=_EPS).unbind(-1)
    return torch.atan(width / height)
