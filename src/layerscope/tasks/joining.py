"""Which regions of neighbouring images are one thing on the wafer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from layerscope.core.results import UNKNOWN, IntArray
from layerscope.ops.agreement import NOTHING, Agreement
from layerscope.ops.mosaic import Fields
from layerscope.tasks.neighbours import (
    LEAST_CUT_PX,
    LEAST_PX,
    SEAM_PX,
    Neighbourhood,
    Pieces,
    Regions,
    apart_px,
    compare_cuts,
    compare_masks,
    on_wafer,
)

SAME_IOU, SAME_PLACE_IOU = 0.5, 0.8
"""Least agreement of two masks, or cuts, with compatible layers, and of masks that contradict."""

_REACH_PX = 3
_PART = 0.7


@dataclass(frozen=True)
class _Seen:
    """Two regions and how well they agree."""

    first: int
    second: int
    lap_px: float
    agreement: Agreement


def join_regions(regions: Regions, fields: Fields, near: Neighbourhood, pieces: Pieces) -> IntArray:
    """Find what is one thing: for each region (n,), the lowest region of its thing.

    Parameters
    ----------
    regions : Regions
    fields : Fields
        Corrected by `measure_offsets`.
    near : Neighbourhood
    pieces : Pieces
    """
    box = on_wafer(regions, fields)
    lap = fields.overlap_px(near.images).min(axis=1)[near.on]
    apart = apart_px(box[near.regions[:, 0]], box[near.regions[:, 1]])
    close = apart <= np.where(lap < SEAM_PX, _REACH_PX - np.minimum(lap, 0), 0)

    def compare(i: int, j: int, lap_px: float, reach: int) -> _Seen:
        return _Seen(i, j, lap_px, _compare(regions, fields, i, j, pieces, lap_px, reach))

    pairs = zip(near.regions[close].tolist(), lap[close].tolist(), strict=True)
    seen = [compare(i, j, lap_px, _REACH_PX) for (i, j), lap_px in pairs]
    edges = {}
    for s in seen:
        alike = _alike(regions, s.first, s.second)
        if s.agreement.iou >= (SAME_IOU if alike else SAME_PLACE_IOU):
            edges[s.first, s.second] = s.agreement.iou
    for whole, parts in _within(regions, seen):
        still = [compare(s.first, s.second, s.lap_px, 0) for s in parts]
        for (i, j), iou in _explained(whole, still):
            edges[i, j] = max(iou, edges.get((i, j), 0.0))
    return _grouped(regions, sorted((-round(iou, 6), i, j) for (i, j), iou in edges.items()))


def _alike(regions: Regions, i: int, j: int) -> bool:
    """Whether two layer answers may be of one thing."""
    a, b = int(regions.answer[i]), int(regions.answer[j])
    return a == b or UNKNOWN in (a, b)


def _compare(
    regions: Regions, fields: Fields, i: int, j: int, pieces: Pieces, lap_px: float, reach: int
) -> Agreement:
    if lap_px < SEAM_PX:
        if regions.answer[i] != regions.answer[j]:
            return NOTHING
        found = compare_cuts(regions, fields, [i], [j], pieces, reach)
        return found if found.least_px >= LEAST_CUT_PX else NOTHING
    if not _alike(regions, i, j):
        # Terraces side by side: most pairs; only one that lies in place already can reach .8.
        found = compare_masks(regions, fields, i, j, pieces, 0)
        if found.iou < SAME_IOU:
            return NOTHING
    # In a narrow strip two flakes side by side could be moved onto each other.
    found = compare_masks(regions, fields, i, j, pieces, min(reach, int(lap_px) // 6))
    return found if found.least_px >= LEAST_PX else NOTHING


def _within(regions: Regions, seen: Sequence[_Seen]) -> Iterator[tuple[int, list[_Seen]]]:
    """Regions that hold several of one other image, with those.

    A horseshoe cut by the border is two regions on one image and a single one on the next.
    """
    parts: dict[tuple[int, int], list[_Seen]] = {}
    for s in seen:
        if s.agreement.contained >= _PART and _alike(regions, s.first, s.second):
            for whole, part in ((s.first, s.second), (s.second, s.first)):
                parts.setdefault((whole, int(regions.image[part])), []).append(s)
    for (whole, _), held in parts.items():
        if len(held) > 1:
            yield whole, held


def _explained(whole: int, parts: Sequence[_Seen]) -> list[tuple[tuple[int, int], float]]:
    """Parts that fill a region together, not twice, and their joint agreement with it."""
    common, small, large, chosen = 0.0, 0.0, 0.0, []
    for s in sorted(parts, key=lambda s: -s.agreement.common_px):
        a = s.agreement
        own, other = (a.first_px, a.second_px) if s.first == whole else (a.second_px, a.first_px)
        large = max(large, own)
        if a.common_px >= _PART * other and large - common >= _PART * a.common_px > 0:
            common, small = common + a.common_px, small + other
            chosen.append((s.first, s.second))
    iou = common / max(small + large - common, 1)
    return [(pair, iou) for pair in chosen] if len(chosen) > 1 and iou >= SAME_IOU else []


def _grouped(regions: Regions, edges: list[tuple[float, int, int]]) -> IntArray:
    """Join along the edges, best first, unless that would unite what one image tells apart."""
    group = np.arange(len(regions.image))
    members = {i: [i] for edge in edges for i in edge[1:]}
    for _, i, j in edges:
        a, b = sorted((int(group[i]), int(group[j])))
        if a != b and _may_join(regions, members[a], members[b], i, j):
            members[a] += members.pop(b)
            group[members[a]] = a
    return group


def _may_join(regions: Regions, a: list[int], b: list[int], i: int, j: int) -> bool:
    """Whether two groups can be one thing.

    Two regions of one image can only if both are cut: their connection lies outside. Two surely
    different answers can only where the two masks that agree are the ones that differ.
    """
    images = [set(regions.image[g].tolist()) for g in (a, b)]
    for row in (*a, *b):
        if regions.image[row] in images[0] & images[1] and not regions.cut[row].any():
            return False
    sure = [set(regions.answer[g].tolist()) - {UNKNOWN} for g in (a, b)]
    own = {int(regions.answer[i]), int(regions.answer[j])} - {UNKNOWN}
    return len(sure[0] | sure[1]) <= max(len(sure[0]), len(sure[1]), len(own), 1)
