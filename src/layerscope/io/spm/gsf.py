"""Gwyddion simple field, .gsf: text lines, NULs up to a multiple of four, then float32.

Little-endian, row by row from the top.
"""

from __future__ import annotations

from layerscope.core.micrograph import Micrograph
from layerscope.errors import UnreadableFile
from layerscope.io.spm.binary import grid, pixels_nm, text
from layerscope.io.spm.scan import Channel, Scan, height
from layerscope.io.spm.units import nm_per

MAGIC = b"Gwyddion Simple Field 1.0\n"
_MAX_HEADER = 1 << 20


def decode_gsf(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode a .gsf file.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, or holds no heights.
    """
    return height(scan_gsf(data, max_pixels=max_pixels))


def scan_gsf(data: bytes, *, max_pixels: int) -> Scan:
    """Return the one channel of a .gsf file.

    Raises
    ------
    UnreadableFile
        If the file is damaged or too large.
    """
    end = data.find(b"\0", 0, _MAX_HEADER)
    if end < 0:
        raise UnreadableFile("a Gwyddion simple field without the end of its header: truncated")
    lines = text(data[len(MAGIC) : end]).splitlines()
    header = {k.strip(): v.strip() for k, sign, v in (x.partition("=") for x in lines) if sign}
    if "XRes" not in header or "YRes" not in header:
        raise UnreadableFile("a Gwyddion simple field without XRes and YRes: damaged")
    shape = int(header["YRes"]), int(header["XRes"])
    start = end + 4 - end % 4
    values = grid(data, start, "<f4", shape, what="the field", max_pixels=max_pixels)
    if data[end:start].strip(b"\0") or len(data) - start != values.nbytes:
        raise UnreadableFile(f"{len(data) - start - values.nbytes} surplus bytes: damaged")
    nm = nm_per(header.get("XYUnits", ""))
    sizes = float(header.get("YReal", 1.0)), float(header.get("XReal", 1.0))
    channel = Channel(
        name=header.get("Title", "unnamed"),
        unit=header.get("ZUnits", ""),
        shape=shape,
        pixel_nm=pixels_nm(*sizes, shape, nm, nm),
        load=lambda: values,
    )
    return Scan((channel,), header)
