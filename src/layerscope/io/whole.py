"""Whether a file that is being written has got its end yet, without decoding it."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

from layerscope.errors import UnreadableFile
from layerscope.io import DECODER_ERRORS, MAX_PIXELS, find_format

_TAIL = 4096
"""Bytes searched for an end marker: cameras append padding or a trailer of their own. Much more
would reach the end marker of the preview inside the header of a JPEG that is just begun."""

_MOST_BYTES = 200_000_000
"""A TIFF keeps its directory anywhere, so that the file has to be read; not a huge one, though."""


def has_end(path: str | os.PathLike[str]) -> bool:
    """Whether the last thing that a writer of this format writes is there.

    Parameters
    ----------
    path : path

    Returns
    -------
    bool
        JPEG: an end marker; PNG: its last chunk; TIFF: every directory and strip lies inside the
        file; BMP: the length that its header declares. False where it cannot be told: other
        formats, TIFFs over 200 MB, a file that somebody else holds or that is no image.
    """
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            head = stream.read(512)
            name = find_format(head, Path(path).suffix.casefold(), "file").name
            if name == "tiff":
                return size <= _MOST_BYTES and _is_whole_tiff(head + stream.read())
            stream.seek(max(0, size - _TAIL))
            return _ends(name, head, stream.read(), size)
    except (OSError, ValueError, UnreadableFile):
        return False


def _ends(name: str, head: bytes, tail: bytes, size: int) -> bool:
    if name == "jpeg":
        return b"\xff\xd9" in tail
    if name == "png":
        return b"IEND\xaeB`\x82" in tail
    if name == "bmp" and len(head) >= 6:
        return bool(0 < struct.unpack_from("<I", head, 2)[0] <= size)
    return False


def _is_whole_tiff(data: bytes) -> bool:
    import tifffile

    from layerscope.io.tiff import read_header

    try:
        with tifffile.TiffFile(io.BytesIO(data), _multifile=False) as tif:
            read_header(tif, data, max_pixels=MAX_PIXELS)
    except (UnreadableFile, *DECODER_ERRORS):
        return False
    return True
