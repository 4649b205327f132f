"""Closed outlines of a grey picture at many levels: where particles may be.

A particle on any background is, at some grey level, a connected piece brighter or darker than what
is around it; so the outlines of all pieces at many levels hold nearly all particles, without a
threshold, a background or a polarity being chosen first (Matas et al., Image Vis. Comput. 22, 761
(2004)). Levels are half evenly spaced, half quantiles. Holes inside an outline are filled: a shell
that is dark only at its rim is one particle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, CropMasks, FloatArray, IntArray
from layerscope.ops.instances import split_touching

Grey = npt.NDArray[np.float32]
Chain = npt.NDArray[np.int32]

SMOOTHINGS_PX = (1.0, 2.5, 6.0)
"""Standard deviations of the Gaussians before the levels: fine, usual, and very noisy pictures."""

_LEVELS = 28
_TAILS = (0.003, 0.997)
_SHORTEST = 16
_LARGEST_SHARE = 0.85
_KEPT_PER_SMOOTHING, _KEPT = 250, 700
_ALIKE, _VERY_ALIKE = 0.8, 0.9
_CONVEX = 0.93
_MOST_SPLIT, _SPLIT_FROM_PX, _SPLIT_SIDE_PX = 200, 150, 160


@dataclass(frozen=True, eq=False)
class Slopes:
    """Grey slopes of a smoothed picture.

    Attributes
    ----------
    x, y : ndarray of float32, (H, W)
        Change per pixel.
    noise : float
        Typical slope where nothing is: the median over Rayleigh's.
    strong : float
        Slope of the steepest 2 % of the pixels.
    """

    x: Grey
    y: Grey
    noise: float
    strong: float

    @classmethod
    def of(cls, grey: Grey, counted: BoolArray, smoothing_px: float) -> Slopes:
        """Slopes of `grey` (H, W) smoothed by a Gaussian; levels over `counted`."""
        smooth = cv2.GaussianBlur(grey, (0, 0), smoothing_px, borderType=cv2.BORDER_REFLECT)
        x, y = (
            cv2.Sobel(
                smooth, cv2.CV_32F, *along, ksize=3, scale=1 / 8, borderType=cv2.BORDER_REFLECT
            )
            for along in ((1, 0), (0, 1))
        )  # fmt: skip
        size = np.hypot(x, y)[counted]
        return cls(
            np.asarray(x),
            np.asarray(y),
            float(np.median(size)) / 1.177 + 1e-4,
            float(np.quantile(size, 0.98)) + 1e-4,
        )


@dataclass(frozen=True, eq=False)
class Outlines:
    """Candidates for particles; one row per closed outline.

    Attributes
    ----------
    chains : tuple of ndarray of int32, (m, 1, 2)
        Pixels x, y of the rim.
    polarity : ndarray of int, (n,)
        1 brighter than around, -1 darker.
    area : ndarray, (n,)
        Pixels inside.
    """

    chains: tuple[Chain, ...]
    polarity: IntArray
    area: FloatArray

    @classmethod
    def of(cls, chains: Sequence[Chain], polarity: Sequence[int] | IntArray) -> Outlines:
        """Measure the areas of `chains`."""
        area = [cv2.contourArea(chain) + len(chain) / 2 for chain in chains]
        return cls(tuple(chains), np.asarray(polarity, np.int64), np.asarray(area, float))

    def __len__(self) -> int:
        return len(self.chains)

    def take(self, index: IntArray) -> Outlines:
        """Rows at the integer positions `index`."""
        chains = tuple(self.chains[i] for i in index)
        return Outlines(chains, self.polarity[index], self.area[index])

    def boxes(self) -> IntArray:
        """Top, left, bottom, right (n, 4)."""
        found = [(y, x, y + h, x + w) for x, y, w, h in map(cv2.boundingRect, self.chains)]
        return np.array(found, np.int64).reshape(-1, 4)

    def masks(self, shape: tuple[int, int]) -> CropMasks:
        """Fill the outlines, on a picture of `shape`."""
        boxes = self.boxes()
        crops = tuple(map(_filled, self.chains, boxes.tolist()))
        return CropMasks(boxes, crops, shape)


@dataclass(frozen=True, eq=False)
class Rims:
    """What the picture is like along each outline; one row per outline.

    Attributes
    ----------
    slope : ndarray, (n,)
        Mean fall of the grey value across the rim, in the sense of its polarity; the picture's
        border does not count.
    sure : ndarray, (n,)
        Share of the rim where it falls by more than twice the noise.
    even : ndarray, (n,)
        Share where it falls by more than 0.3 of its mean.
    at_border : ndarray, (n,)
        Share of the rim on the picture's border.
    solidity : ndarray, (n,)
        Area over that of the convex hull.
    roundness : ndarray, (n,)
        4 pi area / perimeter^2.
    """

    slope: FloatArray
    sure: FloatArray
    even: FloatArray
    at_border: FloatArray
    solidity: FloatArray
    roundness: FloatArray

    def promise(self, slopes: Slopes) -> FloatArray:
        """How much each outline looks like an edge all round a convex body, 0 to 1, (n,)."""
        steep = np.clip(self.slope, 0, None) / slopes.strong
        return np.asarray(
            steep / (steep + 0.5) * self.even**2 * self.solidity**3 * (1 - self.at_border)
        )


def find_outlines(grey: Grey, counted: BoolArray, *, smallest_px: float) -> Outlines:
    """List closed outlines that may be particles, and the parts of those with notches.

    Parameters
    ----------
    grey : ndarray of float32, (H, W)
        Finite.
    counted : ndarray of bool, (H, W)
        False where the picture is no specimen; no outline enters it.
    smallest_px : float
        Least area.

    Returns
    -------
    Outlines
        A few hundred, in no particular order; one particle has several.
    """
    kept = [
        _of_smoothing(grey, counted, smoothing, smallest_px)
        for smoothing in (SMOOTHINGS_PX if counted.any() else ())
    ]
    chains = [chain for outlines, _ in kept for chain in outlines.chains]
    if not chains:
        return Outlines.of([], [])
    every = Outlines.of(chains, np.concatenate([o.polarity for o, _ in kept]))
    promise = np.concatenate([p for _, p in kept])
    whole = every.take(_unlike(every, promise, _VERY_ALIKE, _KEPT))
    parts = _parts(whole)
    polarity = np.concatenate([whole.polarity, parts.polarity])
    return Outlines.of([*whole.chains, *parts.chains], polarity)


def rims_of(outlines: Outlines, slopes: Slopes) -> Rims:
    """Measure the rims of `outlines`, all at once."""
    lengths = np.array([len(chain) for chain in outlines.chains])
    place = np.concatenate([chain[:, 0] for chain in outlines.chains]).astype(np.int64)
    start = np.cumsum(lengths) - lengths
    owner = np.repeat(np.arange(len(lengths)), lengths)
    fall = _fall(place, start, lengths, owner, slopes) * outlines.polarity[owner]
    x, y = place.T
    height, width = slopes.x.shape
    inside = (x > 1) & (y > 1) & (x < width - 2) & (y < height - 2)
    count = np.maximum(np.add.reduceat(inside.astype(float), start), 1)

    def mean(values: FloatArray | BoolArray) -> FloatArray:
        return np.asarray(np.add.reduceat(values * inside, start) / count)

    slope = mean(fall)
    hull = np.array([cv2.contourArea(cv2.convexHull(c)) for c in outlines.chains])
    bare = np.array([cv2.contourArea(c) for c in outlines.chains])
    around = np.array(
        [cv2.arcLength(cv2.approxPolyDP(c, 1.0, True), True) for c in outlines.chains]
    )
    return Rims(
        slope=slope,
        sure=mean(fall > 2 * slopes.noise),
        even=mean(fall > 0.3 * slope[owner]),
        at_border=1 - np.add.reduceat(inside.astype(float), start) / lengths,
        solidity=(bare + 1) / (hull + 1),
        roundness=np.minimum(4 * np.pi * bare / (around**2 + 1e-9), 1.0),
    )


def _fall(
    place: IntArray, start: IntArray, lengths: IntArray, owner: IntArray, slopes: Slopes
) -> FloatArray:
    """Fall of the grey value outwards at every pixel of every rim, positive for a bright body."""
    step = np.clip(lengths // 12, 2, 5)[owner]
    first, length = start[owner], lengths[owner]
    k = np.arange(len(place)) - first
    ahead, back = first + (k + step) % length, first + (k - step) % length
    along = (place[ahead] - place[back]).astype(float)
    along /= np.hypot(*along.T)[:, None] + 1e-6
    following = first + (k + 1) % length
    turn = place[:, 0] * place[following, 1] - place[following, 0] * place[:, 1]
    sense = np.sign(np.add.reduceat(turn, start))[owner]
    x, y = place.T
    return np.asarray(-sense * (slopes.x[y, x] * along[:, 1] - slopes.y[y, x] * along[:, 0]))


def _of_smoothing(
    grey: Grey, counted: BoolArray, smoothing_px: float, smallest_px: float
) -> tuple[Outlines, FloatArray]:
    """Outlines of one smoothing that differ, the most promising first, and their promise."""
    chains, polarity = _level_lines(grey, counted, smoothing_px, smallest_px)
    if not chains:
        return Outlines.of([], []), np.zeros(0)
    outlines = Outlines.of(chains, polarity)
    slopes = Slopes.of(grey, counted, max(1.6, smoothing_px))
    # Of outlines equally steep the larger is the less likely to be noise.
    promise = rims_of(outlines, slopes).promise(slopes) * outlines.area**0.25
    kept = _unlike(outlines, promise, _ALIKE, _KEPT_PER_SMOOTHING)
    return outlines.take(kept), promise[kept]


def _level_lines(
    grey: Grey, counted: BoolArray, smoothing_px: float, smallest_px: float
) -> tuple[list[Chain], list[int]]:
    smooth = cv2.GaussianBlur(grey, (0, 0), smoothing_px, borderType=cv2.BORDER_REFLECT)
    values = smooth[counted]
    low, high = np.quantile(values, _TAILS).tolist()
    even = np.linspace(low, high, _LEVELS // 2 + 2)[1:-1]
    levels = np.concatenate([even, np.quantile(values, np.linspace(0.02, 0.98, _LEVELS // 2))])
    chains: list[Chain] = []
    polarity: list[int] = []
    for level in np.unique(levels).tolist():
        for sign, body in ((1, smooth > level), (-1, smooth < level)):
            found = _rims(body & counted, fine=smoothing_px < 2)
            chosen = [c for c in found if _fits(c, smallest_px, _LARGEST_SHARE * grey.size)]
            chains += chosen
            polarity += [sign] * len(chosen)
    return chains, polarity


def _rims(body: BoolArray, *, fine: bool) -> Sequence[Chain]:
    mask = body.astype(np.uint8)
    if not fine:
        mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))
    rimmed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    found, _ = cv2.findContours(
        rimmed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(-1, -1)
    )  # fmt: skip
    return [np.asarray(chain, np.int32) for chain in found]


def _fits(chain: Chain, smallest_px: float, largest_px: float) -> bool:
    if len(chain) < _SHORTEST:
        return False
    return bool(smallest_px <= cv2.contourArea(chain) + len(chain) / 2 <= largest_px)


def _unlike(outlines: Outlines, promise: FloatArray, alike: float, most: int) -> IntArray:
    """Positions of outlines, best first, none of which is nearly the same as a better one.

    Boxes and areas decide: comparing pixels would cost a hundred times more.
    """
    boxes, area = outlines.boxes().astype(float), outlines.area
    room = np.zeros((most, 5))
    kept: list[int] = []
    for i in np.argsort(-promise, kind="stable").tolist():
        others = room[: len(kept)]
        near = _box_overlap(others[:, :4], boxes[i]) > alike
        if near.any():
            ratio = np.minimum(area[i], others[:, 4]) / np.maximum(area[i], others[:, 4])
            if (near & (ratio > alike)).any():
                continue
        room[len(kept)] = (*boxes[i], area[i])
        kept.append(i)
        if len(kept) == most:
            break
    return np.array(kept, np.int64)


def _box_overlap(boxes: FloatArray, box: FloatArray) -> FloatArray:
    """Intersection over union (n,) of `boxes` (n, 4) with `box` (4,)."""
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    both = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod() - common
    return np.asarray(common / both)


def _parts(outlines: Outlines) -> Outlines:
    """Convex parts of the outlines with notches: bodies that touch."""
    solid = np.array(
        [a / (cv2.contourArea(cv2.convexHull(c)) + len(c) / 2)
         for c, a in zip(outlines.chains, outlines.area, strict=True)]
    )  # fmt: skip
    notched = np.flatnonzero((solid < _CONVEX) & (outlines.area > _SPLIT_FROM_PX))[:_MOST_SPLIT]
    chains: list[Chain] = []
    polarity: list[int] = []
    for i in notched.tolist():
        found = _split(outlines.chains[i])
        chains += found
        polarity += [int(outlines.polarity[i])] * len(found)
    return Outlines.of(chains, polarity)


def _split(chain: Chain) -> list[Chain]:
    left, top, width, height = cv2.boundingRect(chain)
    crop = _filled(chain, [top, left, top + height, left + width])
    coarse = max(1, -(-max(crop.shape) // _SPLIT_SIDE_PX))
    size = (-(-width // coarse), -(-height // coarse))
    small = cv2.resize(crop.astype(np.uint8), size, interpolation=cv2.INTER_AREA) > 0
    labels = split_touching(np.pad(small, 1), smallest_px=12)[1:-1, 1:-1]
    if labels.max() < 2:
        return []
    large = cv2.resize(
        labels.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST
    )  # fmt: skip
    rims = [_rims((large == k) & crop, fine=True) for k in range(1, int(labels.max()) + 1)]
    longest = [max(found, key=len) for found in rims if found]
    moved = [np.asarray(c + np.array([left, top], np.int32)) for c in longest]
    return [chain for chain in moved if len(chain) >= _SHORTEST]


def _filled(chain: Chain, box: Sequence[int]) -> BoolArray:
    top, left, bottom, right = box
    mask = np.zeros((bottom - top, right - left), np.uint8)
    cv2.drawContours(mask, [chain], -1, 1, cv2.FILLED, offset=(-left, -top))
    return mask.view(bool)
