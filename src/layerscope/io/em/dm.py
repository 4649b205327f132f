"""DigitalMicrograph files, .dm3 and .dm4: images of Gatan cameras and scan systems."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.errors import UnreadableFile
from layerscope.io.em.dm_tags import Stored, Tags, found_at, plain, read_tags
from layerscope.io.em.recording import (
    Array,
    Image,
    Optics,
    Recording,
    pick,
    positive,
    scale_of,
    to_micrograph,
    unit_refusal,
)
from layerscope.io.spm.binary import grid

_DTYPES = {
    1: "i2", 2: "f4", 6: "u1", 7: "i4", 9: "i1", 10: "u2", 11: "u4", 12: "f8", 14: "u1", 39: "i8",
    40: "u8",
}  # fmt: skip
"""Number types by the code that the file gives them."""
_COLOURS, _COMPLEX = (8, 23), (3, 4, 5, 13)


def is_dm(data: bytes) -> bool:
    """Whether four bytes that others have too start a tag tree: a tag where the first has to be."""
    first_tag = 26 if data[3:4] == b"\4" else 18
    return data[first_tag : first_tag + 1] in (b"\x14", b"\x15")


def decode_dm(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode the first image of a DigitalMicrograph file.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, or holds no image.
    """
    recording = open_dm(data, max_pixels=max_pixels)
    return to_micrograph(recording, pick(recording, None))


def open_dm(data: bytes, *, max_pixels: int) -> Recording:
    """Return all images of a DigitalMicrograph file but its thumbnails.

    Raises
    ------
    UnreadableFile
        If the file is damaged.
    """
    tree = read_tags(data)
    listed = found_at(tree, "ImageList")
    if not isinstance(listed, dict) or not listed:
        raise UnreadableFile("a DigitalMicrograph file without a list of images: damaged")
    small = {str(t.get("ImageIndex")) for t in _groups(tree.get("Thumbnails"))}
    own = {n: i for n, i in listed.items() if n not in small} or listed
    images = [_image(n, i, data, max_pixels) for n, i in own.items() if isinstance(i, dict)]
    return Recording(tuple(images))


def _groups(tags: Any) -> list[Tags]:
    return [t for t in tags.values() if isinstance(t, dict)] if isinstance(tags, dict) else []


def _image(number: str, tags: Tags, data: bytes, max_pixels: int) -> Image:
    body, said = found_at(tags, "ImageData"), found_at(tags, "ImageTags")
    stored, sizes = found_at(body, "Data"), found_at(body, "Dimensions")
    if not isinstance(stored, Stored) or not isinstance(sizes, dict):
        raise UnreadableFile("an image without values or size: damaged")
    shape = tuple(int(n) for n in sizes.values())  # columns first
    if not 1 <= len(shape) <= 8 or min(shape) < 1:
        raise UnreadableFile(f"an image of size {shape[:8]}: damaged")
    notes: list[str] = []
    kind = int(found_at(body, "DataType") or 0)
    axes = _axes(body, len(shape), data)
    optics = _optics(said, data, notes)
    rows, columns = (*shape, 1)[1], shape[0]
    return Image(
        name=_text(tags.get("Name"), data) or f"image {number}",
        shape=(rows, columns),
        pixel_size=_pixel_size(axes, notes),
        optics=optics,
        n_frames=int(np.prod(shape[2:], dtype=object)),
        refusal=_kind_refusal(kind) or _refusal(shape, axes, said, optics, data),
        header={"ImageTags": plain(said or {}, data), "Calibrations": plain(_scales(body), data)},
        notes=tuple(notes),
        load=partial(_frame, data, stored, kind, (rows, columns), max_pixels),
    )


def _text(value: Any, data: bytes) -> str:
    text = value.text(data) if isinstance(value, Stored) else value
    return " ".join(text.split()) if isinstance(text, str) else ""


def _scales(body: Any) -> Any:
    return found_at(body, "Calibrations") or {}


