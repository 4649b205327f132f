"""TIFF, BigTIFF and OME-TIFF, by tifffile only: others fill missing strips with grey or zero."""

from __future__ import annotations

import enum
import io
import logging
import mmap
import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.errors import UnreadableFile
from layerscope.io.em.vendor_tags import Vendor, read_vendor
from layerscope.io.pixels import build_micrograph, check_size
from layerscope.io.raster import cmyk_to_rgb
from layerscope.io.scale_metadata import (
    CENTIMETRE_NM,
    INCH_NM,
    from_imagej,
    from_ome_xml,
    from_resolution,
    parse_imagej,
    ratio,
)

Array = npt.NDArray[Any]

# tifffile reports each oddity of a file through logging, which without a handler goes to stderr;
# what matters is raised, or noted in the metadata.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

MINISWHITE, MINISBLACK, RGB, PALETTE, SEPARATED, YCBCR = 0, 1, 2, 3, 5, 6
_JPEG = (6, 7)
_JPEG_TAIL = 4096
"""Bytes of a JPEG segment searched for its end: the end marker and padding."""
_MAX_CHANNELS = 8
_LAYOUT_TAGS = frozenset({273, 279, 320, 324, 325, 347, 513, 514, 330})
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8,
               13: 4, 16: 8, 17: 8, 18: 8}  # fmt: skip


