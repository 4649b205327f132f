"""Terraces as regions: seeds on flat pixels, grown over the steep ones.

A terrace is a connected set of pixels whose local range is at noise level and that differs from the
substrate. The blurred rim of a thick flake passes through the colours of thin ones, but it is
steep, so it never seeds a region; flat zones retreat from an edge on both sides alike, so growing
them at equal speed puts the border on the true edge. No layer table, no sign convention.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.ops.channels import (
    FloatImage,
    channel_max,
    colours_at,
    column_quantile,
    farthest,
    within,
)
from layerscope.ops.labels import Labels, group_means
from layerscope.ops.region_merge import merge_regions

Mask = npt.NDArray[np.uint8]
Levels = npt.NDArray[np.float32]

UNKNOWN, SUBSTRATE, FIRST = 0, 1, 2
"""Values of a label image while regions grow; regions are numbered from `FIRST`."""

_BOX = np.ones((3, 3), np.uint8)
_QUAD = np.ones((2, 2), np.uint8)
_MAX_REGIONS = 60_000

_FLAT = 2.3
"""Flat means a 2x2 range below this times the 75th percentile on bare substrate. Recall on the
marked graphene flakes is 0.97 at 2.2 to 2.4 and 0.92 to 0.94 from 2.0 to 3.0."""

_LOOSE = 3.0
"""Steepness, in flat thresholds, that seeds what the first pass and its growth left."""

_PLATEAU = 0.2
"""In the second pass a range below this share of the deviation is flat too: small flakes of strong
contrast have no pixel at noise level, while across a blurred edge the range is above a third."""


@dataclass(frozen=True)
class Thresholds:
    """What counts as different and as flat, in working levels (0 to 255), per channel.

    Attributes
    ----------
    differs : ndarray, (3,)
        Smallest deviation from the substrate after 3x3 averaging.
    flat : ndarray, (3,)
        Largest 2x2 range inside a terrace.
    min_seed_px, min_area_px : int
        At the analysis resolution.
    """

    differs: FloatArray
    flat: FloatArray
    min_seed_px: int
    min_area_px: int


@dataclass(frozen=True)
class Terraces:
    """Regions at the analysis resolution.

    Attributes
    ----------
    labels : ndarray of uint16, (h, w)
        0 is substrate, 1..n regions.
    level : ndarray, (n + 1, 3)
        Mean deviation of each region's flat part from the substrate, working levels; row 0 is 0.
    deviation : ndarray of float32, (h, w, 3)
        Of every pixel from the substrate.
    flat : ndarray, (3,)
        Largest 2x2 range that counted as flat, working levels.
    """

    labels: Labels
    level: FloatArray
    deviation: FloatImage
    flat: FloatArray

    def __len__(self) -> int:
        return len(self.level) - 1


def anything_differs(
    levels: FloatImage, substrate: FloatImage, noise: FloatArray, usable: Mask | None
) -> bool:
    """Whether a half-size look finds at least 8 joined pixels off the substrate.

    Costs a tenth of the search that it spares on an empty field. Averaging four pixels leaves
    about 0.7 of the noise of one, as JPEG noise is correlated.
    """
    size = (max(1, levels.shape[1] // 2), max(1, levels.shape[0] // 2))
    small = cv2.resize(levels, size, interpolation=cv2.INTER_AREA)
    small -= cv2.resize(substrate, size, interpolation=cv2.INTER_LINEAR)
    limit = np.maximum(3.5 * 0.7 * noise, 1.2)
    mask = cv2.bitwise_not(within(small, limit))
    if usable is not None:
        mask &= cv2.resize(usable, size, interpolation=cv2.INTER_NEAREST)
    if min(size) > 3:
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    return bool(np.count_nonzero(mask) >= 8)


def find_terraces(
    levels: FloatImage,
    substrate: FloatImage,
    noise: FloatArray,
    drift: FloatArray,
    min_area_px: int,
    usable: Mask | None,
    limits: Thresholds | None = None,
) -> Terraces:
    """Label every terrace that differs from the substrate.

    Parameters
    ----------
    levels : ndarray of float32, (h, w, 3)
        Working levels, 0 to 255.
    substrate : ndarray of float32, (h, w, 3)
        Bare substrate at the same pixels.
    noise : ndarray, (3,)
        Robust sd of bare pixels.
    drift : ndarray, (3,)
        Robust sd of bare cells about `substrate`: what averaging does not remove.
    min_area_px : int
        Smallest region, at this resolution.
    usable : ndarray of uint8 or None
        0 where no region may be.
    limits : Thresholds, optional
        Those of the mosaic that `levels` is a window of; otherwise measured here.
    """
    limits = limits or measure_thresholds(levels, substrate, noise, drift, min_area_px)
    deviation, steepness, bare = _maps(levels, substrate, limits)
    if usable is not None:
        bare |= cv2.bitwise_not(usable)
    # Single pixels and lines one pixel wide cannot become regions: they only cost time.
    bare = cv2.morphologyEx(bare, cv2.MORPH_CLOSE, _QUAD)
    labels = (bare >> 7).astype(np.uint16)
    where = np.flatnonzero(bare == 0)
    steep = np.take(steepness, where)
    level = np.zeros((FIRST, 3), np.float32)
    level = _seed(labels, where[np.abs(steep) <= 1], deviation, level, limits, limits.min_seed_px)
    _grow(labels, where, deviation, level, limits, 8)
    free = np.take(labels, where) == UNKNOWN
    plateau = _alone(labels, where[free & (steep < 0)])
    level = _seed(labels, plateau, deviation, level, limits, 2 * limits.min_seed_px)
    free = np.take(labels, where) == UNKNOWN
    loose = where[free & (np.abs(steep) <= _LOOSE)]
    level = _seed(labels, loose, deviation, level, limits, 2 * limits.min_seed_px)
    _grow(labels, where, deviation, level, limits, 6)
    _grow(labels, where, deviation, level, None, 4)
    np.maximum(labels, SUBSTRATE, out=labels)
    labels -= SUBSTRATE
    level = level[SUBSTRATE:]
    even = float(limits.flat.max())
    labels, whole = merge_regions(labels, level.astype(float), deviation, even, min_area_px)
    return Terraces(labels, whole, deviation, limits.flat)


def _maps(
    levels: FloatImage, substrate: FloatImage, limits: Thresholds
) -> tuple[FloatImage, npt.NDArray[np.float32], Mask]:
    """Deviation from the substrate; steepness where not bare; 255 where bare.

    Bands of 48 rows stay in the processor's cache, which halves the time.
    """
    deviation = np.empty(levels.shape, np.float32)
    steepness = np.zeros(levels.shape[:2], np.float32)
    bare = np.empty(levels.shape[:2], np.uint8)
    for top in range(0, len(levels), 48):
        rows = slice(top, min(top + 48, len(levels)))
        deviation[rows], smooth, span = _band(levels, substrate, rows)
        bare[rows] = within(smooth, limits.differs)
        where = np.flatnonzero(bare[rows] == 0)
        off, range_ = colours_at(deviation[rows], where), colours_at(span, where)
        below = colours_at(substrate[rows], where)
        # Shot noise grows as the root of the light.
        noisier = np.sqrt(np.maximum(1, channel_max(off + below) / channel_max(below)))
        steep = channel_max(range_ * (1 / limits.flat).astype(np.float32)) / noisier
        relative = channel_max(range_) / np.maximum(farthest(off), 1e-3)
        steepness[rows].ravel()[where] = np.where(relative <= _PLATEAU, -steep, steep)
    return deviation, steepness, bare


def _band(
    levels: FloatImage, substrate: FloatImage, rows: slice
) -> tuple[FloatImage, FloatImage, FloatImage]:
    """Deviation, its 3x3 mean and its range on some rows, as computed on the whole image.

    The range is that of the evenest of the four 2x2 squares that hold a pixel. Unlike a 3x3 range
    it does not wear away the border of a plateau, which at half resolution would leave nothing of
    a flake 14 px wide.
    """
    top, bottom = max(0, rows.start - 3), min(len(levels), rows.stop + 3)
    mine = slice(rows.start - top, rows.stop - top)
    deviation = cv2.GaussianBlur(levels[top:bottom], (3, 3), 0.75)
    cv2.subtract(deviation, substrate[top:bottom], dst=deviation)
    smooth = cv2.blur(deviation, (3, 3))
    high = cv2.dilate(deviation, _QUAD, anchor=(0, 0))
    low = cv2.erode(deviation, _QUAD, anchor=(0, 0))
    cv2.subtract(high, low, dst=high)
    span = cv2.erode(high, _QUAD, dst=low, anchor=(1, 1))
    return deviation[mine], smooth[mine], span[mine]


def off_substrate(
    levels: FloatImage, substrate: FloatImage, differs: FloatArray, usable: Mask | None
) -> Mask:
    """255 where `find_terraces` looks for regions, else 0.

    Parameters
    ----------
    levels, substrate : ndarray of float32, (h, w, 3)
        As in `find_terraces`.
    differs : ndarray, (3,)
        As in `Thresholds`.
    usable : ndarray of uint8 or None
    """
    bare = np.empty(levels.shape[:2], np.uint8)
    for top in range(0, len(levels), 48):
        rows = slice(top, min(top + 48, len(levels)))
        wide = slice(max(0, top - 3), min(len(levels), rows.stop + 3))
        deviation = cv2.GaussianBlur(levels[wide], (3, 3), 0.75)
        cv2.subtract(deviation, substrate[wide], dst=deviation)
        smooth = cv2.blur(deviation, (3, 3))
        bare[rows] = within(smooth[top - wide.start : rows.stop - wide.start], differs)
    if usable is not None:
        bare |= cv2.bitwise_not(usable)
    return np.asarray(cv2.bitwise_not(cv2.morphologyEx(bare, cv2.MORPH_CLOSE, _QUAD)))


def measure_thresholds(
    levels: FloatImage,
    substrate: FloatImage,
    noise: FloatArray,
    drift: FloatArray,
    min_area_px: int,
) -> Thresholds:
    """Thresholds from the noise that bare substrate shows on ten bands of 8 rows.

    Parameters
    ----------
    levels, substrate, noise, drift, min_area_px
        As in `find_terraces`.
    """
    every = max(8, len(levels) // 10)
    bands = [
        _band(levels, substrate, slice(top, min(top + 8, len(levels))))
        for top in range(0, len(levels), every)
    ]
    some = np.concatenate([smooth[::2, ::2].reshape(-1, 3) for _, smooth, _ in bands])
    ranges = np.concatenate([span[::2, ::2].reshape(-1, 3) for _, _, span in bands])
    bare = farthest(some / np.maximum(2 * noise, 1.0)) <= 1
    if np.count_nonzero(bare) < 200:
        sigma: FloatArray = noise / 2
        flat: FloatArray = 4 * noise
    else:
        sigma = 1.4826 * column_quantile(np.abs(some[bare]), 0.5)
        flat = _FLAT * column_quantile(ranges[bare], 0.75)
    # 8-bit steps: a third of a level of rounding survives the averaging of 2x2 and 3x3 pixels.
    # Strong compression leaves colour blocks: little noise between pixels, much between cells.
    differs = np.clip(np.maximum(4 * np.maximum(sigma, 0.35), 5 * drift), 1.4, 8.0)
    return Thresholds(differs, np.clip(flat, 0.8, 14.0), max(4, min_area_px // 8), min_area_px)


def _seed(
    labels: Labels,
    flat: IntArray,
    deviation: FloatImage,
    level: Levels,
    limits: Thresholds,
    min_px: int,
) -> Levels:
    """Write connected pixels at the flat indices as new labels; return the levels with theirs.

    A set whose mean is the substrate's is substrate: next to an edge the 3x3 mean that called its
    pixels different had the flake in it.
    """
    mask = np.zeros(labels.shape, np.uint8)
    mask.ravel()[flat] = 1
    count, found = cv2.connectedComponents(mask, connectivity=4, ltype=cv2.CV_32S)
    component = np.take(found, flat)
    mean = group_means(component, colours_at(deviation, flat), count).astype(np.float32)
    bare = farthest(mean / limits.differs.astype(np.float32)) < 1
    large = np.bincount(component, minlength=count) >= min_px
    large[0] = bare[0] = False
    keep = np.flatnonzero(large & ~bare)[: _MAX_REGIONS - len(level)]
    number = np.where(bare, SUBSTRATE, UNKNOWN).astype(np.uint16)
    number[keep] = np.arange(len(level), len(level) + len(keep))
    labels.ravel()[flat] = number[component]
    return np.concatenate([level, mean[keep]])


def _alone(labels: Labels, flat: IntArray) -> IntArray:
    """Those pixels whose connected set touches no region yet."""
    mask = np.zeros(labels.shape, np.uint8)
    mask.ravel()[flat] = 1
    count, found = cv2.connectedComponents(mask, connectivity=4, ltype=cv2.CV_32S)
    component = np.take(found, flat)
    touches = np.take(cv2.dilate(labels, _BOX), flat) >= FIRST
    taken = np.bincount(component, touches, count) > 0
    return flat[~taken[component]]


def _grow(
    labels: Labels,
    where: IntArray,
    deviation: FloatImage,
    level: Levels,
    limits: Thresholds | None,
    rounds: int,
) -> None:
    """Give unknown pixels the nearer colour of two neighbouring labels, wave by wave.

    With `limits` only pixels close in colour join; without, all do (the substrate competing).
    A pixel that a label did not suit is asked again only when a new one arrives beside it.
    """
    flat = labels.ravel()
    where = where[flat[where] == UNKNOWN]
    colour = colours_at(deviation, where)
    reach = _reach(level, limits)
    fresh = labels
    for _ in range(rounds):
        high = np.take(cv2.dilate(fresh, _BOX), where)
        front = np.flatnonzero(high)
        front = front[np.take(flat, where[front]) == UNKNOWN]
        high, seen = high[front], colour[front]
        # Unknown is 0 and wraps to the largest value, so that the minimum skips it.
        low = np.take(cv2.erode(fresh - np.uint16(1), _BOX), where[front]) + np.uint16(1)
        far = farthest(seen - np.take(level, high, axis=0))
        torn = np.flatnonzero(high != low)
        far_low = farthest(seen[torn] - np.take(level, low[torn], axis=0))
        closer = far_low < far[torn]
        high[torn[closer]], far[torn[closer]] = low[torn[closer]], far_low[closer]
        joins = far <= reach[high]
        if not joins.any():
            return
        changed = where[front[joins]]
        flat[changed] = high[joins]
        fresh = np.zeros_like(labels)
        fresh.ravel()[changed] = high[joins]


def _reach(level: FloatImage, limits: Thresholds | None) -> npt.NDArray[np.float32]:
    """How far in colour a pixel may be from each label and still join it."""
    if limits is None:
        return np.full(len(level), np.inf, np.float32)
    noise = float(limits.flat.max())
    reach = np.clip(0.3 * farthest(level), noise, 3.8 * noise).astype(np.float32)
    reach[SUBSTRATE] = 1.5 * limits.differs.max()
    return reach


def keep_labels(terraces: Terraces, keep: BoolArray) -> Terraces:
    """Regions 1..n where `keep` (n,) is true, renumbered; the others become substrate."""
    number = np.zeros(len(terraces) + 1, np.uint16)
    number[1:][keep] = np.arange(1, np.count_nonzero(keep) + 1)
    level = terraces.level[np.concatenate([[True], keep])]
    where = np.flatnonzero(terraces.labels > 0)
    labels = np.zeros_like(terraces.labels)
    labels.ravel()[where] = np.take(number, np.take(terraces.labels, where))
    return Terraces(labels, level, terraces.deviation, terraces.flat)
