"""Files for Gwyddion: what is written is read back, by us and by its own Python reader."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.errors import InputError
from layerscope.io import read
from layerscope.io.spm import list_channels, read_spm, write_gsf, write_gwy

PIXEL = PixelSize(4.0, 2.5, "test")


def heights(shape=(7, 11), seed=0, pixel=PIXEL, **more):
    data = np.random.default_rng(seed).normal(0, 5, shape).astype(np.float32)
    return Micrograph(data, Modality.AFM, pixel, "nm", name="Height", **more)


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 99),
    pixel=st.tuples(st.floats(1e-3, 1e6), st.floats(1e-3, 1e6)),
)
@pytest.mark.parametrize(("write", "suffix"), [(write_gwy, ".gwy"), (write_gsf, ".gsf")])
def test_round_trip(write, suffix, shape, seed, pixel, tmp_path_factory):
    path = tmp_path_factory.mktemp("gwyddion") / f"Height{suffix}"
    made = heights(shape, seed, PixelSize(*pixel, "test"))
    write(path, made)
    found = read(path)
    # .gwy keeps doubles, .gsf float32 metres.
    np.testing.assert_allclose(found.data, made.data, rtol=0 if suffix == ".gwy" else 2e-7)
    assert (found.pixel_size.y_nm, found.pixel_size.x_nm) == pytest.approx(pixel, rel=1e-12)
    assert (found.metadata["channel"], found.value_unit) == ("Height", "nm")


def test_channels_masks_and_units(tmp_path):
    path = tmp_path / "a.gwy"
    phase = Micrograph(np.eye(7, 11, dtype=np.float32), Modality.AFM, None, "deg", name="Phase")
    mask = np.eye(7, 11, dtype=bool)
    write_gwy(path, [heights(), phase], {"Height": mask})
    names = [(c.name, c.unit) for c in list_channels(path)]
    assert names == [("Height", "m"), ("mask of Height", ""), ("Phase", "deg")]
    np.testing.assert_array_equal(read_spm(path, channel="mask of Height").data, mask)
    assert read_spm(path, channel="Phase").pixel_size is None
    assert read_spm(path).metadata["channel"] == "Height"


def test_missing_values_become_the_mask(tmp_path):
    made = heights()
    data = made.data.copy()
    data[2] = np.nan
    holed = Micrograph(data, Modality.AFM, made.pixel_size, "nm", excluded=np.isnan(data))
    write_gwy(tmp_path / "a.gwy", holed)
    assert read_spm(tmp_path / "a.gwy", channel="mask of image").data.sum() == 11
    np.testing.assert_array_equal(read(tmp_path / "a.gwy").excluded, holed.excluded)


def test_wrong_input(tmp_path):
    colour = Micrograph(np.zeros((4, 5, 3), np.uint8))
    for call in (
        lambda: write_gwy(tmp_path / "a.gwy", colour),
        lambda: write_gwy(tmp_path / "a.gwy", []),
        lambda: write_gwy(tmp_path / "a.gwy", heights(), {"Hight": np.zeros((7, 11), bool)}),
        lambda: write_gwy(tmp_path / "a.gwy", heights(), {"Height": np.zeros((7, 12), bool)}),
        lambda: write_gsf(tmp_path / "a.gsf", colour),
        lambda: write_gsf(tmp_path / "none" / "a.gsf", heights()),
    ):
        with pytest.raises(InputError):
            call()
    assert list(tmp_path.iterdir()) == []


def test_same_bytes_twice(tmp_path):
    for name in "ab":
        write_gwy(tmp_path / name, heights())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_gwyfile_package_reads_it_alike(tmp_path):
    gwyfile = pytest.importorskip("gwyfile")
    made = heights()
    write_gwy(tmp_path / "a.gwy", made, {"Height": made.data > 0})
    tree = gwyfile.load(str(tmp_path / "a.gwy"))
    field = gwyfile.util.get_datafields(tree)["Height"]
    assert (field["xres"], field["yres"]) == (11, 7)
    assert (field["xreal"], field["yreal"]) == pytest.approx((27.5e-9, 28e-9))
    np.testing.assert_array_equal(field.data, made.data.astype(np.float64) * 1e-9)
    np.testing.assert_array_equal(tree["/0/mask"].data, made.data > 0)
