"""Random access to a TIFF that is too large to be read whole.

    with open_mosaic("chip.tif") as mosaic:
        part = mosaic.read(0, 0, 2048, 2048)

Uncompressed pixels are read row by row from the file, not through a memory map: mapped pages count
as resident memory, and a file cut short under a map kills the process. Of other files only the
strips or tiles under the part are decoded, and the latest are kept.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.errors import InputError, TooLarge, UnreadableFile
from layerscope.io import DECODER_ERRORS, check_file, find_format
from layerscope.io.pixels import build_micrograph
from layerscope.io.tiff import Header, as_picture, read_header

Array = npt.NDArray[Any]

MAX_MOSAIC_PIXELS = 10_000_000_000
MOSAIC_FROM_PIXELS = 60_000_000
"""Analysed whole, a picture takes some 20 bytes per pixel: this many are 1.2 GB."""
_MOST_COMPRESSED = 1000
MAX_SEGMENT_BYTES = 256_000_000
"""Largest strip or tile that is decoded; a part of it cannot be read without the whole."""
CACHE_BYTES = 200_000_000
"""Decoded strips and tiles kept: a row of 2048-px tiles over strips 20,000 px wide takes 140 MB."""
_BAND_BYTES = 64_000_000


class Pixels(Protocol):
    """Where the values of a mosaic come from."""

    def part(self, top: int, left: int, bottom: int, right: int) -> Array:
        """Values (h, w) or (h, w, C) of a rectangle inside the picture."""

    def close(self) -> None:
        """Let go of the file."""


@dataclass(frozen=True, eq=False)
class Mosaic:
    """A large picture that is read in parts.

    Attributes
    ----------
    name, path : str
    shape : tuple of int
        Height and width in pixels.
    white_level : float
        As in `Micrograph`, one for the whole picture.
    pixels : Pixels
    pixel_size : PixelSize or None
    sha256 : str
        Of the file's bytes; empty for pixels in memory.
    metadata : mapping
        What the file says; ``notes`` is what was converted or ignored.
    """

    name: str
    path: str
    shape: tuple[int, int]
    white_level: float
    pixels: Pixels = field(repr=False)
    pixel_size: PixelSize | None = None
    sha256: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, micrograph: Micrograph) -> Mosaic:
        """Use a micrograph in memory like a mosaic; its excluded pixels are not carried over."""
        return cls(
            micrograph.name, "", micrograph.shape, micrograph.white_level, _Held(micrograph.data),
            micrograph.pixel_size, micrograph.sha256, micrograph.metadata,
        )  # fmt: skip

    def read(self, top: int, left: int, bottom: int, right: int) -> Micrograph:
        """Read the rectangle ``[top:bottom, left:right]``.

        Raises
        ------
        InputError
            If it is empty or not inside the picture.
        UnreadableFile
            If the file is damaged there.
        """
        height, width = self.shape
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise InputError(
                f"{self.name}: no part {top}:{bottom}, {left}:{right} in {height} x {width} px"
            )
        try:
            values = self.pixels.part(top, left, bottom, right)
        except DECODER_ERRORS as error:
            raise _named(error, self.name) from error
        part = build_micrograph(values, metadata={}, white_level=self.white_level)
        return Micrograph(
            part.data, pixel_size=self.pixel_size, name=self.name, white_level=self.white_level,
            sha256=self.sha256,
        )  # fmt: skip

    def close(self) -> None:
        """Let go of the file."""
        self.pixels.close()

    def __enter__(self) -> Mosaic:
        """Use the mosaic in a ``with`` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()


def is_mosaic(path: str | os.PathLike[str], *, from_pixels: int = MOSAIC_FROM_PIXELS) -> bool:
    """Whether a file is a TIFF so large that it is to be read in parts; never raises."""
    import tifffile

    file = Path(path)
    if file.suffix.casefold() not in (".tif", ".tiff", ".btf"):
        return False
    try:
        if not file.is_file() or file.stat().st_size * _MOST_COMPRESSED < from_pixels:
            return False
        with tifffile.TiffFile(file, _multifile=False) as tif:
            page = tif.pages.first
            return bool(int(page.imagelength) * int(page.imagewidth) > from_pixels)
    except DECODER_ERRORS:
        return False


