"""Files as they come from broken transfers, wrong programs and hostile hands."""

import contextlib
import io
import os
import resource
import struct
import time
import zlib

import numpy as np
import pytest
import simplejpeg
import tifffile
from PIL import Image

from layerscope.cli import main
from layerscope.errors import UnreadableFile
from layerscope.io import decode, read

RANDOM = np.random.default_rng(11)
COLOUR = RANDOM.integers(0, 256, (61, 83, 3), dtype=np.uint8)


def tiff(array=COLOUR, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, photometric="rgb", **options)
    return stream.getvalue()


def pillow(kind):
    stream = io.BytesIO()
    Image.fromarray(COLOUR).save(stream, kind)
    return stream.getvalue()


def npy():
    stream = io.BytesIO()
    np.save(stream, COLOUR)
    return stream.getvalue()


def progressive():
    stream = io.BytesIO()
    Image.fromarray(COLOUR).save(stream, "JPEG", progressive=True)
    return stream.getvalue()


FILES = {
    "jpeg": simplejpeg.encode_jpeg(COLOUR, 90),
    "progressive": progressive(),
    "png": pillow("PNG"),
    "bmp": pillow("BMP"),
    "npy": npy(),
    "tiff raw": tiff(),
    "tiff lzw": tiff(compression="lzw"),
    "tiff zlib": tiff(compression="zlib"),
    "tiff jpeg": tiff(compression="jpeg"),
    "tiff tiled": tiff(tile=(32, 32), compression="zstd"),
    "ome": tiff(ome=True, metadata={"PhysicalSizeX": 0.1}),
}


def refused(data, **options):
    """The message of the refusal, which must be one line and name the file."""
    with pytest.raises(UnreadableFile) as caught:
        decode(data, name="bad", **options)
    message = str(caught.value)
    assert "bad" in message
    assert "\n" not in message
    return message


def refused_path(path):
    with pytest.raises(UnreadableFile) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("kept", [0.25, 0.5, 0.75, 0.98])
def test_truncated(kind, kept):
    refused(FILES[kind][: int(len(FILES[kind]) * kept)])


@pytest.mark.parametrize("kind", ["jpeg", "progressive"])
def test_jpeg_without_its_end_marker(kind):
    refused(FILES[kind][:-2])
    decode(FILES[kind] + b"trailing bytes of a camera")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (bytes(200_000), "zero bytes"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"\n<html>", "web page"),
        (b"<?xml version='1.0'?><a/>", "XML"),
        (b"Measured on Monday, 20x, sample 3\n", "a text"),
        ("Für Hélène: 5 µm\n".encode(), "a text"),
        (b"\x00\x01\x02\x03\xfe", "unknown type (first bytes 00 01 02 03)"),
        (b"PK\x03\x04" + b"\x81" * 40, "ZIP archive or an Office file; unpack it"),
        (b"%PDF-1.7\n%\x81\x82", "a PDF; save its pictures"),
        (b"GIF89a\x01\x00\x81", "a GIF"),
        (b"\x1f\x8b\x08\x00", "compressed with gzip; unpack it"),
        (b"\0\0\0\x20ftypisom", "a video; save frames"),
        (b"\xff\xd8\xff", "JPEG"),
        (b"BM", "bitmap"),
        (b"II*\0", "TIFF"),
        (b"\x93NUMPY\x09\x00", "NumPy"),
    ],
)
@pytest.mark.parametrize("extension", [".jpg", ".tif"])
def test_wrong_content(content, why, extension):
    assert why in refused(content, extension=extension)


def test_paths_that_hold_no_image(tmp_path):
    folder = tmp_path / "a.png"
    folder.mkdir()
    assert "a folder" in refused_path(folder)
    assert "no such file" in refused_path(tmp_path / "none.jpg")
    empty = tmp_path / "empty.tif"
    empty.touch()
    assert "empty" in refused_path(empty)
    broken = tmp_path / "broken.png"
    broken.symlink_to(tmp_path / "gone")
    assert "no such file" in refused_path(broken)
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    assert "leads to itself" in refused_path(loop)
    assert "too long" in refused_path(tmp_path / ("n" * 300 + ".png"))
    assert "not a file name" in refused_path("a\0b.png")
    assert "no such file" in refused_path(tmp_path / "two\nlines.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs on this system")
