"""Which pixels differ from the substrate, by how much, and how even their surroundings are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.ops.channels import FloatImage
from layerscope.ops.deviation import (
    STEPS,
    Mask,
    Steps,
    fixed_point,
    local_range,
    smoothed,
    steps_at,
    within_steps,
)
from layerscope.ops.labels import Labels

_QUAD = np.ones((2, 2), np.uint8)
_BAND, _CONTEXT = 48, 5

_FLAT = 2.3
"""Flat means a 2x2 range below this times the 75th percentile on bare substrate. Recall on the
marked graphene flakes is 0.97 at 2.2 to 2.4 and 0.92 to 0.94 from 2.0 to 3.0."""

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


@dataclass(frozen=True, eq=False)
class _Maps:
    """Bare substrate, deviation from it, and the mean and the range of that around each pixel."""

    bare: Steps
    deviation: Steps
    mean: Steps
    range: Steps


def _maps(levels: npt.NDArray[Any], substrate: FloatImage) -> _Maps:
    bare = fixed_point(substrate)
    deviation = np.asarray(cv2.subtract(smoothed(levels), bare))
    return _Maps(bare, deviation, np.asarray(cv2.blur(deviation, (3, 3))), local_range(deviation))


def _bands(height: int, rows: int, every: int) -> Iterator[tuple[slice, slice]]:
    """Bands of an image with the rows around that filters look at, and the band within them."""
    for top in range(0, height, every):
        wide = slice(max(0, top - _CONTEXT), min(height, top + rows + _CONTEXT))
        yield wide, slice(top - wide.start, min(top + rows, height) - wide.start)


@dataclass(frozen=True, eq=False)
class Pixels:
    """Pixels that are not substrate and in no region yet.

    `where` (n,) is their flat index, `colour` (3, n) their deviation in steps, `steep` (n,) their
    range as a share of the flat threshold, negative on a plateau. Listed once for all seeds and
    growth: reading them again from the image each time took a third of it.
    """

    where: IntArray
    colour: npt.NDArray[np.int16]
    steep: npt.NDArray[np.float32]

    def take(self, chosen: BoolArray) -> Pixels:
        """Those where `chosen` (n,) is true."""
        index = np.flatnonzero(chosen)
        return Pixels(self.where[index], self.colour[:, index], self.steep[index])

    def left_in(self, labels: Labels) -> Pixels:
        """Those whose label is 0."""
        return self.take(np.take(labels, self.where) == 0)


def compare(
    levels: npt.NDArray[Any], substrate: FloatImage, limits: Thresholds, usable: Mask | None
) -> tuple[Steps, Mask, Pixels]:
    """Deviation from the substrate, 255 where that is bare, and the pixels where it is not.

    Bands stay in the processor's cache and need no fresh memory, which halves the time.
    """
    bare = np.empty(levels.shape[:2], np.uint8)
    deviation = np.empty(levels.shape, np.int16)
    parts = []
    for wide, own in _bands(len(bare), _BAND, _BAND):
        maps = _maps(levels[wide], substrate[wide])
        mask = within_steps(maps.mean, limits.differs)
        if usable is not None:
            mask |= cv2.bitwise_not(usable[wide])
        # Single pixels and lines one pixel wide cannot become regions: they only cost time.
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _QUAD)[own]
        rows = slice(wide.start + own.start, wide.start + own.stop)
        bare[rows] = mask
        deviation[rows] = maps.deviation[own]
        where = np.flatnonzero(mask == 0) + own.start * levels.shape[1]
        parts.append(_unknown(maps, where, limits, wide.start * levels.shape[1]))
    pixels = Pixels(
        np.concatenate([p.where for p in parts]),
        np.concatenate([p.colour for p in parts], axis=1),
        np.concatenate([p.steep for p in parts]),
    )
    return deviation, bare, pixels


def _unknown(maps: _Maps, where: IntArray, limits: Thresholds, offset: int) -> Pixels:
    """Pixels at the flat indices `where` of `maps`, which begin at `offset` of the image."""
    colour, span = steps_at(maps.deviation, where), steps_at(maps.range, where)
    # Shot noise grows as the root of the light.
    bare = steps_at(maps.bare, where)
    light = (bare + colour).max(axis=0).astype(np.float32)
    noisier = np.sqrt(np.maximum(1, light / np.maximum(bare.max(axis=0), 1)))
    share = (1 / (STEPS * limits.flat)).astype(np.float32)
    steep = (span * share[:, None]).max(axis=0) / noisier
    plateau = span.max(axis=0) <= _PLATEAU * np.abs(colour).max(axis=0).astype(np.float32)
    return Pixels(where + offset, colour, np.where(plateau, -steep, steep))


def off_substrate(
    levels: npt.NDArray[Any], substrate: FloatImage, differs: FloatArray, usable: Mask | None
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
    deviation = np.asarray(cv2.subtract(smoothed(levels), fixed_point(substrate)))
    bare = within_steps(np.asarray(cv2.blur(deviation, (3, 3))), differs)
    if usable is not None:
        bare |= cv2.bitwise_not(usable)
    return np.asarray(cv2.bitwise_not(cv2.morphologyEx(bare, cv2.MORPH_CLOSE, _QUAD)))


def measure_thresholds(
    levels: npt.NDArray[Any],
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
    height = len(levels)
    bands = [
        (_maps(levels[wide], substrate[wide]), own)
        for wide, own in _bands(height, 8, max(8, height // 10))
    ]
    some, ranges = (
        np.concatenate(
            [m[own][::2, ::2].reshape(-1, 3) for m, (_, own) in zip(each, bands, strict=True)]
        ).T
        for each in ([m.mean for m, _ in bands], [m.range for m, _ in bands])
    )
    bare = (np.abs(some) <= np.maximum(2 * noise, 1.0)[:, None] * STEPS).all(axis=0)
    if np.count_nonzero(bare) < 200:
        sigma: FloatArray = noise / 2
        flat: FloatArray = 4 * noise
    else:
        sigma = np.array([1.4826 * _quantile(np.abs(s[bare]), 0.5) for s in some])
        flat = np.array([_FLAT * _quantile(r[bare], 0.75) for r in ranges])
    # 8-bit steps: a third of a level of rounding survives the averaging of 2x2 and 3x3 pixels.
    # Strong compression leaves colour blocks: little noise between pixels, much between cells.
    differs = np.clip(np.maximum(4 * np.maximum(sigma, 0.35), 5 * drift), 1.4, 8.0)
    return Thresholds(differs, np.clip(flat, 0.8, 14.0), max(4, min_area_px // 8), min_area_px)


def _quantile(steps: npt.NDArray[np.int16], share: float) -> float:
    """Lower quantile of values in fixed point, none negative, in working levels."""
    below = np.cumsum(np.bincount(steps))
    return float(np.searchsorted(below, int(share * (len(steps) - 1)), side="right")) / STEPS
