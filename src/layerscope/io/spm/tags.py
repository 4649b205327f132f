"""Pages and tags of the TIFF files in which two vendors keep their scans.

Read here and not through tifffile: the images lie in private tags, and damaged files must end in a
refusal by their directory alone.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from layerscope.errors import UnreadableFile
from layerscope.io.spm.binary import text

_MAX_PAGES, _MAX_TAGS = 2000, 4000
_KINDS = {
    1: "S", 2: "S", 3: "u2", 4: "u4", 5: "u4", 6: "i1", 7: "S", 8: "i2", 9: "i4", 10: "i4",
    11: "f4", 12: "f8",
}  # fmt: skip
_PAIRS = (5, 10)

Tags = Mapping[int, Any]


def order(data: bytes) -> str:
    """Byte order of a TIFF, in the notation of `struct`."""
    return "<" if data[:2] == b"II" else ">"


def read_pages(data: bytes) -> list[Tags]:
    """Tags of every page by their number; bytes for text and undefined, else tuples of numbers.

    Raises
    ------
    UnreadableFile
        If a page or a value lies outside the file, or the pages form a loop.
    """
    way = order(data)
    (at,) = struct.unpack_from(way + "I", data, 4)
    pages: list[Tags] = []
    seen: set[int] = set()
    while at:
        if at in seen or len(pages) >= _MAX_PAGES:
            raise UnreadableFile("the pages of the TIFF form a loop: damaged")
        seen.add(at)
        (count,) = struct.unpack_from(way + "H", data, at)
        if count > _MAX_TAGS:
            raise UnreadableFile(f"{count} tags on a page of the TIFF: damaged")
        pages.append(dict(_tag(data, way, at + 2 + 12 * n) for n in range(count)))
        (at,) = struct.unpack_from(way + "I", data, at + 2 + 12 * count)
    return pages


def _tag(data: bytes, way: str, at: int) -> tuple[int, Any]:
    code, kind, count, place = struct.unpack_from(way + "HHII", data, at)
    name = _KINDS.get(kind, "S")
    width = 1 if name == "S" else int(name[1])
    size = count * width * (2 if kind in _PAIRS else 1)
    start = place if size > 4 else at + 8
    if start + size > len(data):
        raise UnreadableFile(f"the value of tag {code} lies outside the file: truncated")
    raw = data[start : start + size]
    if name == "S":
        return code, raw
    return code, tuple(np.frombuffer(raw, way + name).tolist())


def number(tags: Tags, code: int, default: float | None = None) -> float:
    """First number of tag `code`.

    Raises
    ------
    UnreadableFile
        If it is missing and there is no default.
    """
    value = tags.get(code)
    if isinstance(value, tuple) and value:
        return float(value[0])
    if default is None:
        raise UnreadableFile(f"the TIFF lacks tag {code}: damaged")
    return default


def word(tags: Tags, code: int) -> str:
    """Text of tag `code`, empty if it is missing."""
    value = tags.get(code)
    return text(value).strip() if isinstance(value, bytes) else ""


def strips(tags: Tags, data: bytes) -> list[bytes]:
    """Parts of a page's image, as stored.

    Raises
    ------
    UnreadableFile
        If some lie outside the file or twice in it.
    """
    offsets, counts = tags.get(273, ()), tags.get(279, ())
    if not offsets or len(offsets) != len(counts) or isinstance(offsets + counts, bytes):
        raise UnreadableFile("a page of the TIFF without a list of strips: damaged")
    if any(o + n > len(data) for o, n in zip(offsets, counts, strict=True)):
        raise UnreadableFile("strips outside the file: truncated")
    if sum(counts) > len(data):
        raise UnreadableFile("strips overlap: damaged")
    return [data[o : o + n] for o, n in zip(offsets, counts, strict=True)]


def plain(tags: Tags) -> dict[str, Any]:
    """Tags for the metadata: small values whole, of large ones their size."""
    said: dict[str, Any] = {}
    for code, value in tags.items():
        if isinstance(value, bytes):
            said[str(code)] = text(value) if len(value) <= 4096 else f"{len(value)} bytes"
        else:
            said[str(code)] = value if len(value) <= 64 else f"{len(value)} values"
    return said


def has_tag(data: bytes, code: int, *, pages: int) -> bool:
    """Whether one of the first `pages` of a classic TIFF, damaged or not, has tag `code`."""
    if data[2:4] not in (b"*\0", b"\0*"):
        return False
    way, link = order(data), 4
    try:
        for _ in range(pages):
            (at,) = struct.unpack_from(way + "I", data, link)
            if not at:
                break
            (count,) = struct.unpack_from(way + "H", data, at)
            link = at + 2 + 12 * count
            if any(
                struct.unpack_from(way + "H", data, n)[0] == code for n in range(at + 2, link, 12)
            ):
                return True
    except struct.error:
        pass
    return False
