"""The classical finder and a network together: colour parts terraces, the network finds more.

The classical finder parts terraces by colour to the pixel, but skips what has no flat core and
doubts what is blurred. The network sees such flakes, and knows most dirt for dirt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from layerscope.core.results import (
    BoolArray,
    CropMasks,
    Detections,
    Flag,
    IntArray,
    RegionSignal,
)
from layerscope.errors import InputError
from layerscope.ops.labels import group_touching

_SURE = 0.5
"""Least score of a network's region that counts."""

_NEW = 0.3
"""A region less covered than this by the classical finder is one that it did not see."""

_HELD = 0.7
"""Share of a classical region inside the network's from which the network confirms it."""

_CLEARED = int(Flag.RESIDUE | Flag.OUT_OF_FOCUS)


def join_detections(classical: Detections, learned: Detections) -> Detections:
    """Regions of the classical finder, and those of the network that it did not see.

    What the network confirms is no residue and not out of focus; the score of what it does not
    confirm is halved. On marked graphene and on boxes of other laboratories replacing classical
    pieces by the network's whole regions lost more flakes than it won.

    Parameters
    ----------
    classical, learned : Detections
        Of the same image.

    Returns
    -------
    Detections
        In raster order, no layers.

    Raises
    ------
    InputError
        If the images differ.
    """
    if classical.masks.shape != learned.masks.shape:
        raise InputError(f"regions of {classical.masks.shape} and {learned.masks.shape} images")
    learned = learned[learned.score >= _SURE]
    shared = _shared(classical.masks, learned.masks)
    held = shared.sum(axis=1) > _HELD * classical.masks.area_px
    judged = replace(
        classical,
        score=np.where(held, 1.0, 0.5) * classical.score,
        flags=np.where(held, classical.flags & ~_CLEARED, classical.flags),
    )
    return _merged(judged, learned[shared.sum(axis=0) < _NEW * learned.masks.area_px])


def _shared(first: CropMasks, second: CropMasks) -> IntArray:
    """Pixels that mask i of the first and mask j of the second share, (n, m)."""
    below, above = first.labels(), second.labels()
    both = (below > 0) & (above > 0)
    pairs = below[both].astype(np.int64) * (len(second) + 1) + above[both]
    count = np.bincount(pairs, minlength=(len(first) + 1) * (len(second) + 1))
    return count.reshape(len(first) + 1, len(second) + 1)[1:, 1:]


def _merged(classical: Detections, learned: Detections) -> Detections:
    """One set of rows in raster order; what both claim stays classical."""
    free = classical.masks.labels() == 0
    crops = [crop & free[where] for where, crop in learned.masks]
    kept = np.array([c.any() for c in crops], bool)
    parts = [classical, replace(learned, masks=_cut(learned.masks, crops))[kept]]
    masks = CropMasks(
        np.concatenate([p.masks.boxes for p in parts]),
        tuple(c for p in parts for c in p.masks.crops),
        classical.masks.shape,
    )
    order = np.lexsort(masks.boxes.T[::-1])
    joined = Detections(
        masks,
        np.concatenate([p.score for p in parts]),
        np.concatenate([p.flags for p in parts]),
        np.zeros(len(masks), np.int64),
        RegionSignal.concatenate([p.signal for p in parts]),
        None,
        {**learned.provenance, **classical.provenance, "finder": "both"},
    )[order]
    return replace(joined, flake_id=_groups(joined.masks))


def _cut(masks: CropMasks, crops: Sequence[BoolArray]) -> CropMasks:
    """Masks with new crops in boxes that fit them; an empty one keeps its box."""
    boxes, fitted = [], []
    for (top, left, bottom, right), crop in zip(masks.boxes.tolist(), crops, strict=True):
        rows, columns = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
        if len(rows) == 0:
            boxes.append((top, left, bottom, right))
            fitted.append(crop)
            continue
        inner = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        boxes.append((top + rows[0], left + columns[0], top + rows[-1] + 1, left + columns[-1] + 1))
        fitted.append(crop[inner])
    return CropMasks(np.array(boxes, np.int64).reshape(-1, 4), tuple(fitted), masks.shape)


def _groups(masks: CropMasks) -> IntArray:
    """Return which flake, counted from 1 in order of appearance, each region is of."""
    group = group_touching(masks.labels().astype(np.uint16), len(masks), 4)
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(1, len(first) + 1)
    return rank[inverse]
