"""What tells a crystal terrace from a rim, a halo, a smear or dirt, for all regions at once."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.ops.channels import channel_max, channel_sum, farthest
from layerscope.ops.regions import Labels, Terraces, region_means, union


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
        less than a third of the border is such. About 1 for a crystal, near 0 where a threshold cut a gradient.
    edge_px : ndarray of int, (n,)
        Length of the whole border in pixel sides.
    rim_share : ndarray, (n,)
        Share of the border along a region of which this one could be the blurred rim: more
        contrasted, and with this region's colour on the line from it to the substrate.
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


def core_labels(labels: Labels, reach_px: int) -> Labels:
    """Labels whose square neighbourhood of radius `reach_px` is all the same, else 0."""
    kernel = np.ones((2 * reach_px + 1, 2 * reach_px + 1), np.uint8)
    same = cv2.compare(cv2.dilate(labels, kernel), cv2.erode(labels, kernel), cv2.CMP_EQ)
    return np.asarray(cv2.copyTo(labels, same))


def describe(terraces: Terraces) -> RegionFeatures:
    """Measure every region."""
    labels, count, flat = terraces.labels, len(terraces) + 1, terraces.flat
    core = core_labels(labels, 1)
    area = np.bincount(labels.ravel(), minlength=count)
    level, spread = _core_moments(terraces, core, count)
    first, second = border_pairs(labels, 1)
    edge, rim = _rims(labels, first, second, level, flat)
    return RegionFeatures(
        area_px=area[1:],
        radius_px=_radius(core, count)[1:],
        level=level[1:],
        spread=spread[1:],
        uniformity=_uniformity(terraces, core, level)[1:],
        sharpness=_sharpness(terraces, level, edge)[1:],
        edge_px=edge[1:],
        rim_share=rim[1:],
        cut=_cut(labels, count)[1:],
    )


def _core_moments(terraces: Terraces, core: Labels, count: int) -> tuple[FloatArray, FloatArray]:
    """Mean and sd over core pixels; a region without a core keeps its seed's mean and no spread."""
    where = np.flatnonzero(core)
    value = core.ravel()[where]
    mean = region_means(value, terraces.deviation, where, count)
    square = region_means(value, np.square(terraces.deviation), where, count)
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    has_core = np.bincount(value, minlength=count) > 0
    return np.where(has_core[:, None], mean, terraces.level), spread


def border_pairs(labels: Labels, distance: int) -> tuple[IntArray, IntArray]:
    """Flat indices of pixels `distance` apart along a row or column whose labels differ."""
    rows, columns = _row_pairs(labels, distance), _column_pairs(labels, distance)
    return np.concatenate([rows[0], columns[0]]), np.concatenate([rows[1], columns[1]])


def _row_pairs(labels: Labels, distance: int) -> tuple[IntArray, IntArray]:
    differ = np.zeros(labels.shape, bool)
    np.not_equal(labels[:, :-distance], labels[:, distance:], out=differ[:, :-distance])
    first = np.flatnonzero(differ)
    return first, first + distance


def _column_pairs(labels: Labels, distance: int) -> tuple[IntArray, IntArray]:
    first = np.flatnonzero(labels[:-distance] != labels[distance:])
    return first, first + distance * labels.shape[1]


def _rims(
    labels: Labels, first: IntArray, second: IntArray, level: FloatArray, flat: FloatArray
) -> tuple[IntArray, FloatArray]:
    """Border length of every label, and the share of it that looks like a blurred rim's."""
    count = len(level)
    a, b = labels.ravel()[first].astype(np.int64), labels.ravel()[second].astype(np.int64)
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
    rim = np.bincount(inner, length * (strong & near & (weight > 0)), count)
    return edge.astype(np.int64), rim / np.maximum(edge, 1)


def _radius(core: Labels, count: int) -> FloatArray:
    """Largest distance to the border, per label; half a pixel where nothing is inside."""
    distance = cv2.distanceTransform((core > 0).view(np.uint8), cv2.DIST_L2, 3)
    radius = np.zeros(count, np.float32)
    where = np.flatnonzero(core)
    np.maximum.at(radius, core.ravel()[where], distance.ravel()[where])
    return radius.astype(float) + 0.5


def _uniformity(terraces: Terraces, core: Labels, level: FloatArray) -> FloatArray:
    where = np.flatnonzero(core)
    value = core.ravel()[where]
    limit = np.maximum(0.25 * farthest(level), 3 * terraces.flat.max()).astype(np.float32)
    off = farthest(terraces.deviation.reshape(-1, 3)[where] - level.astype(np.float32)[value])
    number = np.bincount(value, minlength=len(level))
    like = np.bincount(value, off < limit[value], len(level))
    return np.where(number > 0, like / np.maximum(number, 1), 1.0)


def _sharpness(terraces: Terraces, level: FloatArray, edge: IntArray) -> FloatArray:
    """Mean step over 5 px centred on the border to substrate, projected on the region's level.

    Shorter steps end inside the fringes (dark line, bright line) that frame a thick flake.
    """
    labels, count = terraces.labels, len(level)
    flat, pixels = labels.ravel(), terraces.deviation.reshape(-1, 3)
    axis = (level / np.maximum(channel_sum(level**2), 1e-9)[:, None]).astype(np.float32)
    total, border = np.zeros(count), np.zeros(count, np.int64)
    for distance, (first, second) in zip(
        (1, labels.shape[1]), (_row_pairs(labels, 1), _column_pairs(labels, 1)), strict=True
    ):
        bare = (flat[first] == 0) | (flat[second] == 0)
        before = np.maximum(first[bare] - 2 * distance, 0)
        after = np.minimum(second[bare] + 2 * distance, labels.size - 1)
        value = np.maximum(flat[first[bare]], flat[second[bare]])
        rise = np.where(flat[first[bare]] > 0, np.float32(1), np.float32(-1))
        step = channel_sum((pixels[before] - pixels[after]) * axis[value]) * rise
        total += np.bincount(value, step, count)
        border += np.bincount(value, minlength=count)
    known = (border >= 4) & (border >= 0.3 * edge)
    return np.where(known, total / np.maximum(border, 1), np.nan)


def _cut(labels: Labels, count: int) -> BoolArray:
    sides = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    out = np.zeros(count, bool)
    out[sides] = True
    return out


def group_touching(labels: Labels, count: int, distance: int) -> IntArray:
    """Group of each label 1..count: regions no more than `distance` px apart are one flake.

    Returns
    -------
    ndarray of int, (count,)
        The smallest label of the group.
    """
    low, high = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for reach in range(1, min(distance, min(labels.shape) - 1) + 1):
        first, second = border_pairs(labels, reach)
        a, b = labels.ravel()[first], labels.ravel()[second]
        both = (a > 0) & (b > 0)
        pair = a[both].astype(np.int64) * (count + 1) + b[both]
        pair, length = np.unique(pair, return_counts=True)
        # A single pixel corner is chance, not a common edge.
        x, y = np.divmod(pair[length >= 2], count + 1)
        low.append(np.minimum(x, y))
        high.append(np.maximum(x, y))
    return union(np.concatenate(low), np.concatenate(high), count + 1)[1:]
