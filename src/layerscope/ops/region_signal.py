"""Level of every region from full-resolution core pixels, and the substrate at the same place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray, IntArray, RegionSignal
from layerscope.ops.channels import FloatImage, channel_max, colours_at
from layerscope.ops.illumination import LEVELS
from layerscope.ops.labels import Labels, full_index, group_means, sample_regions

_SAMPLE_PX = 600
"""Binned pixels read per region: 2400 full-resolution ones give the mean to 0.1 levels."""

_CORRELATED_PX = 6.0
"""Neighbouring pixels share noise (demosaicing, JPEG blocks): this many count as one."""

_SATURATED = 0.98
_BINS = 1024


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
    pixels, raw_max = _pixels(data, where, core.shape, binning, light)
    owner = np.repeat(value - 1, binning * binning)
    number = np.bincount(owner, minlength=count)
    level, spread = np.zeros((count, 3)), np.zeros((count, 3))
    for channel in range(3):
        level[:, channel], spread[:, channel] = _robust(owner, pixels[:, channel], count)
    effective = np.maximum(number / _CORRELATED_PX, 1)[:, None]
    # A quantised camera cannot be better known than the rounding, spread over the noise.
    level_se = np.maximum(spread, 0.3 / 255) / np.sqrt(effective)
    burnt = np.bincount(owner, raw_max >= _SATURATED, count) / np.maximum(number, 1)
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
        saturated=burnt,
    )


def _pixels(
    data: npt.NDArray[np.generic],
    where: IntArray,
    shape: tuple[int, int],
    binning: int,
    light: Light,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Full-resolution levels under binned pixels, and the largest channel before any gain."""
    height, width = shape
    whole = data[: height * binning, : width * binning]
    values = colours_at(whole, full_index(where, width, binning)).astype(np.float32)
    values /= np.float32(light.white_level)
    raw_max = channel_max(values)
    if light.gain is not None:
        gain = colours_at(light.gain, where)
        values /= np.repeat(gain, binning * binning, axis=0)
    return values, raw_max


def _robust(
    owner: IntArray, value: npt.NDArray[np.float32], count: int
) -> tuple[FloatArray, FloatArray]:
    """Clipped mean and robust sd of `value` per owner, through one histogram for all."""
    bins = np.clip(value * np.float32(255 * 4), 0, _BINS - 1).astype(np.int64)
    histogram = np.bincount(owner * _BINS + bins, minlength=count * _BINS).reshape(count, _BINS)
    cumulative = np.cumsum(histogram, axis=1)
    total = cumulative[:, -1:]
    middle, low, high = ((cumulative <= q * total).sum(axis=1) / 1020 for q in (0.5, 0.159, 0.841))
    robust = np.maximum((high - low) / 2, 0.5 / 255)
    kept = np.abs(value - middle[owner]) <= 2.5 * robust[owner] + 0.5 / 255
    number = np.maximum(np.bincount(owner, kept, count), 1)
    mean = np.bincount(owner, value * kept, count) / number
    variance = np.bincount(owner, np.square(value - mean[owner]) * kept, count) / number
    # Clipping a Gaussian at 2.5 sd leaves 0.956 of its variance.
    return mean, np.sqrt(variance / 0.956)