def open_mosaic(
    path: str | os.PathLike[str],
    *,
    max_pixels: int = MAX_MOSAIC_PIXELS,
    cache_bytes: int = CACHE_BYTES,
) -> Mosaic:
    """Open a TIFF, BigTIFF or OME-TIFF for reading in parts.

    The file is hashed once; of 16-bit and float files the brightest value is looked for once.

    Parameters
    ----------
    path : path
        Tiled or in strips; any compression that tifffile decodes; of a pyramid the full resolution.
    max_pixels : int
        Compared with the size that the header declares before anything is decoded.
    cache_bytes : int
        Decoded strips and tiles kept in memory.

    Raises
    ------
    UnreadableFile
        If the file is no TIFF, damaged, or stored turned; `TooLarge` if picture or a strip of it is
        over its limit.
    """
    import tifffile

    file = Path(path)
    shown = " ".join(file.name.split())
    check_file(file)
    try:
        with file.open("rb") as handle, ExitStack() as on_failure:
            kind = find_format(handle.read(4096), file.suffix.casefold(), shown)
            if kind.name != "tiff":
                raise UnreadableFile(
                    f"a {kind.description} cannot be read in parts; save it as tiled TIFF"
                )
            tif = on_failure.enter_context(tifffile.TiffFile(file, _multifile=False))
            with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
                header = read_header(tif, data, max_pixels=max_pixels)
            pixels = _pixels_of(header, cache_bytes)
            page = header.pages[0]
            shape = (int(page.imagelength), int(page.imagewidth))
            white, notes = _white_level(pixels, shape, header)
            handle.seek(0)
            sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
            on_failure.pop_all()
    except DECODER_ERRORS as error:
        raise _named(error, shown) from error
    metadata = {**header.metadata, "format": "tiff", "notes": (*header.notes, *notes)}
    return Mosaic(file.stem, str(file), shape, white, pixels, header.pixel_size, sha256, metadata)


def _named(error: Exception, shown: str) -> UnreadableFile:
    """Refuse in one line that names the file."""
    if isinstance(error, UnreadableFile):
        text = str(error)
        return type(error)(text if text.startswith(shown) else f"{shown}: {text}")
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return UnreadableFile(f"{shown}: truncated or damaged TIFF ({reason}); copy it again")


