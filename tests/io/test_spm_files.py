"""Channels, directions, units and refusals of scans, on files made from the published layouts."""

import io
import struct
import time
from dataclasses import replace

import numpy as np
import pytest
import scan_files
from scan_files import Field, sample_field

from layerscope.core.micrograph import PixelSize
from layerscope.errors import InputError, MissingExtra, UnknownName, UnreadableFile
from layerscope.io import decode, read
from layerscope.io.sources import name_sources
from layerscope.io.spm import list_channels, read_spm
from layerscope.io.spm.jpk import is_jpk
from layerscope.io.spm.park import is_park
from layerscope.io.spm.units import nm_per

FIELD = sample_field((12, 20))


@pytest.fixture
def saved(tmp_path):
    def save(data, name):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return save


def refused(path, **options):
    with pytest.raises(UnreadableFile) as caught:
        read_spm(path, **options)
    assert "\n" not in str(caught.value)
    assert path.stem in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("unit", "nm"),
    [("m", 1e9), ("~m", 1e3), ("µm", 1e3), ("μm", 1e3), ("[nm]", 1.0), ("Å", 0.1), ("metres", 1e9),
     ("", None), ("V", None), ("nA", None), ("M", None), ("deg", None)],
)  # fmt: skip
def test_units_of_length(unit, nm):
    assert nm_per(unit) == nm


def test_channel_by_name_place_and_direction(saved):
    path = saved(scan_files.nanonis(FIELD), "a.sxm")
    names = [(c.name, c.direction, c.unit) for c in list_channels(path)]
    assert names == [("Z", "trace", "m"), ("Z", "retrace", "m"), ("Current", "trace", "A")]
    trace, retrace = read_spm(path), read_spm(path, direction="retrace")
    np.testing.assert_allclose(retrace.data - trace.data, 1.0, atol=1e-4)
    assert read_spm(path, channel="z", direction="retrace").data.tobytes() == retrace.data.tobytes()
    assert read_spm(path, channel=1).data.tobytes() == retrace.data.tobytes()
    current = read_spm(path, channel="current", direction="retrace")
    assert (current.value_unit, float(current.data[0, 0])) == ("A", 1.0)
    assert "only the trace of Current is in the file" in current.metadata["notes"]
    assert trace.metadata["header"]["COMMENT"] == "quiet: night"


def test_wrong_channel_or_direction(saved):
    path = saved(scan_files.nanonis(FIELD), "a.sxm")
    with pytest.raises(UnknownName, match="Did you mean Current"):
        read_spm(path, channel="curent")
    with pytest.raises(InputError, match="channel 7 of 3"):
        read_spm(path, channel=7)
    with pytest.raises(InputError, match="expected trace or retrace"):
        read_spm(path, direction="forward")


def test_no_height_is_refused_by_what_there_is(saved):
    data = scan_files.mdt_mda(FIELD, title="1F:Iprobe", unit="nA")
    path = saved(data, "a.mdt")
    assert "no height channel: it holds Iprobe trace [nA]" in refused(path)
    assert read_spm(path, channel="iprobe").value_unit == "nA"
    deflection = saved(scan_files.nanoscope(FIELD, name="Deflection Error"), "a.spm")
    assert "Deflection Error trace [nm]" in refused(deflection)


def test_user_knows_better_than_the_file(saved):
    path = saved(scan_files.gsf(FIELD), "a.gsf")
    found = read_spm(path, value_unit="um", pixel_size=PixelSize(3.0, 2.0, "user"))
    np.testing.assert_allclose(found.data, FIELD.heights * 1e3, rtol=1e-7)
    assert (found.pixel_size.y_nm, found.pixel_size.x_nm) == (3.0, 2.0)


def test_npy_needs_the_user_for_its_unit(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, FIELD.metres)
    plain = read_spm(path)
    assert (plain.value_unit, plain.pixel_size) == ("intensity", None)
    assert any("give value_unit" in n for n in plain.metadata["notes"])
    known = read_spm(path, value_unit="m", pixel_size=PixelSize(4.0, 2.5, "user"))
    np.testing.assert_allclose(known.data, FIELD.heights, rtol=1e-6)
    np.save(path, np.zeros((4, 4, 3)))
    assert "expected (H, W)" in refused(path)


