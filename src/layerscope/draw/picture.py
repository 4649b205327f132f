"""What is drawn on: an RGB picture of 8 bits, and how large letters and lines are on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.results import CropMasks
from layerscope.errors import InputError
from layerscope.ops.lettering import Image


def to_rgb8(data: npt.NDArray[Any], white_level: float = 255.0) -> Image:
    """Picture of 8 bits from camera values, scaled by the white level and nothing else.

    Parameters
    ----------
    data : ndarray, (H, W) or (H, W, 3)
        What is no number becomes black.
    white_level : float
        The value that becomes 255.
    """
    if data.dtype != np.uint8 or white_level != 255.0:
        scaled = np.asarray(data, np.float32) * np.float32(255.0 / white_level)
        data = np.clip(np.rint(np.nan_to_num(scaled)), 0, 255).astype(np.uint8)
    if data.ndim == 2:
        data = np.repeat(data[:, :, None], 3, axis=2)
    return np.array(data)


def check_rgb8(image: Image, masks: CropMasks | None = None) -> None:
    """Refuse what is no picture of 8 bits, or does not fit the masks.

    Raises
    ------
    InputError
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(
            f"expected an RGB image (H, W, 3) of 8 bits, got {image.dtype} {image.shape}; "
            "convert it with to_rgb8"
        )
    if masks is not None and masks.shape != image.shape[:2]:
        raise InputError(f"masks of {masks.shape} do not fit an image of {image.shape[:2]}")


def font_size(image: Image) -> int:
    """Height of letters in px that suits an image."""
    return int(np.clip(round(min(image.shape[:2]) / 52), 11, 64))


def line_width(image: Image) -> int:
    """Width of outlines in px that suits an image."""
    smaller = min(image.shape[:2])
    return max(2 if smaller >= 400 else 1, round(smaller / 700))
