"""The path of phases: from files and a model to classes, areas, overlays and a report."""

import json
import sys
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from layerscope.cli import main
from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.segmentation import AREA_COLUMNS, PHASE_COLUMNS, ClassArea
from layerscope.errors import InputError
from layerscope.models.card import ModelCard
from layerscope.models.file import read_model
from layerscope.models.forest import ForestSettings, PixelSamples, grow_forest, write_forest
from layerscope.report.phases_folder import PhasesFolder
from layerscope.report.phases_pictures import NOT_COUNTED, phase_colour
from layerscope.segmentation import Scale, run_phases
from layerscope.tasks.phases import find_phases

METRICS = {
    "mean_iou": 0.9, "mean_iou_majority": 0.2, "held_out_images": 4, "held_out_by": "specimen",
    "iou": {"film": 0.9, "hole": 0.9, "flake": 0.9},
    "dice": {"film": 0.95, "hole": 0.95, "flake": 0.95}, "unsure_share_most": 0.05,
    "share_errors": {"rms": [1.0, 1.0, 1.0], "specimens": 4, "images": 4},
}  # fmt: skip
CARD = ModelCard(
    "greys", "phases", "classes", ("film", "hole", "flake"), channels=1, input="pixel_features",
    features="scales", network="forest", metrics=METRICS, pixel_size_nm=(1.0, 2.0),
)  # fmt: skip


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    """A forest that looks at the smoothed grey value: dark is flake, bright is hole."""
    rng = np.random.default_rng(0)
    features = rng.random((4000, 49)).astype(np.float32)
    classes = np.where(features[:, 0] > 0.7, 1, np.where(features[:, 0] < 0.35, 2, 0))
    samples = PixelSamples(features, classes.astype(np.uint8), np.ones(len(classes)))
    forest = grow_forest(samples, ForestSettings(trees=10))
    path = tmp_path_factory.mktemp("model") / "greys.onnx"
    write_forest(forest, CARD, path, features[:100])
    return path


@pytest.fixture(scope="module")
def model(model_path):
    return read_model(model_path)


def picture(shift=0):
    image = np.full((90, 120), 128, np.uint8)
    image[20:50, 30 + shift : 70 + shift] = 220
    image[60:80, 10:60] = 40
    return image


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "images"
    made.mkdir()
    for i in range(3):
        cv2.imwrite(str(made / f"im{i}.png"), picture(i))
    (made / "bad.png").write_text("no image")
    return made


def test_a_bad_image_is_one_line_and_the_rest_goes_on(folder, model):
    run = run_phases([folder], model, Scale("1.5nm"))
    assert list(run.images["image"]) == ["im0", "im1", "im2"]
    assert len(run.failures) == 1
    assert "bad.png" in run.failures[0].path
    assert "\n" not in run.failures[0].reason
    assert list(run.images.columns) == [c.name for c in PHASE_COLUMNS]
    assert list(run.areas.columns) == [c.name for c in AREA_COLUMNS]
    assert len(run.provenance["model_sha256"]) == 64


def test_areas_are_those_of_the_classes(folder, model):
    run = run_phases([folder], model, Scale("1.5nm"))
    for _, table in run.areas.groupby("image"):
        assert table["area_px"].sum() == 90 * 120
        assert table["fraction"].sum() == pytest.approx(1)
        assert table["area_um2"].sum() == pytest.approx(90 * 120 * 1.5**2 * 1e-6)
    holes = run.areas[run.areas["class"] == "hole"]
    assert holes["area_px"].between(1150, 1250).all()
    inside = run.areas.eval("fraction_low <= fraction <= fraction_high")
    assert inside.all()


def test_classes_are_written_at_full_size(folder, model, tmp_path):
    results = []
    out = PhasesFolder(tmp_path / "run")

    def keep(result):
        results.append(result)
        out(result)

    out.finish(run_phases([folder], model, Scale("1.5nm"), on_result=keep))
    for result in results:
        stored = cv2.imread(str(tmp_path / "run/classes" / f"{result.name}.png"), -1)
        assert stored.dtype == np.uint8
        np.testing.assert_array_equal(stored, result.phases.labels)
        assert set(np.unique(stored)) == {0, 1, 2}
        assert stored[35, 50] == 1
        assert stored[70, 30] == 2
        assert stored[5, 5] == 0


def test_the_folder_is_whole_and_the_same_again(folder, model_path, tmp_path):
    runs = []
    for name in ("a", "b"):
        out = PhasesFolder(tmp_path / name)
        run = run_phases([folder], read_model(model_path), Scale("1.5nm"), on_result=out)
        out.finish(run)
        runs.append({p.relative_to(tmp_path / name): p.read_bytes()
                     for p in (tmp_path / name).rglob("*") if p.is_file()})  # fmt: skip
    assert runs[0] == runs[1]
    names = {str(p) for p in runs[0]}
    assert names >= {"images.csv", "areas.parquet", "report.html", "report.pdf", "run.json",
                     "classes/im0.png", "overlays/im2.png"}  # fmt: skip
    record = json.loads(runs[0][next(p for p in runs[0] if p.name == "run.json")])
    assert record["provenance"]["model"]["name"] == "greys"
    assert record["failures"][0]["reason"]


def test_what_is_excluded_is_not_counted(model):
    excluded = np.zeros((90, 120), bool)
    excluded[:, 60:] = True
    image = Micrograph(picture(), excluded=excluded, pixel_size=PixelSize(1.5, 1.5, "user"))
    run = run_phases([image], model)
    assert run.areas["area_px"].sum() == 90 * 60
    assert run.images["valid_share"][0] == pytest.approx(0.5)


def test_a_pixel_size_far_from_the_training_is_a_doubt(model):
    far = Micrograph(picture(), pixel_size=PixelSize(8.0, 8.0, "user"))
    assert "nm per pixel" in run_phases([far], model).images["doubts"][0]


def test_a_model_without_held_out_images_gives_no_interval(model):
    bare = replace(model, card=replace(CARD, metrics={}))
    run = run_phases([Micrograph(picture())], bare)
    assert run.areas["fraction_low"].isna().all()
    assert "no intervals" in run.images["notes"][0]


def test_a_model_of_another_task_is_refused(model):
    other = replace(model, card=replace(CARD, task="coverage"))
    with pytest.raises(InputError, match="train phases"):
        run_phases([Micrograph(picture())], other)


def test_16_bit_and_8_bit_are_the_same(model):
    wide = Micrograph(picture().astype(np.uint16) * 257, white_level=65535.0)
    a, b = (find_phases(m, model).labels for m in (wide, Micrograph(picture())))
    np.testing.assert_array_equal(a, b)


def test_a_share_lies_in_its_interval():
    with pytest.raises(InputError, match="not within"):
        ClassArea("a", 0, 5, 0.5, 0.6, 0.7)


def test_the_first_class_is_shown_as_it_is():
    assert phase_colour(0) is None
    assert len({phase_colour(k) for k in range(1, 8)}) == 7
    assert NOT_COUNTED == 255


def test_from_the_command_line(folder, model_path, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    command = ["run", folder, "--task", "phases", "--model", model_path, "-o", out,
               "--pixel-size", "1.5nm", "-q"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["layerscope", *map(str, command)])
    with pytest.raises(SystemExit) as stop:
        main()
    text, err = capsys.readouterr()
    assert stop.value.code == 3  # some failed
    assert "im0: film" in text
    assert "not analysed: " in err
    assert len(pd.read_csv(out / "areas.csv")) == 9


def test_a_model_must_be_given(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["layerscope", "run", str(folder), "--task", "phases"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "--model" in capsys.readouterr().err
