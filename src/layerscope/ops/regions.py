"""Terraces as regions: seeds on flat pixels, grown over the steep ones.

A terrace is a connected set of pixels whose local range is at noise level and that differs from the
substrate. The blurred rim of a thick flake passes through the colours of thin ones, but it is
steep, so it never seeds a region; flat zones retreat from an edge on both sides alike, so growing
them at equal speed puts the border on the true edge. No layer table, no sign convention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.ops.channels import FloatImage, farthest, within
from layerscope.ops.comparison import (
    Pixels,
    Thresholds,
    compare,
    measure_thresholds,
    off_substrate,
)
from layerscope.ops.deviation import STEPS, Mask, Steps
from layerscope.ops.labels import Labels, group_means
from layerscope.ops.region_merge import merge_regions

__all__ = [
    "Terraces",
    "Thresholds",
    "anything_differs",
    "find_terraces",
    "keep_labels",
    "measure_thresholds",
    "off_substrate",
]

Levels = npt.NDArray[np.float32]

UNKNOWN, SUBSTRATE, FIRST = 0, 1, 2
"""Values of a label image while regions grow; regions are numbered from `FIRST`."""

_BOX = np.ones((3, 3), np.uint8)
_STEPS_AROUND = np.array([-1, 0, 1])
_MAX_REGIONS = 60_000
_FEW = 1000

_LOOSE = 3.0
"""Steepness, in flat thresholds, that seeds what the first pass and its growth left."""


@dataclass(frozen=True)
class Terraces:
    """Regions at the analysis resolution.

    Attributes
    ----------
    labels : ndarray of uint16, (h, w)
        0 is substrate, 1..n regions.
    level : ndarray, (n + 1, 3)
        Mean deviation of each region's flat part from the substrate, working levels; row 0 is 0.
    deviation : ndarray of int16, (h, w, 3)
        Of every pixel from the substrate, `deviation.STEPS` per working level.
    flat : ndarray, (3,)
        Largest 2x2 range that counted as flat, working levels.
    """

    labels: Labels
    level: FloatArray
    deviation: Steps
    flat: FloatArray

    def __len__(self) -> int:
        return len(self.level) - 1


def anything_differs(
    levels: npt.NDArray[Any], substrate: FloatImage, noise: FloatArray, usable: Mask | None
) -> bool:
    """Whether a half-size look finds at least 8 joined pixels off the substrate.

    Costs a tenth of the search that it spares on an empty field. Averaging four pixels leaves
    about 0.7 of the noise of one, as JPEG noise is correlated.
    """
    size = (max(1, levels.shape[1] // 2), max(1, levels.shape[0] // 2))
    small = cv2.resize(levels, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= cv2.resize(substrate, size, interpolation=cv2.INTER_NEAREST)
    limit = np.maximum(3.5 * 0.7 * noise, 1.2)
    mask = cv2.bitwise_not(within(small, limit))
    if usable is not None:
        mask &= cv2.resize(usable, size, interpolation=cv2.INTER_NEAREST)
    if min(size) > 3:
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    return bool(np.count_nonzero(mask) >= 8)


def find_terraces(
    levels: npt.NDArray[Any],
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
    levels : ndarray of uint8 or float32, (h, w, 3)
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
    deviation, bare, pixels = compare(levels, substrate, limits, usable)
    labels = (bare >> 7).astype(np.uint16)
    level = np.zeros((FIRST, 3), np.float32)
    level = _seed(labels, pixels.take(np.abs(pixels.steep) <= 1), level, limits, limits.min_seed_px)
    pixels = _grow(labels, pixels.left_in(labels), level, limits, 8)
    plateau = pixels.take(pixels.steep < 0)
    level = _seed(labels, plateau, level, limits, 2 * limits.min_seed_px, alone=True)
    pixels = pixels.left_in(labels)
    loose = pixels.take(np.abs(pixels.steep) <= _LOOSE)
    level = _seed(labels, loose, level, limits, 2 * limits.min_seed_px)
    pixels = _grow(labels, pixels.left_in(labels), level, limits, 6)
    _grow(labels, pixels, level, None, 4)
    np.maximum(labels, SUBSTRATE, out=labels)
    labels -= SUBSTRATE
    level = level[SUBSTRATE:]
    even = float(limits.flat.max())
    labels, whole = merge_regions(labels, level.astype(float), deviation, even, min_area_px)
    return Terraces(labels, whole, deviation, limits.flat)


def _seed(
    labels: Labels,
    pixels: Pixels,
    level: Levels,
    limits: Thresholds,
    min_px: int,
    *,
    alone: bool = False,
) -> Levels:
    """Write connected `pixels` as new labels; return the levels with theirs.

    A set whose mean is the substrate's is substrate: next to an edge the 3x3 mean that called its
    pixels different had the flake in it. With `alone` sets that touch a region are left.
    """
    mask = np.zeros(labels.shape, np.uint8)
    mask.ravel()[pixels.where] = 1
    count, found = cv2.connectedComponents(mask, connectivity=4, ltype=cv2.CV_32S)
    component = np.take(found, pixels.where)
    mean = group_means(component, pixels.colour, count).astype(np.float32) / STEPS
    bare = farthest(mean / limits.differs.astype(np.float32)) < 1
    large = np.bincount(component, minlength=count) >= min_px
    large[0] = bare[0] = False
    if alone:
        touches = np.take(cv2.dilate(labels, _BOX), pixels.where) >= FIRST
        left = np.bincount(component, touches, count) > 0
        large[left] = bare[left] = False
    keep = np.flatnonzero(large & ~bare)[: _MAX_REGIONS - len(level)]
    number = np.where(bare, SUBSTRATE, UNKNOWN).astype(np.uint16)
    number[keep] = np.arange(len(level), len(level) + len(keep))
    labels.ravel()[pixels.where] = number[component]
    return np.concatenate([level, mean[keep]])


def _grow(
    labels: Labels, pixels: Pixels, level: Levels, limits: Thresholds | None, rounds: int
) -> Pixels:
    """Give unknown pixels the nearer colour of two neighbouring labels, wave by wave.

    With `limits` only pixels close in colour join; without, all do (the substrate competing).
    A pixel that a label did not suit is asked again only when a new one arrives beside it.
    Returns the pixels that are left.
    """
    colours, reach = np.rint(level.T * STEPS).astype(np.int16), _reach(level, limits)
    flat, fresh = labels.ravel(), None
    for _ in range(rounds):
        front, high, low = _beside(labels, pixels.where, fresh)
        seen = pixels.colour[:, front]
        far = _apart(seen, colours, high)
        torn = np.flatnonzero(high != low)
        far_low = _apart(seen[:, torn], colours, low[torn])
        closer = far_low < far[torn]
        high[torn[closer]], far[torn[closer]] = low[torn[closer]], far_low[closer]
        joins = np.flatnonzero(far <= np.take(reach, high))
        if not len(joins):
            break
        fresh = pixels.where[front[joins]]
        flat[fresh] = high[joins]
    return pixels.left_in(labels)


def _beside(
    labels: Labels, where: IntArray, fresh: IntArray | None
) -> tuple[IntArray, Labels, Labels]:
    """Which of the pixels at `where` are unknown beside `fresh` ones, and their labels' limits.

    Fresh are all labels at first. Late waves are a few pixels: a list of their neighbours takes
    0.1 ms, the whole image 0.4.
    """
    if fresh is not None and len(fresh) < _FEW:
        return _beside_few(labels, where, fresh)
    new = labels
    if fresh is not None:
        new = np.zeros_like(labels)
        new.ravel()[fresh] = np.take(labels, fresh)
    high = np.take(cv2.dilate(new, _BOX), where)
    front = np.flatnonzero((high != 0) & (np.take(labels, where) == UNKNOWN))
    # Unknown is 0 and wraps to the largest value, so that the minimum skips it.
    low = np.take(cv2.erode(new - np.uint16(1), _BOX), where[front]) + np.uint16(1)
    return front, high[front], low


def _beside_few(
    labels: Labels, where: IntArray, fresh: IntArray
) -> tuple[IntArray, Labels, Labels]:
    height, width = labels.shape
    row, column = (side[:, None, None] for side in np.divmod(fresh, width))
    # Beyond the border is the pixel itself or another neighbour.
    rows = np.clip(row + _STEPS_AROUND[:, None], 0, height - 1)
    columns = np.clip(column + _STEPS_AROUND, 0, width - 1)
    beside = (rows * width + columns).reshape(-1)
    label = np.repeat(np.take(labels, fresh), 9)
    unknown = np.take(labels, beside) == UNKNOWN
    pairs = np.sort((beside[unknown] << 16) | label[unknown])
    pixel, label = pairs >> 16, (pairs & 0xFFFF).astype(np.uint16)
    last = np.flatnonzero(np.diff(pixel, append=-1))
    first = np.concatenate([[0], last[:-1] + 1])[: len(last)]
    return np.searchsorted(where, pixel[last]), label[last], label[first]


def _apart(
    seen: npt.NDArray[np.int16], colours: npt.NDArray[np.int16], label: Labels
) -> npt.NDArray[np.int16]:
    """Largest difference over the channels of pixels (3, n) to their labels' colours (3, k)."""
    r, g, b = (np.abs(s - np.take(c, label)) for s, c in zip(seen, colours, strict=True))
    return np.asarray(np.maximum(np.maximum(r, g), b))


def _reach(level: Levels, limits: Thresholds | None) -> npt.NDArray[np.int16]:
    """How far in colour, in steps, a pixel may be from each label and still join it."""
    if limits is None:
        return np.full(len(level), np.iinfo(np.int16).max, np.int16)
    noise = float(limits.flat.max())
    reach = np.clip(0.3 * farthest(level), noise, 3.8 * noise) * STEPS
    reach[SUBSTRATE] = 1.5 * limits.differs.max() * STEPS
    return np.asarray(reach, np.int16)


def keep_labels(terraces: Terraces, keep: BoolArray) -> Terraces:
    """Regions 1..n where `keep` (n,) is true, renumbered; the others become substrate."""
    number = np.zeros(len(terraces) + 1, np.uint16)
    number[1:][keep] = np.arange(1, np.count_nonzero(keep) + 1)
    level = terraces.level[np.concatenate([[True], keep])]
    where = np.flatnonzero(terraces.labels > 0)
    labels = np.zeros_like(terraces.labels)
    labels.ravel()[where] = np.take(number, np.take(terraces.labels, where))
    return Terraces(labels, level, terraces.deviation, terraces.flat)
