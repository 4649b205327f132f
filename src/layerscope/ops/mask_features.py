"""What a region of a picture is like, in the six numbers that tell kinds of regions apart."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, CropMasks, FloatArray
from layerscope.errors import InputError

MASK_FEATURES = ("mean", "sd", "entropy", "log_area_share", "circularity", "border_contrast")
"""Columns of `mask_features`: grey values are ranks among the picture's, so that brightness and
contrast of the session do not count."""

_LEVELS = 32
_RING_PX = 3


def mask_features(grey: npt.NDArray[np.float32], masks: CropMasks) -> FloatArray:
    """Describe every mask.

    Parameters
    ----------
    grey : ndarray of float32, (H, W)
    masks : CropMasks
        None of them empty.

    Returns
    -------
    ndarray, (n, 6)
        Columns `MASK_FEATURES`: mean, standard deviation and entropy (bits on 32 levels) of the
        grey values inside, as shares of the picture's pixels that are darker; logarithm of the
        share of the picture; 4 pi area / perimeter^2; mean inside less mean in a ring of 3 px.

    Raises
    ------
    InputError
        If the picture has another shape.
    """
    if grey.shape != masks.shape:
        raise InputError(f"a picture of {grey.shape} for masks of {masks.shape}")
    if not len(masks):
        return np.zeros((0, len(MASK_FEATURES)))
    ranks = _ranks(grey)
    return np.array([_of_one(ranks, where, crop) for where, crop in masks])


def _ranks(grey: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Share of the picture's pixels that are darker than each (H, W)."""
    sample = np.sort(grey, axis=None)[:: max(1, grey.size // 4096)]
    low, high = (np.searchsorted(sample, grey, side=side) for side in ("left", "right"))
    return ((low + high) / (2 * len(sample))).astype(np.float32)


def _of_one(
    ranks: npt.NDArray[np.float32], where: tuple[slice, slice], crop: BoolArray
) -> tuple[float, ...]:
    inside = ranks[where][crop].astype(float)
    share = np.bincount((np.clip(inside, 0, 1 - 1e-9) * _LEVELS).astype(int)) / len(inside)
    share = share[share > 0]
    around = _around(ranks, where, crop)
    contrast = float(inside.mean() - around.mean()) if len(around) else 0.0
    chains, _ = cv2.findContours(
        np.pad(crop.astype(np.uint8), 1), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    outline = sum(cv2.arcLength(cv2.approxPolyDP(c, 0.9, True), True) + np.pi for c in chains)
    return (
        float(inside.mean()),
        float(inside.std()),
        float(-(share * np.log2(share)).sum()),
        float(np.log(len(inside) / ranks.size)),
        float(min(4 * np.pi * len(inside) / outline**2, 1.0)),
        contrast,
    )


def _around(
    ranks: npt.NDArray[np.float32], where: tuple[slice, slice], crop: BoolArray
) -> npt.NDArray[np.float32]:
    """Values in a ring around the mask, inside of the picture."""
    (rows, columns), (height, width) = where, ranks.shape
    top, left = max(rows.start - _RING_PX, 0), max(columns.start - _RING_PX, 0)
    bottom, right = min(rows.stop + _RING_PX, height), min(columns.stop + _RING_PX, width)
    mask = np.zeros((bottom - top, right - left), np.uint8)
    mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = crop
    side = 2 * _RING_PX + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return ranks[top:bottom, left:right][(cv2.dilate(mask, disc) > 0) & (mask == 0)]