def decode_tiff(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode the first picture of a TIFF.

    Three one-channel pages that OME-XML or ImageJ call channels of one picture become RGB; of any
    other stack the first page is read and ``metadata["notes"]`` says so.

    Raises
    ------
    UnreadableFile
        If a strip is missing or damaged, the layout is not a picture's, or the size is refused.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data), _multifile=False) as tif:
        header = read_header(tif, data, max_pixels=max_pixels)
        notes = list(header.notes)
        parts = [as_picture(p, p.asarray(maxworkers=1), notes) for p in header.pages]
    pixels = parts[0] if len(parts) == 1 else np.stack(parts, axis=-1)
    top = int(pixels.max()) if pixels.dtype == np.uint16 else 0
    micrograph = build_micrograph(
        pixels,
        metadata=header.metadata,
        notes=notes,
        white_level=header.declared_white(top) if pixels.dtype == np.uint16 else None,
        orientation=header.orientation,
        pixel_size=header.pixel_size,
    )
    return replace(micrograph, modality=header.modality)


@dataclass(frozen=True, eq=False)
class Header:
    """What a TIFF says of its picture, checked before a pixel is decoded.

    Attributes
    ----------
    pages : tuple of tifffile.TiffPage
        One; or three, of one channel each.
    metadata : mapping
    notes : tuple of str
    pixel_size : PixelSize or None
        As stored, not turned.
    significant_bits : int or None
        Of OME-XML.
    modality : Modality
        Optical, unless the tags of an electron microscope say otherwise.
    """

    pages: tuple[Any, ...]
    metadata: dict[str, Any]
    notes: tuple[str, ...]
    pixel_size: PixelSize | None
    significant_bits: int | None
    modality: Modality = Modality.OPTICAL

    @property
    def orientation(self) -> int:
        """EXIF orientation, 1 to 8."""
        return int(self.metadata["tiff"].get("Orientation", 1))

    def declared_white(self, top: int) -> float | None:
        """Saturated value of 16-bit data, where declared and not below the brightest, `top`."""
        return _declared_white(self.pages[0], self.significant_bits, top)


def read_header(tif: Any, data: bytes | mmap.mmap, *, max_pixels: int) -> Header:
    """Directory, tags and scale of the first picture; see `decode_tiff`.

    Parameters
    ----------
    tif : tifffile.TiffFile
    data : bytes or mmap
        The same file.
    max_pixels : int

    Raises
    ------
    UnreadableFile
        As in `decode_tiff`.
    """
    n_pages = _count_pages(data)
    page = tif.pages[0]
    _check_page(page, data, max_pixels)
    notes: list[str] = []
    metadata = {"tiff": _tags(page)}
    ome, counts = _ome(metadata, notes)
    pages: tuple[Any, ...] = (page,)
    if _is_colour_stack(metadata, counts, n_pages):
        pages = tuple(tif.pages[i] for i in range(3))
        for other in pages[1:]:
            _check_page(other, data, max_pixels)
        notes.append("three one-channel pages read as red, green, blue")
    elif n_pages > 1:
        notes.append(f"stack of {n_pages} pages: only the first was read")
    vendor = read_vendor(metadata["tiff"], (page.imagelength, page.imagewidth), notes)
    size = ome or _scale(metadata, vendor, notes)
    bits = counts.get("SignificantBits")
    if vendor is None:
        return Header(pages, metadata, tuple(notes), size, bits)
    metadata |= vendor.optics.said()
    return Header(pages, metadata, tuple(notes), size, bits, vendor.optics.modality)


def _check_page(page: Any, data: bytes | mmap.mmap, max_pixels: int) -> None:
    """Refuse by the header alone: size, layout, and whether all strips lie inside the file."""
    samples = int(page.samplesperpixel)
    if page.dtype is None or page.imagedepth != 1:
        raise UnreadableFile(
            f"a TIFF of {page.bitspersample} bits, depth {page.imagedepth}: unsupported"
        )
    height, width, itemsize = page.imagelength, page.imagewidth, page.dtype.itemsize
    if samples > _MAX_CHANNELS:
        raise UnreadableFile(
            f"the header declares {samples} channels; expected 1 to {_MAX_CHANNELS}"
        )
    check_size(
        height,
        width,
        channel_bytes=samples * itemsize,
        # Packed bits unpack to bytes without any compression.
        stored_bytes=len(data) * (8 if page.bitspersample == 1 else 1),
        max_pixels=max_pixels,
    )
    ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
    missing = sum(
        n == 0 or end > len(data) for n, end in zip(page.databytecounts, ends, strict=True)
    )
    if missing or not ends:
        raise UnreadableFile(
            f"{missing or 'all'} of {len(ends)} strips or tiles of the TIFF are missing: truncated"
        )
    held, needed = sum(page.databytecounts), _raw_bytes(page)
    if page.compression == 1 and held < needed:  # tifffile would read on, past the strips
        raise UnreadableFile(f"the strips hold {held} of the {needed} bytes of the image: damaged")
    if page.compression in _JPEG:
        _check_jpeg_segments(page, data)


def _raw_bytes(page: Any) -> int:
    """Bytes of the uncompressed image; every row starts at a byte."""
    bits = page.bitspersample
    per_row = page.imagewidth * page.samplesperpixel * (bits if isinstance(bits, int) else 0)
    return int(page.imagelength) * ((per_row + 7) // 8)


def _check_jpeg_segments(page: Any, data: bytes | mmap.mmap) -> None:
    """Demand the end marker: without it the decoder paints the rest of the tile grey."""
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        tail = data[max(offset, offset + count - _JPEG_TAIL) : offset + count]
        if not tail.rstrip(b"\0").endswith(b"\xff\xd9"):
            raise UnreadableFile("a JPEG-compressed strip or tile has no end: damaged")


def as_picture(page: Any, pixels: Array, notes: list[str]) -> Array:
    """Grey or colour values (H, W) or (H, W, C) from what tifffile decoded of a page.

    Parameters
    ----------
    page : tifffile.TiffPage
    pixels : ndarray
        The whole page or a part of it; channels first where the file stores planes.
    notes : list of str
        What was converted is appended.
    """
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        pixels = np.moveaxis(pixels, 0, -1)
    photometric = int(page.photometric)
    if photometric == MINISWHITE:
        notes.append("inverted: the file stores white as zero")
        return _inverted(pixels, page.bitspersample)
    if photometric == PALETTE:
        return _through_palette(pixels, page.colormap)
    if photometric == SEPARATED:
        return _from_ink(pixels, notes)
    if photometric == YCBCR and page.compression not in _JPEG:
        raise UnreadableFile("a TIFF of uncompressed YCbCr; save it as RGB")
    if photometric not in (MINISBLACK, RGB, YCBCR):
        raise UnreadableFile(f"a TIFF of colour space {photometric}; save it as grey or RGB")
    return _picture_channels(pixels, photometric, notes)


def _picture_channels(pixels: Array, photometric: int, notes: list[str]) -> Array:
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if channels > 4 or (photometric == MINISBLACK and channels == 4):
        kept = 3 if photometric in (RGB, YCBCR) else 1
        notes.append(f"{channels} channels: the first {kept} were read")
        return pixels[..., :kept]
    return pixels


def _inverted(pixels: Array, bits: int) -> Array:
    if pixels.dtype.kind == "b":
        return ~pixels
    if pixels.dtype.kind != "u":
        raise UnreadableFile(
            f"a TIFF of {pixels.dtype} values that stores white as zero; invert it"
        )
    return pixels.dtype.type(2**bits - 1) - pixels


def _through_palette(pixels: Array, colormap: Array | None) -> Array:
    if colormap is None or pixels.ndim != 2 or pixels.dtype.kind not in "bu":
        raise UnreadableFile("a palette TIFF without a usable palette: damaged")
    index = pixels.astype(np.intp)
    if index.max() >= colormap.shape[1]:
        raise UnreadableFile("a palette TIFF with values outside its palette: damaged")
    # The standard says 16 bits per entry; some programs write 8.
    shift = 8 if colormap.max() > 255 else 0
    colours = (colormap >> shift).astype(np.uint8)
    grey = bool((colours == colours[0]).all())
    return colours[0][index] if grey else np.moveaxis(colours[:, index], 0, -1)


def _from_ink(pixels: Array, notes: list[str]) -> Array:
    if pixels.ndim != 3 or pixels.shape[2] < 4 or pixels.dtype not in (np.uint8, np.uint16):
        raise UnreadableFile("a TIFF of inks other than 8- or 16-bit CMYK; save it as RGB")
    notes.append("CMYK converted to RGB without a colour profile")
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return cmyk_to_rgb(pixels[..., :4], inverted=False)


def _declared_white(page: Any, significant_bits: int | None, top: int) -> float | None:
    by_tag = page.tags.valueof(281)  # MaxSampleValue
    by_tag = by_tag if isinstance(by_tag, int) and by_tag + 1 in (1024, 4096, 16384) else None
    by_ome = 2**significant_bits - 1 if significant_bits and 8 <= significant_bits <= 16 else None
    bits = page.bitspersample
    by_bits = 2**bits - 1 if isinstance(bits, int) and 8 < bits < 16 else None
    return next((float(w) for w in (by_ome, by_bits, by_tag) if w is not None and w >= top), None)


def _tags(page: Any) -> dict[str, Any]:
    """All tags as plain values, but for those that only say where the pixels lie."""
    said: dict[str, Any] = {}
    for tag in page.tags:
        if tag.code in _LAYOUT_TAGS or tag.count > 10_000_000:
            continue
        value = tag.value
        if isinstance(value, enum.Enum):
            value = value.value
        elif isinstance(value, np.ndarray):
            value = value.tolist()
        said.setdefault(tag.name, value)  # tifffile itself writes a second ImageDescription
    return said


def _ome(metadata: dict[str, Any], notes: list[str]) -> tuple[PixelSize | None, dict[str, int]]:
    text = metadata["tiff"].get("ImageDescription", "")
    if not isinstance(text, str) or "<OME" not in text[:4096]:
        return None, {}
    return from_ome_xml(text, notes)


def _count_pages(data: bytes | mmap.mmap) -> int:
    """Length of the chain of directories, all of which must lie whole inside the file."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    count, size, word = ("Q", 20, "Q") if big else ("H", 12, "I")
    at, seen = 8 if big else 4, set[int]()
    while True:
        (offset,) = struct.unpack_from(order + word, data, at)
        if offset == 0:
            return len(seen)
        if offset in seen:
            raise UnreadableFile("the pages of the TIFF form a loop: damaged")
        if offset + 8 > len(data):
            raise UnreadableFile(f"page {len(seen) + 1} of the TIFF is missing: truncated")
        seen.add(offset)
        (entries,) = struct.unpack_from(order + count, data, offset)
        start = offset + struct.calcsize("=" + count)
        at = start + size * entries
        if at + struct.calcsize("=" + word) > len(data) or _has_lost_values(
            data[start:at], order, word, len(data)
        ):
            raise UnreadableFile(f"page {len(seen)} of the TIFF is incomplete: truncated")


def _has_lost_values(directory: bytes, order: str, word: str, n_bytes: int) -> bool:
    """Whether some tag's value lies beyond the end of the file."""
    for _, kind, length, place in struct.iter_unpack(f"{order}HH{word}{word}", directory):
        size = length * _TYPE_BYTES.get(kind, 1)
        if size > struct.calcsize("=" + word) and place + size > n_bytes:
            return True
    return False


def _is_colour_stack(metadata: dict[str, Any], counts: dict[str, int], n_pages: int) -> bool:
    tags = metadata["tiff"]
    if n_pages != 3 or tags.get("SamplesPerPixel", 1) != 1:
        return False
    imagej = parse_imagej(str(tags.get("ImageDescription", "")))
    by_ome = counts.get("SizeC") == 3 and counts.get("SizeZ", 1) == counts.get("SizeT", 1) == 1
    return by_ome or (imagej.get("channels") == "3" and imagej.get("images") == "3")


def _scale(metadata: dict[str, Any], vendor: Vendor | None, notes: list[str]) -> PixelSize | None:
    tags = metadata["tiff"]
    if vendor is not None:
        return vendor.pixel_size  # the resolution of such files is that of a screen or the camera
    micro_manager = tags.get("MicroManagerMetadata")
    if isinstance(micro_manager, dict):
        side_um = micro_manager.get("PixelSizeUm")
        if isinstance(side_um, int | float) and side_um > 0:
            return PixelSize(side_um * 1e3, side_um * 1e3, "metadata: Micro-Manager PixelSizeUm")
    x, y = ratio(tags.get("XResolution")), ratio(tags.get("YResolution"))
    imagej = parse_imagej(str(tags.get("ImageDescription", "")))
    if imagej.get("unit"):
        return from_imagej(imagej, x, y, notes)
    unit_nm = {2: INCH_NM, 3: CENTIMETRE_NM}.get(tags.get("ResolutionUnit", 2))
    return from_resolution(x, y, unit_nm, "TIFF resolution", notes) if unit_nm else None
