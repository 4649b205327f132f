"""The classical finder and a network together: each where it is the surer one.

The classical finder parts terraces by colour to the pixel, but cuts a blurred, striped or noisy
flake into pieces and skips what has no flat core. The network sees such a flake whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from layerscope.core.results import (
    BoolArray,
    CropMasks,
    Detections,
    IntArray,
    RegionSignal,
)
from layerscope.errors import InputError
from layerscope.ops.labels import group_touching

_SURE = 0.6
"""Least score of a network's region that is added or replaces pieces."""

_INSIDE = 0.7
"""Share of a piece inside the network's region from which it is a piece of that."""

_NEW = 0.3
"""A region less covered than this by the classical finder is one that it did not see."""

_ALIKE = 0.25
"""Pieces whose colours differ by less than this share of their contrast are one terrace."""


def join_detections(classical: Detections, learned: Detections) -> Detections:
    """Regions of both finders without overlap.

    A region of the network is added where the classical finder saw nothing, and replaces two or
    more classical pieces of one colour that it holds together; everything else stays classical.

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
    if len(learned) == 0:
        return classical
    shared = _shared(classical.masks, learned.masks)
    new = shared.sum(axis=0) < _NEW * learned.masks.area_px
    piece = shared > _INSIDE * classical.masks.area_px[:, None]
    sure = learned.score >= _SURE
    whole = sure & _one_terrace(piece, shared, classical, learned)
    chosen = (sure & new) | whole
    gone = piece[:, whole].any(axis=1)
    return _merged(classical[~gone], learned[chosen])


def _shared(first: CropMasks, second: CropMasks) -> IntArray:
    """Pixels that mask i of the first and mask j of the second share, (n, m)."""
    below, above = first.labels(), second.labels()
    both = (below > 0) & (above > 0)
    pairs = below[both].astype(np.int64) * (len(second) + 1) + above[both]
    count = np.bincount(pairs, minlength=(len(first) + 1) * (len(second) + 1))
    return count.reshape(len(first) + 1, len(second) + 1)[1:, 1:]


def _one_terrace(
    piece: BoolArray, shared: IntArray, classical: Detections, learned: Detections
) -> BoolArray:
    """Which regions of the network hold pieces of one colour, none of which is most of it."""
    out = np.zeros(len(learned), bool)
    contrast = classical.signal.level / np.maximum(classical.signal.background, 1e-3) - 1
    for j in np.flatnonzero(piece.sum(axis=0) >= 2):
        own = np.flatnonzero(piece[:, j])
        area = learned.masks.area_px[j]
        if shared[own, j].max() > 0.7 * area:
            continue
        colours, weight = contrast[own], shared[own, j].astype(float)
        mean = np.average(colours, axis=0, weights=weight)
        off = np.abs(colours - mean).max(axis=1)
        out[j] = np.average(off, weights=weight) < _ALIKE * np.abs(mean).max()
    return out


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
