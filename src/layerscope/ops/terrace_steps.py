"""Flat levels of a layered surface, found by the steps between them and not by the histogram.

A scan's histogram is smeared by what levelling left behind and by the substrate's own steps; two
pixels on both sides of one rim share all of that. So the levels are found from contours that have a
step of at least most of a layer across them (`ops.contour_step`), the height of each step is
measured across its rims only, and each pixel is then compared with the level of the substrate
*around it*.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray
from layerscope.ops.contour_step import Rims

Values = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]

_PER_STEP = 6  # thresholds tried per least step
_MOST_TRIED = 60
_TAIL = (0.2, 99.8)  # percentiles between which they are tried: scars and dust are beyond
_TILES = 6
_RESAMPLES = 200
_WINDOW_PX = 15  # both sides of a rim are averaged over this: background is level over it
_LEAST_RIM = 30  # pixels of rim under which a step is not measured


@dataclass(frozen=True, eq=False)
class StepHeights:
    """Height of each step of a terraced surface.

    Attributes
    ----------
    heights_nm : ndarray, (K,)
        From level k to k + 1; NaN where too little rim was there to measure.
    se_nm : ndarray, (K,)
        Standard error, by a bootstrap over tiles of the image.
    rim_px : ndarray of int, (K,)
        Pixels of rim averaged.
    """

    heights_nm: FloatArray
    se_nm: FloatArray
    rim_px: npt.NDArray[np.int64]


def find_boundaries(
    heights: Values, valid: BoolArray, least_step_nm: float, most: int, *, rough: bool = False
) -> FloatArray:
    """Heights of the contours that have a step across them, lowest first, at most `most`.

    Parameters
    ----------
    heights : ndarray of float32, (H, W)
        nm, finite everywhere, noise well below the step.
    valid : ndarray of bool, (H, W)
    least_step_nm : float
    most : int
    rough : bool, optional
        Roughness draws more contour than rims do: its contour, which has less than the least step,
        then counts nothing instead of against a threshold.
    """
    inner = heights[valid]
    low, high = np.percentile(inner, _TAIL)
    spacing = least_step_nm / _PER_STEP
    tried = low + spacing * np.arange(1, min(_MOST_TRIED, int((high - low) / spacing) + 1))
    score, clear, long = np.zeros((3, len(tried)))
    rims = Rims(heights, valid)
    for i, threshold in enumerate(tried):
        above = rims.steps(heights >= threshold)[1] - least_step_nm
        score[i], clear[i] = above.sum(), above[above > 0].sum()
        long[i] = np.count_nonzero(above > 0)
    real = long > max(_LEAST_LENGTH * max(heights.shape), _OF_LONGEST * long.max(initial=0))
    if rough:
        return _humps(tried, np.where(real, clear, 0.0), least_step_nm)[:most]
    return _peaks(tried, np.where(real, score, -1.0), least_step_nm)[:most]


_LEAST_LENGTH = 0.2  # of the long side: rim with a clear step; dust and texture have less
_OF_LONGEST = 0.1


def _peaks(tried: FloatArray, score: FloatArray, apart: float) -> FloatArray:
    """Best threshold of every run of positive scores; runs closer than `apart` are one."""
    good = np.flatnonzero(score > 0)
    if not len(good):
        return np.zeros(0)
    cuts = np.flatnonzero(np.diff(good) > 1) + 1
    best = [run[score[run].argmax()] for run in np.split(good, cuts)]
    kept: list[int] = []
    for i in best:
        if kept and tried[i] - tried[kept[-1]] < apart:
            kept[-1] = i if score[i] > score[kept[-1]] else kept[-1]
        else:
            kept.append(i)
    return np.asarray(tried[kept])


def _humps(tried: FloatArray, clear: FloatArray, apart: float) -> FloatArray:
    """Thresholds of the local maxima of `clear`, highest first, none close."""
    if not (clear > 0).any():
        return np.zeros(0)
    calm = np.convolve(clear, [0.25, 0.5, 0.25], "same")
    padded = np.pad(calm, 1)
    peaks = np.flatnonzero((calm >= padded[:-2]) & (calm > padded[2:]))
    kept: list[float] = []
    for i in peaks[np.argsort(-calm[peaks], kind="stable")]:
        far = all(abs(tried[i] - k) >= apart for k in kept)
        if far and calm[i] > _OF_HIGHEST * calm.max():
            kept.append(float(tried[i]))
    return np.sort(kept)


_OF_HIGHEST = 0.15


def measure_steps(
    heights: Values, valid: BoolArray, level: Labels, n_levels: int, skip_px: int
) -> StepHeights:
    """Height of each step, from pixels on both sides of its rims.

    Parameters
    ----------
    heights : ndarray of float32, (H, W)
        nm.
    valid : ndarray of bool, (H, W)
    level : ndarray of uint8, (H, W)
        0 is the substrate.
    n_levels : int
        Levels, the substrate included.
    skip_px : int
        Pixels this close to any rim are not averaged: tip and filter round them.
    """
    inner = _inner(level, valid, n_levels, skip_px)
    rows = [
        _one_step(heights, inner & (level == k), inner & (level == k + 1))
        for k in range(n_levels - 1)
    ]
    high, error, rim = (
        (np.array(c) for c in zip(*rows, strict=True)) if rows else (np.zeros(0),) * 3
    )
    return StepHeights(high, error, rim.astype(np.int64))


def _inner(level: Labels, valid: BoolArray, n_levels: int, skip_px: int) -> BoolArray:
    """Pixels further than `skip_px` from any other level."""
    if skip_px <= 0:
        return valid
    size = np.ones((2 * skip_px + 1, 2 * skip_px + 1), np.uint8)
    flat = cv2.dilate(level, size) == cv2.erode(level, size)
    return np.asarray(flat & valid)


def _one_step(heights: Values, lower: BoolArray, upper: BoolArray) -> tuple[float, float, int]:
    """Height difference, its standard error, and how many places it was measured at."""
    size = (2 * _WINDOW_PX + 1, 2 * _WINDOW_PX + 1)
    below, above = (cv2.blur(m.astype(np.float32), size) for m in (lower, upper))
    both = np.minimum(below, above)
    n = int(np.count_nonzero(both > _LEAST_SHARE))
    if n < _LEAST_RIM:
        return float("nan"), float("nan"), n
    low, high = (cv2.blur(np.where(m, heights, np.float32(0)), size) for m in (lower, upper))
    every = 1 if n < _MANY_PLACES else 2
    low, high, below, above, both = (a[::every, ::every] for a in (low, high, below, above, both))
    at = both > _LEAST_SHARE
    difference = high[at] / above[at] - low[at] / below[at]
    return *_tile_mean(difference, both[at], np.argwhere(at), at.shape), n


_LEAST_SHARE = 0.05  # of the window on either side
_MANY_PLACES = 20_000  # windows of neighbours are nearly the same: every second one tells as much


def _tile_mean(
    difference: Values, weight: Values, at: npt.NDArray[np.int64], shape: tuple[int, ...]
) -> tuple[float, float]:
    """Weighted mean without outliers, and its standard error over tiles."""
    centre = np.median(difference)
    spread = 1.4826 * np.median(np.abs(difference - centre)) + 1e-6
    fine = np.abs(difference - centre) < 3 * spread
    tile = (at[:, 0] * _TILES // shape[0]) * _TILES + at[:, 1] * _TILES // shape[1]
    n = _TILES**2
    total = np.bincount(tile[fine], (difference * weight)[fine], n)
    mass = np.bincount(tile[fine], weight[fine], n)
    drawn = np.random.default_rng(0).multinomial(n, [1 / n] * n, _RESAMPLES)
    masses = drawn @ mass
    means = (drawn @ total)[masses > 0] / masses[masses > 0]
    return float(total.sum() / mass.sum()), float(means.std())


def typical(values: Values, valid: BoolArray) -> float:
    """Median of the valid pixels (H, W); of a large map that of every second row and column."""
    every = 1 if values.size < _LARGE_PX else 2
    some = values[::every, ::every][valid[::every, ::every]]
    return float(np.median(some if some.size else values[valid]))


_LARGE_PX = 60_000


def levels_between(values: Values, boundaries_nm: FloatArray) -> Labels:
    """How many of the ascending `boundaries_nm` each value reaches.

    As `numpy.digitize`, in a sixth of its time for a few boundaries.
    """
    level = np.zeros(values.shape, np.uint8)
    for boundary in boundaries_nm.astype(values.dtype):
        level += values >= boundary
    return level


def heights_of(level: Labels, above_nm: FloatArray) -> Values:
    """Height of the level of each pixel (H, W), nm."""
    table = np.zeros(256, np.float32)
    table[: len(above_nm)] = above_nm
    return cv2.LUT(level, table)


def label_levels(
    heights: Values, valid: BoolArray, level: Labels, above_nm: FloatArray, sigma_px: float
) -> tuple[Labels, Values]:
    """Compare each pixel with the substrate's level around it.

    The substrate's level is a Gaussian average of ``height - above_nm[level]`` over *all* levels,
    so that it is known in the middle of a large film too.

    Parameters
    ----------
    heights, valid, level
        As in `measure_steps`; `level` is the first guess.
    above_nm : ndarray, (K + 1,)
        Height of each level above the substrate, ascending, the first 0.
    sigma_px : float

    Returns
    -------
    level : ndarray of uint8, (H, W)
    base : ndarray of float32, (H, W)
        Level of the substrate, nm.
    """
    middle, far = (above_nm[1:] + above_nm[:-1]) / 2, np.float32(_FAR * np.diff(above_nm).min())
    ground = heights - heights_of(level, above_nm)
    base = np.full_like(heights, typical(ground, valid))
    wide = (0.3 * heights.shape[1], _ROWS_PX)
    for _ in range(_ROUNDS):
        for sigma in (wide, (sigma_px, sigma_px)):
            rest = ground - base
            usual = (valid & (np.abs(rest) < far)).astype(np.float32)  # no dust, no scar
            base += _smooth(rest, usual, sigma)
            level = levels_between(heights - base, middle)
            ground = heights - heights_of(level, above_nm)
    return level, base


def _smooth(values: Values, weight: Values, sigma_px: tuple[float, float]) -> Values:
    """Gaussian average (normalised convolution) over x and y; 0 where nothing is near.

    Made on a copy of a quarter of sigma per pixel: 40 times faster, the same to 1 % of a step.
    """
    block = max(1, int(sigma_px[0] / 4)), max(1, int(sigma_px[1] / 4))
    share, total = (_blurred(a, block, sigma_px) for a in (weight, values * weight))
    mean = np.where(share > _FAINT, total / np.maximum(share, _FAINT), np.float32(0))
    size = mean.shape[1] * block[0], mean.shape[0] * block[1]
    whole = cv2.resize(mean, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(whole[: values.shape[0], : values.shape[1]])


def _blurred(values: Values, block: tuple[int, int], sigma_px: tuple[float, float]) -> Values:
    """Means over blocks of pixels, blurred; block and sigma over x and y.

    Zeros fill the last blocks: the mean over blocks of whole pixels takes a fifth of the time.
    """
    high, wide = values.shape
    filled = cv2.copyMakeBorder(
        values, 0, -high % block[1], 0, -wide % block[0], cv2.BORDER_CONSTANT
    )
    size = filled.shape[1] // block[0], filled.shape[0] // block[1]
    means = cv2.resize(filled, size, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(means, (0, 0), sigma_px[0] / block[0], sigmaY=sigma_px[1] / block[1])


_FAR = 0.6  # of the lowest step: further off is dust, a scar, or a level not found yet
_ROWS_PX = 2.0  # what levelling left of offsets of rows is alike over a few rows
_FAINT = np.float32(1e-3)
_ROUNDS = 3
