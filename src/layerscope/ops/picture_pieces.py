"""What stands out of the even background of a picture: how many pieces, how dark, how folded.

A person counts particles by what is darker than the film around them, whatever the light, and does
not count holes, which are brighter, round and even. Contrast is in the logarithm of the grey value,
where a layer takes the same away at any light.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.ops.channels import FloatImage
from layerscope.ops.picture_light import even_light
from layerscope.ops.picture_spots import N_SPOTS, Spots, disc, find_spots

_SMOOTH_PX, _AGAIN_PX = 1.2, 0.8
_NOISE_LEFT = 0.25  # of the noise of a pixel, after smoothing
_DARKEST = 0.02
_FAINT, _CLEAR = (0.011, 4.0), (0.025, 5.0)
"""Least contrast, and least number of times the noise: four layers of graphene take 0.019, uneven
carbon some 0.004."""

_LEAST_AREA = 8e-4  # of the picture: 6 x 6 px of 224 x 224
_MOST_SHAPES = 25  # the largest pieces, of which outlines are followed
_LINE_PX = (5, 9, 17)
_FEWEST_PX = 30
_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)

N_PIECES = N_SPOTS + 9 + 4 * 21 + 7 * len(_LINE_PX) + 7
"""Length of what `piece_features` gives."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """Connected pieces that stand out of the background.

    Attributes
    ----------
    label : ndarray of int, (H, W)
        1..n by falling area; 0 is background.
    area : ndarray, (n,)
        In pixels.
    cut : ndarray of bool, (n,)
        Whether it reaches the border of the picture.
    """

    label: IntArray
    area: FloatArray
    cut: BoolArray

    def __len__(self) -> int:
        return len(self.area)


@dataclass(frozen=True, eq=False)
class _Seen:
    """A picture against its background.

    Attributes
    ----------
    level : ndarray of float32, (H, W)
        Logarithm of the grey value, less that of the background; smoothed.
    sharp : ndarray of float32, (H, W)
        The same, hardly smoothed, for what is a pixel wide.
    noise : float
        Of `level`.
    spots : Spots
    """

    level: FloatImage
    sharp: FloatImage
    noise: float
    spots: Spots

    def least(self, what: tuple[float, float]) -> float:
        return max(what[0], what[1] * self.noise)


def piece_features(grey: FloatImage) -> list[float]:
    """Describe what stands out of a picture, `N_PIECES` numbers.

    Parameters
    ----------
    grey : ndarray of float32, (H, W)
        0 to 1.
    """
    seen = _look(np.ascontiguousarray(grey, np.float32))
    parts = [
        seen.spots.numbers,
        [math.log(seen.noise + 1e-4)],
        np.quantile(seen.level[2:-2, 2:-2], [0.01, *_SHARES, 0.99]).tolist(),
        [float((np.abs(seen.level) < max(0.008, 4 * seen.noise)).mean())],
        *(
            _describe(find_pieces(sign * seen.level, seen.least(what)), seen, sign)
            for what in (_FAINT, _CLEAR)
            for sign in (-1, 1)
        ),
        _folds(seen),
    ]
    return [float(v) for part in parts for v in part]


def _look(grey: FloatImage) -> _Seen:
    soft = np.asarray(cv2.GaussianBlur(grey, (0, 0), _SMOOTH_PX), np.float32)
    spread = 1.4826 * float(np.median(np.abs(grey - soft)))
    noise = _NOISE_LEFT * spread / max(float(np.median(soft)), _DARKEST)
    spots = find_spots(soft)
    log = np.log(np.maximum(spots.without, np.float32(_DARKEST)))
    light = even_light(log)
    level = np.asarray(cv2.GaussianBlur(log - light, (0, 0), _AGAIN_PX), np.float32)
    fine = np.where(spots.where, spots.without, cv2.GaussianBlur(grey, (0, 0), _AGAIN_PX))
    sharp = np.log(np.maximum(fine, np.float32(_DARKEST))) - light
    return _Seen(level, np.asarray(sharp, np.float32), noise, spots)


def find_pieces(raised: FloatImage, least: float) -> Pieces:
    """Find connected pieces that are above a level.

    Parameters
    ----------
    raised : ndarray of float32, (H, W)
    least : float
        Level; gaps and hairs of a pixel or two are closed and cut off.
    """
    above = (raised > least).astype(np.uint8)
    joined = cv2.morphologyEx(above, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    clean = cv2.morphologyEx(joined, cv2.MORPH_OPEN, cross)
    _, label, stats, _ = cv2.connectedComponentsWithStats(clean, connectivity=8)
    area = stats[:, cv2.CC_STAT_AREA].astype(float)
    order = np.argsort(-area[1:], kind="stable") + 1
    kept = order[area[order] >= _LEAST_AREA * raised.size]
    new = np.zeros(len(area), np.int64)
    new[kept] = np.arange(1, len(kept) + 1)
    left, top, width, height = (stats[kept, k] for k in range(4))
    rows, columns = raised.shape
    cut = (left == 0) | (top == 0) | (left + width == columns) | (top + height == rows)
    return Pieces(new[label], area[kept], cut)


def _describe(pieces: Pieces, seen: _Seen, sign: int) -> list[float]:
    """Numbers of the pieces, of their outlines, and of the level within: 21."""
    if not len(pieces):
        return [0.0] * 21
    inside = pieces.label > 0
    deep = cv2.erode(inside.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    core = deep & ~seen.spots.where
    core = core if np.count_nonzero(core) >= _FEWEST_PX else inside
    within = sign * seen.level[core]
    return [
        *_counts(pieces), *_shapes(pieces),
        *np.quantile(within, _SHARES).tolist(), float(within.std()),
    ]  # fmt: skip


def _counts(pieces: Pieces) -> list[float]:
    number, cut, size = len(pieces), int(pieces.cut.sum()), pieces.label.size
    label = pieces.label
    border = np.concatenate([label[1], label[-2], label[:, 1], label[:, -2]])
    second = pieces.area[1] if number > 1 else 1.0
    return [
        math.log1p(number), float(number == 1), float(1 < number <= 10), float(number > 10),
        math.log1p(cut), float(cut > 0), float(cut == number),
        math.log(pieces.area[0] / size), math.log(second / size),
        float(pieces.area.sum()) / size,
        float(pieces.area[pieces.cut].sum() / pieces.area.sum()),
        float((border > 0).mean()),
    ]  # fmt: skip


def _shapes(pieces: Pieces) -> list[float]:
    """How round, how convex and how ragged, the mean over area."""
    told = []
    for number in range(1, min(len(pieces), _MOST_SHAPES) + 1):
        mask = (pieces.label == number).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        outline = max(outlines, key=len)
        hull, area = cv2.convexHull(outline), cv2.contourArea(outline)
        length = max(cv2.arcLength(outline, True), 1.0)
        told.append(
            (
                4 * math.pi * area / length**2,
                area / max(cv2.contourArea(hull), 1.0),
                cv2.arcLength(hull, True) / length,
            )
        )
    weights = pieces.area[: len(told)]
    return np.average(np.array(told), axis=0, weights=weights).tolist()


def _folds(seen: _Seen) -> list[float]:
    """Thin dark lines on what is darker than the background, its edges, and how even it is."""
    pieces = find_pieces(-seen.level, seen.least(_FAINT))
    inside = (pieces.label > 0).astype(np.uint8)
    free = ~seen.spots.where
    core = (cv2.erode(inside, np.ones((7, 7), np.uint8)) > 0) & free
    edge = (inside > 0) & ~(cv2.erode(inside, np.ones((5, 5), np.uint8)) > 0) & free
    if min(np.count_nonzero(core), np.count_nonzero(edge)) < _FEWEST_PX:
        return [0.0] * (7 * len(_LINE_PX) + 7)
    dark = -seen.level
    told = [v for px in _LINE_PX for v in _lines(seen, core, inside == 0, px)]
    steep = cv2.magnitude(
        cv2.Sobel(dark, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(dark, cv2.CV_32F, 0, 1, scale=1 / 8),
    )[core]
    usual = float(np.median(dark[core]))
    return [
        *told, *np.quantile(dark[core], (0.1, 0.3, 0.6)).tolist(),
        float(dark[edge].mean()) - usual, float(np.quantile(dark[edge], 0.9)),
        *(math.log(float(v) + 1e-4) for v in np.quantile(steep, (0.5, 0.9))),
    ]  # fmt: skip


def _lines(seen: _Seen, core: BoolArray, outside: BoolArray, width_px: int) -> Sequence[float]:
    """How much is darker, or brighter, than all around it within a width; against the background.

    A crumpled sheet has thin dark ridges; contours of a bent one are wide and soft.
    """
    dark = cv2.morphologyEx(seen.sharp, cv2.MORPH_CLOSE, disc(width_px)) - seen.sharp
    bright = seen.sharp - cv2.morphologyEx(seen.sharp, cv2.MORPH_OPEN, disc(width_px))
    usual = 4 * seen.noise
    if np.count_nonzero(outside) >= _FEWEST_PX:
        usual = float(np.median(dark[outside]))
    usual, on = max(usual, 1e-4), dark[core]
    middle, upper, top = np.quantile(on, (0.5, 0.9, 0.98)).tolist()
    return [
        *(math.log(v / usual + 0.05) for v in (middle, upper, top)),
        float((on > max(0.02, 2.5 * usual)).mean()),
        float((on > max(0.05, 3 * usual)).mean()),
        math.log(float(np.quantile(bright[core], 0.9)) / usual + 0.05),
        middle / max(-float(np.median(seen.level[core])), 0.005),
    ]
