"""Scans that cannot be right, the whole path: an answer with a doubt, or a named refusal."""

from dataclasses import replace

import numpy as np
import pytest
import scan_files

from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.surfaces import Question, run_coverage
from layerscope.synth.surface import Artefacts, synth_surface

FIELD = scan_files.Field(np.arange(24 * 32, dtype=np.int64).reshape(24, 32))
CALM = Artefacts(noise_nm=0.05, tilt_nm=3.0)
WSE2 = Question(material="WSe2")


def film(coverage, **changes):
    surface = synth_surface(
        5, shape=(128, 128), coverage=coverage, max_layers=1, substrate="sio2", artefacts=CALM
    )
    return replace(surface.micrograph, **changes)


def only_row(run):
    assert not run.failures
    return run.images.iloc[0]


def refusal_of(run):
    assert not len(run.images)
    (failure,) = run.failures
    assert "\n" not in failure.reason
    return failure.reason


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("curves.spm", scan_files.nanoscope(FIELD, scan=(r"\Operating mode: Force",)), "force"),
        ("empty.spm", b"", "empty"),
        ("cut.spm", scan_files.nanoscope(FIELD)[:-200], "cut.spm"),
        ("noise.gwy", bytes(range(256)) * 8, "noise.gwy"),
        ("words.gsf", b"Gwyddion Simple Field 1.0\nXRes = many\n\0", "words.gsf"),
    ],
)
def test_a_bad_file_is_named_and_spoils_no_other(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    run = run_coverage([tmp_path / name, film(0.4)], WSE2)
    assert len(run.images) == 1
    (failure,) = run.failures
    assert says in failure.reason
    assert "\n" not in failure.reason


def test_a_channel_that_is_no_height_is_a_picture():
    run = run_coverage([film(0.4, value_unit="deg")], WSE2)
    row = only_row(run)
    assert row["method"] != "terraces"
    assert np.isnan(row["step_nm"])
    wanted = Question(material="WSe2", method="terraces")
    assert "heights in nm" in refusal_of(run_coverage([film(0.4, value_unit="deg")], wanted))


def test_an_unknown_channel_is_refused_with_those_there(tmp_path):
    path = tmp_path / "scan.spm"
    path.write_bytes(scan_files.nanoscope(FIELD))
    reason = refusal_of(run_coverage([path], Question(channel="adhesion")))
    assert "adhesion" in reason
    assert "Height" in reason


def test_without_a_scale_there_is_coverage_and_nothing_per_area():
    row = only_row(run_coverage([film(0.4, pixel_size=None)], WSE2))
    assert row["coverage"] == pytest.approx(0.4, abs=0.02)
    assert "no pixel size" in row["notes"]
    assert np.isnan(row["area_um2"])


def test_lines_of_nan_are_counted_in_nothing():
    holed = film(0.4).data.copy()
    holed[40:44] = np.nan
    holed[90] = np.nan
    row = only_row(run_coverage([film(0.4, data=holed)], WSE2))
    assert row["valid_share"] <= 1 - 5 / 128
    assert row["coverage"] == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("coverage", [0.0, 1.0])
def test_bare_and_full_cannot_be_told_and_that_is_said(coverage):
    row = only_row(run_coverage([film(coverage)], WSE2))
    assert row["coverage_low"] <= coverage <= row["coverage_high"]
    assert row["doubts"]
    assert row["domains"] in (0, 1)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (np.full((64, 64), np.nan, np.float32), "no pixel has a value"),
        (np.zeros((8, 200), np.float32), "too small"),
    ],
)
def test_nothing_to_look_at_is_refused(data, says):
    scan = Micrograph(data, Modality.AFM, PixelSize(10, 10, "test"), "nm")
    level = Question(material="WSe2", levelling="none")
    assert says in refusal_of(run_coverage([scan], level))


def test_one_value_everywhere_is_doubted():
    scan = Micrograph(np.zeros((64, 64), np.float32), Modality.AFM, None, "nm")
    row = only_row(run_coverage([scan], WSE2))
    assert (row["coverage_low"], row["coverage_high"]) == (0.0, 1.0)
    assert row["doubts"]


def test_infinite_heights_are_holes():
    holed = film(0.4).data.copy()
    holed[10, 10], holed[20, 20] = np.inf, -np.inf
    row = only_row(run_coverage([film(0.4, data=holed)], WSE2))
    assert row["coverage"] == pytest.approx(0.4, abs=0.03)
