"""Park Systems files: a TIFF whose page is a picture for show and whose private tags hold the scan.

Tag 50434 holds the values from the bottom row up, 50435 how to scale them:
``gain * (scale * raw + offset)`` in the unit of the header, micrometres if it names none.
"""

from __future__ import annotations

import struct

from layerscope.core.micrograph import Micrograph
from layerscope.errors import UnreadableFile
from layerscope.io.spm.binary import grid, pixels_nm
from layerscope.io.spm.scan import Channel, Scan, height
from layerscope.io.spm.tags import has_tag, number, read_pages, strips

_MAGIC_TAG, _VERSION_TAG, _DATA_TAG, _HEADER_TAG = 50432, 50433, 50434, 50435
_MAGIC = 0x0E031301
_VERSIONS = (0x01000001, 0x01000002)
_KINDS = ("<i2", "<i4", "<f4")
# Packed, without the padding of C structures; texts are UTF-16 of fixed length.
_LAYOUT = struct.Struct("<I64s16sdIIIIdIdIIIdddddd16sddddd16siiiIII")
_FIELDS = (
    "image_type", "source", "mode", "low_pass", "auto_flatten", "ac_track", "width_px",
    "height_px", "angle_deg", "sine_scan", "overscan", "forward", "scan_up", "swap_xy",
    "width_um", "height_um", "x_offset_um", "y_offset_um", "scan_rate_hz", "set_point",
    "set_point_unit", "tip_bias_v", "sample_bias_v", "gain", "scale", "offset", "unit", "lowest",
    "highest", "average", "compression", "log_scale", "square",
)  # fmt: skip
_KIND_AT = _LAYOUT.size + 8 + 8 + 16 + 16 + 16


def is_park(data: bytes) -> bool:
    """Whether a TIFF is a scan of Park Systems."""
    return has_tag(data, _DATA_TAG, pages=1)


def decode_park(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode the scan of a Park TIFF, if it holds heights.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, or holds no heights.
    """
    return height(scan_park(data, max_pixels=max_pixels))


def scan_park(data: bytes, *, max_pixels: int) -> Scan:
    """Return the one channel of a Park TIFF.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, or holds profiles or spectra.
    """
    page = read_pages(data)[0]
    version = int(number(page, _VERSION_TAG, 0.0))
    if int(number(page, _MAGIC_TAG, 0.0)) != _MAGIC or version not in _VERSIONS:
        raise UnreadableFile(f"a Park TIFF of version {version:#x}; expected 1.0.1 or 1.0.2")
    raw, head = page.get(_DATA_TAG), page.get(_HEADER_TAG)
    if not isinstance(raw, bytes) or not isinstance(head, bytes) or len(head) < _LAYOUT.size:
        raise UnreadableFile("a Park TIFF without its scan or header: damaged")
    strips(page, data)  # of the picture for show: a file that lacks some is cut short
    header = dict(zip(_FIELDS, _LAYOUT.unpack_from(head), strict=True))
    header |= {k: _wide(v) for k, v in header.items() if isinstance(v, bytes)}
    kinds = {1: "a line profile", 2: "spectra"}
    if header["image_type"] in kinds:
        raise UnreadableFile(f"it holds {kinds[header['image_type']]}, no image")
    kind = 0
    if version == _VERSIONS[1] and len(head) >= _KIND_AT + 4:
        (kind,) = struct.unpack_from("<I", head, _KIND_AT)
    return Scan((_channel(header, raw, kind, max_pixels),), header)


def _channel(header: dict[str, object], raw: bytes, kind: int, max_pixels: int) -> Channel:
    named = {k: v for k, v in header.items() if isinstance(v, int | float)}
    if kind >= len(_KINDS):
        raise UnreadableFile(f"a Park TIFF with values of type {kind}: damaged")
    shape = int(named["height_px"]), int(named["width_px"])
    name = str(header["source"])
    values = grid(raw, 0, _KINDS[kind], shape, what=name, max_pixels=max_pixels)
    scale, gain, offset = named["scale"] or 1.0, named["gain"], named["offset"]
    sizes = named["height_um"], named["width_um"]
    return Channel(
        name=name,
        unit=str(header["unit"]) or "um",
        shape=shape,
        pixel_nm=pixels_nm(*sizes, shape, 1e3, 1e3),
        direction="trace" if named["forward"] else "retrace",
        load=lambda: (values[::-1] * scale + offset) * gain,
    )


def _wide(raw: bytes) -> str:
    return raw.decode("utf-16-le", "replace").split("\0", 1)[0].strip()
