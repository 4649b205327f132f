"""Files that are no images among those that are: named, counted, harmless to their neighbours."""

import io
import os
import resource
import struct
import time
import zlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

GOOD = 3


def encoded(pixels, kind, **options):
    stream = io.BytesIO()
    if kind == "tif":
        tifffile.imwrite(stream, pixels, photometric="rgb", **options)
    elif kind == "npy":
        np.save(stream, pixels)
    else:
        Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="module")
def pixels(micrographs):
    """The same picture in lossless form."""
    from layerscope.io import read

    return read(micrographs / "field_00.jpg").data


def half(content):
    return content[: len(content) // 2]


def write_bad(folder, good, pixels):
    """One of each kind of file that is no image; returns words of the reason by name."""
    contents = {
        "half.jpg": (half(good), "truncated"),
        "half.png": (half(encoded(pixels, "png")), "png"),
        "half_raw.tif": (half(encoded(pixels, "tif")), "tiff"),
        "half_lzw.tif": (half(encoded(pixels, "tif", compression="lzw")), "tiff"),
        "half_zlib.tif": (half(encoded(pixels, "tif", compression="zlib")), "tiff"),
        "empty.png": (b"", "empty"),
        "zeros.jpg": (bytes(200_000), "zero bytes"),
        "page.jpg": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
        "notes.tif": (b"second chip, left corner, 20x\n", "text"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder.png").mkdir()
    (folder / "broken.png").symlink_to(folder / "gone")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "bomb.png").write_bytes(bomb_png())
    (folder / "bomb.tif").write_bytes(bomb_tiff())
    words = {name: word for name, (_, word) in contents.items()}
    return words | {
        "folder.png": "folder", "broken.png": "no such file", "loop.png": "leads to itself",
        "pipe.jpg": "not a regular file", "bomb.png": "over the limit",
        "bomb.tif": "over the limit",
    }  # fmt: skip


def bomb_png():
    def chunk(kind, payload):
        crc = zlib.crc32(kind + payload)
        return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", crc)

    packer, side = zlib.compressobj(9), 15_000
    body = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def bomb_tiff():
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((4, 4, 3), np.uint8), photometric="rgb")
    content = bytearray(stream.getvalue())
    for tag in (256, 257):
        at = content.index(tag.to_bytes(2, "little"), 8)
        kind = int.from_bytes(content[at + 2 : at + 4], "little")
        width = 2 if kind == 3 else 4
        content[at + 8 : at + 8 + width] = (60_000).to_bytes(width, "little")
    return bytes(content)


@pytest.fixture
def mixed(own_scan, pixels):
    """Three good images among one of each bad kind, and what is to be said of the bad ones."""
    for path in sorted(own_scan.images.iterdir())[GOOD:]:
        path.unlink()
    good = (own_scan.images / "field_00.jpg").read_bytes()
    return own_scan, write_bad(own_scan.images, good, pixels)


def test_each_bad_file_is_named_and_its_neighbours_are_fine(mixed, finished, tmp_path):
    scan, reasons = mixed
    alone = tmp_path / "alone"
    alone.mkdir()
    for k in range(GOOD):
        (alone / f"field_0{k}.jpg").hardlink_to(scan.images / f"field_0{k}.jpg")
    undisturbed = replace(scan, images=alone, run=tmp_path / "undisturbed")
    assert undisturbed.do().code == 0
    ended = scan.do()
    assert ended.code == 3, ended.output
    images = pd.read_parquet(scan.run / "images.parquet")
    failures = pd.read_csv(scan.run / "failures.csv")
    assert len(images) == GOOD + len(reasons)
    assert len(failures) == len(reasons)
    status = scan.status()
    assert sum(status["by_status"].values()) == status["images"] == len(images)
    assert status["failed"] == len(reasons)
    by_file = {
        os.path.basename(p): r for p, r in zip(failures["path"], failures["reason"], strict=True)
    }
    assert set(by_file) == set(reasons)
    for name, words in reasons.items():
        assert words.casefold() in by_file[name].casefold(), by_file[name]
        assert "\n" not in by_file[name]
    kinds = dict(zip(failures["path"].map(os.path.basename), failures["status"], strict=True))
    assert {n for n, s in kinds.items() if s == "failed_limit"} == {"bomb.png", "bomb.tif"}
    assert set(kinds.values()) == {"failed_limit", "failed_decode"}
    for name in ("objects.csv", "objects.parquet", "sites.csv"):
        assert scan.tables()[name] == undisturbed.tables()[name]
    # Asked again, nothing is looked at again.
    before = scan.parts()
    assert scan.do().code == 3
    assert scan.parts() == before


def test_nothing_but_bad_files(own_scan):
    for path in own_scan.images.iterdir():
        path.write_bytes(b"")
    ended = own_scan.do()
    assert ended.code == 4
    images = pd.read_parquet(own_scan.run / "images.parquet")
    assert (images["status"] == "failed_decode").all()
    assert len(images) == 12
    assert len(pd.read_parquet(own_scan.run / "objects.parquet")) == 0


def test_no_image_at_all(own_scan, tmp_path):
    (tmp_path / "none").mkdir()
    ended = replace(own_scan, images=tmp_path / "none").do()
    assert ended.code in (2, 4)
    assert "none: no image in it; expected files such as" in ended.last_line
    assert "Traceback" not in ended.output


@pytest.mark.parametrize("make", [bomb_png, bomb_tiff])
def test_bombs_cost_neither_time_nor_memory(make, tmp_path):
    from layerscope.errors import TooLarge
    from layerscope.io import read

    path = tmp_path / "bomb"
    path.write_bytes(make())
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(TooLarge):
        read(path)
    assert time.process_time() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


CONTAINERS = {
    "a.png": ("png", {}), "b.bmp": ("bmp", {}), "c.npy": ("npy", {}), "d.tif": ("tif", {}),
    "e.tif": ("tif", {"compression": "lzw"}), "f.tif": ("tif", {"tile": (32, 32)}),
    "g.tiff": ("tif", {"planarconfig": "separate"}), "h.tif": ("tif", {"bigtiff": True}),
}  # fmt: skip


def test_the_same_pixels_in_any_container_give_the_same_rows(own_scan, pixels):
    for path in own_scan.images.iterdir():
        path.unlink()
    for name, (kind, options) in CONTAINERS.items():
        data = np.moveaxis(pixels, 2, 0) if "planarconfig" in options else pixels
        (own_scan.images / name).write_bytes(encoded(data, kind, **options))
    ended = own_scan.do()
    assert ended.code == 0, ended.output
    objects = pd.read_parquet(own_scan.run / "objects.parquet")
    first, *others = (
        g.drop(columns="image").reset_index(drop=True) for _, g in objects.groupby("image")
    )
    assert len(first)
    assert len(others) == len(CONTAINERS) - 1
    for other in others:
        pd.testing.assert_frame_equal(first, other, check_exact=True)


NAMES = (
    "Hélène µ 试样", "two  spaces ", "line\nbreak", "=1+2", "-a", "+b", "@c", "n" * 240, "quote\"'",
    "comma,semi;colon", "bad\udce9byte", "%41?x=1#y", "..", "Case", "case",
)  # fmt: skip


def test_names(own_scan):
    """Any name that a file can have; a scan of a list of them, and of the same stem twice."""
    good = (own_scan.images / "field_00.jpg").read_bytes()
    for path in own_scan.images.iterdir():
        path.unlink()
    for stem in NAMES:
        (own_scan.images / f"{stem}.jpg").write_bytes(good)
    for k in "12":
        (own_scan.images / f"part{k}").mkdir()
        (own_scan.images / f"part{k}" / "same.jpg").write_bytes(good)
    ended = own_scan.do("--recursive")
    assert ended.code == 0, ended.output
    images = pd.read_parquet(own_scan.run / "images.parquet")
    assert len(images) == len([n for n in NAMES if n[0] != "."]) + 2
    assert images["image"].is_unique
    assert images["path"].is_unique
    text = (own_scan.run / "images.csv").read_text(encoding="utf-8")
    assert not any(line.startswith(("=", "+", "@")) for line in text.splitlines())
    table = pd.read_csv(own_scan.run / "images.csv")
    assert len(table) == len(images)
    objects = pd.read_parquet(own_scan.run / "objects.parquet")
    assert set(objects["image"]) == set(images["image"])
    before = own_scan.parts()
    assert own_scan.do("--recursive").code == 0
    assert own_scan.parts() == before
    assert own_scan.ask("verify").code == 0
