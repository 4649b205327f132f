"""The wire format of protocol buffers: as much as a file of decision trees needs.

A message is a row of fields, each with a number and a type: an integer of variable length (0),
eight bytes (1), a length and so many bytes (2), four bytes (5).
https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from layerscope.errors import UnreadableFile

VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5


def varint(value: int) -> bytes:
    """Encode an integer from 0 in seven bits per byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """Encode a field that holds an integer from 0."""
    return varint(field << 3 | VARINT) + varint(value)


def chunk(field: int, content: bytes | str) -> bytes:
    """Encode a field that holds bytes, a text or another message."""
    raw = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | BYTES) + varint(len(raw)) + raw


def fields_of(message: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield field, type and value of a message, in the order of the file.

    Raises
    ------
    UnreadableFile
        If it ends inside of a field, or has a type that is not in use any more.
    """
    at, end = 0, len(message)
    while at < end:
        key, at = _varint_at(message, at)
        kind = key & 7
        if kind == VARINT:
            value, at = _varint_at(message, at)
            yield key >> 3, kind, value
            continue
        if kind not in (EIGHT, BYTES, FOUR):
            raise UnreadableFile(f"a field of type {kind} in a model; expected 0, 1, 2 or 5")
        size, at = _varint_at(message, at) if kind == BYTES else ({EIGHT: 8, FOUR: 4}[kind], at)
        if at + size > end:
            raise UnreadableFile("a model that ends too early: truncated")
        yield key >> 3, kind, message[at : at + size]
        at += size


def _varint_at(message: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while at < len(message) and shift < 64:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise UnreadableFile("a model that ends too early: truncated")


def varints(values: npt.NDArray[np.integer]) -> bytes:
    """Encode integers from 0 one after the other, without their field."""
    return b"".join(varint(v) for v in values.tolist())


def integers(packed: bytes) -> npt.NDArray[np.int64]:
    """Decode integers that follow each other."""
    raw = np.frombuffer(packed, np.uint8)
    if not len(raw):
        return np.empty(0, np.int64)
    last = np.flatnonzero(raw < 0x80)
    if not len(last) or last[-1] != len(raw) - 1:
        raise UnreadableFile("a model that ends too early: truncated")
    first = np.concatenate([[0], last[:-1] + 1]).astype(np.int64)
    place = np.arange(len(raw)) - np.repeat(first, last - first + 1)
    parts = (raw.astype(np.uint64) & np.uint64(0x7F)) << (7 * place).astype(np.uint64)
    return np.add.reduceat(parts, first).astype(np.int64)
