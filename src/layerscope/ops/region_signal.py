"""Level of every region from full-resolution core pixels, and the substrate at the same place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray, IntArray, RegionSignal
from layerscope.ops.channels import FloatImage, colours_at
from layerscope.ops.illumination import LEVELS
from layerscope.ops.labels import Labels, full_index, group_means, sample_regions

_SAMPLE_PX = 600
"""Binned pixels read per region: 2400 full-resolution ones give the mean to 0.1 levels."""

_CORRELATED_PX = 6.0
"""Neighbouring pixels share noise (demosaicing, JPEG blocks): this many count as one."""

_SATURATED = 0.98
_BINS = 1020


@dataclass(frozen=True)
class Light:
    """What turns camera values into comparable levels.

    Attributes
    ----------
    white_level : float
    gain : ndarray of float32, (h, w, 3), or None
        Flat field at the analysis resolution.
    substrate : ndarray of float32, (h, w, 3)
        Bare substrate, working levels, at the analysis resolution.
    substrate_se : ndarray, (3,)
        Standard error of `substrate`, fraction of white.
    """

    white_level: float
    gain: FloatImage | None
    substrate: FloatImage
    substrate_se: FloatArray


def measure_signal(
    data: npt.NDArray[np.generic],
    core: Labels,
    count: int,
    light: Light,
    binning: int,
    uniformity: FloatArray,
) -> RegionSignal:
    """Robust level of regions 1..count.

    Parameters
    ----------
    data : ndarray, (H, W, 3)
        Camera values at full resolution.
    core : ndarray of uint16, (h, w)
        Region number where a binned pixel lies in a region's core, else 0.
    count : int
    light : Light
    binning : int
    uniformity : ndarray, (count,)
        Passed through.

    Returns
    -------
    RegionSignal
        The level is the mean within 2.5 robust sd of the median; the saturated share is that of
        the core.
    """
    where, value = sample_regions(core, count + 1, _SAMPLE_PX)
    pixels, burnt = _pixels(data, where, core.shape, binning, light)
    owner = np.repeat(value - 1, binning * binning)
    number = np.bincount(owner, minlength=count)
    # 8-bit values are their own bins.
    bins = 255 if data.dtype == np.uint8 and light.gain is None else _BINS
    level, spread = (
        np.stack(column, axis=1)
        for column in zip(*(_robust(owner, p, count, bins) for p in pixels), strict=True)
    )
    effective = np.maximum(number / _CORRELATED_PX, 1)[:, None]
    # A quantised camera cannot be better known than the rounding, spread over the noise.
    level_se = np.maximum(spread, 0.3 / 255) / np.sqrt(effective)
    full = (
        np.bincount(np.take(core, np.flatnonzero(core > 0)), minlength=count + 1)[1:] * binning**2
    )
    return RegionSignal(
        level=level,
        level_se=level_se,
        background=group_means(value - 1, colours_at(light.substrate, where).T, count) / LEVELS,
        background_se=np.broadcast_to(light.substrate_se, (count, 3)).copy(),
        spread=spread,
        core_px=full.astype(np.int64),
        uniformity=uniformity,
        saturated=np.bincount(owner, burnt, count) / np.maximum(number, 1),
    )


def _pixels(
    data: npt.NDArray[np.generic],
    where: IntArray,
    shape: tuple[int, int],
    binning: int,
    light: Light,
) -> tuple[npt.NDArray[np.float32], BoolArray]:
    """Full-resolution levels (3, n) under binned pixels, and which the camera cut off."""
    height, width = shape
    whole = data[: height * binning, : width * binning]
    values = colours_at(whole, full_index(where, width, binning)).T.astype(np.float32, order="C")
    values /= np.float32(light.white_level)
    burnt = values.max(axis=0) >= _SATURATED
    if light.gain is not None:
        values /= np.repeat(colours_at(light.gain, where), binning * binning, axis=0).T
    return values, burnt


def _robust(
    owner: IntArray, value: npt.NDArray[np.float32], count: int, bins: int
) -> tuple[FloatArray, FloatArray]:
    """Clipped mean and robust sd of `value` per owner, all from one histogram per owner.

    Sums over the pixels themselves took 4 times as long.
    """
    most = bins + bins // 2  # a gain lifts levels above white
    place = np.clip(np.rint(value * np.float32(bins)), 0, most - 1).astype(np.int64)
    number = np.bincount(owner * most + place, minlength=count * most).reshape(count, most)
    cumulative, axis = np.cumsum(number, axis=1), np.arange(most) / bins
    total = cumulative[:, -1:]
    middle, low, high = ((cumulative <= q * total).sum(axis=1) / bins for q in (0.5, 0.159, 0.841))
    robust = np.maximum((high - low) / 2, 0.5 / 255)
    reach = (2.5 * robust + 0.5 / 255)[:, None]
    number = np.where(np.abs(axis - middle[:, None]) <= reach, number, 0)
    total = np.maximum(number.sum(axis=1), 1)
    # Whole numbers: a product of floats rounds differently with the number of rows.
    mean = number @ np.arange(most) / (bins * total)
    variance = (number * np.square(axis - mean[:, None])).sum(axis=1) / total
    # Clipping a Gaussian at 2.5 sd leaves 0.956 of its variance.
    return mean, np.sqrt(variance / 0.956)
