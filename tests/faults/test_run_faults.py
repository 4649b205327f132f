"""A folder as it comes from a microscope: some of its files are no images."""

import numpy as np
import pytest

from layerscope import finding, pipeline
from layerscope.core.micrograph import Micrograph
from layerscope.ops.tone import tone_curve
from layerscope.report.folder import write_run

GRAPHENE = {
    "material": "graphene",
    "substrate": "SiO2(90nm)/Si",
    "optics": finding.Optics(tone=tone_curve("linear")),
}


@pytest.fixture
def spoilt(synthetic_folder, tmp_path):
    """One good image, and many ways to be none."""
    good = synthetic_folder / "synthetic_0001.jpg"
    whole = good.read_bytes()
    (tmp_path / "good.jpg").write_bytes(whole)
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("20x, second chip, left corner")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "zeros.jpg").write_bytes(bytes(5000))
    return tmp_path


def test_the_good_one_is_analysed_and_each_bad_one_named(spoilt, synthetic_run):
    result = pipeline.run(
        [spoilt, spoilt / "missing.jpg"], calibration=synthetic_run.calibration, **GRAPHENE
    )
    assert [i.name for i in result.images] == ["good"]
    rows = synthetic_run.objects[synthetic_run.objects["image"] == "synthetic_0001"]
    assert result.objects["n_layers"].tolist() == rows["n_layers"].tolist()
    reasons = {f.path.split("/")[-1]: f.reason for f in result.failures}
    assert set(reasons) == {
        "cut.jpg", "text.jpg", "empty.png", "folder.tif", "zeros.jpg", "missing.jpg",
    }  # fmt: skip
    for name, words in {
        "cut.jpg": "truncated", "text.jpg": "text", "empty.png": "empty", "folder.tif": "folder",
        "zeros.jpg": "zero", "missing.jpg": "no such file",
    }.items():  # fmt: skip
        assert words in reasons[name]
        assert name in reasons[name]
        assert "\n" not in reasons[name]


def test_the_report_lists_what_failed(spoilt, synthetic_run, tmp_path):
    result = pipeline.run([spoilt], calibration=synthetic_run.calibration, **GRAPHENE)
    out = write_run(result, tmp_path / "out")
    page = (out / "report.html").read_text()
    assert all(name in page for name in ("cut.jpg", "text.jpg", "empty.png", "zeros.jpg"))


def test_nothing_readable_is_no_crash(tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    result = pipeline.run([tmp_path / "text.jpg"], **GRAPHENE)
    assert result.images == ()
    assert len(result.failures) == 1
    out = write_run(result, tmp_path / "out")
    assert (out / "report.html").exists()
    assert (out / "objects.csv").read_text().startswith("image,")


STRANGE = {
    "one pixel": np.full((1, 1, 3), 90, np.uint8),
    "one row": np.full((1, 500, 3), 90, np.uint8),
    "tiny": np.full((7, 9, 3), 90, np.uint8),
    "black": np.zeros((80, 90, 3), np.uint8),
    "white": np.full((80, 90, 3), 255, np.uint8),
    "one colour": np.full((80, 90, 3), (120, 90, 140), np.uint8),
    "noise": np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8),
    "halves": np.repeat([[(60, 50, 70)], [(180, 170, 160)]], 40, 0).repeat(90, 1).astype(np.uint8),
    "grey": np.full((80, 90), 100, np.uint8),
    "16 bit": np.full((80, 90, 3), 30_000, np.uint16),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_strange_images_are_refused_or_give_no_sure_number(kind, synthetic_run):
    data = STRANGE[kind]
    white = 65535.0 if data.dtype == np.uint16 else 255.0
    image = Micrograph(data, name=kind, white_level=white)
    result = pipeline.run([image], calibration=synthetic_run.calibration, **GRAPHENE)
    assert len(result.images) + len(result.failures) == 1
    for failure in result.failures:
        assert "\n" not in failure.reason
        assert kind in failure.reason or failure.path
    assert not result.objects["n_layers"].str.isdigit().any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_floats_that_no_camera_gives(value, synthetic_run):
    data = np.full((80, 90, 3), 0.4, np.float32)
    data[10:30, 20:40] = value
    image = Micrograph(data, name="float", white_level=1.0)
    result = pipeline.run([image], calibration=synthetic_run.calibration, **GRAPHENE)
    assert len(result.images) + len(result.failures) == 1
    assert not result.objects["n_layers"].str.isdigit().any()
