"""Pixels for the report: read again when they are needed, one image at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from layerscope import io
from layerscope.core.micrograph import Micrograph
from layerscope.draw import to_rgb8
from layerscope.errors import InputError

Rgb = npt.NDArray[np.uint8]
_KEPT = 4  # decoded images held at once: 2 Mpx are 7 MB each


class Pictured(Protocol):
    """What must be known of an image to read it again."""

    @property
    def name(self) -> str:
        """Unique in the run."""

    @property
    def path(self) -> str:
        """File, or empty for an image made in memory."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""

    @property
    def sha256(self) -> str:
        """Of the file's bytes, or empty."""


class Pictures:
    """8-bit RGB pictures of images, by name.

    Parameters
    ----------
    images : iterable of Pictured
    given : mapping of str to Micrograph, optional
        Images that live in memory, by name; all others are read from their path.
    """

    def __init__(self, images: Iterable[Pictured], given: Mapping[str, Micrograph] | None = None):
        self._images = {image.name: image for image in images}
        self._given = dict(given or {})
        self._kept: OrderedDict[str, Rgb | str] = OrderedDict()

    def get(self, name: str) -> Rgb | str:
        """Pixels (H, W, 3) of image `name`, or why there are none, in one line."""
        if name not in self._kept:
            self._kept[name] = self._load(name)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(name)
        return self._kept[name]

    def _load(self, name: str) -> Rgb | str:
        image = self._images.get(name)
        micrograph = self._given.get(name)
        if micrograph is None:
            if image is None or not image.path:
                return "The picture was in memory only and is not kept."
            from layerscope.io.mosaic import is_mosaic

            if is_mosaic(image.path):
                return "The picture is a mosaic, too large to be held; see its overlay."
            try:
                micrograph = io.read(image.path)
            except InputError as error:
                return f"The picture cannot be read again: {error}"
        if image is None or micrograph.shape != image.shape:
            return "The file has another size than in the run; its picture is left out."
        if image.sha256 and micrograph.sha256 not in ("", image.sha256):
            return "The file has changed since the run; its picture is left out."
        return to_rgb8(micrograph.data, micrograph.white_level)


def shrink(rgb: Rgb, longest_px: int) -> Rgb:
    """Reduce so that no side is over `longest_px`; never enlarge."""
    zoom = longest_px / max(rgb.shape[:2])
    if zoom >= 1:
        return rgb
    size = (max(1, round(rgb.shape[1] * zoom)), max(1, round(rgb.shape[0] * zoom)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def encode_jpeg(rgb: Rgb, quality: int = 85) -> bytes:
    """JPEG bytes of (H, W, 3) RGB."""
    _, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(data.tobytes())
