"""Other lamps, lenses and sensors: random changes of the values of a patch."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.ops.augmentation import Augmentation

FloatImage = npt.NDArray[np.float32]

_BRIGHTEST = 0.9
_EVERY = 8


def recolour(image: FloatImage, rng: np.random.Generator, augmentation: Augmentation) -> FloatImage:
    """Change the values of a patch: white balance, gamma, brightness, blur, noise.

    The order is that of light: the lamp's colour, the lens, the sensor. Each change has its own
    probability; without any the image comes back as it is.
    """
    a, drawn = augmentation, rng.random(4)
    out = image
    if drawn[0] < a.colour_share:
        out = _recoloured(out, rng, a)
    if drawn[1] < a.blur_share:
        out = blur(out, float(rng.uniform(*a.blur_px)))
    if drawn[2] < a.noise_share:
        noise = rng.standard_normal(out.shape, np.float32)
        out = out + np.float32(rng.uniform(*a.noise)) * noise
    if drawn[3] < a.salt_pepper_share:
        out = _salted(out, rng, float(rng.uniform(*a.salt_pepper)))
    return image if out is image else np.clip(out, 0, 1, dtype=np.float32)


def _recoloured(image: FloatImage, rng: np.random.Generator, a: Augmentation) -> FloatImage:
    low, high = a.white_balance
    gain = rng.uniform(low, high, (image.shape[2],)).astype(np.float32)
    # No microscopist keeps an image whose background is white: contrast would be gone.
    common = np.median(image[::_EVERY, ::_EVERY], axis=(0, 1))
    gain = np.minimum(gain, np.maximum(_BRIGHTEST / np.maximum(common, 1e-3), 1)).astype(np.float32)
    gamma = math.exp(rng.uniform(*np.log(a.gamma)))
    shift = np.float32(rng.uniform(*a.brightness))
    light = np.clip(image * gain, 0, 1)
    return np.asarray(cv2.pow(light, gamma).reshape(image.shape) + shift, np.float32)


def blur(image: npt.NDArray[Any], sigma_px: float) -> npt.NDArray[Any]:
    """`image` (H, W, C) after a Gaussian of `sigma_px`."""
    if sigma_px < 0.1:  # less than a thousandth of a step reaches the next pixel
        return image
    soft = cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101)
    return soft.reshape(image.shape)


def _salted(image: FloatImage, rng: np.random.Generator, share: float) -> FloatImage:
    """Black or white pixels: dead and hot ones of a sensor, dust on it."""
    count = int(rng.binomial(image.shape[0] * image.shape[1], share))
    rows, columns = rng.integers(0, image.shape[:2], (count, 2)).T
    out = image.copy()
    out[rows, columns] = rng.integers(0, 2, (count, 1))
    return out
