"""How far every pixel is from the substrate, and how even its surroundings are.

In 16-bit fixed point, which OpenCV filters 4 to 7 times as fast as floats. Finding the terraces of
a real image of 1920 x 1200 px took 23 ms with floats.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.ops.channels import FloatImage

Steps = npt.NDArray[np.int16]
"""Fixed-point image, (h, w, 3), `STEPS` per working level."""

Mask = npt.NDArray[np.uint8]

_KERNEL = np.array([2, 5, 2], np.float32)  # a Gaussian of 0.75 px
STEPS = 81
"""Fixed-point steps per working level: what the kernel adds to in two directions, so that 8-bit
levels are smoothed exactly, without division."""

_BRIGHTEST = 400.0  # flat fields lift levels above 255; the difference of two must fit 16 bits
_QUAD = np.ones((2, 2), np.uint8)


def smoothed(levels: npt.NDArray[np.uint8] | FloatImage) -> Steps:
    """Working levels (h, w, 3) smoothed by 0.75 px, in fixed point."""
    if levels.dtype == np.uint8:
        return np.asarray(cv2.sepFilter2D(levels, cv2.CV_16S, _KERNEL, _KERNEL))
    smooth = cv2.sepFilter2D(levels, cv2.CV_32F, _KERNEL, _KERNEL)
    return np.rint(np.clip(smooth, 0, _BRIGHTEST * STEPS)).astype(np.int16)


def fixed_point(levels: FloatImage) -> Steps:
    """Working levels (h, w, 3) in fixed point."""
    return (levels * np.float32(STEPS)).astype(np.int16)


def local_range(image: Steps) -> Steps:
    """Range of the evenest of the four 2 x 2 squares that hold a pixel.

    Unlike a 3 x 3 range it does not wear away the border of a plateau, which at half resolution
    would leave nothing of a flake 14 px wide.
    """
    high = cv2.dilate(image, _QUAD, anchor=(0, 0))
    low = cv2.erode(image, _QUAD, anchor=(0, 0))
    cv2.subtract(high, low, dst=high)
    return np.asarray(cv2.erode(high, _QUAD, dst=low, anchor=(1, 1)))


def within_steps(image: Steps, limit: npt.NDArray[np.floating]) -> Mask:
    """255 where every channel is within plus or minus `limit` (3,), working levels, else 0."""
    r, g, b = (limit * STEPS).tolist()
    return np.asarray(cv2.inRange(image, (-r, -g, -b, 0), (r, g, b, 0)))


def levels_at(image: Steps, where: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Working levels (3, n) at flat pixel indices."""
    return steps_at(image, where) * np.float32(1 / STEPS)


def steps_at(image: Steps, where: npt.NDArray[np.integer]) -> Steps:
    """Fixed-point values (3, n) at flat pixel indices; channels apart reduce 10 times as fast."""
    return np.ascontiguousarray(np.take(image.reshape(-1, 3), where, axis=0).T)
