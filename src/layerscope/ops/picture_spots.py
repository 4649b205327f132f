"""Compact dark spots in a picture, on whatever they lie: dense particles, dried drops."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray
from layerscope.ops.channels import FloatImage

_WIDTHS = (0.045, 0.12)  # of the picture: the widest spots that are looked for
_DEPTHS = (0.15, 0.35)  # share of the grey around it that a spot takes away
_TAKEN_OUT = 0.35  # of these: sheets of graphene take less, however small they are
_HALO = 0.018  # of the picture, on all sides of a spot
_LEAST_PX = 6
_FILLED, _ELONGATED = 0.6, 1.6  # of its box, and of its box's sides: else it is a piece of a line
_DARKEST = 0.02

N_SPOTS = 5 * len(_WIDTHS) * len(_DEPTHS)
"""Length of `Spots.numbers`."""


@dataclass(frozen=True, eq=False)
class Spots:
    """What was found.

    Attributes
    ----------
    numbers : tuple of float, (`N_SPOTS`,)
        For each width and depth: how many, on two scales, whether any, share of the picture, size.
    where : ndarray of bool, (H, W)
        The spots and their rims.
    without : ndarray of float32, (H, W)
        The picture as if there were none.
    """

    numbers: tuple[float, ...]
    where: BoolArray
    without: FloatImage


def disc(side: int) -> npt.NDArray[np.uint8]:
    """Disc of an odd number of pixels across; that of OpenCV changes when it is turned."""
    along = np.arange(side) - side // 2
    return np.asarray(np.hypot(along[:, None], along) <= side / 2, np.uint8)


def find_spots(soft: FloatImage) -> Spots:
    """Find spots by closing: what a disc wider than a spot does not fit into.

    Parameters
    ----------
    soft : ndarray of float32, (H, W)
        Grey values 0 to 1, noise smoothed.
    """
    numbers: list[float] = []
    where = np.zeros(soft.shape, bool)
    closed = soft
    for width in _WIDTHS:
        side = round(width * max(soft.shape)) | 1
        closed = np.asarray(cv2.morphologyEx(soft, cv2.MORPH_CLOSE, disc(side)), np.float32)
        taken = (closed - soft) / np.maximum(closed, _DARKEST)
        for depth in _DEPTHS:
            found, told = _compact(taken > depth)
            where |= found & (depth >= _TAKEN_OUT)
            numbers += told
    rims = cv2.dilate(where.astype(np.uint8), disc(2 * round(_HALO * max(soft.shape)) + 1)) > 0
    filled = np.where(rims, cv2.medianBlur(closed, 5), soft)
    return Spots(tuple(numbers), rims, np.asarray(filled, np.float32))


def _compact(dark: BoolArray) -> tuple[BoolArray, list[float]]:
    """Which of the connected pieces are spots, and five numbers about them."""
    _, label, stats, _ = cv2.connectedComponentsWithStats(dark.astype(np.uint8), connectivity=8)
    width, height, area = (
        stats[:, k].astype(float) for k in (cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT, cv2.CC_STAT_AREA)
    )
    large = area >= _LEAST_PX
    large[0] = False
    round_ = (area > _FILLED * width * height) & (
        np.maximum(width, height) <= _ELONGATED * np.minimum(width, height)
    )
    kept = large & round_
    number, usual = int(kept.sum()), float(np.median(area[kept])) if kept.any() else 0.0
    told = [
        math.log1p(number), min(number, 10) / 10, float(number > 0),
        float(area[large].sum()) / dark.size, math.sqrt(usual / dark.size),
    ]  # fmt: skip
    return kept[label], told
