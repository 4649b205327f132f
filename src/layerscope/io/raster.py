"""JPEG, PNG, BMP and NumPy arrays. TIFF has a module of its own.

One decoder per format, chosen by what it does with damaged files: on JPEGs cut in half, cv2,
imagecodecs and libvips return the missing half as grey 128, the colour of a bare wafer;
simplejpeg in strict mode raises. Its exact settings cost 10.3 ms of
CPU for 1920x1200 (fast DCT 10.0, fast upsampling 9.7 with errors up to 46 grey levels).
"""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.errors import UnreadableFile
from layerscope.io.exif import jpeg_segments, parse_exif, png_chunks, png_text
from layerscope.io.pixels import build_micrograph, check_size
from layerscope.io.scale_metadata import (
    CENTIMETRE_NM,
    INCH_NM,
    METRE_NM,
    from_resolution,
    ratio,
)

_BMP_MAX_PIXELS = 89_000_000
"""Pillow warns, and later refuses, above this."""
# Start-of-frame markers: C0..CF without DHT (C4), JPG (C8) and DAC (CC).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def decode_jpeg(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode a JPEG: grey, YCbCr, RGB, CMYK or YCCK, 8 bit.

    Raises
    ------
    UnreadableFile
        If any pixel is missing or damaged as far as JPEG can tell, or the size is refused.
    """
    import simplejpeg

    segments = list(jpeg_segments(data))
    precision, height, width, components = _jpeg_frame(segments)
    check_size(
        height, width, channel_bytes=components, stored_bytes=len(data), max_pixels=max_pixels
    )
    if precision != 8 or components not in (1, 3, 4):
        raise UnreadableFile(
            f"a JPEG of {precision} bits and {components} channels; expected 8 bits and 1, 3 or 4"
        )
    space = {1: "GRAY", 3: "RGB", 4: "CMYK"}[components]
    pixels = simplejpeg.decode_jpeg(data, space, fastdct=False, fastupsample=False, strict=True)
    if pixels.shape[:2] != (height, width):
        raise UnreadableFile(f"header says {width} x {height}, decoded to {pixels.shape}: damaged")
    notes: list[str] = []
    metadata = _jpeg_metadata(segments)
    if components == 4:
        notes.append("CMYK converted to RGB without a colour profile")
        pixels = cmyk_to_rgb(pixels, inverted="adobe" in metadata)
    size = _jpeg_scale(metadata, notes)
    orientation = metadata.get("exif", {}).get("Orientation", 1)
    return build_micrograph(
        pixels, metadata=metadata, notes=notes, orientation=orientation, pixel_size=size
    )


def cmyk_to_rgb(cmyk: npt.NDArray[Any], *, inverted: bool) -> npt.NDArray[np.uint8]:
    """RGB (H, W, 3) from 8-bit CMYK (H, W, 4) without a colour profile: (1 - C)(1 - K).

    `inverted`: 255 means no ink, as Adobe's programs write.
    """
    light = cmyk if inverted else 255 - cmyk
    product = light[..., :3].astype(np.uint16) * light[..., 3:]
    return ((product + 127) // 255).astype(np.uint8)


def _jpeg_frame(segments: list[tuple[int, bytes]]) -> tuple[int, int, int, int]:
    """Return precision, height, width, components of the first frame header."""
    frame = next((p for m, p in segments if m in _FRAMES and len(p) >= 6), None)
    if frame is None:
        raise UnreadableFile("a JPEG without an image header: truncated or damaged")
    precision, height, width, components = struct.unpack_from(">BHHB", frame)
    return precision, height, width, components


def _jpeg_metadata(segments: list[tuple[int, bytes]]) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for marker, payload in segments:
        if marker == 0xE0 and payload[:5] == b"JFIF\0" and len(payload) >= 12:
            metadata["jfif_density"] = struct.unpack_from(">BHH", payload, 7)
        elif marker == 0xE1 and payload[:6] == b"Exif\0\0":
            metadata["exif"] = parse_exif(payload[6:])
        elif marker == 0xE1 and payload[:29] == b"http://ns.adobe.com/xap/1.0/\0":
            metadata["xmp"] = payload[29:].decode("utf-8", "replace")
        elif marker == 0xEE and payload[:5] == b"Adobe":
            metadata["adobe"] = payload.hex()
        elif marker == 0xFE:
            metadata["comment"] = payload.decode("utf-8", "replace")
    return metadata


def _jpeg_scale(metadata: dict[str, Any], notes: list[str]) -> PixelSize | None:
    if "exif" in metadata:
        size = _exif_scale(metadata["exif"], notes)
        if size is not None:
            return size
    unit, x, y = metadata.get("jfif_density", (0, 0, 0))
    if unit not in (1, 2):
        return None
    unit_nm = INCH_NM if unit == 1 else CENTIMETRE_NM
    return from_resolution(x, y, unit_nm, "JFIF density", notes)


def _exif_scale(exif: dict[str, Any], notes: list[str]) -> PixelSize | None:
    unit_nm = {2: INCH_NM, 3: CENTIMETRE_NM}.get(exif.get("ResolutionUnit", 2), 0.0)
    x, y = ratio(exif.get("XResolution")), ratio(exif.get("YResolution"))
    return from_resolution(x, y, unit_nm, "EXIF resolution", notes) if unit_nm else None


def decode_png(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode a PNG: 1 to 16 bit, grey, RGB or palette; an alpha channel is dropped.

    Raises
    ------
    UnreadableFile
        If the file is damaged or its size is refused.
    """
    import imagecodecs

    chunks = list(png_chunks(data))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) < 13:
        raise UnreadableFile("a PNG without an image header: truncated or damaged")
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[0][1])
    channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(colour, 4)
    channel_bytes = channels * (2 if depth == 16 else 1)
    # One-bit grey is unpacked to a byte: 8 times what deflate's ratio alone can make.
    stored = len(data) * max(1, 8 // max(depth, 1))
    check_size(
        height, width, channel_bytes=channel_bytes, stored_bytes=stored, max_pixels=max_pixels
    )
    pixels = imagecodecs.png_decode(data)
    if pixels.shape[:2] != (height, width):
        raise UnreadableFile(f"header says {width} x {height}, decoded to {pixels.shape}: damaged")
    notes: list[str] = []
    metadata = _png_metadata(chunks)
    size = _png_scale(metadata, notes)
    orientation = metadata.get("exif", {}).get("Orientation", 1)
    return build_micrograph(
        pixels, metadata=metadata, notes=notes, orientation=orientation, pixel_size=size
    )


def _png_metadata(chunks: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for kind, payload in chunks:
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            key, text = png_text(kind, payload)
            metadata.setdefault("text", {})[key] = text
        elif kind == b"eXIf":
            metadata["exif"] = parse_exif(payload)
        elif kind == b"pHYs" and len(payload) == 9:
            metadata["pixels_per_unit"] = struct.unpack(">IIB", payload)
        elif kind == b"gAMA" and len(payload) == 4:
            metadata["gamma"] = struct.unpack(">I", payload)[0] / 1e5
        elif kind == b"sRGB":
            metadata["srgb"] = True
    return metadata


def _png_scale(metadata: dict[str, Any], notes: list[str]) -> PixelSize | None:
    x, y, unit = metadata.get("pixels_per_unit", (0, 0, 0))
    return from_resolution(x, y, METRE_NM, "PNG pHYs", notes) if unit == 1 else None


def decode_bmp(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode a Windows bitmap: palette, 16, 24 or 32 bit.

    Raises
    ------
    UnreadableFile
        If the file is damaged or its size is refused.
    """
    from PIL import Image

    width, height, row_bytes = _bmp_size(data)
    limit = min(max_pixels, _BMP_MAX_PIXELS)
    check_size(height, width, channel_bytes=3, stored_bytes=24 * len(data), max_pixels=limit)
    if height * row_bytes > len(data):
        raise UnreadableFile(f"{len(data)} of {height * row_bytes} bytes of the bitmap: truncated")
    with Image.open(io.BytesIO(data), formats=["BMP"]) as picture:
        grey = picture.mode in ("1", "L")
        pixels = np.asarray(picture.convert("L" if grey else "RGB"))
        dpi = picture.info.get("dpi", (0.0, 0.0))
    notes: list[str] = []
    size = from_resolution(float(dpi[0]), float(dpi[1]), INCH_NM, "BMP resolution", notes)
    metadata = {"dpi": dpi, "mode": picture.mode}
    return build_micrograph(pixels, metadata=metadata, notes=notes, pixel_size=size)


def _bmp_size(data: bytes) -> tuple[int, int, int]:
    """Return width, height and bytes of an uncompressed row (0 if run-length coded)."""
    if len(data) < 34:
        raise UnreadableFile("a Windows bitmap without an image header: truncated")
    if struct.unpack_from("<I", data, 14)[0] == 12:  # OS/2
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    row_bytes = 0 if compression in (1, 2) else (width * bits + 31) // 32 * 4
    return width, abs(height), row_bytes  # the height is negative if rows run downwards


def decode_npy(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode a NumPy array file of shape (H, W) or (H, W, C); objects are never unpickled.

    Raises
    ------
    UnreadableFile
        If it holds Python objects, is cut short, or has another shape.
    """
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise UnreadableFile(f"NumPy file version {version}; expected 1.0 or 2.0")
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject or dtype.kind not in "biuf" or len(shape) not in (2, 3):
        raise UnreadableFile(
            f"a NumPy array of {dtype}, shape {shape}; expected numbers, (H, W[, C])"
        )
    channels = shape[2] if len(shape) == 3 else 1
    channel_bytes = float(channels * dtype.itemsize)
    check_size(
        *shape[:2], channel_bytes=channel_bytes, stored_bytes=len(data), max_pixels=max_pixels
    )
    count = int(np.prod(shape, dtype=object))
    if count * dtype.itemsize != len(data) - stream.tell():
        raise UnreadableFile(
            f"a NumPy array of shape {shape} with missing or surplus bytes: truncated"
        )
    flat = np.frombuffer(data, dtype, count, stream.tell())
    pixels = flat.reshape(shape, order="F" if fortran else "C")
    return build_micrograph(pixels, metadata={"dtype": dtype.str, "shape": shape})
