"""The same pixels, out of every container: what goes in is what comes out."""

import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
import simplejpeg
import tifffile
from PIL import Image

from layerscope.core.micrograph import Modality
from layerscope.errors import UnreadableFile
from layerscope.io import decode, read

RANDOM = np.random.default_rng(7)
GREY = RANDOM.integers(0, 256, (13, 21), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (13, 21, 3), dtype=np.uint8)
DEEP = RANDOM.integers(0, 65536, (13, 21), dtype=np.uint16)
DEEP_COLOUR = RANDOM.integers(0, 65536, (13, 21, 3), dtype=np.uint16)


def tiff(array, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def pillow(array, kind, mode=None, **options):
    stream = io.BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(stream, kind, **options)
    return stream.getvalue()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def png(array):
    import imagecodecs

    return imagecodecs.png_encode(array)


RGB = {"photometric": "rgb"}
ALPHA = RANDOM.integers(0, 256, (13, 21, 1), dtype=np.uint8)
PLANES = np.ascontiguousarray(np.moveaxis(COLOUR, -1, 0))
FLOAT = RANDOM.random((13, 21), dtype=np.float32)
SAME = {
    "png grey": (png(GREY), GREY),
    "png rgb": (png(COLOUR), COLOUR),
    "png rgba": (png(np.concatenate([COLOUR, ALPHA], 2)), COLOUR),
    "png grey alpha": (png(np.dstack([GREY, ALPHA])), GREY),
    "png 16 grey": (png(DEEP), DEEP),
    "png 16 rgb": (png(DEEP_COLOUR), DEEP_COLOUR),
    "png 1 bit": (pillow(GREY > 99, "PNG"), np.uint8(255) * (GREY > 99)),
    "bmp grey": (pillow(GREY, "BMP"), GREY),
    "bmp rgb": (pillow(COLOUR, "BMP"), COLOUR),
    "npy grey": (npy(GREY), GREY),
    "npy rgb": (npy(COLOUR), COLOUR),
    "npy fortran": (npy(np.asfortranarray(DEEP)), DEEP),
    "npy big endian": (npy(DEEP.astype(">u2")), DEEP),
    "npy float": (npy(FLOAT), FLOAT),
    "tiff grey": (tiff(GREY), GREY),
    "tiff rgb": (tiff(COLOUR, **RGB), COLOUR),
    "tiff rgba": (tiff(np.concatenate([COLOUR, ALPHA], 2), **RGB), COLOUR),
    "tiff planar": (tiff(PLANES, planarconfig="separate", **RGB), COLOUR),
    "tiff planar lzw": (tiff(PLANES, planarconfig="separate", compression="lzw", **RGB), COLOUR),
    "tiff 16": (tiff(DEEP), DEEP),
    "tiff 16 big endian": (tiff(DEEP, byteorder=">"), DEEP),
    "tiff 16 rgb": (tiff(DEEP_COLOUR, **RGB), DEEP_COLOUR),
    "tiff 12": (tiff(DEEP >> 4, bitspersample=12), DEEP >> 4),
    "tiff float": (tiff(FLOAT), FLOAT),
    "tiff lzw": (tiff(COLOUR, compression="lzw", predictor=True, **RGB), COLOUR),
    "tiff zlib": (tiff(DEEP, compression="zlib"), DEEP),
    "tiff zstd": (tiff(COLOUR, compression="zstd", **RGB), COLOUR),
    "tiff packbits": (tiff(GREY, compression="packbits"), GREY),
    "tiff tiled": (tiff(COLOUR, tile=(16, 16), **RGB), COLOUR),
    "tiff strips": (tiff(COLOUR, rowsperstrip=4, **RGB), COLOUR),
    "bigtiff": (tiff(COLOUR, bigtiff=True, **RGB), COLOUR),
    "ome": (tiff(GREY, ome=True), GREY),
    "ome rgb": (tiff(COLOUR, ome=True, **RGB), COLOUR),
    "ome three channels": (tiff(PLANES, ome=True, metadata={"axes": "CYX"}), COLOUR),
    "imagej": (tiff(DEEP, imagej=True), DEEP),
    "imagej three channels": (tiff(PLANES, imagej=True, metadata={"axes": "CYX"}), COLOUR),
    "tiff white is zero": (tiff(255 - GREY, photometric="miniswhite"), GREY),
    "tiff bool": (tiff(GREY > 99, photometric="minisblack"), np.uint8(255) * (GREY > 99)),
    "tiff int16": (tiff((DEEP >> 1).astype(np.int16)), DEEP >> 1),
}


@pytest.mark.parametrize("case", SAME)
def test_pixels_are_exact(case):
    data, expected = SAME[case]
    found = decode(data, name=case)
    assert found.data.dtype == expected.dtype
    np.testing.assert_array_equal(found.data, expected)
    assert found.data.flags.c_contiguous
    assert found.modality is Modality.OPTICAL


def test_read_gives_name_hash_history_and_format(tmp_path):
    path = tmp_path / "été 3µm.tif"
    path.write_bytes(SAME["tiff rgb"][0])
    found = read(path)
    assert found.name == "été 3µm"
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [s.name for s in found.history] == ["read"]
    assert found.metadata["format"] == "tiff"
    assert found.pixel_size is None


@pytest.mark.parametrize("sampling", ["444", "422", "420", "440"])
def test_jpeg_equals_pillow(sampling):
    smooth = np.clip(COLOUR.astype(float).cumsum(0) / 13, 0, 255).astype(np.uint8)
    data = simplejpeg.encode_jpeg(smooth, 92, colorsubsampling=sampling)
    oracle = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode(data).data, oracle)


