"""Gwyddion's native files, .gwy: of version 2 (``GWYP``) and of version 1 (``GWYO``).

Both are trees of objects: a class name, a size, then components of name, type and value; arrays
are little-endian, fields row by row from the top. Version 1 differs in the outermost object, whose
items put a four-byte type code before the name, and in units: it stores base units whatever prefix
the unit's text shows (``µm`` for a field of 5e-6), which the same scan saved as .gsf confirms.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from layerscope.core.micrograph import Micrograph
from layerscope.errors import UnreadableFile
from layerscope.io.spm.binary import grid, pixels_nm, text
from layerscope.io.spm.scan import Channel, Scan, height
from layerscope.io.spm.units import nm_per

_MAX_DEPTH = 24
_MAX_COMPONENTS = 200_000
_SCALARS = {"b": "<?", "c": "<c", "i": "<i", "q": "<q", "d": "<d"}
_ARRAYS = {"C": "<u1", "I": "<i4", "Q": "<i8", "D": "<f8"}
# Type codes of version 1 are GLib's numbers of fundamental types, times four.
_OLD_TYPES = {12: "c", 16: "c", 24: "i", 28: "i", 40: "q", 44: "q", 60: "d", 64: "s", 80: "o"}
_KEY = re.compile(r"/(\d+)/(data|mask)")


def decode_gwy(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode the height channel of a .gwy file.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, or holds no heights.
    """
    return height(scan_gwy(data, max_pixels=max_pixels))


@dataclass(frozen=True)
class GwyObject:
    """One object of the tree: its class and its components by name."""

    kind: str
    items: Mapping[str, Any] = field(default_factory=dict)


def scan_gwy(data: bytes, *, max_pixels: int) -> Scan:
    """Return all fields and masks of a .gwy file.

    Masks are channels too, called ``mask of NAME``, 1 where marked.

    Raises
    ------
    UnreadableFile
        If the file is damaged or too large.
    """
    old = data[:4] == b"GWYO"
    root = _Parser(data, old).read_root()
    channels = []
    for key, value in sorted(root.items.items(), key=lambda item: _order(item[0])):
        match = _KEY.fullmatch(key)
        if match and isinstance(value, GwyObject) and value.kind == "GwyDataField":
            channels.append(_channel(root.items, match, value, data, max_pixels, old))
    note = "units of the old format: the prefixes of µm and nm are for show, values are SI"
    others = {_name_other(k, v) for k, v in root.items.items()} - {""}
    header = _plain({k: v for k, v in root.items.items() if not _KEY.fullmatch(k)})
    return Scan(tuple(channels), header, (note,) if old else (), tuple(sorted(others)))


def _order(key: str) -> tuple[int, str]:
    match = _KEY.fullmatch(key)
    return (int(match.group(1)[:9]) if match else -1), key


def _channel(
    items: Mapping[str, Any],
    key: re.Match[str],
    found: GwyObject,
    data: bytes,
    max_pixels: int,
    old: bool,
) -> Channel:
    parts, (number, role) = found.items, key.groups()
    title = items.get(f"/{number}/data/title")
    name = title.strip() if isinstance(title, str) else f"channel {number}"
    name = f"mask of {name}" if role == "mask" else name
    shape = int(parts["yres"]), int(parts["xres"])
    offset, count = parts["data"].offset, parts["data"].count
    values = grid(data, offset, "<f8", shape, what=name, max_pixels=max_pixels)
    if count != values.size:
        raise UnreadableFile(f"{name}: {count} values for {shape[1]} x {shape[0]} pixels: damaged")
    lateral, unit = (_unit(parts.get(k), old) for k in ("si_unit_xy", "si_unit_z"))
    nm = nm_per(lateral)
    sizes = float(parts.get("yreal", 0.0)), float(parts.get("xreal", 0.0))
    meta = items.get(f"/{number}/meta")
    return Channel(
        name=name,
        unit="" if role == "mask" else unit,
        shape=shape,
        pixel_nm=pixels_nm(*sizes, shape, nm, nm),
        header=_plain(meta.items) if isinstance(meta, GwyObject) else {},
        load=lambda: values,
    )


def _unit(found: Any, old: bool) -> str:
    shown = found.items.get("unitstr", "") if isinstance(found, GwyObject) else ""
    shown = shown.strip() if isinstance(shown, str) else ""
    return "m" if old and nm_per(shown) is not None else shown


