"""What JPEG segments, PNG chunks and an EXIF block say beside the pixels. Bounds-checked."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

_NAMES = {
    270: "ImageDescription", 271: "Make", 272: "Model", 274: "Orientation", 282: "XResolution",
    283: "YResolution", 296: "ResolutionUnit", 305: "Software", 306: "DateTime", 315: "Artist",
    33434: "ExposureTime", 33437: "FNumber", 34855: "ISO", 36867: "DateTimeOriginal",
    37380: "ExposureBias", 37386: "FocalLength", 37510: "UserComment", 40961: "ColorSpace",
    41986: "ExposureMode", 41987: "WhiteBalance", 42240: "Gamma",
}  # fmt: skip
_EXIF_IFD = 34665
_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "s", 8: "h", 9: "i", 10: "ii",
          11: "f", 12: "d"}  # fmt: skip
_MAX_VALUE_BYTES = 65536
_MAX_ENTRIES = 512


def parse_exif(block: bytes) -> dict[str, Any]:
    """Tags of the first directory of an EXIF block and of its EXIF sub-directory.

    Parameters
    ----------
    block : bytes
        From the byte-order mark ``II`` or ``MM`` on.

    Returns
    -------
    dict
        By tag name, or ``tag_<number>``; rationals as ``(numerator, denominator)``. What lies
        outside `block` or is not understood is left out: a damaged EXIF is no reason to lose
        the image.
    """
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return {}
    tags: dict[int, Any] = {}
    offset = struct.unpack_from(order + "I", block, 4)[0]
    for start in (offset, None):
        at = tags.pop(_EXIF_IFD, None) if start is None else start
        if isinstance(at, int):
            tags |= dict(_directory(block, order, at))
    tags.pop(_EXIF_IFD, None)
    return {_NAMES.get(number, f"tag_{number}"): value for number, value in tags.items()}


def _directory(block: bytes, order: str, offset: int) -> Iterator[tuple[int, Any]]:
    if offset + 2 > len(block):
        return
    count = struct.unpack_from(order + "H", block, offset)[0]
    for i in range(min(count, _MAX_ENTRIES)):
        at = offset + 2 + 12 * i
        if at + 12 > len(block):
            return
        number, kind, length = struct.unpack_from(order + "HHI", block, at)
        value = _value(block, order, kind, length, at + 8)
        if value is not None:
            yield number, value


def _value(block: bytes, order: str, kind: int, length: int, at: int) -> Any:
    code = _TYPES.get(kind)
    if code is None:
        return None
    size = struct.calcsize("=" + code) * length
    if size > 4:
        at = struct.unpack_from(order + "I", block, at)[0]
    if length < 1 or size > _MAX_VALUE_BYTES or at + size > len(block):
        return None
    if code == "s":
        raw = block[at : at + size]
        return raw.rstrip(b"\0").decode("utf-8", "replace") if kind == 2 else raw
    numbers = struct.unpack_from(f"{order}{length * len(code)}{code[0]}", block, at)
    return numbers[0] if len(numbers) == 1 else numbers


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield ``(marker, payload)`` of a JPEG up to its first scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8 or marker == 0x01:  # fill bytes, no payload
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (0xD9, 0xDA):
            return
        length = struct.unpack_from(">H", data, at + 2)[0]
        if length < 2:
            return
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + length


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield ``(type, payload)`` of every chunk of a PNG but its pixels."""
    at = 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind != b"IDAT":
            yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


def png_text(kind: bytes, payload: bytes) -> tuple[str, str]:
    """Keyword and text of a ``tEXt``, ``zTXt`` or ``iTXt`` chunk, at most 64 kB of text."""
    key, _, rest = payload.partition(b"\0")
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed, rest = rest[:1] == b"\1", rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif packed:
        rest = rest[1:]
    if packed:
        try:
            rest = zlib.decompressobj().decompress(rest, _MAX_VALUE_BYTES)
        except zlib.error:
            rest = b""
    encoding = "utf-8" if kind == b"iTXt" else "latin-1"
    return key.decode("latin-1"), rest[:_MAX_VALUE_BYTES].decode(encoding, "replace")