def test_grey_jpeg_stays_grey():
    data = simplejpeg.encode_jpeg(GREY[..., None], 95, "GRAY", "Gray")
    found = decode(data)
    assert found.data.shape == GREY.shape
    np.testing.assert_array_equal(found.data, np.asarray(Image.open(io.BytesIO(data))))


def test_cmyk_jpeg_follows_adobe_inversion():
    ink = Image.fromarray(np.full((16, 16, 3), (200, 40, 90), np.uint8)).convert("CMYK")
    stream = io.BytesIO()
    ink.save(stream, "JPEG", quality=100)
    found = decode(stream.getvalue())
    assert np.abs(found.data.astype(int) - (200, 40, 90)).max() <= 3
    assert any("CMYK" in note for note in found.metadata["notes"])


def test_cmyk_tiff():
    ink = np.zeros((4, 5, 4), np.uint8)
    ink[..., 1] = 255  # magenta
    found = decode(tiff(ink, photometric="separated"))
    assert (found.data == (255, 0, 255)).all()


def test_jpeg_inside_tiff_equals_jpeg():
    data = tiff(COLOUR, compression="jpeg", compressionargs={"level": 95}, **RGB)
    oracle = tifffile.imread(io.BytesIO(data))
    np.testing.assert_array_equal(decode(data).data, oracle)


def test_palettes():
    colours = RANDOM.integers(0, 256, (3, 256), dtype=np.uint16)
    colours[:, 0] = 255
    expected = np.moveaxis(colours[:, GREY].astype(np.uint8), 0, -1)
    for stored in (colours, colours * 257):  # some programs store 8 bits in the 16
        found = decode(tiff(GREY, photometric="palette", colormap=stored))
        np.testing.assert_array_equal(found.data, expected)
    indexed = Image.fromarray(COLOUR).quantize(16)
    stream = io.BytesIO()
    indexed.save(stream, "PNG")
    np.testing.assert_array_equal(
        decode(stream.getvalue()).data, np.asarray(indexed.convert("RGB"))
    )


def test_grey_palette_stays_grey():
    ramp = np.repeat(np.arange(256, dtype=np.uint16)[None] * 257, 3, 0)
    found = decode(tiff(GREY, photometric="palette", colormap=ramp))
    np.testing.assert_array_equal(found.data, GREY)


def test_float_keeps_nan_and_white_level_ignores_it():
    holes = FLOAT * 7
    holes[0, :3] = np.nan, np.inf, -np.inf
    found = decode(tiff(holes))
    np.testing.assert_array_equal(found.data, holes)
    assert found.white_level == pytest.approx(holes[np.isfinite(holes)].max())


