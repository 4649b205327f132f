"""What tells a crystal terrace from a rim, a halo, a smear or dirt, for all regions at once."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.ops.channels import channel_sum, farthest
from layerscope.ops.deviation import levels_at
from layerscope.ops.labels import (
    Labels,
    column_pairs,
    core_labels,
    group_means,
    row_pairs,
    sample_regions,
)
from layerscope.ops.regions import Terraces

Colours = npt.NDArray[np.float32]

_SAMPLE_PX = 600

_FRINGE = 3.0
"""Beside a neighbour this many times as contrasted a strip may be the rim whatever its colour: the
lens shifts the edges of the three channels by up to a pixel. Takes 24 of 581 detections on ten
fields with bright thick flakes, and none of the marked flakes."""


@dataclass(frozen=True)
class RegionFeatures:
    """One row per region, in the order of the labels 1..n; lengths at the analysis resolution.

    Attributes
    ----------
    area_px : ndarray of int, (n,)
    radius_px : ndarray, (n,)
        Of the largest inscribed circle.
    level, spread : ndarray, (n, 3)
        Mean and sd over the core of the deviation from the substrate, working levels.
    uniformity : ndarray, (n,)
        Share of the core within a quarter of the region's level, or three flat thresholds, of its
        mean; 1 where nothing is left inside the rim.
    sharpness : ndarray, (n,)
        Step across the border to bare substrate, as a fraction of the region's level; NaN where
        less than a third of the border is such. About 1 for a crystal, near 0 where a threshold
        cut a gradient.
    edge_px : ndarray of int, (n,)
        Length of the whole border in pixel sides.
    rim_share : ndarray, (n,)
        Share of the border along a region of which this one could be the blurred rim: more
        contrasted, and with this region's colour on the line from it to the substrate, or so much
        more contrasted that the colour does not matter.
    cut : ndarray of bool, (n,)
        Touches the image border.
    """

    area_px: IntArray
    radius_px: FloatArray
    level: FloatArray
    spread: FloatArray
    uniformity: FloatArray
    sharpness: FloatArray
    edge_px: IntArray
    rim_share: FloatArray
    cut: BoolArray


def describe(terraces: Terraces) -> RegionFeatures:
    """Measure every region."""
    labels, count, flat = terraces.labels, len(terraces) + 1, terraces.flat
    core = core_labels(labels, 1)
    area = np.bincount(np.take(labels, np.flatnonzero(labels > 0)), minlength=count)
    where, value = sample_regions(core, count, _SAMPLE_PX)
    colours = levels_at(terraces.deviation, where)
    level, spread = _core_moments(value, colours, terraces)
    # Found once for both: 0.5 ms.
    sides = row_pairs(labels, 1), column_pairs(labels, 1)
    first, second = (np.concatenate(pixels) for pixels in zip(*sides, strict=True))
    edge, rim = _rims(labels, first, second, level, flat)
    return RegionFeatures(
        area_px=area[1:],
        radius_px=_radius(core, count)[1:],
        level=level[1:],
        spread=spread[1:],
        uniformity=_uniformity(value, colours, level, flat)[1:],
        sharpness=_sharpness(terraces, level, edge, sides)[1:],
        edge_px=edge[1:],
        rim_share=rim[1:],
        cut=_cut(labels, count)[1:],
    )


def _core_moments(
    value: IntArray, colours: Colours, terraces: Terraces
) -> tuple[FloatArray, FloatArray]:
    """Mean and sd over core pixels; a region without a core keeps its seed's mean and no spread."""
    count = len(terraces) + 1
    mean = group_means(value, colours, count)
    spread = np.sqrt(np.maximum(group_means(value, np.square(colours), count) - mean**2, 0))
    has_core = np.bincount(value, minlength=count) > 0
    return np.where(has_core[:, None], mean, terraces.level), spread


