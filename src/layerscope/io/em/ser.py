"""TIA series files, .ser: images and stacks of FEI's Tecnai and Titan microscopes.

Layout as published by Emispec and FEI: header, dimensions, offsets of elements and of their tags,
then the elements, each with its own calibration in metres. Rows are stored from the bottom up. What
the microscope was set to stands in the .emi file beside it; see `companion`.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import Any

import numpy as np

from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.errors import UnreadableFile
from layerscope.io.em.recording import Array, Image, Recording, pick, plausible, to_micrograph
from layerscope.io.spm.binary import grid, text

_ONE, _TWO = 0x4120, 0x4122
_TIME, _PLACE = 0x4152, 0x4142
_TAG_BYTES = {_TIME: 8, _PLACE: 24}
_DTYPES = {
    1: "<u1", 2: "<u2", 3: "<u4", 4: "<i1", 5: "<i2", 6: "<i4", 7: "<f4", 8: "<f8",
}  # fmt: skip
_COMPLEX = (9, 10)
_MOST_ELEMENTS = 1_000_000
_ELEMENT = struct.Struct("<ddiddihii")
"""Origin, step and reference element of x and of y, type, columns, rows."""


def decode_ser(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode the first image of a TIA series.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, or holds no image.
    """
    recording = open_ser(data, max_pixels=max_pixels)
    return to_micrograph(recording, pick(recording, None))


def open_ser(data: bytes, *, max_pixels: int) -> Recording:
    """Return the one image or stack of a TIA series.

    Raises
    ------
    UnreadableFile
        If the file is damaged.
    """
    version, kind, tagged, total, valid = struct.unpack_from("<Hiiii", data, 4)
    if kind not in (_ONE, _TWO) or version not in (0x210, 0x220):
        raise UnreadableFile(f"a TIA series of version {version:#x}, kind {kind:#x}: damaged")
    if not 1 <= valid <= min(total, _MOST_ELEMENTS):
        raise UnreadableFile(f"{valid} of {total} elements: an empty series or damaged")
    word = "<I" if version == 0x210 else "<Q"
    offsets, tags = _offsets(data, word, valid, total)
    _check_tags(tags, tagged, len(data))
    header = {"version": version, "elements": valid, "dimensions": _dimensions(data, word)}
    first = offsets[0]
    if kind == _ONE:
        several = " image" if valid > 1 else ""
        what = f"a spectrum{several}" if valid > 1 else "a spectrum or line profile"
        (length,) = struct.unpack_from("<i", data, first + 22)
        return Recording((Image("series", (1, max(length, 0)), refusal=what),), header)
    return Recording((_image(data, offsets, header, max_pixels),), header)


def _offsets(data: bytes, word: str, valid: int, total: int) -> tuple[list[int], list[int]]:
    """Where elements start, and where their tags do."""
    (start,) = struct.unpack_from(word, data, 22)
    size = struct.calcsize(word)
    if start + 2 * total * size > len(data):
        raise UnreadableFile("the list of elements lies outside the file: truncated")
    places = np.frombuffer(data, word[0] + "u" + str(size), 2 * total, start).tolist()
    return places[:valid], places[total : total + valid]


def _check_tags(tags: list[int], kind: int, length: int) -> None:
    """Refuse a file without its last tags; some programs point at its end where they have none."""
    size = _TAG_BYTES.get(kind, 0)
    if any(length < at or (at < length and at + size > length) for at in tags):
        raise UnreadableFile("a tag lies outside the file: truncated")


def _dimensions(data: bytes, word: str) -> list[dict[str, Any]]:
    at = 22 + struct.calcsize(word)
    (count,) = struct.unpack_from("<i", data, at)
    if not 0 <= count <= 8:
        raise UnreadableFile(f"a series of {count} dimensions: damaged")
    at, found = at + 4, []
    for _ in range(count):
        size, origin, step, _ = struct.unpack_from("<iddi", data, at)
        name, at = _short_text(data, at + 24)
        unit, at = _short_text(data, at)
        found.append({"size": size, "origin": origin, "step": step, "name": name, "unit": unit})
    return found


def _short_text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<i", data, at)
    if not 0 <= length <= 4096:
        raise UnreadableFile(f"a text of {length} bytes: damaged")
    return text(data[at + 4 : at + 4 + length]), at + 4 + length


def _image(data: bytes, offsets: list[int], header: dict[str, Any], max_pixels: int) -> Image:
    _, step_x, _, _, step_y, _, kind, columns, rows = _ELEMENT.unpack_from(data, offsets[0])
    shape, notes = (rows, columns), list[str]()
    refusal = "a Fourier transform (complex values)" if kind in _COMPLEX else ""
    if kind not in (*_DTYPES, *_COMPLEX) or min(shape) < 1:
        raise UnreadableFile(f"{columns} x {rows} pixels of type {kind}: damaged")
    if len([d for d in header["dimensions"] if d["size"] > 1]) > 1:
        refusal = refusal or "data of 4 dimensions (images over scan positions)"
    # Images are calibrated in metres, diffraction patterns in 1/m: no pixel is as large as 1 m.
    if step_x > 1:
        refusal = refusal or f"a diffraction pattern ({step_x:.4g} 1/m per pixel)"
    return Image(
        name="series",
        shape=shape,
        pixel_size=None if refusal else _pixel_size(step_y, step_x, notes),
        n_frames=len(offsets),
        refusal=refusal,
        notes=tuple(notes),
        load=partial(_frame, data, offsets, shape, max_pixels),
    )


def _pixel_size(step_y: float, step_x: float, notes: list[str]) -> PixelSize | None:
    if not (np.isfinite([step_y, step_x]).all() and step_x and step_y):
        return None
    return plausible(abs(step_y) * 1e9, abs(step_x) * 1e9, "TIA calibration", notes)


def _frame(
    data: bytes, offsets: list[int], shape: tuple[int, int], max_pixels: int, frame: int
) -> Array:
    kind, columns, rows = _ELEMENT.unpack_from(data, offsets[frame])[6:]
    if (rows, columns) != shape or kind not in _DTYPES:
        raise UnreadableFile(f"frame {frame} of another size or type: damaged")
    start = offsets[frame] + _ELEMENT.size
    values = grid(data, start, _DTYPES[kind], shape, what="the image", max_pixels=max_pixels)
    return values[::-1]
