"""WSxM images, .stp and .top: a header of sections, then one image, turned by half a turn.

Floating-point values are heights. Of whole numbers only the amplitude is given, not the scale: the
lowest and the highest are that far apart, and the absolute height is lost.
"""

from __future__ import annotations

import re

import numpy as np

from layerscope.core.micrograph import Micrograph
from layerscope.errors import UnreadableFile
from layerscope.io.spm.binary import grid, pixels_nm
from layerscope.io.spm.scan import Array, Channel, Scan, height
from layerscope.io.spm.units import nm_per, split_quantity

MAGIC = b"WSxM file copyright"
_SIZE = re.compile(rb"Image header size:\s*(\d{1,9})")
_END = b"[Header end]"


def decode_wsxm(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode the image of a WSxM file, if it holds heights.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, or holds no heights.
    """
    return height(scan_wsxm(data, max_pixels=max_pixels))


def scan_wsxm(data: bytes, *, max_pixels: int) -> Scan:
    """Return the one channel of a WSxM file.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, or holds curves.
    """
    kind = data[:400].split(b"\n")[1:2]
    if not kind or b"image" not in kind[0].lower():
        shown = " ".join(kind[0].decode("latin-1").split())[:60] if kind else "nothing"
        raise UnreadableFile(f"it holds {shown}; expected a WSxM image")
    size = _SIZE.search(data[:400])
    if size is None or data.find(_END, 0, int(size[1])) < 0:
        raise UnreadableFile("a WSxM file without the end of its header: truncated")
    start = int(size[1])
    header = _header(data[:start].decode("latin-1"))
    shape = int(header["Number of rows"]), int(header["Number of columns"])
    dtype = _number_type(header.get("Image Data Type", "short"), len(data) - start, shape)
    name = header.get("Acquisition channel", "unnamed")
    raw = grid(data, start, dtype, shape, what=name, max_pixels=max_pixels)
    amplitude, unit = split_quantity(header["Z Amplitude"])
    (size_x, unit_x), (size_y, unit_y) = (
        split_quantity(header.get(k, header["X Amplitude"])) for k in ("X Amplitude", "Y Amplitude")
    )
    way = header.get("X scanning direction", "").casefold()
    channel = Channel(
        name=name,
        unit=unit,
        shape=shape,
        pixel_nm=pixels_nm(size_y, size_x, shape, nm_per(unit_y), nm_per(unit_x)),
        direction={"forward": "trace", "backward": "retrace"}.get(way, ""),
        load=lambda: _scaled(raw[::-1, ::-1], amplitude),
    )
    note = "whole numbers in this format are differences of height: the lowest is 0"
    return Scan((channel,), header, (note,) if dtype[1] == "i" else ())


def _header(text: str) -> dict[str, str]:
    """Lines ``Key: value`` of all sections; of repeated keys the first."""
    header: dict[str, str] = {}
    for line in text.splitlines():
        key, sign, value = line.partition(":")
        if sign:
            header.setdefault(key.strip(), value.strip())
    return header


def _number_type(name: str, have: int, shape: tuple[int, int]) -> str:
    plain = name.casefold().strip()
    if plain.startswith("double"):
        return "<f8"
    if plain.startswith("float"):
        return "<f4"
    if plain.startswith(("short", "signedshort")):
        return "<i2"
    if plain.startswith(("integer", "signedinteger")):
        return "<i4" if have >= 4 * shape[0] * shape[1] else "<i2"
    raise UnreadableFile(f"WSxM values of type {plain[:20]!r}; expected short, float or double")


def _scaled(raw: Array, amplitude: float) -> Array:
    values = raw.astype(np.float64)
    if raw.dtype.kind == "f":
        return values
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if not high > low:
        return np.zeros_like(values)
    return (values - low) * (amplitude / (high - low))
