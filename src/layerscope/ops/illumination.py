"""Uneven light: how much more or less than the centre each pixel receives.

A flat field divides the image, so that one substrate has one level everywhere. It comes from a
picture of bare substrate or, without one, from a whole set: what stays in place while the flakes
move from frame to frame is the light.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.errors import InputError
from layerscope.ops.channels import FloatImage
from layerscope.ops.substrate import polynomial_surface

LEVELS = 255.0
"""Working levels run from 0 to 255 whatever the bit depth; all thresholds are in them."""

GRID_PX = 96
"""Longest side of the stored gain: light varies slowly; a small grid holds no camera noise."""


@dataclass(frozen=True)
class FlatField:
    """Relative light over the field.

    Attributes
    ----------
    gain : ndarray of float32, (h, w, 3)
        On a coarse grid that spans the whole image; 1 on average over the field.
    source : str
        Where it came from, in words.
    """

    gain: FloatImage
    source: str

    def __post_init__(self) -> None:
        if self.gain.ndim != 3 or self.gain.shape[2] != 3 or not self.gain.size:
            raise InputError(f"a flat field is (h, w, 3), got {self.gain.shape}")
        if not (np.isfinite(self.gain).all() and (self.gain > 0).all()):
            raise InputError("a flat field must be positive everywhere; give a brighter reference")

    def at(self, shape: tuple[int, int]) -> FloatImage:
        """Gain at every pixel of an image of `shape` (H, W)."""
        return cv2.resize(self.gain, shape[::-1], interpolation=cv2.INTER_LINEAR)


def camera_levels(data: npt.NDArray[Any], white_level: float, shape: tuple[int, int]) -> FloatImage:
    """Area-averaged working levels, RGB.

    Parameters
    ----------
    data : ndarray, (H, W) or (H, W, 3)
        Grey images become three equal channels.
    white_level : float
        Becomes `LEVELS`.
    shape : tuple of int
        Height and width wanted, not above the image's.

    Returns
    -------
    ndarray of float32, (h, w, 3)
        A new array; NaN where the data has any.
    """
    if data.dtype not in (np.uint8, np.uint16, np.float32):
        data = data.astype(np.float32)
    if data.shape[:2] != shape:
        data = cv2.resize(data, shape[::-1], interpolation=cv2.INTER_AREA)
    levels = np.multiply(data, np.float32(LEVELS / white_level), dtype=np.float32)
    return cv2.merge([levels] * 3) if levels.ndim == 2 else levels


def flat_field_from_reference(micrograph: Micrograph) -> FlatField:
    """Flat field from a picture of bare substrate or a mirror, taken with the same light.

    Raises
    ------
    InputError
        If the picture is dark, saturated or not finite somewhere: it cannot be divided by.
    """
    grid = _grid(micrograph)
    if not np.isfinite(grid).all() or float(grid.min()) < 0.01 or float(np.median(grid)) > 0.98:
        raise InputError(
            f"{micrograph.name} cannot be a flat field: levels {float(grid.min()):.3f} to "
            f"{float(grid.max()):.3f} of white, expected 0.01 to 0.98; take it unsaturated"
        )
    return FlatField(_smoothed(grid, 1.5), f"reference image {micrograph.name}")


def flat_field_from_set(micrographs: Iterable[Micrograph]) -> FlatField:
    """Flat field as the median over a set of each image divided by its own background level.

    Each grid point is the bare substrate in most images, so the median over images is blind to
    flakes; ten images are enough when flakes cover less than a third.

    Raises
    ------
    InputError
        If there are fewer than 3 images, or their shapes differ.
    """
    stack, sizes = _relative(micrographs)
    if len(stack) < 3 or sizes > 1:
        raise InputError(
            f"a flat field from a set needs 3 or more images of one size, got {len(stack)} of "
            f"{sizes} sizes; give a reference image instead"
        )
    return FlatField(_median_field(stack), f"median of {len(stack)} images")


def flat_field_of_scan(micrographs: Iterable[Micrograph]) -> FlatField:
    """Flat field of a scan, as `flat_field_from_set`, if its images share their light.

    Images of several microscopes or lamps have no common field; a field that is wrong for most
    would be worse than the one fitted to each image.

    Raises
    ------
    InputError
        If there are fewer than 10 images, their shapes differ, or the division does not take away
        a fifth of the typical image's unevenness.
    """
    stack, sizes = _relative(micrographs)
    if len(stack) < 10 or sizes > 1:
        raise InputError(f"{len(stack)} readable images of {sizes} sizes; 10 of one are needed")
    field = _median_field(stack)
    before = float(np.median([_unevenness(image) for image in stack]))
    after = float(np.median([_unevenness(image / field) for image in stack]))
    if after > 0.8 * before:
        raise InputError(
            f"dividing by it would leave {after:.2%} unevenness of {before:.2%}: "
            "the light is even, or the images do not share it"
        )
    return FlatField(field, f"median of {len(stack)} images; {before:.2%} uneven, {after:.2%} left")


def _relative(micrographs: Iterable[Micrograph]) -> tuple[list[FloatImage], int]:
    """Each image's levels over their median, on the coarse grid; and how many shapes there are."""
    stack: list[FloatImage] = []
    shapes: set[tuple[int, int]] = set()
    for micrograph in micrographs:
        shapes.add(micrograph.shape)
        grid = _grid(micrograph)
        typical = np.maximum(np.nanmedian(grid, axis=(0, 1)), 1e-3)
        stack.append(np.asarray(grid / typical, np.float32))
    return stack, len(shapes)


def _median_field(stack: list[FloatImage]) -> FloatImage:
    field = np.nan_to_num(np.nanmedian(np.stack(stack), axis=0), nan=1.0).astype(np.float32)
    return _smoothed(field, 3.0)


def _unevenness(relative: FloatImage) -> float:
    """Robust spread over the field, worst channel: flakes are outliers, a gradient is not."""
    middle = np.nanmedian(relative, axis=(0, 1))
    return float(1.4826 * np.nanmedian(np.abs(relative - middle), axis=(0, 1)).max())


def _grid(micrograph: Micrograph) -> FloatImage:
    """Levels as fractions of white on the coarse grid."""
    scale = min(1.0, GRID_PX / max(micrograph.shape))
    height, width = (max(1, round(n * scale)) for n in micrograph.shape)
    return camera_levels(micrograph.data, micrograph.white_level, (height, width)) / LEVELS


def _smoothed(field: FloatImage, sigma: float) -> FloatImage:
    """Field of mean 1 without dust (narrower than 5 cells) and noise.

    Blurred are the deviations from a polynomial: a blur of the field itself would flatten its
    rise at the border, where vignetting is strongest.
    """
    clean = cv2.medianBlur(field, 5) if min(field.shape[:2]) >= 5 else field
    trend = polynomial_surface(clean, np.ones(field.shape[:2], bool), 4)
    smooth = np.maximum(trend + cv2.GaussianBlur(clean - trend, (0, 0), sigma), 1e-3)
    return np.asarray(smooth / smooth.mean(axis=(0, 1)), np.float32)
