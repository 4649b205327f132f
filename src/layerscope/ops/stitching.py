"""One list of regions from those of all tiles.

A region that a tile saw whole passes through. Pieces of one too large for that are united where
two tiles agree on it in the strip that both saw; touching is no reason, so two flakes side by side
across a seam stay two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from layerscope.core.results import (
    BoolArray,
    CropMasks,
    Detections,
    FloatArray,
    IntArray,
    RegionSignal,
)
from layerscope.errors import InputError
from layerscope.ops.labels import union
from layerscope.ops.tiles import Tile, Window

_AGREE = 0.5
"""Least intersection over union, in the strip that two tiles saw, of views of one region. Then each
view of a region agrees with at most one of another tile."""


def stitch(parts: Sequence[Detections], tiles: Sequence[Tile]) -> Detections:
    """Regions of the whole mosaic from those of its tiles.

    Parameters
    ----------
    parts : sequence of Detections
        One per tile, masks in mosaic coordinates, in any order.
    tiles : sequence of Tile
        In the order of `parts`.

    Returns
    -------
    Detections
        In raster order of the top left corner; independent of the order of the tiles. A mask united
        from pieces is, in each core, what the tile of that core says. Its score, level and shares
        are means weighted by core pixels, its flags are those of any piece.

    Raises
    ------
    InputError
        If the numbers of parts and tiles differ, or the parts are of different mosaics.
    """
    if len(parts) != len(tiles) or len({p.masks.shape for p in parts}) != 1:
        raise InputError(f"{len(parts)} parts of {len(tiles)} tiles: expected one each, one mosaic")
    order = sorted(range(len(tiles)), key=lambda i: tiles[i])
    tiles, parts = [tiles[i] for i in order], [parts[i] for i in order]
    every, owner = join(parts), np.repeat(np.arange(len(parts)), [len(p) for p in parts])
    low, high = _agreeing(every.masks, owner, tiles)
    root = union(low, high, len(every)) if len(every) else np.zeros(0, np.int64)
    flake = _flakes(every.flake_id, root)
    alone = np.bincount(root, minlength=len(every))[root] == 1
    united = [
        _unite(every, np.flatnonzero(root == r), [tiles[t].core for t in owner[root == r]])
        for r in np.unique(root[~alone])
    ]
    kept = np.concatenate([np.flatnonzero(alone), np.unique(root[~alone])]).astype(np.int64)
    whole = replace(join([every[alone], *united]), flake_id=flake[kept])
    return _in_raster_order(whole)


def join(parts: Sequence[Detections]) -> Detections:
    """All rows of parts that share nothing, in order; each part's flakes get numbers of their own.

    Parameters
    ----------
    parts : sequence of Detections
        One or more, of one mosaic.
    """
    start = np.cumsum([0] + [int(p.flake_id.max(initial=0)) for p in parts])
    masks = CropMasks(
        np.concatenate([p.masks.boxes for p in parts]),
        tuple(c for p in parts for c in p.masks.crops),
        parts[0].masks.shape,
    )
    return Detections(
        masks,
        np.concatenate([p.score for p in parts]),
        np.concatenate([p.flags for p in parts]),
        np.concatenate([p.flake_id + s for p, s in zip(parts, start, strict=False)]),
        RegionSignal.concatenate([p.signal for p in parts]),
        None,
        parts[0].provenance,
    )


def _agreeing(
    masks: CropMasks, owner: IntArray, tiles: Sequence[Tile]
) -> tuple[IntArray, IntArray]:
    """Pairs of regions of different tiles that are views of the same one."""
    boxes, pairs = masks.boxes, []
    order = np.argsort(boxes[:, 0], kind="stable")
    tops = boxes[order, 0]
    for rank, i in enumerate(order.tolist()):
        below = order[rank + 1 : np.searchsorted(tops, boxes[i, 2])]
        beside = (boxes[below, 1] < boxes[i, 3]) & (boxes[below, 3] > boxes[i, 1])
        for j in below[beside & (owner[below] != owner[i])].tolist():
            strip = tiles[owner[i]].seen & tiles[owner[j]].seen
            if _overlap(masks, i, j, strip) >= _AGREE:
                pairs.append((min(i, j), max(i, j)))
    found = np.array(pairs, np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _overlap(masks: CropMasks, i: int, j: int, strip: Window) -> float:
    """Intersection over union of two masks inside `strip`."""
    a, b = Window(*masks.boxes[i].tolist()), Window(*masks.boxes[j].tolist())
    common = a & b
    both = np.count_nonzero(_part(masks, i, common) & _part(masks, j, common))
    if both == 0:
        return 0.0
    either = sum(np.count_nonzero(_part(masks, k, w & strip)) for k, w in ((i, a), (j, b))) - both
    return both / either if either > 0 else 0.0


def _part(masks: CropMasks, i: int, window: Window) -> BoolArray:
    """Mask `i` inside a window that lies in its box."""
    top, left = masks.boxes[i, :2].tolist()
    rows = slice(window.top - top, max(window.top, window.bottom) - top)
    return masks.crops[i][rows, window.left - left : max(window.left, window.right) - left]


def _flakes(flake: IntArray, root: IntArray) -> IntArray:
    """Flake numbers after every pair of united regions has united its flakes too."""
    count = int(flake.max(initial=0)) + 1
    first = flake[root]
    return union(np.minimum(flake, first), np.maximum(flake, first), count)[flake]


def _unite(every: Detections, rows: IntArray, cores: Sequence[Window]) -> Detections:
    """One region from the views `rows` of it, each from the tile with that core."""
    own = [
        _part(every.masks, i, Window(*every.masks.boxes[i].tolist()) & core)
        for i, core in zip(rows.tolist(), cores, strict=True)
    ]
    area = np.array([np.count_nonzero(o) for o in own])
    masks = _painted(every.masks, rows, cores, own)
    weight = np.maximum(area / every.masks.area_px[rows], 1e-9) * np.maximum(
        every.signal.core_px[rows], 1
    )
    return Detections(
        masks,
        np.array([np.average(every.score[rows], weights=weight)]),
        np.array([np.bitwise_or.reduce(every.flags[rows])]),
        every.flake_id[rows[:1]],
        _mean_signal(every.signal.take(rows), weight),
        None,
        every.provenance,
    )


def _painted(
    masks: CropMasks, rows: IntArray, cores: Sequence[Window], own: Sequence[BoolArray]
) -> CropMasks:
    boxes = masks.boxes[rows]
    top, left = boxes[:, :2].min(axis=0).tolist()
    out = np.zeros((boxes[:, 2:].max(axis=0) - (top, left)).tolist(), bool)
    for box, core, part in zip(boxes.tolist(), cores, own, strict=True):
        if part.size:
            y, x = max(box[0], core.top) - top, max(box[1], core.left) - left
            out[y : y + part.shape[0], x : x + part.shape[1]] |= part
    high, wide = np.flatnonzero(out.any(axis=1)), np.flatnonzero(out.any(axis=0))
    inner = out[high[0] : high[-1] + 1, wide[0] : wide[-1] + 1].copy()
    corner = (top + int(high[0]), left + int(wide[0]))
    box = [*corner, corner[0] + inner.shape[0], corner[1] + inner.shape[1]]
    return CropMasks(np.array([box], np.int64), (inner,), masks.shape)


def _mean_signal(signal: RegionSignal, weight: FloatArray) -> RegionSignal:
    """Weighted means, of the errors too: views overlap, so they are not independent."""
    share = weight / weight.sum()
    mean = {f.name: np.tensordot(share, getattr(signal, f.name), 1)[None] for f in fields(signal)}
    offset = signal.level - mean["level"]
    spread = np.sqrt(np.tensordot(share, signal.spread**2 + offset**2, 1))[None]
    core = np.array([round(float((weight).sum()))], np.int64)
    return RegionSignal(**{**mean, "spread": spread, "core_px": core})


def _in_raster_order(found: Detections) -> Detections:
    first = np.array([int(np.argmax(c[0])) for c in found.masks.crops], np.int64)
    keys = (found.masks.area_px, first, *found.masks.boxes.T[::-1])
    found = found[np.lexsort(keys)]
    _, seen, inverse = np.unique(found.flake_id, return_index=True, return_inverse=True)
    rank = np.empty(len(seen), np.int64)
    rank[np.argsort(seen, kind="stable")] = np.arange(1, len(seen) + 1)
    return replace(found, flake_id=rank[inverse])
