"""Which places of a network of objects answer for which object: task-aligned assignment.

Feng et al., TOOD, ICCV 2021 (arXiv 2108.07755), section 3.2: a place is the better for an object
the more its class score s and the overlap u of its box agree, ``s^alpha u^beta``. The best places
within the object's box are taught to find it, and their class target is that measure, scaled so
that the best place of an object is asked for the overlap that it reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from layerscope.errors import InputError
from layerscope.training.yolo_overlap import plain_overlap

_LEAST_OVERLAP = 0.01  # a first guess that misses must still be taught
_TINY = 1e-30


@dataclass(frozen=True)
class Rule:
    """How places are chosen.

    Attributes
    ----------
    alpha, beta : float
        Powers of score and overlap.
    places : int
        Places of an object, at most.
    """

    alpha: float = 0.5
    beta: float = 6.0
    places: int = 10

    def __post_init__(self) -> None:
        if self.alpha < 0 or self.beta < 0 or self.places < 1:
            raise InputError(f"{self}: expected powers from 0, and one place or more")


class Assigned(NamedTuple):
    """What the places of one image are taught.

    Attributes
    ----------
    owner : Tensor of int, (places,)
        Object of each place; -1: none.
    target : Tensor, (places,)
        Class score that is asked for, 0 to 1; 0 without an object.
    """

    owner: Tensor
    target: Tensor


@torch.no_grad()
def assign(
    scores: Tensor,
    boxes: Tensor,
    points: Tensor,
    strides: Tensor,
    true_classes: Tensor,
    true_boxes: Tensor,
    rule: Rule | None = None,
) -> Assigned:
    """Assign the places of one image.

    Parameters
    ----------
    scores : Tensor, (places, classes)
        Probabilities.
    boxes : Tensor, (places, 4)
        Left, top, right, bottom, as the network says now.
    points : Tensor, (places, 2)
        Centres x, y.
    strides : Tensor, (places,)
    true_classes : Tensor of int, (m,)
        From 0.
    true_boxes : Tensor, (m, 4)
    rule : Rule, optional
    """
    chosen, m = rule or Rule(), len(true_boxes)
    if not m:
        return Assigned(
            torch.full((len(points),), -1, device=points.device), torch.zeros_like(points[:, 0])
        )
    overlap = plain_overlap(true_boxes[:, None], boxes[None]).clamp(min=_LEAST_OVERLAP)
    agreement = scores[:, true_classes].T.clamp(min=1e-9) ** chosen.alpha * overlap**chosen.beta
    inside = _within(points, strides, true_boxes)
    taken = _best(agreement * inside, inside, chosen.places)
    # A place of several objects goes to the one that its box overlaps most.
    owner = torch.where(taken, overlap, -1.0).argmax(0)
    is_owned = taken.any(0)
    mine = taken & (owner == torch.arange(m, device=owner.device)[:, None])
    agreement, overlap = agreement * mine, overlap * mine
    scaled = agreement * (overlap.amax(1) / agreement.amax(1).clamp(min=_TINY))[:, None]
    target = scaled.amax(0).clamp(max=1.0)
    return Assigned(torch.where(is_owned, owner, -1), torch.where(is_owned, target, 0.0))


def _within(points: Tensor, strides: Tensor, boxes: Tensor) -> Tensor:
    """Whether the centre of a place lies in a box, (m, places).

    A box that holds no centre gets the nearest of the finest level.
    """
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    inside = ((points > low) & (points < high)).all(-1)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    distance = (points[None] - middle[:, None]).square().sum(-1)
    distance = torch.where(strides == strides.min(), distance, torch.inf)
    nearest = torch.zeros_like(inside)
    nearest[torch.arange(len(boxes), device=boxes.device), distance.argmin(1)] = True
    return torch.where(inside.any(1, keepdim=True), inside, nearest)


def _best(agreement: Tensor, inside: Tensor, count: int) -> Tensor:
    """Mark the `count` best places of each object among those inside, (m, places)."""
    best = agreement.topk(min(count, agreement.shape[1]), dim=1).indices
    taken = torch.zeros_like(inside)
    taken.scatter_(1, best, True)
    return taken & inside
