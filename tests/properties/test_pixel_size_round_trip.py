"""Whatever pixel size a program writes, the same comes out."""

import io

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.io import decode

GREY = np.arange(35, dtype=np.uint8).reshape(5, 7)
sizes_um = st.floats(0.005, 15)
unlike = st.floats(0.6, 1.7)


def tiff(**options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, GREY, **options)
    return decode(stream.getvalue()).pixel_size


@settings(max_examples=40, deadline=None)
@given(x_um=sizes_um, ratio=unlike, unit=st.sampled_from([("µm", 1.0), ("nm", 1e3), ("mm", 1e-3)]))
def test_ome(x_um, ratio, unit):
    name, per_um = unit
    metadata = {"PhysicalSizeX": x_um * per_um, "PhysicalSizeY": x_um * ratio * per_um}
    metadata |= {"PhysicalSizeXUnit": name, "PhysicalSizeYUnit": name}
    size = tiff(ome=True, metadata=metadata)
    assert (size.x_nm, size.y_nm) == pytest.approx((x_um * 1e3, x_um * ratio * 1e3), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(x_um=sizes_um, ratio=unlike, unit=st.sampled_from([("um", 1.0), ("nm", 1e3), ("cm", 1e-4)]))
def test_imagej(x_um, ratio, unit):
    name, per_um = unit
    per_unit = (1 / (x_um * per_um), 1 / (x_um * ratio * per_um))
    size = tiff(imagej=True, resolution=per_unit, metadata={"unit": name})
    assert (size.x_nm, size.y_nm) == pytest.approx((x_um * 1e3, x_um * ratio * 1e3), rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(x_um=sizes_um, ratio=unlike, unit=st.sampled_from([(2, 2.54e4), (3, 1e4)]))
def test_tiff_resolution(x_um, ratio, unit):
    code, unit_um = unit
    per_unit = (unit_um / x_um, unit_um / (x_um * ratio))
    size = tiff(resolution=per_unit, resolutionunit=code)
    if size is None:  # taken for a printer's, or coarser than 20 um
        dpi = 2.54e4 / x_um
        assert x_um * ratio > 20 or any(abs(dpi - d) < 1 for d in (2400, 2880, 3600, 4800, 9600))
    else:
        expected = (x_um * 1e3, x_um * ratio * 1e3)
        assert (size.x_nm, size.y_nm) == pytest.approx(expected, rel=1e-5)
