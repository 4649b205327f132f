"""Which neighbouring regions are one terrace: the same colour, or too small to stand alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from layerscope.core.results import FloatArray, IntArray
from layerscope.ops.channels import farthest
from layerscope.ops.deviation import Steps, levels_at
from layerscope.ops.labels import Labels, border_pairs, union

_ONE_COLOUR = 3.5
"""Neighbours closer than this, in working levels, have one colour: JPEG stores colour in blocks of
16 px, which shifts the halves of one terrace by 2 to 3 levels. Recall is the same from 0 to 4."""

_NOISE = 1.5
"""So do neighbours closer than this times the flat threshold, in noisy images."""

_ABSORB = 0.5
"""A region too small to be kept goes to the neighbour of nearest colour if they differ by less than
this share of the stronger one's deviation. Dropped instead, the pieces into which blur cuts a small
flake left holes and rings in it: boxes found on strange 640 px exports rise from 0.46 to 0.54."""

_ABSORB_ROUNDS = 3


@dataclass(frozen=True)
class _Borders:
    """Both pixels of every side between two regions, its pair, and the regions of each pair."""

    first: IntArray
    second: IntArray
    pair: IntArray
    low: IntArray
    high: IntArray


def merge_regions(
    labels: Labels, level: FloatArray, deviation: Steps, flat: float, min_area_px: int
) -> tuple[Labels, FloatArray]:
    """Join neighbours of one colour without a crack between; absorb what is small, or drop it.

    Parameters
    ----------
    labels : ndarray of uint16, (h, w)
        0 is substrate, 1..n are regions.
    level : ndarray, (n + 1, 3)
        Mean deviation of each region from the substrate, working levels; row 0 is 0.
    deviation : ndarray of int16, (h, w, 3)
        As in `Terraces`.
    flat : float
        Largest 2x2 range inside a terrace, working levels.
    min_area_px : int

    Returns
    -------
    labels : ndarray of uint16, (h, w)
        Renumbered 1..m.
    level : ndarray, (m + 1, 3)
        Area-weighted means.
    """
    count = len(level)
    where = np.flatnonzero(labels > 0)
    value = np.take(labels, where)
    area = np.bincount(value, minlength=count)
    borders = _borders(labels, count)
    parent = _join(borders, level, deviation, max(_NOISE * flat, _ONE_COLOUR))
    parent = _absorb(borders, parent, level, area, min_area_px)
    kept = np.flatnonzero(np.bincount(parent, area, count) >= min_area_px)
    number = np.zeros(count, np.uint16)
    number[kept] = np.arange(1, len(kept) + 1)
    number = number[parent]
    out = np.zeros_like(labels)
    out.ravel()[where] = number[value]
    mean = _means(number.astype(np.int64), level, area, len(kept) + 1)
    mean[0] = 0
    return out, mean


def _means(group: IntArray, level: FloatArray, area: IntArray, count: int) -> FloatArray:
    """Area-weighted mean level of each group 0..count-1."""
    size = np.maximum(np.bincount(group, area, count), 1)
    total = [np.bincount(group, area * level[:, c], count) for c in range(3)]
    return np.asarray(np.stack(total, axis=1) / size[:, None])


def _borders(labels: Labels, count: int) -> _Borders:
    first, second = border_pairs(labels, 1)
    a, b = (np.take(labels, side).astype(np.int64) for side in (first, second))
    both = np.flatnonzero((a > 0) & (b > 0))
    a, b = a[both], b[both]
    name, pair = np.unique(np.minimum(a, b) * count + np.maximum(a, b), return_inverse=True)
    return _Borders(first[both], second[both], pair, *np.divmod(name, count))


def _join(borders: _Borders, level: FloatArray, pixels: Steps, tolerance: float) -> IntArray:
    """Root of each label after union of neighbours of one colour without a crack between."""
    low, high, pair = borders.low, borders.high, borders.pair
    middle = np.take(((level[low] + level[high]) / 2).astype(np.float32).T, pair, axis=1)
    off = np.abs(levels_at(pixels, borders.first) - middle).max(axis=0)
    off += np.abs(levels_at(pixels, borders.second) - middle).max(axis=0)
    crack = np.bincount(pair, off, len(low)) / np.bincount(pair, minlength=len(low)) / 2
    apart = farthest(level[low] - level[high])
    alike = (apart < tolerance) & (crack < 1.3 * tolerance)
    return union(low[alike], high[alike], len(level))


def _absorb(
    borders: _Borders, parent: IntArray, level: FloatArray, area: IntArray, min_area_px: int
) -> IntArray:
    """Roots after each small region joined the neighbour of nearest colour, a few times over."""
    count = len(level)
    for _ in range(_ABSORB_ROUNDS):
        small = np.bincount(parent, area, count) < min_area_px
        mean = _means(parent, level, area, count)
        low, high = parent[borders.low], parent[borders.high]
        x, y = np.concatenate([low, high]), np.concatenate([high, low])
        loose = (x != y) & small[x]
        x, y = x[loose], y[loose]
        apart = farthest(mean[x] - mean[y])
        near = apart < _ABSORB * np.maximum(farthest(mean[x]), farthest(mean[y]))
        if not near.any():
            return parent
        order = np.flatnonzero(near)[np.lexsort((y[near], apart[near], x[near]))]
        own, nearest = np.unique(x[order], return_index=True)
        other = y[order][nearest]
        parent = union(np.minimum(own, other), np.maximum(own, other), count)[parent]
    return parent
