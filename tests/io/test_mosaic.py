"""Parts of a large TIFF are the pixels of the whole, whatever the layout; bad ones are refused."""

from __future__ import annotations

import os
import struct
import tracemalloc

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerscope.core.micrograph import Micrograph
from layerscope.errors import InputError, TooLarge, UnreadableFile
from layerscope.io import mosaic as module
from layerscope.io import read
from layerscope.io.mosaic import Mosaic, open_mosaic

HEIGHT, WIDTH = 203, 330
RGB = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8), (5, 5), 2
)
GREY = np.ascontiguousarray(RGB[..., 1])
DEEP = (RGB.astype(np.uint16) * 16)[: HEIGHT - 3]
PLANES = np.moveaxis(RGB, -1, 0)
COLOUR = {"photometric": "rgb"}
LAYOUTS = {
    "rows": (RGB, COLOUR),
    "strips": (RGB, {**COLOUR, "rowsperstrip": 17}),
    "deflate strips": (RGB, {**COLOUR, "rowsperstrip": 17, "compression": "zlib", "predictor": 2}),
    "tiles": (RGB, {**COLOUR, "tile": (64, 48)}),
    "lzw tiles": (RGB, {**COLOUR, "tile": (64, 48), "compression": "lzw"}),
    "jpeg tiles": (RGB, {**COLOUR, "tile": (64, 64), "compression": "jpeg"}),
    "jpeg strips": (RGB, {**COLOUR, "rowsperstrip": 64, "compression": "jpeg"}),
    "zstd planes": (PLANES, {**COLOUR, "tile": (64, 48), "compression": "zstd",
                             "planarconfig": "separate"}),
    "planes": (PLANES, {**COLOUR, "rowsperstrip": 31, "planarconfig": "separate"}),
    "big": (RGB, {**COLOUR, "bigtiff": True, "tile": (64, 64), "compression": "zlib"}),
    "other byte order": (DEEP, {**COLOUR, "byteorder": ">"}),
    "other byte order, tiles": (DEEP, {**COLOUR, "byteorder": ">", "tile": (64, 64)}),
    "16 bit": (DEEP, {**COLOUR, "tile": (64, 64), "compression": "zlib"}),
    "grey": (GREY, {"photometric": "minisblack", "rowsperstrip": 10}),
    "grey tiles": (GREY, {"photometric": "minisblack", "tile": (64, 64), "compression": "lzw"}),
    "white is zero": (GREY, {"photometric": "miniswhite", "tile": (64, 64)}),
    "float": (GREY.astype(np.float32) / 300, {"photometric": "minisblack"}),
    "scaled": (RGB, {**COLOUR, "resolution": (26000, 26000), "resolutionunit": "CENTIMETER"}),
    "ome channels": (PLANES, {"ome": True, "photometric": "minisblack",
                              "metadata": {"axes": "CYX", "PhysicalSizeX": 0.38,
                                           "PhysicalSizeY": 0.38}}),
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mosaics")
    for name, (data, options) in LAYOUTS.items():
        tifffile.imwrite(folder / f"{name}.tif", data, **options)
    return folder


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_part_is_the_same_as_in_the_whole(files, name, data):
    whole = read(files / f"{name}.tif")
    height, width = whole.shape
    top = data.draw(st.integers(0, height - 1))
    left = data.draw(st.integers(0, width - 1))
    bottom = data.draw(st.integers(top + 1, height))
    right = data.draw(st.integers(left + 1, width))
    # A cache of one segment must give the same pixels.
    with open_mosaic(
        files / f"{name}.tif", cache_bytes=data.draw(st.sampled_from([1, 10**8]))
    ) as m:
        part = m.read(top, left, bottom, right)
        assert m.read(0, 0, *m.shape).data.dtype == whole.data.dtype
    assert np.array_equal(part.data, whole.data[top:bottom, left:right])
    assert (m.shape, m.sha256, m.white_level) == (whole.shape, whole.sha256, whole.white_level)
    assert part.pixel_size == m.pixel_size == whole.pixel_size
    assert part.white_level == whole.white_level


def test_full_resolution_of_a_pyramid(tmp_path):
    with tifffile.TiffWriter(tmp_path / "p.tif") as writer:
        writer.write(RGB, tile=(64, 64), photometric="rgb", subifds=1)
        writer.write(RGB[::2, ::2], tile=(64, 64), photometric="rgb", subfiletype=1)
    with open_mosaic(tmp_path / "p.tif") as mosaic:
        assert mosaic.shape == (HEIGHT, WIDTH)
        assert np.array_equal(mosaic.read(7, 9, 99, 200).data, RGB[7:99, 9:200])


def test_a_micrograph_in_memory_serves_as_mosaic():
    image = Micrograph(DEEP, white_level=4095.0, name="held")
    part = Mosaic.of(image).read(3, 5, 20, 30)
    assert np.array_equal(part.data, DEEP[3:20, 5:30])
    assert (part.white_level, part.name) == (4095.0, "held")


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (-1, 0, 5, 5), (0, 0, HEIGHT + 1, 5), (5, 9, 6, 8)])
def test_a_part_outside_is_refused(files, box):
    with open_mosaic(files / "rows.tif") as mosaic, pytest.raises(InputError, match="no part"):
        mosaic.read(*box)


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_png_and_jpeg_are_refused_and_tiff_is_named(tmp_path, extension):
    cv2.imwrite(str(tmp_path / f"big{extension}"), RGB)
    with pytest.raises(UnreadableFile, match="cannot be read in parts; save it as tiled TIFF"):
        open_mosaic(tmp_path / f"big{extension}")


