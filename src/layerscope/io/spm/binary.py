"""Numbers and text out of bytes that may be damaged."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.errors import UnreadableFile
from layerscope.io.pixels import check_size

Array = npt.NDArray[Any]


def grid(
    data: bytes,
    offset: int,
    dtype: str,
    shape: tuple[int, int],
    *,
    what: str,
    max_pixels: int,
) -> Array:
    """View of one image inside a file.

    Parameters
    ----------
    data : bytes
    offset : int
        Of the first value.
    dtype : str
        With byte order.
    shape : tuple of int
        Rows and columns.
    what : str
        Named in refusals.
    max_pixels : int

    Raises
    ------
    UnreadableFile
        If the size is refused or bytes are missing.
    """
    kind = np.dtype(dtype)
    check_size(*shape, channel_bytes=kind.itemsize, stored_bytes=len(data), max_pixels=max_pixels)
    count = shape[0] * shape[1]
    have, need = max(len(data) - offset, 0), count * kind.itemsize
    if offset < 0 or have < need:
        shown = " ".join(what.split())[:80]
        raise UnreadableFile(f"{have} of {need} bytes of {shown}: truncated or damaged")
    return np.frombuffer(data, kind, count, offset).reshape(shape)


def text(raw: bytes) -> str:
    """Text up to the first NUL, as UTF-8 or else Latin-1."""
    cut = raw.split(b"\0", 1)[0]
    try:
        return cut.decode("utf-8")
    except UnicodeDecodeError:
        return cut.decode("latin-1")


def pixels_nm(
    size_y: float, size_x: float, shape: tuple[int, int], nm_y: float | None, nm_x: float | None
) -> tuple[float, float] | None:
    """Distance of rows and of columns in nm from a field's size, or None without a unit."""
    if nm_y is None or nm_x is None:
        return None
    return abs(size_y) * nm_y / shape[0], abs(size_x) * nm_x / shape[1]