def test_missing_values_are_nan_and_excluded(saved):
    heights = FIELD.heights.astype("<f4")
    heights[3:5] = np.nan
    heights[7, 2] = np.inf
    data = scan_files.gsf(FIELD)
    data = data[: -heights.nbytes] + heights.tobytes()
    found = read(saved(data, "a.gsf"))
    assert found.excluded.sum() == 41
    np.testing.assert_array_equal(np.isnan(found.data), found.excluded)
    heights[:] = np.nan
    assert "no value at all" in refused(saved(data[: -heights.nbytes] + heights.tobytes(), "b.gsf"))


@pytest.mark.parametrize(
    ("size", "aspect", "pixel"),
    [
        ("84.8435 84.8435 ~m", "1:1", (7070.291666666667, 4242.175)),
        ("20 5 ~m", "4:1", (416.6666666666667, 1000.0)),
        ("20 20 ~m", "4:1", (416.6666666666667, 1000.0)),
        ("20000 nm", "2:1", (833.3333333333334, 1000.0)),
    ],
)
def test_nanoscope_scan_size_and_aspect_ratio(size, aspect, pixel, saved):
    path = saved(scan_files.nanoscope(FIELD, size=size, aspect=aspect), "a.spm")
    found = read_spm(path).pixel_size
    assert (found.y_nm, found.x_nm) == pytest.approx(pixel, rel=1e-12)


def test_nanoscope_slow_axis_and_early_stop(saved):
    scan = (r"\Samps/line: 20", r"\Lines: 48", r"\Slow Axis Size: 2400 nm")
    square = saved(scan_files.nanoscope(FIELD, scan=scan), "a.spm")
    assert read_spm(square).pixel_size.y_nm == pytest.approx(2400 / 12)
    stopped = saved(scan_files.nanoscope(FIELD, scan=scan, aspect="1:2"), "b.spm")
    found = read_spm(stopped).pixel_size
    assert (found.y_nm, found.x_nm) == pytest.approx((2400 / 48, 500 / 20))


def test_nanoscope_wrong_number_of_lines(saved):
    scan = (r"\Samps/line: 20", r"\Lines: 12")
    path = saved(scan_files.nanoscope(FIELD, scan=scan, lines=99), "a.spm")
    np.testing.assert_array_equal(read_spm(path).data, FIELD.heights)
    assert "bytes for 20 x 99 pixels" in refused(
        saved(scan_files.nanoscope(FIELD, lines=99), "b.spm")
    )


def test_nanoscope_offset_and_units_of_sensitivity(saved):
    field = replace(FIELD, offset_nm=48.0)
    plain = scan_files.nanoscope(field)
    np.testing.assert_array_equal(read_spm(saved(plain, "a.spm")).data, field.heights)
    # 16 nm/V, and a scale given in mV.
    scaled = scan_files.nanoscope(replace(FIELD, scale_nm=2.0))
    assert b" 8192.0 V" in scaled
    milli = scaled.replace(b" 8192.0 V", b" 8192000.0 mV").replace(bytes(4), b"", 1)
    np.testing.assert_allclose(read_spm(saved(milli, "b.spm")).data, FIELD.raw * 2.0, rtol=1e-7)


def test_force_curves_are_refused_by_name(saved):
    force = scan_files.nanoscope(FIELD, section="Ciao force image list")
    assert "force curves" in refused(saved(force, "a.spm"))
    header = b"\\*Force file list\r\n\\Version: 0x09200000\r\n\\*Ciao force image list\r\n"
    assert "force curves" in refused(saved(header + b"\\*File list end\r\n", "b.spm"))
    ramp = scan_files.nanoscope(FIELD, scan=(r"\Operating mode: Force",))
    assert "force curves" in refused(saved(ramp, "g.spm"))
    assert "numbers as text" in refused(saved(b"?*File list\r\n1 2 3", "h.001"))
    curve = scan_files.ibw(Field(FIELD.raw[:4]), labels=("Height",))
    assert "force curve" in refused(saved(_as_force(curve), "c.ibw"))
    assert "spectra" in refused(saved(scan_files.park(FIELD, image_type=2), "d.tiff"))
    assert "a line profile" in refused(saved(scan_files.park(FIELD, image_type=1), "e.tiff"))
    words = b"WSxM file copyright UAM\r\nIV file\r\nImage header size: 90\r\n[Header end]\r\n"
    assert "IV file" in refused(saved(words, "f.stp"))


