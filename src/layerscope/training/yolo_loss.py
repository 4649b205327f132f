"""What a network of objects is taught: classes, boxes, their sides as distributions, masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from layerscope.errors import InputError
from layerscope.models.yolo_decode import MASK_STRIDE
from layerscope.training.yolo_assignment import Assigned, Rule, assign
from layerscope.training.yolo_network import BINS, Answer
from layerscope.training.yolo_overlap import complete_overlap

Single = npt.NDArray[np.float32]
_HEAD = 5  # numbers of a packed object before its mask: class and box


@dataclass(frozen=True, eq=False)
class Marked:
    """Objects of one input.

    Attributes
    ----------
    classes : ndarray of int, (m,)
        From 0.
    boxes : ndarray of float32, (m, 4)
        Left, top, right, bottom in pixels of the input.
    masks : ndarray of float32, (m, H/4, W/4)
        Share of each pixel of the prototypes that the object covers.
    """

    classes: npt.NDArray[np.int64]
    boxes: Single
    masks: Single

    def __post_init__(self) -> None:
        if not len(self.classes) == len(self.boxes) == len(self.masks):
            raise InputError(
                f"{len(self.classes)} classes, {len(self.boxes)} boxes, {len(self.masks)} masks"
            )


def pack(marked: Sequence[Marked]) -> Single:
    """Objects of a batch as one array (N, most objects, 5 + H/4 W/4); class -1 fills up."""
    most = max(len(m.classes) for m in marked)
    pixels = int(np.prod(marked[0].masks.shape[1:]))
    out = np.zeros((len(marked), most, _HEAD + pixels), np.float32)
    out[..., 0] = -1
    for row, one in zip(out, marked, strict=True):
        m = len(one.classes)
        row[:m, 0], row[:m, 1:_HEAD] = one.classes, one.boxes
        row[:m, _HEAD:] = one.masks.reshape(m, pixels)
    return out


class Parts(NamedTuple):
    """Terms of the loss before their weights."""

    classes: Tensor
    boxes: Tensor
    sides: Tensor
    masks: Tensor


@dataclass(frozen=True)
class YoloLoss:
    """Weighted sum of the four terms, mean over the batch.

    Attributes
    ----------
    classes, boxes, sides, masks : float
        Weights.
    rule : Rule
        Which places answer for which object.
    """

    classes: float = 1.0
    boxes: float = 7.5
    sides: float = 1.5
    masks: float = 3.0
    rule: Rule = field(default_factory=Rule)

    def __call__(self, answer: Answer, packed: Tensor) -> Tensor:
        """Loss of a batch; see `pack`."""
        found = self.parts(answer, packed)
        return (
            self.classes * found.classes + self.boxes * found.boxes
            + self.sides * found.sides + self.masks * found.masks
        )  # fmt: skip

    def parts(self, answer: Answer, packed: Tensor) -> Parts:
        """Return the terms: sums over the batch, over the sum of all class targets."""
        boxes = answer.boxes()
        rows = [self._image(answer.of(i), boxes[i], packed[i]) for i in range(len(packed))]
        total, places, named, framed, sided, drawn = (
            torch.stack(column).sum() for column in zip(*rows, strict=True)
        )
        total, places = total.clamp(min=1.0), places.clamp(min=1.0)
        return Parts(named / total, framed / total, sided / total, drawn / places)

    def _image(self, answer: Answer, boxes: Tensor, packed: Tensor) -> tuple[Tensor, ...]:
        """Sum of targets, places with an object, and the four sums of one image."""
        objects = packed[packed[:, 0] >= 0]
        classes, true = objects[:, 0].long(), objects[:, 1:_HEAD]
        given = assign(
            answer.classes.detach().float().sigmoid(), boxes.detach(), answer.points,
            answer.strides, classes, true, self.rule,
        )  # fmt: skip
        wanted = class_targets(given, classes, answer.classes.shape[-1])
        named = F.binary_cross_entropy_with_logits(answer.classes.float(), wanted, reduction="sum")
        where = torch.nonzero(given.owner >= 0)[:, 0]
        if not len(where):
            zero = answer.sides.sum() * 0 + answer.coefficients.sum() * 0
            zero = zero + answer.prototypes.sum() * 0
            return wanted.sum(), zero.detach(), named, zero, zero, zero
        owner, weight = given.owner[where], given.target[where]
        overlap = complete_overlap(boxes[where], true[owner])
        reach = true_sides(answer.points[where], answer.strides[where], true[owner])
        sides = distribution_loss(answer.sides[where].float(), reach).mean(-1)
        drawn = mask_loss(
            answer.coefficients[where], answer.prototypes, owner, true,
            objects[:, _HEAD:].reshape(-1, *answer.prototypes.shape[1:]),
        )  # fmt: skip
        count = torch.ones_like(weight).sum()
        return (
            wanted.sum(), count, named, ((1 - overlap) * weight).sum(), (sides * weight).sum(),
            drawn.sum(),
        )  # fmt: skip


def class_targets(given: Assigned, classes: Tensor, count: int) -> Tensor:
    """Class scores that are asked for, (places, count)."""
    out = torch.zeros(len(given.owner), count, device=given.target.device)
    where = torch.nonzero(given.owner >= 0)[:, 0]
    out[where, classes[given.owner[where]]] = given.target[where]
    return out


def true_sides(points: Tensor, strides: Tensor, boxes: Tensor) -> Tensor:
    """Distance to the left, top, right, bottom in cells (n, 4), within what a side can say."""
    reach = torch.cat((points - boxes[:, :2], boxes[:, 2:] - points), 1) / strides[:, None]
    return reach.clamp(0, BINS - 1 - 0.01)


def distribution_loss(logits: Tensor, reach: Tensor) -> Tensor:
    """Cross-entropy with the two whole numbers around a distance, by how near they are.

    Li et al., arXiv 2006.04388, eq. 6.

    Parameters
    ----------
    logits : Tensor, (..., BINS)
    reach : Tensor, (...)
        From 0 to below BINS - 1.
    """
    low = reach.long()
    share = reach - low
    log_p = logits.log_softmax(-1)
    near, far = (log_p.gather(-1, i[..., None])[..., 0] for i in (low, low + 1))
    return -(near * (1 - share) + far * share)


def mask_loss(
    coefficients: Tensor, prototypes: Tensor, owner: Tensor, boxes: Tensor, masks: Tensor
) -> Tensor:
    """Cross-entropy of the mask of each place, mean over its object's box, (n,).

    Bolya et al., arXiv 1904.02689, section 3.2: only what is within the box is taught.

    Parameters
    ----------
    coefficients : Tensor, (n, 32)
    prototypes : Tensor, (32, h, w)
    owner : Tensor of int, (n,)
    boxes : Tensor, (m, 4)
        In pixels of the input.
    masks : Tensor, (m, h, w)
    """
    logits = torch.einsum("nk,khw->nhw", coefficients, prototypes).float()
    inside = box_pixels(boxes / MASK_STRIDE, prototypes.shape[1:])[owner]
    error = F.binary_cross_entropy_with_logits(logits, masks[owner], reduction="none")
    return (error * inside).sum((1, 2)) / inside.sum((1, 2)).clamp(min=1.0)


def box_pixels(boxes: Tensor, shape: Sequence[int]) -> Tensor:
    """1 on pixels that a box touches, (m, h, w)."""
    y = torch.arange(shape[0], device=boxes.device)[None, :, None]
    x = torch.arange(shape[1], device=boxes.device)[None, None, :]
    left, top, right, bottom = (b[:, None, None] for b in boxes.unbind(1))
    return ((x + 1 > left) & (x < right) & (y + 1 > top) & (y < bottom)).float()
