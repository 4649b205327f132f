"""How a picture is scaled before a network sees it: `NORMALISATIONS` by name.

Each entry maps an image (H, W, C), float32 from 0 to 1, to float32 of the same shape, from the
whole image and never from a tile of it. A model's card names the one it was trained with.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.errors import InputError
from layerscope.ops.channels import FloatImage
from layerscope.ops.illumination import LEVELS
from layerscope.ops.optical import background_of, binning_of
from layerscope.registry import Registry

_HERE = "layerscope.ops.normalisation"

NORMALISATIONS = Registry(
    "normalisation",
    {
        "unit": f"{_HERE}:unit",
        "imagenet": f"{_HERE}:imagenet",
        "standard": f"{_HERE}:standard",
        "percentile": f"{_HERE}:percentile",
        "clahe": f"{_HERE}:clahe",
        "contrast": f"{_HERE}:contrast",
        "minmax": f"{_HERE}:minmax",
        "stretched": f"{_HERE}:stretched",
        "stretched_clahe": f"{_HERE}:stretched_clahe",
        "gaussian": "layerscope.ops.denoising:gaussian",
        "median": "layerscope.ops.denoising:median",
        "nlm": "layerscope.ops.denoising:nlm",
    },
)

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_SD = np.array([0.229, 0.224, 0.225], np.float32)
_SMALLEST_SPAN = 1e-3  # a quarter of an 8-bit level: an empty frame stays empty
_BRIGHTEST = 12.0  # contrast of a mirror on a dark substrate; beyond it is dust and glare


def as_unit(image: npt.NDArray[Any]) -> FloatImage:
    """Bring any camera's pixels to 0..1.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, C)
        uint8, uint16, or floating point from 0 to 1.

    Returns
    -------
    ndarray of float32, (H, W, C)

    Raises
    ------
    InputError
        For another shape, type or range, or pixels that are not finite.
    """
    if image.ndim not in (2, 3) or image.size == 0:
        raise InputError(f"image of shape {image.shape}: expected (H, W) or (H, W, C)")
    pixels = image[..., None] if image.ndim == 2 else image
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    if pixels.dtype.kind != "f":
        raise InputError(f"image of {pixels.dtype}: expected uint8, uint16 or float from 0 to 1")
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):
        raise InputError(f"image from {low:g} to {high:g}: expected 0 to 1; divide by white first")
    return pixels.astype(np.float32, copy=False)


def normalise(name: str, image: FloatImage) -> FloatImage:
    """Apply the normalisation called `name` to a whole image.

    Parameters
    ----------
    name : str
        One of `NORMALISATIONS`.
    image : ndarray of float32, (H, W, C)
        0 to 1; see `as_unit`.

    Raises
    ------
    UnknownName
        No such normalisation.
    InputError
        If it does not exist for that number of channels.
    """
    return np.ascontiguousarray(NORMALISATIONS[name](image), np.float32)


def unit(image: FloatImage) -> FloatImage:
    """Leave 0 to 1 as it is."""
    return image


def imagenet(image: FloatImage) -> FloatImage:
    """Take off the mean and divide by the spread of ImageNet, for encoders pretrained there.

    Parameters
    ----------
    image : ndarray of float32, (H, W, 1 or 3)
        One channel gets the mean of the three figures.
    """
    channels = image.shape[2]
    if channels == 3:
        return (image - IMAGENET_MEAN) / IMAGENET_SD
    if channels == 1:
        return (image - IMAGENET_MEAN.mean()) / IMAGENET_SD.mean()
    raise InputError(f"{channels} channels: 'imagenet' takes 1 or 3; use 'standard'")


def standard(image: FloatImage) -> FloatImage:
    """Mean 0 and standard deviation 1 per channel."""
    rows = image.reshape(-1, image.shape[2])
    mean = rows.mean(axis=0, dtype=np.float64)
    spread = rows.std(axis=0, dtype=np.float64)
    scaled = (image - mean.astype(np.float32)) / np.maximum(spread, _SMALLEST_SPAN)
    return scaled.astype(np.float32)


def percentile(image: FloatImage) -> FloatImage:
    """1st percentile of each channel to 0, 99th to 1, what lies beyond cut at -1 and 2."""
    rows = image.reshape(-1, image.shape[2])
    low, high = np.percentile(rows, [1, 99], axis=0).astype(np.float32)
    scaled = (image - low) / np.maximum(high - low, _SMALLEST_SPAN)
    return np.clip(scaled, -1, 2, dtype=np.float32)


def clahe(image: FloatImage) -> FloatImage:
    """Contrast-limited adaptive equalisation of the lightness: 8 x 8 regions, clip limit 2.

    Zuiderveld, Graphics Gems IV (1994). Colours keep their hue: of three channels the L of Lab is
    equalised; other numbers of channels are equalised one by one.
    """
    if image.shape[2] == 3:
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)
        lab[..., 0] = _equalised(lab[..., 0] / 100) * 100
        return np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), 0, 1, dtype=np.float32)
    return np.stack([_equalised(image[..., c]) for c in range(image.shape[2])], axis=2)


def _equalised(plane: FloatImage) -> FloatImage:
    levels = np.rint(np.clip(plane, 0, 1) * 65535).astype(np.uint16)
    even = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(levels)
    return even.astype(np.float32) / np.float32(65535)


def minmax(image: FloatImage) -> FloatImage:
    """Lowest value of the image to 0, highest to 1, all channels alike."""
    low, high = float(image.min()), float(image.max())
    scaled = (image - np.float32(low)) / np.float32(max(high - low, _SMALLEST_SPAN))
    return np.clip(scaled, 0, 1, dtype=np.float32)


def stretched(image: FloatImage) -> FloatImage:
    """0.5th percentile of each channel to 0, 99.5th to 1, what lies beyond cut: no hot pixels."""
    rows = image.reshape(-1, image.shape[2])
    low, high = np.percentile(rows, [0.5, 99.5], axis=0).astype(np.float32)
    scaled = (image - low) / np.maximum(high - low, _SMALLEST_SPAN)
    return np.clip(scaled, 0, 1, dtype=np.float32)


def stretched_clahe(image: FloatImage) -> FloatImage:
    """Stretched, then CLAHE of each channel in 256 levels: 8 x 8 regions, clip limit 2.

    For electron micrographs, whose counts fill a small part of their range and whose cameras have
    hot pixels. In 256 levels the limit means the same for every image; in the 65 536 of `clahe` a
    region of fewer pixels than that has one or none per level, so that little is cut.
    """
    levels = np.rint(stretched(image) * 255).astype(np.uint8)
    even = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8))
    planes = [even.apply(np.ascontiguousarray(levels[..., c])) for c in range(levels.shape[2])]
    return np.stack(planes, axis=2).astype(np.float32) / np.float32(255)


def contrast(image: FloatImage) -> FloatImage:
    """I / I0 - 1 against the bare substrate of the image; see `ops.optical.fit_background`.

    Parameters
    ----------
    image : ndarray of float32, (H, W, 1 or 3)

    Returns
    -------
    ndarray of float32, (H, W, 1 or 3)
        -1 to 12.
    """
    height, width, channels = image.shape
    if channels not in (1, 3):
        raise InputError(f"{channels} channels: 'contrast' takes 1 or 3; use 'standard'")
    binning = binning_of((height, width))
    small = (max(1, width // binning), max(1, height // binning))
    levels = cv2.resize(image, small, interpolation=cv2.INTER_AREA) * np.float32(LEVELS)
    levels = cv2.merge([levels] * 3) if channels == 1 else levels
    bare = np.maximum(background_of(levels).at((height, width)), 1 / LEVELS)
    return np.clip(image / bare[..., :channels] - 1, -1, _BRIGHTEST, dtype=np.float32)
