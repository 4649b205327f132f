"""A whole picture at a fixed size, as a classifier of pictures sees it."""

from __future__ import annotations

import cv2
import numpy as np

from layerscope.core.results import BoolArray
from layerscope.errors import InputError
from layerscope.ops.channels import FloatImage


def square_picture(
    image: FloatImage, size_px: int, excluded: BoolArray | None = None
) -> FloatImage:
    """Fit a picture into a square; nothing is stretched, cut off or mirrored.

    A mirrored border would add particles, a stretched one change their shape. What is excluded
    and what is beside the picture gets its mean, so that a burnt-in text tells nothing.

    Parameters
    ----------
    image : ndarray of float32, (H, W, C)
    size_px : int
        Side of the square.
    excluded : ndarray of bool, (H, W), optional

    Returns
    -------
    ndarray of float32, (size_px, size_px, C)

    Raises
    ------
    InputError
        If shapes do not belong together, or all is excluded.
    """
    if image.ndim != 3 or 0 in image.shape or size_px < 8:
        raise InputError(f"a picture of {image.shape} into {size_px} px: expected (H, W, C), 8 px")
    mean, pixels = _mean(image, excluded), image
    if excluded is not None:
        pixels = np.where(excluded[..., None], mean, image)
    factor = size_px / max(image.shape[:2])
    height, width = (max(1, round(n * factor)) for n in image.shape[:2])
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    small = cv2.resize(np.asarray(pixels, np.float32), (width, height), interpolation=way)
    out = np.empty((size_px, size_px, image.shape[2]), np.float32)
    out[:] = mean
    top, left = (size_px - height) // 2, (size_px - width) // 2
    out[top : top + height, left : left + width] = small.reshape(height, width, -1)
    return out


def _mean(image: FloatImage, excluded: BoolArray | None) -> FloatImage:
    if excluded is None:
        rows = image.reshape(-1, image.shape[2])
    elif excluded.shape != image.shape[:2]:
        raise InputError(f"an excluded mask of {excluded.shape} for {image.shape[:2]} px")
    else:
        rows = image[~excluded]
    if not len(rows):
        raise InputError("all of the picture is excluded")
    return rows.mean(axis=0, dtype=np.float64).astype(np.float32)
