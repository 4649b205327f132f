"""Motion JPEG in an AVI file that can be played at any time, also after a power cut.

Every picture is a whole JPEG; the header is written again now and then, and players read what lies
behind the last one all the same. A tick without a new picture is a chunk of no bytes: players show
the last one again (AVI RIFF File Reference, Microsoft).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

from layerscope.errors import CannotWrite

MOST_BYTES = 1_000_000_000
"""Of one file: its index counts in 32 bits, and many players in 31."""

_FRAME = b"00dc"
_HAS_INDEX, _KEYFRAME = 0x10, 0x10


class AviWriter:
    """Writes pictures of one size at a steady rate.

    Parameters
    ----------
    path : Path
        Must not exist.
    size : (int, int)
        Height and width in px.
    fps : float

    Raises
    ------
    CannotWrite
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float):
        self.path, self._size, self._fps = path, size, fps
        self._index: list[tuple[int, int]] = []
        self._largest = 0
        try:
            self._file: BinaryIO = path.open("xb")
            self._file.write(self._header(0))
        except OSError as error:
            raise _refusal(path, error) from None
        self._movi = self._file.tell() - 4
        self._end = self._file.tell()

    @property
    def ticks(self) -> int:
        """Pictures and repeats so far."""
        return len(self._index)

    @property
    def is_full(self) -> bool:
        """Whether the next pictures belong into another file."""
        return self._end > MOST_BYTES

    def add(self, jpeg: bytes) -> None:
        """Add a picture; no bytes repeat the last one.

        Raises
        ------
        CannotWrite
        """
        padding = b"\0" * (len(jpeg) % 2)
        try:
            self._file.write(_FRAME + struct.pack("<I", len(jpeg)) + jpeg + padding)
        except OSError as error:
            raise _refusal(self.path, error) from None
        self._index.append((self._end - self._movi, len(jpeg)))
        self._end += 8 + len(jpeg) + len(padding)
        self._largest = max(self._largest, len(jpeg))

    def save(self) -> None:
        """Make what was added last through a power cut.

        Raises
        ------
        CannotWrite
        """
        try:
            self._write_header(self._end - self._movi - 4)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _refusal(self.path, error) from None

    def close(self) -> None:
        """Add the index, with which players can jump, and close the file.

        Raises
        ------
        CannotWrite
        """
        entries = b"".join(
            _FRAME + struct.pack("<III", _KEYFRAME if size else 0, at, size)
            for at, size in self._index
        )
        try:
            with self._file:
                self._file.write(b"idx1" + struct.pack("<I", len(entries)) + entries)
                self._write_header(self._end - self._movi - 4, 8 + len(entries))
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError as error:
            raise _refusal(self.path, error) from None

    def _write_header(self, movi_bytes: int, index_bytes: int = 0) -> None:
        self._file.seek(0)
        self._file.write(self._header(movi_bytes, index_bytes))
        self._file.seek(0, os.SEEK_END)

    def _header(self, movi_bytes: int, index_bytes: int = 0) -> bytes:
        height, width = self._size
        period_us, ticks = round(1e6 / self._fps), len(self._index)
        main = struct.pack(
            "<14I", period_us, 0, 0, _HAS_INDEX, ticks, 0, 1, self._largest, width, height, *[0] * 4
        )
        rate = (1000, round(1000 * self._fps))
        stream = b"vidsMJPG" + struct.pack(
            "<10I4h", 0, 0, 0, *rate, 0, ticks, self._largest, 0xFFFFFFFF, 0, 0, 0, width, height
        )
        form = struct.pack("<IiiHH4sIiiII", 40, width, height, 1, 24, b"MJPG", 0, 0, 0, 0, 0)
        streams = _list(b"strl", _chunk(b"strh", stream) + _chunk(b"strf", form))
        headers = _list(b"hdrl", _chunk(b"avih", main) + streams)
        movi = b"LIST" + struct.pack("<I", 4 + movi_bytes) + b"movi"
        whole = 4 + len(headers) + len(movi) + movi_bytes + index_bytes
        return b"RIFF" + struct.pack("<I", whole) + b"AVI " + headers + movi


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content


def _list(name: bytes, content: bytes) -> bytes:
    return _chunk(b"LIST", name + content)


def _refusal(path: Path, error: OSError) -> CannotWrite:
    return CannotWrite(f"cannot write {path}: {error.strerror}; the recording ends there")
