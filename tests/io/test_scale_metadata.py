"""Pixel size from metadata: units, what must not be believed, hostile XML."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from layerscope.io import decode
from layerscope.io.scale_metadata import from_ome_xml, from_resolution

GREY = np.arange(35, dtype=np.uint8).reshape(5, 7)


def tiff(**options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, GREY, **options)
    return decode(stream.getvalue())


@pytest.mark.parametrize(
    ("value", "unit", "nm"),
    [(0.3844, "µm", 384.4), (0.3844, None, 384.4), (76.9, "nm", 76.9), (2e-4, "mm", 200.0),
     (1e-7, "m", 100.0), (2.5, "Å", 0.25), (150, "pm", 0.15)],
)  # fmt: skip
def test_ome_units(value, unit, nm):
    metadata = {"PhysicalSizeX": value, "PhysicalSizeY": 2 * value}
    if unit:
        metadata |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    size = tiff(ome=True, metadata=metadata).pixel_size
    assert (size.x_nm, size.y_nm) == pytest.approx((nm, 2 * nm))
    assert size.source == "metadata: OME PhysicalSize"


@pytest.mark.parametrize("unit", [b"um", b"\xb5m", "µm".encode(), b"micron", b"\\u00B5m"])
def test_imagej_units(unit):
    found = tiff(resolution=(4, 2), description=b"ImageJ=1.54f\nunit=" + unit + b"\n")
    assert (found.pixel_size.x_nm, found.pixel_size.y_nm) == pytest.approx((250, 500))
    assert "ImageJ" in found.pixel_size.source


@pytest.mark.parametrize("unit", ["pixel", "inch", ""])
def test_imagej_without_a_unit_of_length(unit):
    assert tiff(imagej=True, resolution=(72, 72), metadata={"unit": unit}).pixel_size is None


@pytest.mark.parametrize("dpi", [72, 96, 150, 300, 600, 1200, 2400, 4800])
def test_print_resolutions_are_ignored_and_noted(dpi):
    found = tiff(resolution=(dpi, dpi), resolutionunit=2)
    assert found.pixel_size is None
    assert any("ignored" in note for note in found.metadata["notes"])
    stream = io.BytesIO()
    Image.fromarray(GREY).save(stream, "JPEG", dpi=(dpi, dpi))
    assert decode(stream.getvalue()).pixel_size is None


def test_resolution_of_a_microscope_is_believed():
    found = tiff(resolution=(26015, 26015), resolutionunit=3)
    assert found.pixel_size.x_nm == pytest.approx(1e7 / 26015)
    assert found.pixel_size.source == "metadata: TIFF resolution"


def test_png_and_jpeg_densities():
    stream = io.BytesIO()
    Image.fromarray(GREY).save(stream, "PNG", dpi=(66000, 66000))
    assert decode(stream.getvalue()).pixel_size.x_nm == pytest.approx(25.4e6 / 66000, rel=1e-4)
    stream = io.BytesIO()
    Image.fromarray(GREY).save(stream, "JPEG", dpi=(60000, 60000))
    assert decode(stream.getvalue()).pixel_size.x_nm == pytest.approx(25.4e6 / 60000, rel=1e-4)


def test_resolutions_that_disagree_between_axes_are_ignored():
    notes = []
    assert from_resolution(1e5, 3e5, 2.54e7, "x", notes) is None
    assert notes
    assert from_resolution(0, 1e5, 2.54e7, "x", notes) is None


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    '<OME><Image><Pixels PhysicalSizeX="1"/></Image></OME>'
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LAUGHS, "document type"),
        ('<OME><!entity x SYSTEM "file:///etc/hostname"></OME>', "entities"),
        ("<OME><Image>", "ignored"),
        ("<OME>" + " " * 10_000_001, "characters"),
        ('<OME><Pixels PhysicalSizeX="3" PhysicalSizeXUnit="pixel"/></OME>', "not a length"),
        ('<OME><Pixels PhysicalSizeX="0" PhysicalSizeXUnit="nm"/></OME>', "not a length"),
        ('<OME><Pixels PhysicalSizeX="NaN"/></OME>', "not a length"),
    ],
)
def test_unusable_ome_xml_is_noted_not_believed(text, why):
    notes = []
    size, _ = from_ome_xml(text, notes)
    assert size is None
    assert why in notes[0]


def test_micro_manager_pixel_size():
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        text = b'{"PixelSizeUm": 0.65}\0'
        writer.write(GREY, extratags=[(51123, 2, len(text), text, True)])
    assert decode(stream.getvalue()).pixel_size.x_nm == pytest.approx(650)