def _axes(body: Any, count: int, data: bytes) -> list[tuple[Any, str]]:
    """Step and unit of each axis, columns first."""
    said = _groups(found_at(_scales(body), "Dimension"))
    found = [(a.get("Scale"), _text(a.get("Units"), data)) for a in said]
    return (found + [(None, "")] * count)[:count]


def _pixel_size(axes: list[tuple[Any, str]], notes: list[str]) -> PixelSize | None:
    if len(axes) < 2:
        return None
    (x, unit_x), (y, unit_y) = axes[:2]
    return scale_of(y, x, (unit_y, unit_x), "DigitalMicrograph calibration", notes)


def _optics(tags: Any, data: bytes, notes: list[str]) -> Optics:
    said = found_at(tags, "Microscope Info")
    light = _text(found_at(said, "Illumination Mode"), data).upper()
    times, volts = positive(found_at(said, "Indicated Magnification")), found_at(said, "Voltage")
    kilovolts = (positive(volts) or 0) / 1e3
    mode = light
    if "STEM" not in light and "DIFF" in _text(found_at(said, "Imaging Mode"), data).upper():
        # The figure then is a camera length. A STEM always has a diffraction pattern below it.
        mode, times = "diffraction", None
    if times and _text(found_at(said, "Name"), data) == "Unknown":
        notes.append(
            f"indicated magnification {times:g} and voltage {kilovolts:g} kV ignored: "
            "DigitalMicrograph was not connected to the microscope"
        )
        times, kilovolts = None, 0.0
    modality = Modality.SEM if light == "SEM" else Modality.TEM
    return Optics(modality, times, kilovolts, mode, _camera(tags, data))


def _camera(tags: Any, data: bytes) -> str:
    return _text(found_at(tags, "Acquisition", "Device", "Name"), data) or _text(
        found_at(tags, "DataBar", "Device Name"), data
    )


def _kind_refusal(kind: int) -> str:
    if kind in _COMPLEX:
        return "a Fourier transform (complex values)"
    return "" if kind in _DTYPES or kind in _COLOURS else f"values of type {kind}, unknown"


def _refusal(
    shape: tuple[int, ...], axes: list[tuple[Any, str]], tags: Any, optics: Optics, data: bytes
) -> str:
    """Say what it is, if no image or stack of images."""
    signal = _text(found_at(tags, "Meta Data", "Signal"), data)
    form = _text(found_at(tags, "Meta Data", "Format"), data).casefold()
    kinds = [unit_refusal(unit) for _, unit in axes]
    spectral = any("spectrum" in k for k in kinds)
    if "spectrum" in form or spectral:
        several = len([n for n in shape if n > 1]) > 1
        kind = " ".join(f"{signal} spectrum{' image' if several else ''}".split())
        return f"{'an' if kind[0] in 'AEIOUX' else 'a'} {kind}"
    if len([n for n in shape if n > 1]) < 2 and len(shape) < 3:
        return "a line profile"
    if len(shape) > 3:
        return f"data of {len(shape)} dimensions"
    pattern = next((k for k in kinds[:2] if k), "")
    if not pattern and optics.mode == "diffraction":
        pattern = "a diffraction pattern (imaging mode of the microscope)"
    return pattern


def _frame(
    data: bytes, stored: Stored, kind: int, shape: tuple[int, int], max_pixels: int, frame: int
) -> Array:
    dtype = np.dtype("u4" if kind in _COLOURS else _DTYPES[kind])
    order, size = stored.dtype[0], shape[0] * shape[1] * dtype.itemsize
    held = stored.count * np.dtype(stored.dtype).itemsize
    if (frame + 1) * size > held:
        raise UnreadableFile(f"{held} bytes of values for {frame + 1} frames of {size}: damaged")
    values = grid(
        data, stored.offset + frame * size, order + dtype.str[1:], shape,
        what="the image", max_pixels=max_pixels,
    )  # fmt: skip
    if kind in _COLOURS:  # blue, green, red and one byte unused in one number
        return np.stack([(values >> bits & 255).astype(np.uint8) for bits in (16, 8, 0)], axis=2)
    return values
