"""MRC files of electron microscopy: images and stacks, with FEI's extended header.

Cheng et al., J. Struct. Biol. 192, 146 (2015). Cell sizes are in Angstrom. Rows are kept in the
order of the file, which the writers of these cameras show from the top.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import Any

import numpy as np

from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.errors import UnreadableFile
from layerscope.io.em.recording import (
    Array,
    Image,
    Optics,
    Recording,
    pick,
    plausible,
    positive,
    to_micrograph,
)
from layerscope.io.spm.binary import grid, text

_HEADER_BYTES = 1024
_DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_COMPLEX, _PACKED = (3, 4), 101
_IMOD_STAMP = 1146047817
_OLD_FEI_BYTES = 1024 * 128
"""Some FEI programs, before the extension had a name, always wrote 1024 records of 128 bytes."""

# Bits of the first word of a record of an FEI extension say which fields hold something.
_VOLTS, _PIXEL_X, _PIXEL_Y, _INSTRUMENT, _PROJECTION, _TIMES = 5, 14, 15, 25, 26, 31
_DIFFRACTION, _SCANNING = 1, 2


def decode_mrc(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode the first section of an MRC file.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, or holds no image.
    """
    recording = open_mrc(data, max_pixels=max_pixels)
    return to_micrograph(recording, pick(recording, None))


def open_mrc(data: bytes, *, max_pixels: int) -> Recording:
    """Return the one image or stack of an MRC file.

    Raises
    ------
    UnreadableFile
        If the file is damaged.
    """
    if len(data) < _HEADER_BYTES:
        raise UnreadableFile(f"{len(data)} of {_HEADER_BYTES} bytes of the header: truncated")
    way = _byte_order(data)
    columns, rows, sections, kind = struct.unpack_from(way + "4i", data)
    if min(columns, rows, sections) < 1:
        raise UnreadableFile(f"{columns} x {rows} pixels, {sections} sections: no image or damaged")
    (extension,) = struct.unpack_from(way + "i", data, 92)
    if not 0 <= extension <= len(data) - _HEADER_BYTES:
        raise UnreadableFile(f"an extended header of {extension} bytes: truncated or damaged")
    notes: list[str] = []
    dtype, refusal = _values(data, way, kind, notes)
    said = _fei_record(data, way, extension)
    mode = str(said.get("mode", ""))
    if mode == "diffraction":
        refusal = refusal or "a diffraction pattern (projection mode of the microscope)"
    shape = (rows, columns)
    _check_length(data, extension, shape, sections, dtype)
    image = Image(
        name="image",
        shape=shape,
        pixel_size=_pixel_size(data, way, shape, said, notes),
        optics=Optics(
            magnification=said.get("magnification"), voltage_kv=said.get("voltage_kv"), mode=mode
        ),
        n_frames=sections,
        refusal=refusal,
        notes=tuple(notes),
        load=partial(_section, data, _HEADER_BYTES + extension, dtype, shape, max_pixels),
    )
    return Recording((image,), _header(data, way, said))


def _byte_order(data: bytes) -> str:
    """From the machine stamp or, where there is none, from the type that makes sense."""
    stamp = data[212:214]
    if stamp in (b"DD", b"DA", b"\x11\x11"):
        return ">" if stamp == b"\x11\x11" else "<"
    for way in "<>":
        if struct.unpack_from(way + "i", data, 12)[0] in (*_DTYPES, *_COMPLEX, _PACKED):
            return way
    raise UnreadableFile("an MRC header without a known type of values: damaged")


def _values(data: bytes, way: str, kind: int, notes: list[str]) -> tuple[str, str]:
    """Return the number type, and what the file is if no image."""
    if kind in _COMPLEX:
        return "", "a Fourier transform (complex values)"
    if kind not in _DTYPES:
        return "", f"values of MRC mode {kind}, not supported"
    name = _DTYPES[kind]
    if kind == 0:
        stamp, flags = struct.unpack_from(way + "2i", data, 152)
        if stamp == _IMOD_STAMP and not flags & 1:
            name = "u1"
            notes.append("bytes without sign, as IMOD's header says")
    return way + name, ""


