"""How an image lies in the input of a network: scaled as a whole, then put amid grey."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray
from layerscope.errors import InputError
from layerscope.ops.channels import FloatImage

GREY = 114 / 255
"""Value around the image, that of the published networks."""


@dataclass(frozen=True)
class Letterbox:
    """Place of an image in an input; coordinates are of pixel corners, y before x.

    Attributes
    ----------
    shape : tuple of int
        Height and width of the image.
    inner : tuple of int
        Height and width of the image after scaling.
    canvas : tuple of int
        Height and width of the input.
    """

    shape: tuple[int, int]
    inner: tuple[int, int]
    canvas: tuple[int, int]

    @classmethod
    def fit(cls, shape: tuple[int, int], side_px: int, stride: int) -> Self:
        """Bring the longer side to `side_px` and round both up to a multiple of `stride`.

        Raises
        ------
        InputError
            If a number is below 1.
        """
        if min(*shape, side_px, stride) < 1:
            raise InputError(f"image {shape}, side {side_px}, stride {stride}: expected 1 or more")
        inner = _scaled(shape, side_px / max(shape))
        rows, columns = (-(-n // stride) * stride for n in inner)
        return cls(shape, inner, (rows, columns))

    @classmethod
    def inside(cls, shape: tuple[int, int], canvas: tuple[int, int]) -> Self:
        """Make the image as large as a given input allows.

        Raises
        ------
        InputError
            If a number is below 1.
        """
        if min(*shape, *canvas) < 1:
            raise InputError(f"image {shape} in an input {canvas}: expected 1 or more")
        factor = min(canvas[0] / shape[0], canvas[1] / shape[1])
        rows, columns = _scaled(shape, factor)
        return cls(shape, (min(rows, canvas[0]), min(columns, canvas[1])), canvas)

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the input per pixel of the image, down and across."""
        return self.inner[0] / self.shape[0], self.inner[1] / self.shape[1]

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of the input where the image begins."""
        return (self.canvas[0] - self.inner[0]) // 2, (self.canvas[1] - self.inner[1]) // 2

    def shrink(self, image: npt.NDArray[Any]) -> FloatImage:
        """Image (h, w, C) in its size within the input: float32, uint8 from 0 to 1.

        Raises
        ------
        InputError
            If the image has not the shape that was fitted.
        """
        if image.ndim != 3 or image.shape[:2] != self.shape:
            raise InputError(f"an image of {image.shape} in a place for {self.shape}")
        smaller = self.inner[0] < self.shape[0]
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        scaled = cv2.resize(image, self.inner[::-1], interpolation=how)
        scaled = scaled.reshape(*self.inner, image.shape[2])
        if scaled.dtype == np.uint8:
            return scaled.astype(np.float32) / np.float32(255)
        return np.asarray(scaled, np.float32)

    def frame(self, scaled: FloatImage, empty: float = GREY) -> FloatImage:
        """Input (H, W, C): what `shrink` gave amid pixels of the value `empty`."""
        out = np.full((*self.canvas, scaled.shape[2]), empty, np.float32)
        top, left = self.corner
        out[top : top + self.inner[0], left : left + self.inner[1]] = scaled
        return out

    def to_input(self, boxes: FloatArray) -> FloatArray:
        """Boxes (n, 4), top, left, bottom, right, of the image as boxes of the input."""
        return np.asarray(boxes * np.tile(self.scale, 2) + np.tile(self.corner, 2), float)

    def to_image(self, boxes: FloatArray) -> FloatArray:
        """Boxes of the input as boxes of the image, not cut to it."""
        return np.asarray((boxes - np.tile(self.corner, 2)) / np.tile(self.scale, 2), float)


def _scaled(shape: tuple[int, int], factor: float) -> tuple[int, int]:
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))
