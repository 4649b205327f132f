"""Ways to take noise off a picture, then `stretched`: entries of `normalisation.NORMALISATIONS`.

Each maps a whole image (H, W, C), float32 from 0 to 1, to float32 of the same shape from 0 to 1.
"""

from __future__ import annotations

import cv2
import numpy as np

from layerscope.ops.channels import FloatImage
from layerscope.ops.normalisation import stretched

_SIGMA_PX = 1.0
_PATCH_PX, _SEARCH_PX = 5, 15
_STRENGTH = 0.9
"""Of the noise. On two grey levels under noise of 0.06: rms error 0.011 at 0.9, 0.021 at 0.6 and
0.014 at 1.2; a Gaussian of 1 px leaves 0.022. 4096 x 4096 px take 10 s of CPU; patches of 7 in
21 px take 17 s and leave 0.012."""
_LEVELS = 65535


def gaussian(image: FloatImage) -> FloatImage:
    """Gaussian of 1 px, then stretched."""
    return stretched(_same_shape(cv2.GaussianBlur(image, (0, 0), _SIGMA_PX), image))


def median(image: FloatImage) -> FloatImage:
    """Median of 3 x 3 pixels, then stretched: takes off single hot pixels and keeps edges."""
    planes = [cv2.medianBlur(np.ascontiguousarray(image[..., c]), 3) for c in _channels(image)]
    return stretched(np.stack(planes, axis=2))


def nlm(image: FloatImage) -> FloatImage:
    """Non-local means with the noise of the image itself, then stretched.

    Buades, Coll and Morel, CVPR (2005): each pixel becomes the mean of those whose surroundings
    look alike. Per channel, patches of 5 x 5 in windows of 15 x 15.
    """
    return stretched(np.stack([_non_local(image[..., c]) for c in _channels(image)], axis=2))


def noise_of(plane: FloatImage) -> float:
    """Estimate the standard deviation of the noise of a picture (H, W).

    Immerkaer, Comput. Vis. Image Underst. 64, 300 (1996), with the median in place of the mean, so
    that edges do not count.
    """
    if min(plane.shape) < 3:
        return 0.0
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    second = cv2.filter2D(plane, cv2.CV_32F, kernel)[1:-1, 1:-1]
    return float(np.median(np.abs(second))) / (0.6745 * 6)


def _non_local(plane: FloatImage) -> FloatImage:
    strength = _STRENGTH * noise_of(np.ascontiguousarray(plane)) * _LEVELS
    if strength < 1:
        return plane
    levels = np.rint(np.clip(plane, 0, 1) * _LEVELS).astype(np.uint16)
    calm = cv2.fastNlMeansDenoising(
        levels,
        h=[strength],
        templateWindowSize=_PATCH_PX,
        searchWindowSize=_SEARCH_PX,
        normType=cv2.NORM_L1,
    )
    return calm.astype(np.float32) / np.float32(_LEVELS)


def _channels(image: FloatImage) -> range:
    return range(image.shape[2])


def _same_shape(blurred: FloatImage, image: FloatImage) -> FloatImage:
    """OpenCV drops the last axis of one channel."""
    return blurred.reshape(image.shape)