WHITE = {
    "8 bit": (tiff(GREY), 255),
    "12 by BitsPerSample": (tiff(DEEP >> 6, bitspersample=12), 4095),
    "12 by OME": (tiff(DEEP >> 6, ome=True, metadata={"SignificantBits": 12}), 4095),
    "14 by MaxSampleValue": (tiff(DEEP >> 6, extratags=[(281, 3, 1, 16383)]), 16383),
    "10 inferred": (tiff(np.full((4, 4), 1023, np.uint16)), 1023),
    "12 inferred": (tiff(np.full((4, 4), 1024, np.uint16)), 4095),
    "14 inferred": (tiff(np.full((4, 4), 4096, np.uint16)), 16383),
    "16": (tiff(np.full((4, 4), 16384, np.uint16)), 65535),
    "float up to one": (tiff(FLOAT), 1.0),
    "tag that the pixels contradict": (
        tiff(np.full((4, 4), 9000, np.uint16), extratags=[(281, 3, 1, 4095)]),
        16383,
    ),
}


@pytest.mark.parametrize("case", WHITE)
def test_white_level(case):
    data, white = WHITE[case]
    found = decode(data)
    assert found.white_level == white
    assert any("inferred" in n for n in found.metadata["notes"]) == (
        case in ("10 inferred", "12 inferred", "14 inferred", "tag that the pixels contradict")
    )


def with_exif(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif.tobytes()


# By the standard's words: where the stored first row and first column belong.
UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff"])
def test_orientation(kind, orientation):
    if kind == "tiff":
        density = {"resolution": (50000, 25000), "resolutionunit": 3}
        data = tiff(COLOUR, extratags=[(274, 3, 1, orientation)], **density, **RGB)
        plain = COLOUR
    else:
        data = pillow(COLOUR, kind, exif=with_exif(orientation))
        plain = decode(pillow(COLOUR, kind)).data
    found = decode(data)
    np.testing.assert_array_equal(found.data, UPRIGHT[orientation](plain))
    if kind == "tiff":
        expected = (200.0, 400.0) if orientation >= 5 else (400.0, 200.0)
        assert (found.pixel_size.y_nm, found.pixel_size.x_nm) == pytest.approx(expected)
    else:
        picture = Image.open(io.BytesIO(data))
        from PIL import ImageOps

        np.testing.assert_array_equal(found.data, np.asarray(ImageOps.exif_transpose(picture)))


def test_stack_reads_the_first_page_and_says_so():
    found = decode(tiff(np.stack([GREY] * 5), photometric="minisblack"))
    np.testing.assert_array_equal(found.data, GREY)
    assert "stack of 5 pages: only the first was read" in found.metadata["notes"]


def test_all_metadata_are_kept():
    data = pillow(COLOUR, "JPEG", comment=b"Lab 3", dpi=(300, 300))
    assert decode(data).metadata["comment"] == "Lab 3"
    assert (
        decode(tiff(GREY, description="x50", software="NIS")).metadata["tiff"]["Software"] == "NIS"
    )
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("Objective", "50x")
    text.add_text("Long", "a" * 4000, zip=True)
    text.add_itxt("Auteur", "Hélène", zip=True)
    found = decode(pillow(GREY, "PNG", pnginfo=text)).metadata["text"]
    assert (found["Objective"], found["Auteur"], len(found["Long"])) == ("50x", "Hélène", 4000)


def test_misnamed_file_is_read_and_noted(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(SAME["png rgb"][0])
    assert "named .jpg but is a PNG image" in read(path).metadata["notes"]


def test_damaged_exif_does_not_cost_the_image():
    block = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff" * 4
    data = pillow(COLOUR, "JPEG")
    spoiled = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    np.testing.assert_array_equal(decode(spoiled).data, decode(data).data)


def test_compressed_text_cannot_exhaust_memory():
    packed = b"k\0\0" + zlib.compress(b"\0" * 50_000_000)
    chunk = struct.pack(">I", len(packed)) + b"zTXt" + packed
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + packed))
    data = SAME["png grey"][0]
    assert len(decode(data[:33] + chunk + data[33:]).metadata["text"]["k"]) == 65536


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1)])
def test_odd_sizes(shape):
    pixels = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    for data in (pillow(pixels, "PNG"), tiff(pixels), npy(pixels), pillow(pixels, "BMP")):
        np.testing.assert_array_equal(decode(data).data, pixels)


@pytest.mark.parametrize(
    "array", [np.zeros((2, 3, 4, 5)), np.zeros(7), np.zeros((3, 4, 9)), np.zeros((3, 3), complex)]
)
def test_arrays_that_are_no_picture(array):
    with pytest.raises(UnreadableFile, match="expected"):
        decode(npy(array), name="a")