def _as_force(data):
    """The same wave with two dimensions, as force curves have; the checksum made good."""
    head = bytearray(data)
    struct.pack_into("<i", head, 64 + 68 + 8, 0)
    head[2:4] = bytes(2)
    total = int(np.frombuffer(bytes(head[:384]), "<i2").astype(np.int64).sum())
    struct.pack_into("<h", head, 2, (-total + 0x8000) % 0x10000 - 0x8000)
    return bytes(head)


def test_old_nanoscope_is_refused_by_its_version(saved):
    data = scan_files.nanoscope(FIELD).replace(b"@2:Image Data", b"Image Whatsit")
    assert "expected 4.3 or newer" in refused(saved(data, "a.spm"))


def test_igor_units_belong_to_the_layer(saved):
    path = saved(scan_files.ibw(FIELD), "a.ibw")
    assert [(c.name, c.unit) for c in list_channels(path)] == [("Height", "m"), ("Phase", "deg")]
    assert float(read_spm(path, channel="Phase").data[0, 0]) == 7.0
    damaged = bytearray(path.read_bytes())
    damaged[140] ^= 1
    assert "checksum" in refused(saved(bytes(damaged), "b.ibw"))


def test_ordinary_tiffs_stay_pictures():
    import tifffile

    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((9, 9), np.uint8))
    assert decode(stream.getvalue()).metadata["format"] == "tiff"


def test_a_long_stack_is_told_apart_by_its_first_two_pages():
    import tifffile

    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for _ in range(300):
            writer.write(np.zeros((2, 2), np.uint8), contiguous=False)
    data = stream.getvalue()
    start = time.process_time()
    assert [is_jpk(data), is_park(data)] == [False, False]
    assert time.process_time() - start < 0.05


def test_jpk_retrace_and_scaling(saved):
    path = saved(scan_files.jpk(FIELD, retrace=1), "a.jpk")
    assert read_spm(path).metadata["direction"] == "retrace"
    strange = path.read_bytes().replace(b"LinearScaling", b"OffsetScaling")
    assert "expected LinearScaling" in refused(saved(strange, "b.jpk"))


def test_wsxm_ignores_what_it_cannot_know(saved):
    field = replace(FIELD, offset_nm=500.0)
    found = read(saved(scan_files.wsxm(field, kind="short"), "a.top"))
    assert float(found.data.min()) == 0.0
    assert any("differences of height" in n for n in found.metadata["notes"])
    flat = Field(np.zeros((4, 5), np.int16))
    assert not read_spm(saved(scan_files.wsxm(flat, kind="short"), "b.stp")).data.any()


@pytest.mark.parametrize(
    "header", ["x_um,y_um,z_nm", "X [um]\tY [um]\tZ [nm]", "# x (um)  y (um)  height (nm)"]
)
@pytest.mark.parametrize("separator", [", ", "\t", " "])
def test_points_with_units_in_the_names_of_columns(header, separator, saved):
    found = read(saved(scan_files.xyz(FIELD, header=header, separator=separator), "a.xyz"))
    np.testing.assert_array_equal(found.data, FIELD.heights)
    assert (found.pixel_size.y_nm, found.pixel_size.x_nm) == pytest.approx((4.0, 2.5))


def test_scattered_points_are_refused(saved):
    lines = scan_files.xyz(FIELD).splitlines()
    assert "scattered points" in refused(saved(b"\n".join(lines[:-1]), "a.xyz"))
    twice = [*lines[:-1], lines[-2]]
    assert "points given twice" in refused(saved(b"\n".join(twice), "b.xyz"))


