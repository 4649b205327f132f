"""Igor binary waves, .ibw, of versions 2 and 5, as Asylum Research's microscopes write them.

Layers of one wave, x running fastest and y from the bottom up; each layer's name is a label of the
third dimension. The wave has one unit for all layers, so it is believed only for layers that are
lengths in this instrument; others get the unit of their name.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from layerscope.core.micrograph import Micrograph
from layerscope.errors import UnreadableFile
from layerscope.io.spm.binary import grid, text
from layerscope.io.spm.scan import Array, Channel, Scan, height
from layerscope.io.spm.units import nm_per

_TYPES = {2: "f4", 4: "f8", 8: "i1", 16: "i2", 32: "i4", 72: "u1", 80: "u2", 96: "u4"}
_MAX_LAYERS = 1000
_UNITS = (
    (r"height|z ?sens|deflection|amplitude|topo", None),
    (r"phase", "deg"),
    (r"freq", "Hz"),
    (r"current", "A"),
    (r"capacitance", "F"),
    (r"user|input|bias|potential|voltage", "V"),
)
_DIRECTION = re.compile(r"(.+?)(Trace|Retrace)(.*)")


@dataclass(frozen=True)
class Wave:
    """Header of a wave: what its bytes mean and where they lie."""

    order: str
    kind: str
    dims: tuple[int, ...]
    steps: tuple[float, ...]
    unit: str
    lateral: tuple[str, ...]
    name: str
    at: int
    sizes: tuple[int, ...]
    """Bytes of data, formula, note, extended data unit, four dimension units, four label blocks."""


def decode_ibw(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode the height layer of an Igor wave.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, or holds no heights.
    """
    return height(scan_ibw(data, max_pixels=max_pixels))


def scan_ibw(data: bytes, *, max_pixels: int) -> Scan:
    """Return all layers of an Igor wave.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, or holds curves.
    """
    wave = _read_header(data)
    note, labels = _tail(data, wave)
    columns, rows, layers = _image_dims(wave, labels)
    if layers > _MAX_LAYERS:
        raise UnreadableFile(f"{layers} layers; expected {_MAX_LAYERS} at most")
    said = _note(note)
    names = labels[2] if len(labels[2]) == layers else [wave.name] * layers
    nm = [nm_per(u) for u in wave.lateral[:2]]
    pixel_nm = (
        None if nm[0] is None or nm[1] is None
        else (abs(wave.steps[1]) * nm[1], abs(wave.steps[0]) * nm[0])
    )  # fmt: skip
    channels, size = [], np.dtype(wave.kind).itemsize * rows * columns
    for n, name in enumerate(names):
        dtype, at = wave.order + wave.kind, wave.at + n * size
        raw = grid(data, at, dtype, (rows, columns), what=name, max_pixels=max_pixels)
        title, direction = _split(name)
        unit = said.get(f"{title}Unit") or _unit(title, wave.unit)
        channels.append(Channel(title, unit, raw.shape, pixel_nm, direction, load=_loader(raw)))
    return Scan(tuple(channels), said)


def _loader(raw: Array) -> Callable[[], Array]:
    return lambda: raw[::-1].astype(np.float64)


def _read_header(data: bytes) -> Wave:
    little = data[:2] in (b"\x05\0", b"\x02\0")
    order = "<" if little else ">"
    version = struct.unpack_from(order + "h", data)[0]
    if version not in (2, 5):
        raise UnreadableFile(f"an Igor wave of version {version}; expected 2 or 5")
    length = 384 if version == 5 else 126
    words = np.frombuffer(data, order + "i2", length // 2)
    if int(words.astype(np.int64).sum()) & 0xFFFF:
        raise UnreadableFile("the checksum of the Igor wave is wrong: damaged")
    return (_header5 if version == 5 else _header2)(data, order)


def _header5(data: bytes, order: str) -> Wave:
    sizes = struct.unpack_from(order + "14i", data, 4)
    kind = struct.unpack_from(order + "h", data, 80)[0]
    return Wave(
        order=order,
        kind=_number_type(kind),
        dims=tuple(n for n in struct.unpack_from(order + "4i", data, 132)),
        steps=struct.unpack_from(order + "4d", data, 148),
        unit=text(data[212:216]),
        lateral=tuple(text(data[216 + 4 * n : 220 + 4 * n]) for n in range(4)),
        name=text(data[92:124]),
        at=384,
        sizes=(sizes[0] - 320, *sizes[1:12]),
    )


def _header2(data: bytes, order: str) -> Wave:
    """One dimension only: such a file is refused as a curve."""
    size, note = struct.unpack_from(order + "ii", data, 2)
    kind = struct.unpack_from(order + "h", data, 16)[0]
    count = struct.unpack_from(order + "i", data, 58)[0]
    none = (0,) * 8
    return Wave(
        order, _number_type(kind), (count, 0, 0, 0), (1.0,) * 4, "", ("",) * 4, "", 126,
        (size - 126, 0, note, 0, *none),
    )  # fmt: skip


def _number_type(kind: int) -> str:
    if kind not in _TYPES:
        raise UnreadableFile(f"an Igor wave of text or complex numbers (type {kind})")
    return _TYPES[kind]


def _tail(data: bytes, wave: Wave) -> tuple[bytes, list[list[str]]]:
    """Note and labels per dimension, from the blocks that follow the data."""
    at, blocks = wave.at, []
    for size in wave.sizes:
        if size < 0 or at + size > len(data):
            raise UnreadableFile(f"{len(data)} of {at + size} bytes of the Igor wave: truncated")
        blocks.append(data[at : at + size])
        at += size
    return blocks[2], [
        [text(block[n : n + 32]) for n in range(32, len(block), 32)] for block in blocks[8:12]
    ]


def _image_dims(wave: Wave, labels: list[list[str]]) -> tuple[int, int, int]:
    columns, rows, layers, chunks = wave.dims
    if min(wave.dims) < 0 or columns < 2 or rows < 1 or chunks > 1:
        raise UnreadableFile("it holds a curve, no image")
    if layers == 0 and (len(labels[1]) == rows or rows < 8):
        shown = ", ".join(labels[1][:8]) or f"{rows} columns"
        raise UnreadableFile(f"it holds a force curve ({shown}), no image")
    return columns, rows, max(layers, 1)


def _split(label: str) -> tuple[str, str]:
    """Name without direction, and direction, of ``HeightRetraceMod0``."""
    match = _DIRECTION.fullmatch(label)
    if match is None:
        return label, ""
    return match[1] + match[3], match[2].casefold()


def _unit(name: str, of_wave: str) -> str:
    for pattern, unit in _UNITS:
        if re.search(pattern, name, re.IGNORECASE):
            return of_wave if unit is None else unit
    return ""


def _note(note: bytes) -> dict[str, str]:
    """Lines ``key: value``; of repeated keys the first, which is the newest, is kept."""
    header: dict[str, str] = {}
    for line in note.decode("latin-1").replace("\n", "\r").split("\r"):
        key, sign, value = line.partition(":")
        if sign:
            header.setdefault(key.strip(), value.strip())
    return header