def _name_other(key: str, value: Any) -> str:
    """Name kinds of data other than fields; empty for the rest."""
    kinds = {
        "GwyGraphModel": "graphs",
        "GwyBrick": "volume data",
        "GwySurface": "scattered points",
        "GwySpectra": "spectra",
        "GwyLawn": "curve maps",
    }
    return kinds.get(value.kind, "") if isinstance(value, GwyObject) else ""


def _plain(items: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as plain values; of arrays only how many values they have."""
    said: dict[str, Any] = {}
    for key, value in items.items():
        if isinstance(value, GwyObject):
            said[key] = _plain(value.items)
        elif isinstance(value, _Stored):
            said[key] = f"{value.count} values"
        else:
            said[key] = value
    return said


@dataclass(frozen=True)
class _Stored:
    """An array that stays where it is in the file."""

    offset: int
    count: int


class _Parser:
    """Reads the tree; whatever leaves the bounds of its object is damage."""

    def __init__(self, data: bytes, old: bool):
        self._data = data
        self._old = old
        self._budget = _MAX_COMPONENTS

    def read_root(self) -> GwyObject:
        root, _ = self._object(4, len(self._data), 0)
        if root.kind != "GwyContainer":
            raise UnreadableFile(f"a Gwyddion file of a {root.kind[:40]!r}: damaged")
        return root

    def _object(self, at: int, end: int, depth: int) -> tuple[GwyObject, int]:
        if depth > _MAX_DEPTH:
            raise UnreadableFile("objects nested too deeply: damaged")
        kind, at = self._name(at, end)
        (size,) = struct.unpack_from("<I", self._data, at)
        at += 4
        if at + size > end:
            raise UnreadableFile(f"{end - at} of {size} bytes of {kind[:40]!r}: truncated")
        items: dict[str, Any] = {}
        stop = at + size
        component = self._old_item if self._old and depth == 0 else self._component
        while at < stop:
            name, value, at = component(at, stop, depth)
            items[name] = value
        return GwyObject(kind, items), at

    def _name(self, at: int, end: int) -> tuple[str, int]:
        stop = self._data.find(b"\0", at, end)
        if stop < 0:
            raise UnreadableFile("a text without an end: truncated or damaged")
        return text(self._data[at:stop]), stop + 1

    def _component(self, at: int, end: int, depth: int) -> tuple[str, Any, int]:
        name, at = self._name(at, end)
        kind = chr(self._data[at])
        value, at = self._value(kind, at + 1, end, depth)
        return name, value, at

    def _old_item(self, at: int, end: int, depth: int) -> tuple[str, Any, int]:
        (code,) = struct.unpack_from("<I", self._data, at)
        name, at = self._name(at + 4, end)
        value, at = self._value(_OLD_TYPES.get(code, f"type {code}"), at, end, depth)
        return name, value, at

    def _value(self, kind: str, at: int, end: int, depth: int) -> tuple[Any, int]:
        self._budget -= 1
        if self._budget < 0:
            raise UnreadableFile("too many components: damaged")
        if kind in _SCALARS:
            found = struct.unpack_from(_SCALARS[kind], self._data, at)[0]
            found = found.decode("latin-1") if kind == "c" else found
            return found, self._within(at + struct.calcsize(_SCALARS[kind]), end)
        if kind == "s":
            return self._name(at, end)
        if kind == "o":
            return self._object(at, end, depth + 1)
        (count,) = struct.unpack_from("<I", self._data, at)
        if kind in _ARRAYS:
            size = count * np.dtype(_ARRAYS[kind]).itemsize
            return _Stored(at + 4, count), self._within(at + 4 + size, end)
        return self._sequence(kind, count, at + 4, end, depth)

    def _sequence(
        self, kind: str, count: int, at: int, end: int, depth: int
    ) -> tuple[list[Any], int]:
        readers: dict[str, Callable[[int], tuple[Any, int]]] = {
            "S": lambda place: self._name(place, end),
            "O": lambda place: self._object(place, end, depth + 1),
        }
        if kind not in readers or count > end - at:
            raise UnreadableFile(f"an unknown Gwyddion item {kind[:12]!r}: damaged")
        found = []
        for _ in range(count):
            value, at = readers[kind](at)
            found.append(value)
        return found, at

    def _within(self, at: int, end: int) -> int:
        if at > end:
            raise UnreadableFile("a value beyond the end of its object: truncated or damaged")
        return at