def _pixels_of(header: Header, cache_bytes: int) -> Pixels:
    if header.orientation != 1:
        raise UnreadableFile(f"stored turned (orientation {header.orientation}); save it upright")
    pages = [_page_pixels(page, cache_bytes // len(header.pages)) for page in header.pages]
    return pages[0] if len(pages) == 1 else _Stacked(tuple(pages))


def _page_pixels(page: Any, cache_bytes: int) -> Pixels:
    if page.is_final and page.planarconfig == 1 and page.bitspersample in (8, 16, 32, 64):
        return _Rows(page)
    stored = int(np.prod(page.chunks)) * page.dtype.itemsize
    if stored > MAX_SEGMENT_BYTES:
        raise TooLarge(
            f"one strip or tile decodes to {stored // 1_000_000} MB, over the limit of "
            f"{MAX_SEGMENT_BYTES // 1_000_000} MB; save it in tiles"
        )
    return _Segments(page, cache_bytes)


def _white_level(
    pixels: Pixels, shape: tuple[int, int], header: Header
) -> tuple[float, tuple[str, ...]]:
    """White level of the whole picture, and the notes on how its values are converted."""
    one = pixels.part(0, 0, 1, 1)
    if one.dtype not in (np.uint8, np.bool_):
        brightest = [np.nanmax(np.where(np.isfinite(p), p, -np.inf)) for p in _bands(pixels, shape)]
        one = np.full_like(one, np.max(brightest))
    declared = header.declared_white(int(one.max())) if one.dtype == np.uint16 else None
    small = build_micrograph(one, metadata={}, white_level=declared)
    return small.white_level, tuple(small.metadata["notes"])


def _bands(pixels: Pixels, shape: tuple[int, int]) -> Iterator[Array]:
    height = max(1, _BAND_BYTES // (shape[1] * 16))
    for top in range(0, shape[0], height):
        yield pixels.part(top, 0, min(top + height, shape[0]), shape[1])


class _Held:
    """Pixels in memory."""

    def __init__(self, data: Array) -> None:
        self._data = data

    def part(self, top: int, left: int, bottom: int, right: int) -> Array:
        return self._data[top:bottom, left:right]

    def close(self) -> None:
        """Nothing is open."""


class _Rows:
    """Uncompressed pixels that follow each other in the file."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self._file = page.parent.filehandle
        self._dtype = page.dtype.newbyteorder(page.parent.byteorder)
        self._samples = int(page.samplesperpixel)

    def part(self, top: int, left: int, bottom: int, right: int) -> Array:
        pixel = self._samples * self._dtype.itemsize
        row = int(self._page.imagewidth) * pixel
        start = int(self._page.dataoffsets[0])
        out = np.empty((bottom - top, right - left, self._samples), self._dtype)
        for y in range(top, bottom):
            self._file.seek(start + y * row + left * pixel)
            if self._file.readinto(memoryview(out[y - top]).cast("B")) != (right - left) * pixel:
                raise UnreadableFile(f"ends at row {y}: truncated")
        out = out.astype(out.dtype.newbyteorder("="), copy=False)
        values = out[..., 0] if self._samples == 1 else out
        return as_picture(self._page, values, [])

    def close(self) -> None:
        self._page.parent.close()


class _Segments:
    """Strips or tiles, decoded as needed."""

    def __init__(self, page: Any, cache_bytes: int) -> None:
        self._page = page
        self._file = page.parent.filehandle
        self._cache_bytes = cache_bytes
        self._held = 0
        self._cache: OrderedDict[int, Array] = OrderedDict()
        self._options: dict[str, Any] = {}
        if page.compression in (6, 7, 33007, 34892):
            self._options = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
        planes, _, self._height, self._width, self._samples = page.shaped
        self._planes = int(planes)
        high, wide = page.chunks[0], page.chunks[1]
        self._step = (int(high), int(wide))
        self._grid = (-(-self._height // self._step[0]), -(-self._width // self._step[1]))

    def part(self, top: int, left: int, bottom: int, right: int) -> Array:
        planes = [self._plane(p, top, left, bottom, right) for p in range(self._planes)]
        values = planes[0] if self._planes == 1 else np.stack([p[..., 0] for p in planes])
        if self._planes == 1 and values.shape[2] == 1:
            values = values[..., 0]
        return as_picture(self._page, values, [])

    def _plane(self, plane: int, top: int, left: int, bottom: int, right: int) -> Array:
        high, wide = self._step
        out = np.empty((bottom - top, right - left, self._samples), self._page.dtype)
        for row in range(top // high, -(-bottom // high)):
            for column in range(left // wide, -(-right // wide)):
                decoded = self._segment((plane * self._grid[0] + row) * self._grid[1] + column)
                y, x = row * high, column * wide
                y0, y1 = max(top, y), min(bottom, y + high)
                x0, x1 = max(left, x), min(right, x + wide)
                if decoded.shape[0] < y1 - y or decoded.shape[1] < x1 - x:
                    raise UnreadableFile(f"the strip or tile at {y}, {x} is incomplete: damaged")
                inside = decoded[y0 - y : y1 - y, x0 - x : x1 - x]
                out[y0 - top : y1 - top, x0 - left : x1 - left] = inside
        return out

    def _segment(self, index: int) -> Array:
        found = self._cache.pop(index, None)
        if found is None:
            found = self._decode(index)
            self._held += found.nbytes
        self._cache[index] = found
        while self._held > self._cache_bytes and len(self._cache) > 1:
            self._held -= self._cache.popitem(last=False)[1].nbytes
        return found

    def _decode(self, index: int) -> Array:
        size = int(self._page.databytecounts[index])
        self._file.seek(int(self._page.dataoffsets[index]))
        data = self._file.read(size)
        if len(data) != size:
            raise UnreadableFile(f"strip or tile {index} is missing: truncated")
        decoded = self._page.decode(data, index, **self._options)[0]
        if decoded is None:
            raise UnreadableFile(f"strip or tile {index} is empty: damaged")
        values: Array = decoded[0]
        return values

    def close(self) -> None:
        self._cache.clear()
        self._page.parent.close()


class _Stacked:
    """Three one-channel pages as red, green, blue."""

    def __init__(self, pages: tuple[Pixels, ...]) -> None:
        self._pages = pages

    def part(self, top: int, left: int, bottom: int, right: int) -> Array:
        return np.stack([p.part(top, left, bottom, right) for p in self._pages], axis=-1)

    def close(self) -> None:
        for page in self._pages:
            page.close()
