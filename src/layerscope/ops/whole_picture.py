"""A whole picture at a fixed size, as a classifier of pictures sees it."""

from __future__ import annotations

import cv2
import numpy as np

from layerscope.core.results import BoolArray
from layerscope.errors import InputError
from layerscope.ops.channels import FloatImage

LEAST_PX = 16
"""Narrowest picture that can be described: the widest texture is smoothed over 32 px."""


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
    top, left, height, width = _place(image.shape[0], image.shape[1], size_px)
    way = cv2.INTER_AREA if size_px < max(image.shape[:2]) else cv2.INTER_LINEAR
    small = cv2.resize(np.asarray(pixels, np.float32), (width, height), interpolation=way)
    out = np.empty((size_px, size_px, image.shape[2]), np.float32)
    out[:] = mean
    out[top : top + height, left : left + width] = small.reshape(height, width, -1)
    return out


def inner_part(square: FloatImage, shape: tuple[int, int]) -> FloatImage:
    """Take the padding of `square_picture` off again.

    Parameters
    ----------
    square : ndarray, (S, S, C)
    shape : tuple of int
        Rows and columns of the image that it was made from.

    Returns
    -------
    ndarray, (h, w, C)
        The longer of h and w is S. Of a strip narrower than `LEAST_PX` some padding is left.
    """
    size = square.shape[0]
    top, left, height, width = _place(*shape, size)
    least = min(LEAST_PX, size)
    if height < least:
        top, height = (size - least) // 2, least
    if width < least:
        left, width = (size - least) // 2, least
    return square[top : top + height, left : left + width]


def _place(rows: int, columns: int, size_px: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of an image in its square."""
    factor = size_px / max(rows, columns)
    height, width = max(1, round(rows * factor)), max(1, round(columns * factor))
    return (size_px - height) // 2, (size_px - width) // 2, height, width


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