def test_matrix_without_units_is_a_picture_and_holes_are_nan(saved):
    found = read(saved(b"1,2,3\n4,,6\n7,nan,9\n", "a.csv"))
    np.testing.assert_array_equal(found.data, [[1, 2, 3], [4, np.nan, 6], [7, np.nan, 9]])
    assert (found.value_unit, found.pixel_size) == ("intensity", None)
    assert "rows of [2, 3] numbers" in refused(saved(b"1 2 3\n4 5\n", "b.txt"))
    assert "not an image" in refused(saved(b"grown on Monday\n", "c.txt"))


def test_texts_are_read_when_named_and_left_alone_in_a_folder(tmp_path, saved):
    for name in ("growth.csv", "notes.txt", "a.xyz", "b.spm", "c.004"):
        saved(b"1 2\n3 4\n", name)
    assert [s.name for s in name_sources([tmp_path])] == ["a", "b", "c"]
    assert [s.name for s in name_sources([tmp_path / "growth.csv"])] == ["growth"]


def test_empty_and_zero_files(saved):
    for name in ("a.spm", "a.gwy", "a.txt", "a.ibw"):
        assert "empty (0 bytes)" in refused(saved(b"", name))
        refused(saved(bytes(5000), name))


def test_pictures_are_no_scans(saved):
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(stream, "PNG")
    assert "a PNG image; expected a scan" in refused(saved(stream.getvalue(), "a.png"))


def _linked(tmp_path, fill):
    h5py = pytest.importorskip("h5py")
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["values"] = np.full((4, 4), 42.0)
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        fill(h5py, file, secret)
    return stream.getvalue()


def _external_link(h5py, file, secret):
    file["Height"] = h5py.ExternalLink(str(secret), "values")


def _soft_link(h5py, file, secret):
    file["Height"] = h5py.SoftLink("/elsewhere")


def _external_storage(h5py, file, secret):
    file.create_dataset("Height", (4, 4), "<f8", external=[(str(secret), 0, 128)])


def _virtual(h5py, file, secret):
    layout = h5py.VirtualLayout((4, 4), "<f8")
    layout[:] = h5py.VirtualSource(str(secret), "values", (4, 4))
    file.create_virtual_dataset("Height", layout)


@pytest.mark.parametrize("fill", [_external_link, _soft_link, _external_storage, _virtual])
def test_hdf5_never_leaves_its_file(fill, tmp_path, saved):
    path = saved(_linked(tmp_path, fill), "a.h5")
    assert "1 links or arrays of other files" in refused(path)


def test_hdf5_bomb_is_refused_by_its_header(saved):
    h5py = pytest.importorskip("h5py")
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("Height", (14_000, 14_000), "<f8", chunks=(1000, 1000), compression=9)
    assert "blank image" in refused(saved(stream.getvalue(), "a.h5"))


def test_hdf5_without_its_library_says_what_to_install(saved, monkeypatch):
    monkeypatch.setattr("layerscope.io.spm.hdf5.find_spec", lambda name: None)
    path = saved(b"\x89HDF\r\n\x1a\n" + bytes(600), "a.h5")
    with pytest.raises(MissingExtra, match=r"layerscope\[formats\]"):
        read(path)


def test_hdf5_of_topostats(saved):
    h5py = pytest.importorskip("h5py")
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["image"] = FIELD.heights
        file["pixel_to_nm_scaling"] = 2.5
        file["grain_masks/above"] = np.zeros((2, 3, 4))
    found = read_spm(saved(stream.getvalue(), "a.topostats"), channel="image")
    np.testing.assert_array_equal(found.data, FIELD.heights.astype(np.float32))
    assert (found.value_unit, found.pixel_size.y_nm) == ("nm", 2.5)


def test_gwy_of_a_deep_tree_is_refused(saved):
    inner = b"x\0o" + b"GwyContainer\0" + struct.pack("<I", 0)
    for _ in range(40):
        inner = b"x\0o" + b"GwyContainer\0" + struct.pack("<I", len(inner)) + inner
    data = b"GWYPGwyContainer\0" + struct.pack("<I", len(inner)) + inner
    assert "nested too deeply" in refused(saved(data, "a.gwy"))