def _check_length(
    data: bytes, extension: int, shape: tuple[int, int], sections: int, dtype: str
) -> None:
    have = len(data) - _HEADER_BYTES - extension
    need = shape[0] * shape[1] * sections * (np.dtype(dtype).itemsize if dtype else 1)
    if have < need and sections > 1:
        raise UnreadableFile(f"{have} of {need} bytes of {sections} sections: truncated")


def _section(
    data: bytes, start: int, dtype: str, shape: tuple[int, int], max_pixels: int, frame: int
) -> Array:
    at = start + frame * shape[0] * shape[1] * np.dtype(dtype).itemsize
    return grid(data, at, dtype, shape, what="the image", max_pixels=max_pixels)


def _pixel_size(
    data: bytes, way: str, shape: tuple[int, int], said: dict[str, Any], notes: list[str]
) -> PixelSize | None:
    own = said.get("pixel_m")
    if own is not None:
        return plausible(own[1] * 1e9, own[0] * 1e9, "FEI extended header of the MRC", notes)
    grid_x, grid_y = struct.unpack_from(way + "2i", data, 28)
    cell_x, cell_y = struct.unpack_from(way + "2f", data, 40)
    sides = positive(cell_x), positive(cell_y)
    if None in sides or grid_x < 1 or grid_y < 1:
        return None
    x_nm, y_nm = cell_x / grid_x / 10, cell_y / grid_y / 10  # 10 Angstrom in a nm
    if x_nm == y_nm == 0.1:
        notes.append("a pixel of exactly 1 A: some programs write that when they do not know")
    return plausible(y_nm, x_nm, "MRC cell size", notes)


def _fei_record(data: bytes, way: str, extension: int) -> dict[str, Any]:
    """Read the record of the first section: ``pixel_m`` (x, y), voltage, magnification."""
    record = data[_HEADER_BYTES : _HEADER_BYTES + extension]
    kind = data[104:108]
    if kind in (b"FEI1", b"FEI2") and len(record) >= 768:
        return _new_fei(record)
    if (kind == b"AGAR" or extension == _OLD_FEI_BYTES) and len(record) >= 128:
        side, times = struct.unpack_from(way + "2f", record, 44)
        if positive(side) and 1e-13 < side < 1e-4:
            return {"pixel_m": (side, side), "magnification": positive(times)}
    return {}


def _new_fei(record: bytes) -> dict[str, Any]:
    """Fields of an FEI1 or FEI2 record, packed and always little-endian, SI units."""
    (valid,) = struct.unpack_from("<I", record, 8)

    def told(bit: int, layout: str, at: int) -> Any:
        return struct.unpack_from(layout, record, at)[0] if valid >> bit & 1 else None

    x, y = positive(told(_PIXEL_X, "<d", 156)), positive(told(_PIXEL_Y, "<d", 164))
    volts, times = positive(told(_VOLTS, "<d", 84)), positive(told(_TIMES, "<d", 289))
    scanning = told(_INSTRUMENT, "<i", 244) == _SCANNING
    pattern = told(_PROJECTION, "<i", 248) == _DIFFRACTION and not scanning
    said = {
        "pixel_m": (x, y) if x and y else None,
        "voltage_kv": volts / 1e3 if volts else None,
        "magnification": times,
        "mode": "diffraction" if pattern else "STEM" if scanning else "TEM",
        "microscope": text(record[20:36]),
        "application": text(record[52:68]),
    }
    return {name: value for name, value in said.items() if value}


def _header(data: bytes, way: str, said: dict[str, Any]) -> dict[str, Any]:
    names = ("columns", "rows", "sections", "mode")
    numbers = struct.unpack_from(way + "4i", data)
    (count,) = struct.unpack_from(way + "i", data, 220)
    starts = range(224, 224 + 80 * min(max(count, 0), 10), 80)
    labels = [text(data[at : at + 80]).strip() for at in starts]
    extension = text(data[104:108]).strip()
    return {**dict(zip(names, numbers, strict=True)), "labels": labels, "extended": extension} | {
        k: list(v) if isinstance(v, tuple) else v for k, v in said.items()
    }
