"""Real scans (../shared/data/afm): every file read, or refused by what it holds."""

from pathlib import Path

import numpy as np
import pytest
from scipy.signal import find_peaks

from layerscope.errors import UnreadableFile
from layerscope.io import read
from layerscope.io.spm import list_channels, read_spm

SCAN_NM = 84843.5
PERIOD_NM = 10_000.0  # of the calibration grid


@pytest.fixture(scope="module")
def afm(shared_data):
    return shared_data / "afm"


@pytest.fixture(scope="module")
def oracle(afm):
    """Stored numbers, flattened numbers, and flattened nanometres as published."""
    folder = afm / "nanoscope_oracle"
    return {
        name: np.loadtxt(folder / f"reference_{name}.csv", delimiter=",")
        for name in ("raw", "flat", "converted")
    }


RAW = {
    "A151216.123306-02602.sxm": ("Z", (128, 128), 0.015625),
    "Au_mica_2023_Y_A_diPAMY_195.sxm": ("Z", (256, 256), 0.015625),
    "CL 0deg xcal.0_00000.spm": ("Height Sensor", (256, 256), SCAN_NM / 256),
    "CL 90deg ycal.0_00000.spm": ("Height Sensor", (256, 256), SCAN_NM / 256),
    "GwiddionReader_bipm.gwy": ("channel 0", (500, 500), 10.0),
    "GwiddionReader_chip.gsf": ("Topography", (300, 300), 80_000 / 300),
    "GwiddionReader_chip.gwy": ("channel 0", (300, 300), 80_000 / 300),
    "IgorIBWReader_P0089OP0027.ibw": ("Height", (256, 256), 2000 / 255),
    "PTO_110_Virgin0001.gwy": ("HeightRetrace", (256, 256), 10_000 / 255),
    "scan_0001.ibw": ("Height", (256, 256), 5000 / 255),
}


@pytest.mark.parametrize("name", RAW)
def test_height_shape_and_scale(name, afm):
    channel, shape, pixel_nm = RAW[name]
    found = read(afm / "raw" / name)
    assert (found.metadata["channel"], found.shape, found.value_unit) == (channel, shape, "nm")
    assert found.pixel_size.x_nm == pytest.approx(pixel_nm, rel=1e-6)
    assert found.pixel_size.y_nm == pytest.approx(pixel_nm, rel=1e-6)
    assert np.isfinite(found.data).all()


def test_every_other_file_is_a_picture_or_refused_by_name(afm):
    rest = {p.name for p in (afm / "raw").iterdir()} - set(RAW)
    assert rest == {"CL 0deg xcal.0_00000.png", "test.gwy", "test_mdt.mdt"}
    assert read(afm / "raw" / "test.gwy").value_unit == "intensity"  # synthetic, without units
    with pytest.raises(UnreadableFile, match=r"no height channel: it holds Iprobe trace \[nA\]"):
        read(afm / "raw" / "test_mdt.mdt")
    current = read_spm(afm / "raw" / "test_mdt.mdt", channel="Iprobe")
    assert (current.shape, current.value_unit) == ((256, 256), "nA")
    assert current.pixel_size.x_nm == pytest.approx(3000.836 / 255, rel=1e-4)


def test_nanoscope_oracle_stored_numbers(afm, oracle):
    found = read_spm(afm / "nanoscope_oracle" / "full_multiple_images.txt", channel="Height")
    step_nm = 438.6572 / 65536 * 12.95302
    stored = oracle["raw"][::-1]
    np.testing.assert_array_equal(found.data, (stored * step_nm).astype(np.float32))
    np.testing.assert_array_equal(np.round(found.data / step_nm), stored)


def test_nanoscope_oracle_published_nanometres(afm, oracle):
    """The published heights: each line less its straight line, in steps, times nm per step."""
    found = read_spm(afm / "nanoscope_oracle" / "full_multiple_images.txt", channel="Height")
    step_nm = 438.6572 / 65536 * 12.95302
    steps = np.round(found.data[::-1] / step_nm)
    x = np.arange(steps.shape[1])
    slope, level = np.polyfit(x, steps.T, 1)
    flat = np.round(steps - slope[:, None] * x - level[:, None])
    np.testing.assert_array_equal(flat, oracle["flat"])
    published = np.array([f"{v:.2E}" for v in (flat * step_nm).ravel()], float)
    np.testing.assert_array_equal(published, oracle["converted"].ravel())


