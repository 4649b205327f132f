"""What the page shows of an image: tiles at several sizes, thumbnails."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.draw import to_rgb8
from layerscope.errors import InputError, UnknownName

Picture = npt.NDArray[np.uint8]

TILE_PX = 512
THUMBNAIL_PX = 176

_KEPT = 6
_THUMBNAILS = 500
_PERCENTILES = (0.35, 99.65)
_CLAHE_CLIP, _CLAHE_SQUARES = 2.0, 8
_FAST_PNG = 1
_SAMPLE = 1_000_000  # pixels from which percentiles are taken


def levels_of(shape: tuple[int, int]) -> int:
    """Return the number of sizes: each is half of the one before, the last fits into one tile."""
    return max(0, int(np.ceil(np.log2(max(shape) / TILE_PX)))) + 1


def as_shown(image: Micrograph) -> Picture:
    """8-bit picture as the camera gave it; other values are spread over their middle 99.3 %."""
    white = image.white_level
    if image.value_unit == "intensity" and image.data.dtype == np.uint8 and white == 255:
        return np.ascontiguousarray(image.data)
    if image.value_unit == "intensity" and image.data.dtype.kind == "u":
        full = to_rgb8(image.data, white)
        return np.ascontiguousarray(full[..., 0] if image.data.ndim == 2 else full)
    return stretched(image)


def stretched(image: Micrograph) -> Picture:
    """8-bit picture whose darkest and lightest 0.35 % are black and white."""
    values = np.nan_to_num(np.asarray(image.data, np.float32))
    step = max(1, values.size // _SAMPLE)
    low, high = np.percentile(values.ravel()[::step], _PERCENTILES)
    share = (values - np.float32(low)) / np.float32(max(high - low, 1e-12))
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


def evened(image: Micrograph) -> Picture:
    """8-bit picture with the contrast of its surroundings (CLAHE)."""
    plain = stretched(image)
    clahe = cv2.createCLAHE(_CLAHE_CLIP, (_CLAHE_SQUARES, _CLAHE_SQUARES))
    if plain.ndim == 2:
        return np.asarray(clahe.apply(plain), np.uint8)
    lab = cv2.cvtColor(plain, cv2.COLOR_RGB2LAB)
    lab[..., 0] = clahe.apply(lab[..., 0])
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


VIEWS: dict[str, Callable[[Micrograph], Picture]] = {
    "plain": as_shown,
    "stretched": stretched,
    "local": evened,
}
"""Ways to show an image; they change nothing but the look."""


class TileShelf:
    """Pictures of images at all sizes, those of the last few kept."""

    def __init__(self) -> None:
        self._pyramids: OrderedDict[tuple[Any, str], list[Picture]] = OrderedDict()
        self._thumbnails: OrderedDict[Any, bytes] = OrderedDict()

    def tile(self, key: Any, image: Micrograph, view: str, place: tuple[int, int, int]) -> bytes:
        """PNG of one tile.

        Parameters
        ----------
        key : hashable
            Of the image.
        image : Micrograph
        view : str
            One of `VIEWS`.
        place : tuple of int
            Level, 0 the full size; row and column of the tile.

        Raises
        ------
        InputError
            If there is no such tile.
        """
        level, row, column = place
        pyramid = self._pyramid(key, image, view)
        if not (0 <= level < len(pyramid) and row >= 0 and column >= 0):
            raise InputError(f"no tile {place}")
        rows = slice(row * TILE_PX, (row + 1) * TILE_PX)
        part = pyramid[level][rows, column * TILE_PX : (column + 1) * TILE_PX]
        if part.size == 0:
            raise InputError(f"no tile {place}")
        return encoded(part)

    def thumbnail(self, key: Any, load: Callable[[], Micrograph]) -> bytes:
        """JPEG of up to `THUMBNAIL_PX` a side, its contrast stretched."""
        if key not in self._thumbnails:
            picture = stretched(load())
            factor = THUMBNAIL_PX / max(picture.shape[:2])
            size = (
                max(1, round(picture.shape[1] * factor)),
                max(1, round(picture.shape[0] * factor)),
            )
            small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            self._thumbnails[key] = encoded(small, ".jpg")
            while len(self._thumbnails) > _THUMBNAILS:
                self._thumbnails.popitem(last=False)
        return self._thumbnails[key]

    def _pyramid(self, key: Any, image: Micrograph, view: str) -> list[Picture]:
        if view not in VIEWS:
            raise UnknownName.of("view", view, VIEWS)
        if (key, view) not in self._pyramids:
            self._pyramids[key, view] = halved(VIEWS[view](image), levels_of(image.shape))
            while len(self._pyramids) > _KEPT:
                self._pyramids.popitem(last=False)
        self._pyramids.move_to_end((key, view))
        return self._pyramids[key, view]


def halved(picture: npt.NDArray[Any], levels: int) -> list[npt.NDArray[Any]]:
    """Picture at full size, half of it, a quarter ...; a last odd row or column is a pixel too."""
    pyramid = [picture]
    for _ in range(levels - 1):
        last = pyramid[-1]
        height, width = last.shape[0], last.shape[1]
        even = cv2.copyMakeBorder(last, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        size = (-(-width // 2), -(-height // 2))
        pyramid.append(cv2.resize(even, size, interpolation=cv2.INTER_AREA))
    return pyramid


def encoded(picture: Picture, kind: str = ".png") -> bytes:
    """PNG or JPEG of a grey or RGB picture."""
    bgr = picture[..., ::-1] if picture.ndim == 3 else picture
    fast = [cv2.IMWRITE_PNG_COMPRESSION, _FAST_PNG] if kind == ".png" else []
    done, content = cv2.imencode(kind, np.ascontiguousarray(bgr), fast)
    if not done:
        raise InputError(f"cannot encode a picture of {picture.shape}")
    return bytes(content.tobytes())
