"""NT-MDT files, .mdt: frames, of which images come in two layouts.

Frames of type 0 hold int16 with offset, step and unit for each axis. Frames of type 106 describe
themselves: dimensions and measurands, each with offset, step, unit and number type. All rows run
from the bottom up unless the frame's own y step is negative.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from dataclasses import dataclass

import numpy as np

from layerscope.core.micrograph import Micrograph
from layerscope.errors import UnreadableFile
from layerscope.io.spm.binary import grid, text
from layerscope.io.spm.scan import Array, Channel, Scan, height
from layerscope.io.spm.units import nm_per

_HEADER, _FRAME = 33, 22
_SCANNED, _MDA = 0, 106
_OTHER = {
    1: "spectra", 3: "text", 105: "old arrays", 106: "curves or volumes", 190: "palettes",
    201: "curves",
}  # fmt: skip
_UNITS = {
    -5: "m", -4: "cm", -3: "mm", -2: "um", -1: "nm", 0: "Å", 1: "nA", 2: "V", 4: "kHz", 5: "deg",
    6: "%", 7: "°C", 8: "V", 9: "s", 10: "ms", 11: "us", 12: "ns", 13: "counts", 14: "pixels",
    20: "A", 21: "mA", 22: "uA", 23: "nA", 24: "pA", 25: "V", 26: "mV", 27: "uV", 28: "nV",
    29: "pV", 30: "N", 31: "mN", 32: "uN", 33: "nN", 34: "pN",
}  # fmt: skip
_SIGNALS = (
    "Height", "DFL", "Lateral F", "Bias V", "Current", "FB-Out", "MAG", "MAG*Sin", "MAG*Cos",
    "RMS", "CalcMag", "Phase1", "Phase2", "CalcPhase", "Ex1", "Ex2", "HvX", "HvY", "Snap Back",
)  # fmt: skip
# Bytes, negative if signed, plus 256 times the bits of the mantissa of floating point.
_NUMBERS = {
    -1: "<i1", 1: "<u1", -2: "<i2", 2: "<u2", -4: "<i4", 4: "<u4", -8: "<i8", 8: "<u8",
    -(4 + 23 * 256): "<f4", -(8 + 52 * 256): "<f8",
}  # fmt: skip


@dataclass(frozen=True)
class Axis:
    """Calibration of one dimension or measurand: value = bias + scale * index or raw."""

    name: str
    unit: str
    bias: float
    scale: float
    count: int
    number: int


def decode_mdt(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode the height frame of an NT-MDT file.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, or holds no heights.
    """
    return height(scan_mdt(data, max_pixels=max_pixels))


def scan_mdt(data: bytes, *, max_pixels: int) -> Scan:
    """Return the images among the frames of an NT-MDT file.

    Raises
    ------
    UnreadableFile
        If the file is damaged or too large.
    """
    last = struct.unpack_from("<H", data, 12)[0]
    channels: list[Channel] = []
    other: Counter[str] = Counter()
    at = _HEADER
    for number in range(last + 1):
        size, kind = struct.unpack_from("<IH", data, at)
        if size < _FRAME or at + size > len(data):
            raise UnreadableFile(f"frame {number + 1} of {last + 1} is incomplete: truncated")
        frame = data[at : at + size]
        found = _image(frame, kind, max_pixels) if kind in (_SCANNED, _MDA) else None
        if found is None:
            other[_OTHER.get(kind, f"frames of type {kind}")] += 1
        else:
            channels.append(found)
        at += size
    return Scan(tuple(channels), {"frames": last + 1}, (), tuple(sorted(other)))


def _image(frame: bytes, kind: int, max_pixels: int) -> Channel | None:
    return (_scanned if kind == _SCANNED else _mda)(frame, max_pixels)


def _when(frame: bytes) -> str:
    return "{:04}-{:02}-{:02} {:02}:{:02}:{:02}".format(*struct.unpack_from("<6H", frame, 8))