def _period_nm(profile, pixel_nm):
    """Period from the outermost peak of the autocorrelation that still stands out."""
    wave = profile - profile.mean()
    correlation = np.correlate(wave, wave, "full")[len(wave) - 1 :]
    correlation /= np.arange(len(wave), 0, -1)
    half = correlation[: len(wave) * 3 // 4]
    peaks, _ = find_peaks(half, height=0.3 * half[0])
    order = len(peaks)
    at = peaks[-1]
    left, middle, right = half[at - 1 : at + 2]
    exact = at + 0.5 * (left - right) / (left - 2 * middle + right)
    return exact / order * pixel_nm


@pytest.mark.parametrize("name", ["CL 0deg xcal.0_00000.spm", "CL 90deg ycal.0_00000.spm"])
def test_period_of_the_calibration_grid(name, afm):
    found = read(afm / "raw" / name)
    y, x = np.mgrid[: found.shape[0], : found.shape[1]]
    plane = np.stack([x.ravel(), y.ravel(), np.ones(x.size)]).T
    level = found.data - (plane @ np.linalg.lstsq(plane, found.data.ravel())[0]).reshape(x.shape)
    rows = level - np.median(level, axis=1, keepdims=True)
    across = _period_nm(rows.mean(axis=0), found.pixel_size.x_nm)
    down = _period_nm(rows.mean(axis=1), found.pixel_size.y_nm)
    assert across == pytest.approx(PERIOD_NM, rel=0.02)
    assert down == pytest.approx(PERIOD_NM, rel=0.02)


def test_depth_of_the_calibration_grid(afm):
    """Pits of 200 nm nominal: scaled by the rounded step per bit they would be 44 times as deep."""
    found = read(afm / "raw" / "CL 0deg xcal.0_00000.spm")
    rows = found.data - np.quantile(found.data, 0.8, axis=1, keepdims=True)
    low, high = np.quantile(rows, [0.1, 0.7])
    assert 150 < high - low < 250


def test_rows_as_the_instrument_shows_them(afm):
    """The instrument's own picture of the scan, against ours and ours upside down."""
    picture = read(afm / "raw" / "CL 0deg xcal.0_00000.png").data.astype(float)
    heights = read(afm / "raw" / "CL 0deg xcal.0_00000.spm").data
    rows = heights - np.quantile(heights, 0.6, axis=1, keepdims=True)
    shown = np.clip(rows, -200, 50)
    alike = [np.corrcoef(v.ravel(), picture.ravel())[0, 1] for v in (shown, shown[::-1])]
    assert alike[0] > 0.8
    assert alike[1] < alike[0] - 0.1


def test_one_scan_saved_in_two_formats_is_one_scan(afm):
    """The old .gwy says µm and nm and means metres; the .gsf of the same scan says metres."""
    old, simple = (read(afm / "raw" / f"GwiddionReader_chip.{x}") for x in ("gwy", "gsf"))
    np.testing.assert_allclose(old.data, simple.data, rtol=2e-7)
    assert old.pixel_size == simple.pixel_size


def test_where_gwyfile_fails_and_agrees(afm):
    """gwyfile 0.3 asserts on files of Gwyddion 1; on those of version 2 both read the same."""
    gwyfile = pytest.importorskip("gwyfile")
    for name in ("GwiddionReader_bipm.gwy", "GwiddionReader_chip.gwy"):
        with pytest.raises(AssertionError):
            gwyfile.load(str(afm / "raw" / name))
        assert read(afm / "raw" / name).value_unit == "nm"
    fields = gwyfile.util.get_datafields(gwyfile.load(str(afm / "raw" / "PTO_110_Virgin0001.gwy")))
    for name, field in fields.items():
        ours = read_spm(afm / "raw" / "PTO_110_Virgin0001.gwy", channel=name)
        factor = 1e9 if ours.value_unit == "nm" else 1.0
        np.testing.assert_array_equal(ours.data, (field.data * factor).astype(np.float32))


def test_trace_and_retrace_of_nanonis_agree(afm):
    """Turned the right way round, forward and backward images of one surface are alike."""
    path = afm / "raw" / "Au_mica_2023_Y_A_diPAMY_195.sxm"
    forward, backward = (
        read_spm(path, channel="Current", direction=d).data.ravel() for d in ("trace", "retrace")
    )
    mirrored = read_spm(path, channel="Current", direction="retrace").data[:, ::-1].ravel()
    assert np.corrcoef(forward, backward)[0, 1] > np.corrcoef(forward, mirrored)[0, 1] + 0.1


def test_no_file_takes_long(afm):
    import time

    for path in sorted(Path(afm / "raw").iterdir()):
        start = time.process_time()
        if path.suffix != ".png":
            list_channels(path)
        assert time.process_time() - start < 0.5
