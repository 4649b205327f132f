"""How wrong the maps of a flake network are."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

BOUNDARY_WEIGHT = 4.0
"""Pixels of a boundary count so many times: they are one in twenty of a crowded patch."""

GAP_WEIGHT = 3.0
"""Substrate within two pixels of a flake counts so many times: gaps keep neighbours apart."""


def flake_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the three maps, and Dice of foreground and boundary.

    Parameters
    ----------
    logits, targets : Tensor, (N, 3, h, w)
        See `flake_targets.targets_of`; pixels of foreground 2 count nowhere.
    """
    known = (targets[:, :1] < 1.5).float()
    wanted = targets.clamp(max=1.0)
    weight = known.expand_as(wanted).clone()
    beside = functional.max_pool2d(wanted[:, :1], 5, 1, 2) - wanted[:, :1]
    weight[:, :1] *= 1 + (GAP_WEIGHT - 1) * beside
    weight[:, 1] *= 1 + (BOUNDARY_WEIGHT - 1) * wanted[:, 1]
    weight[:, 2] *= 0.2 + wanted[:, 0]
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    per_map = (entropy * weight).sum((0, 2, 3)) / weight.sum((0, 2, 3)).clamp(min=1.0)
    drawn = logits[:, :2].sigmoid() * known
    common = (drawn * wanted[:, :2]).sum((0, 2, 3))
    total = drawn.sum((0, 2, 3)) + (wanted[:, :2] * known).sum((0, 2, 3))
    dice = 1 - (2 * common + 1) / (total + 1)
    return per_map.sum() + 0.5 * dice.sum()
