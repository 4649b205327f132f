"""The tag tree of DigitalMicrograph files, versions 3 and 4.

A file is one nested list of named and unnamed tags. Version 3 counts in 4 bytes, version 4 in 8
and stores the length of each tag. Counts and types are big-endian; values are in the byte order
that the header names. Arrays stay in the file until they are asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.errors import UnreadableFile

_MAX_TAGS, _MAX_DEPTH, _MAX_FIELDS = 200_000, 64, 1000
_GROUP, _DATA = 20, 21
_STRUCT, _STRING, _ARRAY = 15, 18, 20
_TYPES = {
    2: "i2", 3: "i4", 4: "u2", 5: "u4", 6: "f4", 7: "f8", 8: "u1", 9: "i1", 10: "u1", 11: "i8",
    12: "u8",
}  # fmt: skip
_LONGEST_TEXT = 4096

Tags = Mapping[str, Any]


@dataclass(frozen=True)
class Stored:
    """An array left in the file: where it starts, type with byte order, and how many values."""

    offset: int
    dtype: str
    count: int

    def text(self, data: bytes) -> str:
        """UTF-16 text, as these files keep it; empty for other arrays."""
        if self.dtype[1:] != "u2" or self.count > _LONGEST_TEXT:
            return ""
        raw = data[self.offset : self.offset + 2 * self.count]
        way = "utf-16-le" if self.dtype[0] == "<" else "utf-16-be"
        return raw.decode(way, "replace").split("\0", 1)[0]

    def values(self, data: bytes) -> npt.NDArray[Any]:
        """All values."""
        return np.frombuffer(data, self.dtype, self.count, self.offset)


def read_tags(data: bytes) -> dict[str, Any]:
    """Nested tags by name, or number where they have none; numbers, tuples, `Stored` arrays.

    Raises
    ------
    UnreadableFile
        If a tag lies outside the file or the tree is impossible.
    """
    return _Parser(data).tree()


class _Parser:
    """A cursor in the bytes of one file."""

    def __init__(self, data: bytes):
        (self._version,) = struct.unpack_from(">i", data)
        wide = self._version == 4
        if self._version not in (3, 4):
            raise UnreadableFile(f"a DigitalMicrograph file of version {self._version}; expected 3")
        self._data, self._word = data, ">Q" if wide else ">I"
        length, way = struct.unpack_from(">QI" if wide else ">II", data, 4)
        self._order = "<" if way == 1 else ">"
        self._at = 16 if wide else 12
        self._left = _MAX_TAGS
        if length > len(data) - self._at:
            raise UnreadableFile(f"{len(data)} of {length + self._at} bytes: truncated")

    def tree(self) -> dict[str, Any]:
        return self._group(0)

    def _take(self, layout: str) -> Any:
        (value,) = struct.unpack_from(layout, self._data, self._at)
        self._at += struct.calcsize(layout)
        return value

    def _skip(self, count: int) -> int:
        """Start of `count` bytes that are stepped over."""
        start = self._at
        if count > len(self._data) - start:
            raise UnreadableFile(f"{len(self._data) - start} of {count} bytes of a tag: truncated")
        self._at += count
        return start

    def _group(self, depth: int) -> dict[str, Any]:
        if depth > _MAX_DEPTH:
            raise UnreadableFile("tags nested too deeply: damaged")
        self._skip(2)  # whether sorted, whether open in the program
        found: dict[str, Any] = {}
        for number in range(self._take(self._word)):
            self._left -= 1
            if self._left < 0:
                raise UnreadableFile(f"more than {_MAX_TAGS} tags: damaged")
            name, value = self._tag(depth)
            key = name or str(number)
            found[key if key not in found else f"{key} {number}"] = value
        return found

    def _tag(self, depth: int) -> tuple[str, Any]:
        kind, length = self._take(">B"), self._take(">H")
        start = self._skip(length)
        name = self._data[start : start + length].decode("latin-1")
        if self._version == 4:
            self._skip(8)  # length of the tag
        if kind == _GROUP:
            return name, self._group(depth + 1)
        if kind == _DATA:
            return name, self._value()
        raise UnreadableFile(f"a tag of kind {kind}; expected 20 or 21: damaged")

    def _value(self) -> Any:
        if self._data[self._skip(4) : self._at] != b"%%%%":
            raise UnreadableFile("a value without its mark: damaged")
        count = self._take(self._word)
        if not 1 <= count <= _MAX_FIELDS:
            raise UnreadableFile(f"a value described by {count} numbers: damaged")
        described = [self._take(self._word) for _ in range(count)]
        return self._decoded(described)

    def _decoded(self, described: list[int]) -> Any:
        kind = described[0]
        if kind == _STRUCT:
            return self._fields(_layout_of(described))
        if kind == _STRING:
            start = self._skip(2 * described[1])
            raw = self._data[start : self._at]
            return raw.decode("utf-16-le" if self._order == "<" else "utf-16-be", "replace")
        if kind == _ARRAY:
            return self._array(described)
        return self._fields([kind])[0]

    def _fields(self, kinds: list[int]) -> tuple[Any, ...]:
        dtype = np.dtype([(f"f{n}", self._dtype(k)) for n, k in enumerate(kinds)])
        start = self._skip(dtype.itemsize)
        values: tuple[Any, ...] = np.frombuffer(self._data, dtype, 1, start)[0].item()
        return values

    def _array(self, described: list[int]) -> Any:
        if described[1] == _STRUCT:
            size = sum(np.dtype(self._dtype(k)).itemsize for k in _layout_of(described[1:-1]))
            count = described[-1]
            self._skip(size * count)
            return f"{count} records"
        dtype, count = self._dtype(described[1]), described[2]
        return Stored(self._skip(np.dtype(dtype).itemsize * count), dtype, count)

    def _dtype(self, kind: int) -> str:
        if kind not in _TYPES:
            raise UnreadableFile(f"a value of type {kind}: unknown or damaged")
        return self._order + _TYPES[kind]


def _layout_of(described: list[int]) -> list[int]:
    """Types of the fields: after kind, name length and their number, pairs of length and type."""
    kinds = described[4::2]
    if len(described) < 3 or len(kinds) != described[2] or not kinds:
        raise UnreadableFile("a record whose fields are not described: damaged")
    return kinds


def plain(tags: Any, data: bytes) -> Any:
    """Tags for the metadata: texts and short arrays as values, long arrays as their size."""
    if isinstance(tags, dict):
        return {name: plain(value, data) for name, value in tags.items()}
    if isinstance(tags, Stored):
        if tags.dtype[1:] == "u2" and tags.count <= _LONGEST_TEXT:
            return tags.text(data)
        return tags.values(data).tolist() if tags.count <= 64 else f"{tags.count} values"
    return list(tags) if isinstance(tags, tuple) else tags


def found_at(tags: Any, *names: str) -> Any:
    """Return what lies under these names, one inside the other; None where there is nothing."""
    for name in names:
        tags = tags.get(name) if isinstance(tags, dict) else None
    return tags
