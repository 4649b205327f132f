"""From a decoded array to a `Micrograph`: size limits, channels, number type, white level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.errors import TooLarge, UnreadableFile

Array = npt.NDArray[Any]

MAX_RATIO = 1000
"""Decoded bytes per stored byte. Deflate cannot exceed 1032, photographs stay below 300."""
RATIO_FROM_BYTES = 32_000_000
"""Smaller images may be as empty as they like: a blank field compresses without limit."""


def check_size(
    height: int, width: int, *, channel_bytes: float, stored_bytes: int, max_pixels: int
) -> None:
    """Refuse an image by what its header declares, before a byte of it is decoded.

    Parameters
    ----------
    height, width : int
        Declared size in pixels.
    channel_bytes : float
        Bytes per pixel once decoded, all channels together.
    stored_bytes : int
        Size of the file.
    max_pixels : int

    Raises
    ------
    UnreadableFile
        If the image is empty; `TooLarge` if it is over `max_pixels` or expands more than
        `MAX_RATIO` times.
    """
    declared = f"the header declares {width} x {height} pixels"
    if height < 1 or width < 1:
        raise UnreadableFile(f"{declared}: there is no image in it")
    if height * width > max_pixels:
        raise TooLarge(f"{declared}, over the limit of {max_pixels}; raise max_pixels or tile")
    decoded = height * width * channel_bytes
    if decoded > RATIO_FROM_BYTES and decoded > MAX_RATIO * stored_bytes:
        raise TooLarge(
            f"{declared} but the file holds only {stored_bytes} bytes: damaged, or a blank image "
            "made to exhaust memory"
        )


def build_micrograph(
    array: Array,
    *,
    metadata: Mapping[str, Any],
    notes: Sequence[str] = (),
    white_level: float | None = None,
    orientation: int = 1,
    pixel_size: PixelSize | None = None,
) -> Micrograph:
    """Bring decoded pixels into the form that all analysis expects.

    Parameters
    ----------
    array : ndarray, (H, W) or (H, W, C)
        C of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha).
    metadata : mapping
        What the file says; ``notes`` is added to it.
    notes : sequence of str
        What was changed or ignored while reading, one line each.
    white_level : float, optional
        Saturated value, where the file tells it; otherwise it follows from type and maximum.
    orientation : int
        EXIF orientation, 1 to 8, as stored; the result is upright.
    pixel_size : PixelSize, optional
        Of the stored, not yet upright, image.
    """
    said = list(notes)
    pixels = _plain_numbers(_without_alpha(array, said), said)
    if orientation in range(2, 9):
        said.append(f"turned upright from EXIF orientation {orientation}")
        pixels, pixel_size = _upright(pixels, orientation), _upright_scale(pixel_size, orientation)
    white = white_level if white_level is not None else _white_level(pixels, said)
    return Micrograph(
        np.ascontiguousarray(pixels),
        pixel_size=pixel_size,
        white_level=white,
        metadata={**metadata, "notes": tuple(said)},
    )


def _without_alpha(array: Array, notes: list[str]) -> Array:
    if array.ndim == 2:
        return array
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise UnreadableFile(
            f"holds an array of shape {array.shape}; expected grey, RGB or RGBA, one picture"
        )
    colours = 1 if array.shape[2] <= 2 else 3
    if array.shape[2] in (2, 4):
        notes.append("alpha channel dropped")
    return array[..., 0] if colours == 1 else array[..., :3]


def _plain_numbers(array: Array, notes: list[str]) -> Array:
    """uint8 and uint16 stay, whole numbers that fit become uint16, all else float32."""
    kind, native = array.dtype.kind, array.astype(array.dtype.newbyteorder("="), copy=False)
    if native.dtype in (np.uint8, np.uint16, np.float32):
        return native
    if kind == "b":
        return native.astype(np.uint8) * np.uint8(255)
    if kind in "iu" and int(native.min()) >= 0 and int(native.max()) <= 65535:
        notes.append(f"{array.dtype.name} stored as uint16")
        return native.astype(np.uint16)
    if kind not in "iuf":
        raise UnreadableFile(f"holds values of type {array.dtype.name}; expected real numbers")
    notes.append(f"{array.dtype.name} stored as float32")
    with np.errstate(over="ignore", invalid="ignore"):
        return native.astype(np.float32)


def _white_level(pixels: Array, notes: list[str]) -> float:
    if pixels.dtype == np.uint8:
        return 255.0
    if pixels.dtype == np.uint16:
        top = int(pixels.max())
        level = next(w for w in (1023, 4095, 16383, 65535) if top <= w)
        if level < 65535:
            notes.append(
                f"white level {level} inferred: the brightest of the 16-bit values is {top}"
            )
        return float(level)
    finite = pixels[np.isfinite(pixels)]
    highest = float(finite.max()) if finite.size else 1.0
    return 1.0 if highest <= 1.0 else highest


def _upright(pixels: Array, orientation: int) -> Array:
    turned = pixels.swapaxes(0, 1) if orientation >= 5 else pixels
    # Orientation names the stored position of the first row and column (EXIF 2.32, tag 274).
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return turned


def _upright_scale(size: PixelSize | None, orientation: int) -> PixelSize | None:
    if size is None or orientation < 5:
        return size
    return PixelSize(size.x_nm, size.y_nm, size.source)
