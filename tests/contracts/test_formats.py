"""What every entry of the FORMATS table must do, found there without a test of its own."""

import io
from importlib import import_module

import em_files
import numpy as np
import pytest
import scan_files
import simplejpeg
import tifffile
from PIL import Image

from layerscope.core.micrograph import Micrograph
from layerscope.errors import UnreadableFile
from layerscope.io import FORMATS, Format, decode, known_formats, read

PIXELS = np.random.default_rng(3).integers(0, 256, (23, 37, 3), dtype=np.uint8)


def sample(name):
    """One small, not square file of format `name`."""
    if name in scan_files.BUILDERS:
        return scan_files.BUILDERS[name](scan_files.sample_field(PIXELS.shape[:2]))
    if name in em_files.BUILDERS:
        return em_files.BUILDERS[name](em_files.sample_shot(PIXELS.shape[:2]))
    stream = io.BytesIO()
    if name == "jpeg":
        return simplejpeg.encode_jpeg(PIXELS, 90)
    if name == "tiff":
        tifffile.imwrite(stream, PIXELS, photometric="rgb", compression="zlib")
    elif name == "npy":
        np.save(stream, PIXELS)
    else:
        Image.fromarray(PIXELS).save(stream, name)
    return stream.getvalue()


@pytest.fixture(params=FORMATS, ids=lambda f: f.name)
def form(request):
    return request.param


def test_entry_is_complete(form):
    assert form.name.isidentifier()
    assert len(form.description) > 5
    assert form.extensions or form.named
    assert all(e == e.lower() and e.startswith(".") for e in (*form.extensions, *form.named))
    module, _, function = form.reader.partition(":")
    assert getattr(import_module(module), function).__doc__


def some_extension(form):
    return (form.extensions or form.named)[0]


def test_a_shared_magic_is_decided_by_the_entries_before_the_last():
    for at, form in enumerate(FORMATS):
        later = {m for f in FORMATS[at + 1 :] for m in f.magic}
        assert form.confirm or not later & set(form.magic)


def test_names_and_extensions_are_unique():
    names = [f.name for f in FORMATS]
    extensions = [e for f in FORMATS for e in f.extensions]
    assert len(set(names)) == len(names)
    assert len(set(extensions)) == len(extensions)


def test_reads_a_micrograph(form, tmp_path):
    path = tmp_path / f"x{some_extension(form)}"
    path.write_bytes(sample(form.name))
    found, again = read(path), read(path)
    assert isinstance(found, Micrograph)
    grey = form.name in {**scan_files.BUILDERS, **em_files.BUILDERS}
    assert found.data.shape == (PIXELS.shape[:2] if grey else PIXELS.shape)
    assert found.data.dtype in (np.uint8, np.uint16, np.float32)
    assert found.metadata["format"] == form.name
    assert found.history[0].name == "read"
    np.testing.assert_array_equal(found.data, again.data)
    assert (found.metadata, found.sha256) == (again.metadata, again.sha256)


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.5, 0.9, 0.99])
def test_truncated_is_unreadable_in_one_line(form, kept):
    data = sample(form.name)
    with pytest.raises(UnreadableFile) as caught:
        decode(data[: int(len(data) * kept)], name="cut", extension=some_extension(form))
    assert "cut" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_over_the_pixel_limit(form):
    with pytest.raises(UnreadableFile, match="over the limit of 800"):
        decode(sample(form.name), extension=some_extension(form), max_pixels=800)


def test_outside_format_joins_by_entry_point(monkeypatch):
    outside = Format("foo", "Foo image", (b"FOO1",), (".foo",), f"{__name__}:read_foo")

    class Entry:
        name, value = "foo", f"{__name__}:OUTSIDE"

    monkeypatch.setitem(globals(), "OUTSIDE", outside)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Entry])
    known_formats.cache_clear()
    try:
        assert decode(b"FOO1" + bytes(6)).data.shape == (2, 3)
    finally:
        known_formats.cache_clear()


def read_foo(data, *, max_pixels):
    return Micrograph(np.frombuffer(data[4:], np.uint8).reshape(2, 3))