def test_a_single_strip_over_the_memory_limit_is_refused(files, monkeypatch):
    monkeypatch.setattr(module, "MAX_SEGMENT_BYTES", 10_000)
    with pytest.raises(TooLarge, match=r"one strip or tile decodes to .*save it in tiles"):
        open_mosaic(files / "deflate strips.tif")
    # Uncompressed rows need no strip to be decoded.
    open_mosaic(files / "rows.tif").close()


def bomb():
    """A TIFF of 122 bytes that declares 100,000 x 100,000 x 3 pixels."""
    tags = [(256, 4, 100_000), (257, 4, 100_000), (258, 3, 8), (259, 3, 1), (262, 3, 2),
            (273, 4, 8), (277, 3, 3), (278, 4, 100_000), (279, 4, 100)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", code, kind, 1, value) for code, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def test_a_bomb_is_refused_before_anything_is_allocated(tmp_path):
    (tmp_path / "bomb.tif").write_bytes(bomb())
    tracemalloc.start()
    with pytest.raises(TooLarge, match="100000 x 100000"):
        open_mosaic(tmp_path / "bomb.tif", max_pixels=10**9)
    with pytest.raises(TooLarge, match="damaged, or a blank image"):
        open_mosaic(tmp_path / "bomb.tif")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000


@pytest.mark.parametrize("name", ["rows", "lzw tiles"])
def test_a_file_cut_short_while_open_is_an_error_not_a_crash(files, tmp_path, name):
    path = tmp_path / "cut.tif"
    path.write_bytes((files / f"{name}.tif").read_bytes())
    with open_mosaic(path) as mosaic:
        os.truncate(path, 1000)
        with pytest.raises(UnreadableFile, match=r"cut: .*truncated"):
            mosaic.read(150, 0, HEIGHT, WIDTH)


@pytest.mark.parametrize("name", ["rows", "lzw tiles", "jpeg tiles", "planes"])
def test_a_truncated_file_is_refused_when_opened(files, tmp_path, name):
    data = (files / f"{name}.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[: len(data) // 2])
    with pytest.raises(UnreadableFile, match=r"cut\.tif: "):
        open_mosaic(tmp_path / "cut.tif")


def test_a_damaged_tile_is_named_with_its_rows(files, tmp_path):
    data = bytearray((files / "big.tif").read_bytes())
    with tifffile.TiffFile(files / "big.tif") as tif:
        start = tif.pages[0].dataoffsets[-1]
    data[start : start + 40] = bytes(40)
    (tmp_path / "spoilt.tif").write_bytes(data)
    with (
        open_mosaic(tmp_path / "spoilt.tif") as mosaic,
        pytest.raises(UnreadableFile, match="spoilt: "),
    ):
        mosaic.read(HEIGHT - 9, WIDTH - 9, HEIGHT, WIDTH)


def test_a_picture_stored_turned_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "t.tif", RGB, photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    with pytest.raises(UnreadableFile, match="stored turned"):
        open_mosaic(tmp_path / "t.tif")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(UnreadableFile, match="no such file"):
        open_mosaic(tmp_path / "none.tif")
    with pytest.raises(UnreadableFile, match="a folder"):
        open_mosaic(tmp_path)
    (tmp_path / "empty.tif").write_bytes(b"")
    with pytest.raises(UnreadableFile, match=r"empty\.tif: .*empty"):
        open_mosaic(tmp_path / "empty.tif")
