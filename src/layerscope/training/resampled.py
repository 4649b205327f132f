"""Labelled images at one size of a pixel, so that a network sees every image at one scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE, ClassPixels, DataSet, Example
from layerscope.errors import InputError

_LEAST_PX = 64
_MOST_STRETCH = 4.0  # finer pixels than were taken hold nothing more; twice as fine is harmless


def resample(data: DataSet, pixel_size_nm: float) -> DataSet:
    """Bring images and masks to pixels of one size; read when they are asked for.

    Images are averaged to coarser pixels and interpolated to finer ones. Of a mask a coarser pixel
    is what most of it was, and unknown where half of it or more was.

    Parameters
    ----------
    data : DataSet
        With the pixel size of every example.
    pixel_size_nm : float

    Returns
    -------
    DataSet
        Its examples have `Example.load_masks` and no instances.

    Raises
    ------
    InputError
        If a pixel size is not known, or an image would become too small or far too large.
    """
    count = len(data.classes) - 1
    return replace(data, examples=tuple(_resampled(e, pixel_size_nm, count) for e in data.examples))


def _resampled(example: Example, wanted_nm: float, count: int) -> Example:
    if example.pixel_size_nm is None:
        raise InputError(f"{example.name}: no pixel size, so it cannot be resampled; tell it")
    factor = example.pixel_size_nm / wanted_nm
    shape = (round(example.shape[0] * factor), round(example.shape[1] * factor))
    if min(shape) < _LEAST_PX or factor > _MOST_STRETCH:
        raise InputError(
            f"{example.name}: {example.pixel_size_nm:g} nm a pixel; at {wanted_nm:g} nm it would "
            f"have {shape[0]} x {shape[1]} px: choose a size nearer to those of the images"
        )
    return replace(
        example,
        shape=shape,
        load_image=partial(_image_at, example.read_image, shape),
        instances=None,
        load_labels=None,
        load_masks=partial(_masks_at, partial(example.class_masks, count), shape),
        pixel_size_nm=wanted_nm,
    )


def _image_at(load: Callable[[], npt.NDArray[Any]], shape: tuple[int, int]) -> npt.NDArray[Any]:
    image = load()
    way = cv2.INTER_AREA if shape[0] < image.shape[0] else cv2.INTER_LINEAR
    out = cv2.resize(image, shape[::-1], interpolation=way)
    return np.asarray(out if out.ndim == 3 else out[:, :, None])


def _masks_at(load: Callable[[], ClassPixels], shape: tuple[int, int]) -> ClassPixels:
    masks = load()
    out = np.empty((*shape, masks.shape[2]), np.uint8)
    way = cv2.INTER_AREA if shape[0] < masks.shape[0] else cv2.INTER_NEAREST
    for k in range(masks.shape[2]):
        yes, unknown = (
            cv2.resize((masks[..., k] == v).astype(np.float32), shape[::-1], interpolation=way)
            for v in (1, IGNORE)
        )
        out[..., k] = np.where(unknown >= 0.5, IGNORE, yes > 0.5 * (1 - unknown))
    return out