def _scanned(frame: bytes, max_pixels: int) -> Channel | None:
    (variables,) = struct.unpack_from("<H", frame, 20)
    axes = [struct.unpack_from("<ffh", frame, _FRAME + 10 * n) for n in range(3)]
    signal = frame[_FRAME + 30]
    at = _FRAME + variables
    _, columns, rows, dots = struct.unpack_from("<4H", frame, at)
    if columns == 0 or rows == 0:
        return None
    at += 8 + (14 + 16 * dots if dots else 0)
    name = _SIGNALS[signal] if signal < len(_SIGNALS) else f"signal {signal}"
    raw = grid(frame, at, "<i2", (rows, columns), what=name, max_pixels=max_pixels)
    x, y, z = axes
    step = float(z[1]) if np.isfinite(z[1]) and z[1] else 1.0
    zero = float(z[0]) if np.isfinite(z[0]) else 0.0
    title = _title(frame, at + raw.nbytes)
    return Channel(
        name=name,
        unit=_UNITS.get(z[2], ""),
        shape=(rows, columns),
        pixel_nm=_pixel_nm(y[1], _UNITS.get(y[2], ""), x[1], _UNITS.get(x[2], "")),
        direction=_split(title)[1],
        header={"title": title, "date": _when(frame), "axes": axes},
        load=lambda: raw[::-1] * step + zero,
    )


def _title(frame: bytes, at: int) -> str:
    if at + 4 > len(frame):
        return ""
    (length,) = struct.unpack_from("<I", frame, at)
    return text(frame[at + 4 : at + 4 + min(length, 200)])


def _pixel_nm(step_y: float, unit_y: str, step_x: float, unit_x: str) -> tuple[float, float] | None:
    nm_y, nm_x = nm_per(unit_y), nm_per(unit_x)
    if nm_y is None or nm_x is None:
        return None
    return abs(step_y) * nm_y, abs(step_x) * nm_x


def _mda(frame: bytes, max_pixels: int) -> Channel | None:
    """Image of a frame with two dimensions and one measurand; others are no images."""
    name_size, xml_size, info, spec, source = struct.unpack_from("<5I", frame, _FRAME + 44)
    at = _FRAME + 76
    title = text(frame[at : at + name_size])
    xml = frame[at + name_size : at + name_size + xml_size].decode("utf-16-le", "replace")
    at += name_size + xml_size + info + spec + source
    (struct_size,) = struct.unpack_from("<I", frame, at + 4)
    dimensions, measurands = struct.unpack_from("<II", frame, at + 20)
    if dimensions != 2 or measurands != 1:
        return None
    axes, at = [], at + 8 + struct_size
    for _ in range(3):
        axis, at = _axis(frame, at)
        axes.append(axis)
    x, y, z = axes
    if z.number not in _NUMBERS:
        raise UnreadableFile(f"values of an unknown number type {z.number}: damaged")
    name, direction = _split(title)
    raw = grid(
        frame, at, _NUMBERS[z.number], (y.count, x.count), what=name, max_pixels=max_pixels
    )  # fmt: skip
    return Channel(
        name=name,
        unit=z.unit,
        shape=(y.count, x.count),
        pixel_nm=_pixel_nm(y.scale, y.unit, x.scale, x.unit),
        direction=direction,
        header={"title": title, "date": _when(frame), "xml": xml.lstrip("\ufeff")},
        load=lambda: _upright(raw, x, y) * z.scale + z.bias,
    )


def _upright(raw: Array, x: Axis, y: Axis) -> Array:
    rows = raw if y.scale < 0 else raw[::-1]
    return rows[:, ::-1] if x.scale < 0 else rows


def _axis(frame: bytes, at: int) -> tuple[Axis, int]:
    total, size, name, comment, unit = struct.unpack_from("<5I", frame, at)
    _, _, _, bias, scale, low, high, number = struct.unpack_from("<QdQddQQi", frame, at + 20)
    words = frame[at + 8 + size : at + total]
    after = name + comment
    count = high - low + 1 if low <= high else 0
    return (
        Axis(
            words[:name].decode("latin-1"), words[after : after + unit].decode("latin-1"),
            bias, scale, count, number,
        ),
        at + total,
    )  # fmt: skip


def _split(title: str) -> tuple[str, str]:
    """Name and direction of ``1F:Height`` or ``12B:Current``."""
    match = re.fullmatch(r"\d+([FB]):(.*)", title)
    if match is None:
        return title, ""
    return match[2], "trace" if match[1] == "F" else "retrace"