def _rims(
    labels: Labels, first: IntArray, second: IntArray, level: FloatArray, flat: FloatArray
) -> tuple[IntArray, FloatArray]:
    """Border length of every label, and the share of it that looks like a blurred rim's."""
    count = len(level)
    a, b = np.take(labels, first).astype(np.int64), np.take(labels, second).astype(np.int64)
    pair, length = np.unique(np.concatenate([a * count + b, b * count + a]), return_counts=True)
    inner, outer = np.divmod(pair, count)
    edge = np.bincount(inner, length, count)
    strong = farthest(level[outer]) > 1.4 * farthest(level[inner])
    # Mixing weight of the neighbour's colour that best explains this region's.
    weight = channel_sum(level[inner] * level[outer]) / np.maximum(
        channel_sum(level[outer] ** 2), 1e-9
    )
    off = farthest(level[inner] - weight[:, None] * level[outer])
    near = off < np.maximum(2 * flat.max(), 0.25 * farthest(level[inner]))
    mixed = strong & near & (weight > 0)
    fringe = farthest(level[outer]) > _FRINGE * farthest(level[inner])
    rim = np.bincount(inner, length * (mixed | fringe), count)
    return edge.astype(np.int64), rim / np.maximum(edge, 1)


def _radius(core: Labels, count: int) -> FloatArray:
    """Largest distance to the border, per label; half a pixel where nothing is inside."""
    inside = core > 0
    distance = cv2.distanceTransform(inside.view(np.uint8), cv2.DIST_L2, 3)
    radius = np.zeros(count, np.float32)
    where = np.flatnonzero(inside)
    np.maximum.at(radius, np.take(core, where), np.take(distance, where))
    return radius.astype(float) + 0.5


def _uniformity(
    value: IntArray, colours: Colours, level: FloatArray, flat: FloatArray
) -> FloatArray:
    limit = np.maximum(0.25 * farthest(level), 3 * flat.max()).astype(np.float32)
    off = np.abs(colours - np.take(level.T.astype(np.float32), value, axis=1)).max(axis=0)
    number = np.bincount(value, minlength=len(level))
    like = np.bincount(value, off < np.take(limit, value), len(level))
    return np.where(number > 0, like / np.maximum(number, 1), 1.0)


def _sharpness(
    terraces: Terraces,
    level: FloatArray,
    edge: IntArray,
    sides: tuple[tuple[IntArray, IntArray], tuple[IntArray, IntArray]],
) -> FloatArray:
    """Mean step over 5 px centred on the border to substrate, projected on the region's level.

    Shorter steps end inside the fringes (dark line, bright line) that frame a thick flake.
    """
    labels, count = terraces.labels, len(level)
    flat = labels.ravel()
    axis = (level / np.maximum(channel_sum(level**2), 1e-9)[:, None]).astype(np.float32).T
    total, border = np.zeros(count), np.zeros(count, np.int64)
    height, width = labels.shape
    for length, distance, (first, second) in (
        (width, 1, sides[0]),
        (height, width, sides[1]),
    ):
        bare = (flat[first] == 0) | (flat[second] == 0)
        place = first[bare] // distance % length
        # Inside the row or column: the next pixel in memory lies at the other side of the image.
        before = first[bare] - distance * np.minimum(place, 2)
        after = second[bare] + distance * np.minimum(length - 2 - place, 2)
        value = np.maximum(flat[first[bare]], flat[second[bare]])
        rise = np.where(flat[first[bare]] > 0, np.float32(1), np.float32(-1))
        drop = levels_at(terraces.deviation, before) - levels_at(terraces.deviation, after)
        step = (drop * np.take(axis, value, axis=1)).sum(axis=0) * rise
        total += np.bincount(value, step, count)
        border += np.bincount(value, minlength=count)
    known = (border >= 4) & (border >= 0.3 * edge)
    return np.where(known, total / np.maximum(border, 1), np.nan)


def _cut(labels: Labels, count: int) -> BoolArray:
    sides = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    out = np.zeros(count, bool)
    out[sides] = True
    return out