def test_fifo_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "f.jpg")
    assert "not a regular file" in refused_path(tmp_path / "f.jpg")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_permission(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(FILES["png"])
    path.chmod(0)
    assert "permission denied" in refused_path(path)


def test_sparse_giant_is_not_loaded(tmp_path):
    path = tmp_path / "giant.tif"
    with path.open("wb") as stream:
        stream.truncate(10 << 30)
    assert "over the limit" in refused_path(path)


@pytest.mark.parametrize("name", ["mit Leer zeichen", "zeile\nzwei", "µ" * 60, "=cmd|'!A1"])
def test_odd_names(tmp_path, name):
    path = tmp_path / f"{name}.png"
    path.write_bytes(FILES["png"])
    assert read(path).name == name


def png_header(width, height, body):
    def chunk(kind, payload):
        crc = zlib.crc32(kind + payload)
        return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", crc)

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def tiff_header(width, height, samples=3, pages=1):
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 2),
            (273, 4, 8), (277, 3, samples), (278, 4, height), (279, 4, 3)]  # fmt: skip
    data = b"II*\0" + struct.pack("<I", 8)
    for page in range(pages):
        data += struct.pack("<H", len(tags))
        data += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
        data += struct.pack("<I", 0 if page == pages - 1 else len(data) + 4)
    return data


def zeros_png(side):
    packer = zlib.compressobj(9)
    row = bytes(side + 1)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return png_header(side, side, body)


def loop_tiff():
    data = bytearray(tiff_header(5, 5))
    data[-4:] = struct.pack("<I", 8)
    return bytes(data)


def giant_jpeg():
    data = bytearray(FILES["jpeg"])
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65000, 65000)
    return bytes(data)


def giant_bmp():
    data = bytearray(FILES["bmp"])
    data[18:26] = struct.pack("<ii", 100_000, 100_000)
    return bytes(data)


BOMBS = {
    "14000 x 14000 png": lambda: zeros_png(14000),
    "huge png header": lambda: png_header(2**31 - 1, 2**31 - 1, b""),
    "138 byte tiff": lambda: tiff_header(100_000, 100_000),
    "tiff under the limit, no pixels": lambda: tiff_header(14_000, 14_000),
    "65529 channels": lambda: tiff_header(100, 100, samples=65529),
    "thousand pages of nothing": lambda: tiff_header(100, 100, pages=1000),
    "loop of pages": loop_tiff,
    "jpeg": giant_jpeg,
    "bmp": giant_bmp,
    "zero size": lambda: tiff_header(0, 7),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_by_their_header(bomb):
    data = BOMBS[bomb]()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    refused(data)
    assert time.process_time() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_blank_images_of_ordinary_size_are_no_bombs():
    assert decode(zeros_png(3000)).data.max() == 0


@pytest.mark.parametrize("kind", FILES)
def test_flipped_bytes_raise_only_unreadable(kind):
    """60 spoiled copies: the picture or a refusal, in under a second, and no other exception."""
    original = FILES[kind]
    for seed in range(60):
        random = np.random.default_rng(seed)
        data = bytearray(original)
        # Half of the damage goes to the headers, where the parsers are.
        reach = len(data) if seed % 2 else min(len(data), 400)
        for at in random.integers(0, reach, int(random.integers(1, 9))):
            data[at] = random.integers(0, 256)
        if seed % 5 == 0:
            data = data[: int(random.integers(1, len(data)))]
        start = time.process_time()
        with contextlib.suppress(UnreadableFile):
            decode(bytes(data), name="spoiled")
        assert time.process_time() - start < 1


def test_flipped_bits_in_png_and_zlib_are_all_detected():
    for kind in ("png", "tiff zlib"):
        original = FILES[kind]
        low = original.index(b"IDAT") + 4 if kind == "png" else len(original) // 2
        high = low + (len(original) - low) // 2
        for seed in range(30):
            random = np.random.default_rng(seed)
            data = bytearray(original)
            data[int(random.integers(low, high))] ^= 1 << int(random.integers(8))
            refused(bytes(data))


@pytest.mark.parametrize("dtype", [object, [("a", "u1")], "U3", "M8[s]"])
def test_npy_of_objects_is_never_unpickled(dtype, tmp_path):
    class Canary:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    array = np.zeros((2, 2), dtype)
    if dtype is object:
        array[0, 0] = Canary()
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    assert "expected numbers" in refused(stream.getvalue())
    assert not (tmp_path / "ran").exists()


def test_an_image_without_values_is_refused():
    out = io.BytesIO()
    tifffile.imwrite(out, np.full((9, 9), np.nan, np.float32))
    assert "no pixel has a value" in refused(out.getvalue(), extension=".tif")


def test_a_folder_without_images_is_said_before_anything_is_written(tmp_path, monkeypatch, capsys):
    (tmp_path / "notes.docx").touch()
    for command in (["run", "--task", "particles"], ["scan", "-m", "hBN", "-s", "SiO2(90nm)/Si"]):
        asked = [*command, str(tmp_path), "-o", str(tmp_path / "out")]
        monkeypatch.setattr("sys.argv", ["layerscope", *asked])
        with pytest.raises(SystemExit, match="2"):
            main()
        assert "no image in it; expected files such as .png" in capsys.readouterr().err
    assert not (tmp_path / "out" / "report.html").exists()
