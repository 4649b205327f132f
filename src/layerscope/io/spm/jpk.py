"""JPK image scans, .jpk and .jpk-qi-image: a TIFF with one channel a page after a thumbnail.

A channel offers several scalings (slots, 0x30 tags each from 0x8090); the default one is used. The
first stored row is the bottom one, unless the grid is reflected.
"""

from __future__ import annotations

import numpy as np

from layerscope.core.micrograph import Micrograph
from layerscope.errors import UnreadableFile
from layerscope.io.spm.binary import grid, pixels_nm
from layerscope.io.spm.scan import Array, Channel, Scan, height
from layerscope.io.spm.tags import Tags, has_tag, number, order, plain, read_pages, strips, word

_CHANNEL, _RETRACE, _FANCY = 0x8050, 0x8051, 0x8052
_U_LENGTH, _V_LENGTH, _REFLECT = 0x8042, 0x8043, 0x8045
_SLOTS, _DEFAULT_SLOT, _FIRST_SLOT, _SLOT_TAGS = 0x8080, 0x8081, 0x8090, 0x30
_UNIT, _SCALING, _MULTIPLIER, _OFFSET = 0x12, 0x13, 0x14, 0x15
_SAMPLES = {1: "u", 2: "i", 3: "f"}


def is_jpk(data: bytes) -> bool:
    """Whether a TIFF is a JPK scan: its second page, after the thumbnail, is a channel."""
    return has_tag(data, _CHANNEL, pages=2)


def decode_jpk(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode the height channel of a JPK scan.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, or holds no heights.
    """
    return height(scan_jpk(data, max_pixels=max_pixels))


def scan_jpk(data: bytes, *, max_pixels: int) -> Scan:
    """Return all channels of a JPK scan.

    Raises
    ------
    UnreadableFile
        If the file is damaged or too large.
    """
    pages = read_pages(data)
    first = pages[0]
    channels = tuple(_channel(p, first, data, max_pixels) for p in pages if _CHANNEL in p)
    return Scan(channels, plain(first))


def _channel(page: Tags, first: Tags, data: bytes, max_pixels: int) -> Channel:
    name = word(page, _CHANNEL) or word(page, _FANCY)
    shape = int(number(page, 257)), int(number(page, 256))
    raw = _raster(page, data, shape, name, max_pixels)
    slot = _slot(page)
    scale, shift, unit = _scaling(page, slot)
    grid_tags = page if _U_LENGTH in page else first
    sizes = number(grid_tags, _V_LENGTH), number(grid_tags, _U_LENGTH)
    reflected = number(page, _REFLECT, number(first, _REFLECT, 0.0)) != 0
    return Channel(
        name=name,
        unit=unit,
        shape=shape,
        pixel_nm=pixels_nm(*sizes, shape, 1e9, 1e9),
        direction="retrace" if number(page, _RETRACE, 0.0) else "trace",
        header=plain(page),
        load=lambda: (raw if reflected else raw[::-1]) * scale + shift,
    )


def _raster(page: Tags, data: bytes, shape: tuple[int, int], name: str, max_pixels: int) -> Array:
    if number(page, 259, 1.0) != 1 or number(page, 277, 1.0) != 1:
        raise UnreadableFile(f"{name}: compressed or coloured; expected plain numbers")
    kind = _SAMPLES.get(int(number(page, 339, 1.0)), "u")
    bits = int(number(page, 258))
    if bits not in (8, 16, 32, 64) or (kind == "f" and bits < 32):
        raise UnreadableFile(f"{name}: {bits} bits per value; expected 8, 16 or 32")
    joined = b"".join(strips(page, data))
    dtype = f"{order(data)}{kind}{bits // 8}"
    return grid(joined, 0, dtype, shape, what=name, max_pixels=max_pixels)


def _slot(page: Tags) -> int:
    """First tag of the default scaling; of the last one if none has its name."""
    count = min(int(number(page, _SLOTS, 0.0)), 64)
    starts = [_FIRST_SLOT + _SLOT_TAGS * n for n in range(max(count, 1))]
    wanted = word(page, _DEFAULT_SLOT)
    return next((s for s in starts if word(page, s) == wanted), starts[-1])


def _scaling(page: Tags, slot: int) -> tuple[float, float, str]:
    kind = word(page, slot + _SCALING)
    if kind in ("", "NullScaling"):
        return 1.0, 0.0, word(page, slot + _UNIT)
    if kind != "LinearScaling":
        raise UnreadableFile(f"a JPK scaling of type {kind[:30]!r}; expected LinearScaling")
    scale, shift = number(page, slot + _MULTIPLIER), number(page, slot + _OFFSET)
    if not np.isfinite(scale * shift):
        raise UnreadableFile("a JPK scaling that is not a number: damaged")
    return scale, shift, word(page, slot + _UNIT)
