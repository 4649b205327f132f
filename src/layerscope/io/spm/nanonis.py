"""Nanonis scans, .sxm: a text header, then float32 images one after the other.

Rows are stored in the order of the scan: from the bottom if ``SCAN_DIR`` is up. The backward image
is stored as it was measured, from right to left, and is turned here.
"""

from __future__ import annotations

from layerscope.core.micrograph import Micrograph
from layerscope.errors import UnreadableFile
from layerscope.io.spm.binary import grid, pixels_nm
from layerscope.io.spm.scan import Array, Channel, Scan, height

_END, _START = b":SCANIT_END:", b"\x1a\x04"
_MAX_HEADER = 4 << 20


def decode_nanonis(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode the topography of a .sxm file.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, or holds no heights.
    """
    return height(scan_nanonis(data, max_pixels=max_pixels))


def scan_nanonis(data: bytes, *, max_pixels: int) -> Scan:
    """Return all channels of a .sxm file, forward and backward.

    Raises
    ------
    UnreadableFile
        If the file is damaged or too large.
    """
    end = data.find(_END, 0, _MAX_HEADER)
    start = data.find(_START, end, end + 64) if end >= 0 else -1
    if start < 0:
        raise UnreadableFile("a Nanonis file without the end of its header: truncated")
    header = _header(data[:end].decode("latin-1"))
    columns, rows = (int(n) for n in header["SCAN_PIXELS"].split())
    size_x, size_y = (float(n) for n in header["SCAN_RANGE"].split())
    pixel_nm = pixels_nm(size_y, size_x, (rows, columns), 1e9, 1e9)
    order = "<" if "LSBFIRST" in header.get("SCANIT_TYPE", "") else ">"
    if "FLOAT" not in header.get("SCANIT_TYPE", "FLOAT"):
        raise UnreadableFile(f"Nanonis data of type {header['SCANIT_TYPE'][:20]}; expected FLOAT")
    up = header.get("SCAN_DIR", "down").strip().casefold() == "up"
    channels, at = [], start + len(_START)
    for name, unit, direction in _passes(header.get("DATA_INFO", "")):
        raw = grid(data, at, f"{order}f4", (rows, columns), what=name, max_pixels=max_pixels)
        at += raw.nbytes
        upright = _upright(raw, up, direction == "retrace")
        load = upright.copy
        channels.append(Channel(name, unit, upright.shape, pixel_nm, direction, load=load))
    angle = header.get("SCAN_ANGLE", "0")
    notes = (f"scanned at {float(angle):g} degrees: not rotated",) if float(angle) else ()
    return Scan(tuple(channels), header, notes)


def _upright(raw: Array, up: bool, backward: bool) -> Array:
    rows = raw[::-1] if up else raw
    return rows[:, ::-1] if backward else rows


def _header(text: str) -> dict[str, str]:
    """Blocks ``:KEY:`` and the lines below each."""
    header: dict[str, str] = {}
    key = ""
    for line in text.splitlines():
        if len(line) > 2 and line[0] == ":" and line.rstrip()[-1] == ":":
            key = line.strip()[1:-1]
            header[key] = ""
        elif key:
            header[key] = f"{header[key]}\n{line}" if header[key] else line
    return {k: v.rstrip("\n") if k == "DATA_INFO" else v.strip() for k, v in header.items()}


def _passes(table: str) -> list[tuple[str, str, str]]:
    """Name, unit and direction of each stored image, in the order of the file."""
    rows = [line.strip().split("\t") for line in table.splitlines() if line.strip()]
    if not rows or "Name" not in rows[0]:
        raise UnreadableFile("a Nanonis file without its table of channels: damaged")
    columns = {title.strip(): n for n, title in enumerate(rows[0])}
    found = []
    for row in rows[1:]:
        name, unit, way = (row[columns[k]].strip() for k in ("Name", "Unit", "Direction"))
        if way.casefold() in ("both", "forward"):
            found.append((name, unit, "trace"))
        if way.casefold() in ("both", "backward"):
            found.append((name, unit, "retrace"))
    return found
