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
from layerscope.ops.channels import channel_max, channel_sum, farthest, within
from layerscope.ops.illumination import FloatImage

Labels = npt.NDArray[np.uint16]
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

_PASSES = ((1.0, 1, 8), (3.0, 2, 6))
"""Steepness allowed (in flat thresholds), seed size (in smallest seeds), rounds of growth."""

_MERGE = 0.7
"""Neighbours closer than this times the flat threshold have one colour."""


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


def anything_differs(levels: FloatImage, substrate: FloatImage, usable: Mask | None) -> bool:
    """Whether a quarter-size look finds at least 8 joined pixels off the substrate."""
    size = (max(1, levels.shape[1] // 2), max(1, levels.shape[0] // 2))
    small = cv2.resize(levels, size, interpolation=cv2.INTER_AREA)
    small -= cv2.resize(substrate, size, interpolation=cv2.INTER_LINEAR)
    off = np.abs(small)
    limit = np.maximum(3.5 * 1.4826 * np.median(off[::4, ::4], axis=(0, 1)), 1.2)
    mask = cv2.bitwise_not(within(small, limit))
    if usable is not None:
        mask &= cv2.resize(usable, size, interpolation=cv2.INTER_NEAREST)
    if min(size) > 3:
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    return bool(np.count_nonzero(mask) >= 8)


def _span(image: FloatImage) -> FloatImage:
    """Range over the evenest of the four 2x2 squares that hold each pixel.

    Unlike a 3x3 range it does not wear away the border of a plateau, which at half resolution
    would leave nothing of a flake 14 px wide.
    """
    square = cv2.subtract(
        cv2.dilate(image, _QUAD, anchor=(0, 0)), cv2.erode(image, _QUAD, anchor=(0, 0))
    )
    return np.asarray(cv2.erode(square, _QUAD, anchor=(1, 1)))


def find_terraces(
    levels: FloatImage,
    substrate: FloatImage,
    noise: FloatArray,
    min_area_px: int,
    usable: Mask | None,
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
    min_area_px : int
        Smallest region, at this resolution.
    usable : ndarray of uint8 or None
        0 where no region may be.
    """
    soft = cv2.GaussianBlur(levels, (3, 3), 0.75)
    deviation = cv2.subtract(soft, substrate)
    span = _span(soft)
    smooth = cv2.blur(deviation, (3, 3))
    limits = _thresholds(smooth, span, noise, min_area_px)
    bare = within(smooth, limits.differs)
    if usable is not None:
        bare |= cv2.bitwise_not(usable)
    labels = (bare >> 7).astype(np.uint16)
    where = np.flatnonzero(bare == 0)
    steep = _steepness(where, span, soft, substrate, limits)
    level = np.zeros((FIRST, 3), np.float32)
    for steepness, seeds, rounds in _PASSES:
        flat = where[(steep <= steepness) & (labels.ravel()[where] == UNKNOWN)]
        level = _seed(labels, flat, deviation, level, seeds * limits.min_seed_px)
        _grow(labels, where, deviation, level, limits, rounds)
    _grow(labels, where, deviation, level, None, 4)
    np.maximum(labels, SUBSTRATE, out=labels)
    labels -= SUBSTRATE
    level = level[SUBSTRATE:]
    return _merge(Terraces(labels, level.astype(float), deviation, limits.flat), limits)


def _steepness(
    where: IntArray, span: FloatImage, soft: FloatImage, substrate: FloatImage, limits: Thresholds
) -> npt.NDArray[np.float32]:
    """Range of the pixels `where`, in flat thresholds; shot noise grows as the root of the level."""
    level, bare = soft.reshape(-1, 3)[where], substrate.reshape(-1, 3)[where]
    brighter = np.maximum(1, channel_max(level) / channel_max(bare))
    worst = channel_max(span.reshape(-1, 3)[where] * (1 / limits.flat).astype(np.float32))
    return np.asarray(worst / np.sqrt(brighter), np.float32)


def _thresholds(
    smooth: FloatImage, span: FloatImage, noise: FloatArray, min_area_px: int
) -> Thresholds:
    """Thresholds from the noise that this image shows on its bare substrate."""
    some, ranges = smooth[::6, ::5].reshape(-1, 3), span[::6, ::5].reshape(-1, 3)
    bare = farthest(some / np.maximum(2 * noise, 1.0)) <= 1
    if np.count_nonzero(bare) < 200:
        sigma: FloatArray = noise / 2
        flat: FloatArray = 4 * noise
    else:
        sigma = 1.4826 * np.median(np.abs(some[bare]), axis=0).astype(np.float64)
        flat = _FLAT * np.percentile(ranges[bare], 75, axis=0).astype(np.float64)
    # 8-bit steps: a third of a level of rounding survives the averaging of 2x2 and 3x3 pixels.
    differs = np.clip(4 * np.maximum(sigma, 0.35), 1.4, 8.0)
    return Thresholds(differs, np.clip(flat, 0.8, 14.0), max(4, min_area_px // 8), min_area_px)


def _seed(
    labels: Labels, flat: IntArray, deviation: FloatImage, level: Levels, min_px: int
) -> Levels:
    """Write connected pixels at the flat indices as new labels; return the levels with theirs."""
    mask = np.zeros(labels.shape, np.uint8)
    mask.ravel()[flat] = 1
    count, found = cv2.connectedComponents(mask, connectivity=4, ltype=cv2.CV_32S)
    component = found.ravel()[flat]
    keep = np.flatnonzero(np.bincount(component, minlength=count) >= min_px)
    keep = keep[keep > 0][: _MAX_REGIONS - len(level)]
    if len(keep) == 0:
        return level
    number = np.zeros(count, np.uint16)
    number[keep] = np.arange(len(level), len(level) + len(keep))
    value = number[component]
    where, value = flat[value > 0], value[value > 0]
    labels.ravel()[where] = value
    mean = region_means(value - len(level), deviation, where, len(keep))
    return np.concatenate([level, mean.astype(np.float32)])


def region_means(
    value: npt.NDArray[np.integer], image: FloatImage, where: IntArray, count: int
) -> FloatArray:
    """Mean over each group 0..count-1 of the pixels at flat index `where`, per channel."""
    total = np.maximum(np.bincount(value, minlength=count), 1)
    planes = image.reshape(-1, image.shape[2])[where]
    sums = [np.bincount(value, planes[:, c], count) for c in range(planes.shape[1])]
    return np.stack(sums, axis=1) / total[:, None]


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
    """
    flat = labels.ravel()
    where = where[flat[where] == UNKNOWN]
    colour = deviation.reshape(-1, 3)[where]
    reach = _reach(level, limits)
    for turn in range(rounds):
        high, low = _neighbours(labels, where, turn)
        front = np.flatnonzero(high)
        high, low, seen = high[front], low[front], colour[front]
        far = farthest(seen - level[high])
        torn = np.flatnonzero(high != low)
        far_low = farthest(seen[torn] - level[low[torn]])
        closer = far_low < far[torn]
        high[torn[closer]], far[torn[closer]] = low[torn[closer]], far_low[closer]
        joins = far <= reach[high]
        if not joins.any():
            return
        flat[where[front[joins]]] = high[joins]
        stays = np.ones(len(where), bool)
        stays[front[joins]] = False
        where, colour = where[stays], colour[stays]


def _neighbours(labels: Labels, where: IntArray, turn: int) -> tuple[Labels, Labels]:
    """Largest and smallest label, unknown aside, next to each pixel; 0 where there is none.

    Crosses and squares take turns, which makes waves round.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_CROSS if turn % 2 else cv2.MORPH_RECT, (3, 3))
    high = cv2.dilate(labels, kernel).ravel()[where]
    # Unknown is 0 and wraps to the largest value, so that the minimum skips it.
    low = cv2.erode(labels - np.uint16(1), kernel).ravel()[where] + np.uint16(1)
    return high, low


def _reach(level: FloatImage, limits: Thresholds | None) -> npt.NDArray[np.float32]:
    """How far in colour a pixel may be from each label and still join it."""
    if limits is None:
        return np.full(len(level), np.inf, np.float32)
    noise = float(limits.flat.max())
    reach = np.clip(0.3 * farthest(level), noise, 3.8 * noise).astype(np.float32)
    reach[SUBSTRATE] = 1.5 * limits.differs.max()
    return reach


def neighbour_pairs(labels: Labels, distance: int = 1) -> tuple[IntArray, IntArray]:
    """Flat indices of pixel pairs, `distance` apart along a row or column, of different regions."""
    first, second = [], []
    for step, (a, b) in (
        (1, (labels[:, :-distance], labels[:, distance:])),
        (labels.shape[1], (labels[:-distance], labels[distance:])),
    ):
        rows, columns = np.nonzero((a != b) & (a > 0) & (b > 0))
        index = rows * labels.shape[1] + columns
        first.append(index)
        second.append(index + step * distance)
    return np.concatenate(first), np.concatenate(second)


def _merge(terraces: Terraces, limits: Thresholds) -> Terraces:
    """Join neighbours of one colour that have no crack between them; drop what stays small."""
    labels, level = terraces.labels, terraces.level
    count = len(level)
    first, second = neighbour_pairs(labels)
    parent = np.arange(count)
    if len(first):
        parent = _join(terraces, first, second, _MERGE * float(limits.flat.max()))
    where = np.flatnonzero(labels)
    value = labels.ravel()[where]
    area = np.bincount(value, minlength=count)
    whole = np.bincount(parent, area, count)
    kept = np.flatnonzero(whole >= limits.min_area_px)
    number = np.zeros(count, np.uint16)
    number[kept] = np.arange(1, len(kept) + 1)
    number = number[parent]
    out = np.zeros_like(labels)
    out.ravel()[where] = number[value]
    total = np.zeros((len(kept) + 1, 3))
    np.add.at(total, number, level * area[:, None])
    mean = total / np.maximum(np.bincount(number, area, len(kept) + 1), 1)[:, None]
    mean[0] = 0
    return Terraces(out, mean, terraces.deviation, terraces.flat)


def _join(terraces: Terraces, first: IntArray, second: IntArray, tolerance: float) -> IntArray:
    """Root of each label after union of like neighbours."""
    flat, level = terraces.labels.ravel(), terraces.level
    a, b = flat[first].astype(np.int64), flat[second].astype(np.int64)
    low, high = np.minimum(a, b), np.maximum(a, b)
    pair, group = np.unique(low * len(level) + high, return_inverse=True)
    low, high = np.divmod(pair, len(level))
    middle = (level[low] + level[high]) / 2
    pixels = terraces.deviation.reshape(-1, 3)
    off = farthest(pixels[first] - middle[group])
    off += farthest(pixels[second] - middle[group])
    crack = np.bincount(group, off) / np.bincount(group) / 2
    apart = farthest(level[low] - level[high])
    alike = (apart < tolerance) & (crack < 1.3 * tolerance)
    return union(low[alike], high[alike], len(level))


def union(low: IntArray, high: IntArray, count: int) -> IntArray:
    """Smallest member of the connected set of each of 0..count-1 under the pairs low-high."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in zip(low.tolist(), high.tolist(), strict=True):
        x, y = root(a), root(b)
        parent[max(x, y)] = min(x, y)
    return np.array([root(i) for i in range(count)])


def keep_labels(terraces: Terraces, keep: BoolArray) -> Terraces:
    """Regions 1..n where `keep` (n,) is true, renumbered; the others become substrate."""
    number = np.zeros(len(terraces) + 1, np.uint16)
    number[1:][keep] = np.arange(1, np.count_nonzero(keep) + 1)
    level = terraces.level[np.concatenate([[True], keep])]
    return Terraces(number[terraces.labels], level, terraces.deviation, terraces.flat)


def full_resolution(
    terraces: Terraces,
    data: npt.NDArray[np.generic],
    scale: float,
    substrate: FloatImage,
    binning: int,
) -> Labels:
    """Label image at full resolution.

    Pixels of binned pixels that touch two labels are decided again, each for the nearer of the two
    mean colours: the border lies where the level is half way, which is the true edge of a blurred
    step.

    Parameters
    ----------
    terraces : Terraces
    data : ndarray, (H, W, 3)
        Camera values.
    scale : float
        Working levels per camera unit.
    substrate : ndarray of float32, (h, w, 3)
        Bare substrate in working levels, at the analysis resolution.
    binning : int

    Returns
    -------
    ndarray of uint16, (H, W)
    """
    labels = terraces.labels
    height, width = labels.shape
    shape = (height * binning, width * binning)
    out = cv2.resize(labels, shape[::-1], interpolation=cv2.INTER_NEAREST)
    if binning > 1:
        high, low = cv2.dilate(labels, _BOX).ravel(), cv2.erode(labels, _BOX).ravel()
        band = np.flatnonzero(high != low)
        rows, columns = np.divmod(band, width)
        smooth = cv2.medianBlur(data[: shape[0], : shape[1]], 3)
        blocks = smooth.reshape(height, binning, width, binning, 3)[rows, :, columns]
        off = blocks.astype(np.float32) * np.float32(scale)
        off -= substrate.reshape(-1, 3)[band][:, None, None]
        level = terraces.level.astype(np.float32)
        to_high = channel_sum(np.square(off - level[high[band]][:, None, None]))
        to_low = channel_sum(np.square(off - level[low[band]][:, None, None]))
        chosen = np.where(to_high < to_low, high[band][:, None, None], low[band][:, None, None])
        out.reshape(height, binning, width, binning)[rows, :, columns] = chosen
    rest = (data.shape[0] - shape[0], data.shape[1] - shape[1])
    if max(rest):
        out = cv2.copyMakeBorder(out, 0, rest[0], 0, rest[1], cv2.BORDER_REPLICATE)
    return np.asarray(out, np.uint16)
