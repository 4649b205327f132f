"""The path of categories: from files and a model to answers, reasons, a sheet and a report."""

import json
import sys

import cv2
import numpy as np
import pandas as pd
import pytest
from category_files import ASKED, SIZE, picture, write_folder
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.cli import main
from layerscope.core.categories import ANSWER_COLUMNS, NA, UNKNOWN
from layerscope.core.micrograph import Micrograph
from layerscope.errors import InputError
from layerscope.io.label_sheets import read_label_sheet
from layerscope.models.answers import questionnaire_of
from layerscope.models.card import ModelCard
from layerscope.models.file import read_model
from layerscope.ops.magnification import magnification_in, parse_magnification
from layerscope.ops.picture_features import N_FEATURES, picture_features
from layerscope.ops.whole_picture import inner_part, square_picture
from layerscope.questions import Reading, run_categories
from layerscope.report.categories_folder import CategoriesFolder
from layerscope.training.categories import train_categories
from layerscope.training.category_data import find_sheet, load_categories
from layerscope.training.category_settings import CategorySettings


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    root = tmp_path_factory.mktemp("questions")
    folder = write_folder(root / "data", number=30)
    data = load_categories(folder, read_label_sheet(find_sheet(folder), ASKED), SIZE)
    settings = CategorySettings("features", folds=3, jobs=1)
    train_categories(data, root / "model.onnx", settings)
    return root / "model.onnx"


@pytest.fixture(scope="module")
def model(model_path):
    return read_model(model_path)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "images"
    made.mkdir()
    rng = np.random.default_rng(9)
    for name, bars in (("a_50kX", True), ("b_50kX", False), ("c_2000X", True), ("d", False)):
        cv2.imwrite(str(made / f"{name}.png"), picture(rng, bars, True, (60, 80)))
    (made / "bad.png").write_text("no image")
    return made


def answer_of(run, image, question):
    rows = run.answers[(run.answers["image"] == image) & (run.answers["question"] == question)]
    return rows.iloc[0]


def test_a_question_is_not_put_where_the_magnification_cannot_answer_it(folder, model):
    run = run_categories([folder], model)
    hidden = answer_of(run, "c_2000X", "dots")
    assert hidden["answer"] == NA
    assert hidden["why"].startswith("not visible at this magnification: 2000x")
    assert np.isnan(hidden["probability"])
    assert answer_of(run, "a_50kX", "dots")["why"] == ""
    unscaled = run.images.set_index("image").loc["d"]
    assert "magnification unknown" in unscaled["notes"]
    assert answer_of(run, "d", "dots")["answer"] in ("yes", "no", UNKNOWN)
    told = run_categories([folder], model, Reading(magnification=2000.0))
    assert (told.answers[told.answers["question"] == "dots"]["answer"] == NA).all()
    assert list(run.answers.columns) == [c.name for c in ANSWER_COLUMNS]


def test_answers_probabilities_and_unknown(folder, model):
    run = run_categories([folder], model)
    assert answer_of(run, "a_50kX", "shape")["answer"] == "bars"
    assert answer_of(run, "b_50kX", "shape")["answer"] == "blobs"
    sums = run.probabilities.groupby(["image", "question"])["probability"].sum()
    np.testing.assert_allclose(sums, 1)
    sure = run_categories([folder], model, Reading(unknown_below=1.0)).answers
    put = sure[sure["probability"].notna()]
    assert (put["answer"] == UNKNOWN).all()
    assert put["why"].str.contains("less than 1").all()
    with pytest.raises(InputError, match="from 0 to 1"):
        run_categories([folder], model, Reading(unknown_below=1.5))


def test_a_bad_image_is_one_line_and_the_rest_goes_on(folder, model):
    run = run_categories([folder], model)
    assert list(run.images["image"]) == ["a_50kX", "b_50kX", "c_2000X", "d"]
    (failure,) = run.failures
    assert "bad.png" in failure.path
    assert "\n" not in failure.reason


def test_the_folder_is_whole_and_the_same_again(folder, model, tmp_path):
    written = []
    for name in ("one", "two"):
        out = CategoriesFolder(tmp_path / name)
        out.finish(run_categories([folder], model, on_result=out))
        written.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert set(written[0]) == {
        "categories.csv", "categories.parquet", "probabilities.csv", "probabilities.parquet",
        "images.csv", "images.parquet", "sheet.csv", "overview.png", "run.json", "report.html",
        "report.pdf",
    }  # fmt: skip
    assert written[0] == written[1]
    page = written[0]["report.html"].decode()
    assert "not visible at this magnification" in page
    assert "macro-F1" in page
    table = pd.read_parquet(tmp_path / "one/categories.parquet")
    assert len(table) == 8
    sheet = read_label_sheet(tmp_path / "one/sheet.csv", questionnaire_of(model.card))
    assert sheet.of("a_50kX.png")[0] == 0


def test_nothing_usable_still_makes_a_report(tmp_path, model):
    (tmp_path / "bad.png").write_text("no image")
    out = CategoriesFolder(tmp_path / "run")
    out.finish(run_categories([tmp_path / "bad.png"], model, on_result=out))
    assert "Nothing was answered" in (tmp_path / "run/report.html").read_text()


def test_a_model_of_another_task_is_refused():
    with pytest.raises(InputError, match="train categories"):
        questionnaire_of(ModelCard("x", "phases", "classes", ("a", "b")))


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["layerscope", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr()
    return stopped.value.code, said.out, said.err


def test_commands(folder, model_path, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    arguments = ("run", folder, "--task", "categories", "--model", model_path, "-o", out)
    code, said, err = call(monkeypatch, capsys, *arguments, "--json")
    assert code == 3
    assert len(json.loads(said)["answers"]) == 8
    code, said, err = call(monkeypatch, capsys, *arguments)
    assert "a_50kX: shape bars" in said
    assert "not analysed" in err

    code, said, _ = call(monkeypatch, capsys, "questionnaire", "show")
    assert code == 0
    assert "many (>10)" in said
    toml = tmp_path / "mine.toml"
    call(monkeypatch, capsys, "questionnaire", "show", "graphene-tem", "-o", toml)
    sheet = tmp_path / "labels.csv"
    code, said, _ = call(
        monkeypatch, capsys, "questionnaire", "sheet", folder, "-o", sheet, "--questionnaire", toml
    )
    assert code == 0
    assert "5 rows" in said
    code, _, err = call(monkeypatch, capsys, "questionnaire", "sheet", folder, "-o", sheet)
    assert code == 2
    assert "is there already" in err
    code, said, _ = call(monkeypatch, capsys, "questionnaire", "check", sheet, folder)
    assert "0 matched, 0 unmatched, 5 empty" in said
    assert "5 matched, 0 rows without an image, 0 images without a row" in said


def test_training_from_the_command_line(tmp_path, monkeypatch, capsys):
    data = write_folder(tmp_path / "data", number=24)
    asked = tmp_path / "test.toml"
    asked.write_text(
        '[[question]]\nname = "shape"\nanswers = ["bars", "blobs"]\n'
        '[[question]]\nname = "dots"\nanswers = ["no", "yes"]\nmagnification = [1e4, 1e6]\n'
    )
    code, said, _ = call(
        monkeypatch, capsys, "train", "categories", data, "-o", tmp_path / "m.onnx", "--network",
        "features", "--size", 64, "--folds", 3, "--questionnaire", asked, "--second",
        data / "labels.csv",
    )  # fmt: skip
    assert code == 0
    assert "shape: 23 matched, 1 unmatched ('round'), 0 empty" in said
    assert "majority" in said
    assert "labels.csv against labels.csv" in said
    assert any(line.split()[:3] == ["shape", "1.00", "[1.00-1.00]"] for line in said.splitlines())
    assert (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(
    ("name", "times"),
    [("GO-3_50000X_07.tif", 50_000), ("a_50kx.dm3", 50_000), ("a 200 000x", 200_000),
     ("1,200,000X", 1_200_000), ("scan 1024x768", None), ("bin2x", None), ("a_2x_b", None),
     ("a_5000x_b_20kx", None), ("im_1.5kx", 1500), ("x", None)],
)  # fmt: skip
def test_magnification_in_names(name, times):
    assert magnification_in(name) == times


def test_magnification_as_text():
    assert parse_magnification("50 000x") == parse_magnification("50k") == 50_000
    for text in ("x", "-5", "nan", "0", ""):
        with pytest.raises(InputError, match="50kx"):
            parse_magnification(text)


def test_features_know_no_orientation_and_stay_finite():
    rng = np.random.default_rng(2)
    image = picture(rng, True, True, (96, 96))[..., None].astype(np.float32) / 255
    features = picture_features(image, 1e4)
    assert features.shape == (N_FEATURES,)
    for turned in (np.rot90(image), image[:, ::-1], np.rot90(image, 2)):
        found = picture_features(np.ascontiguousarray(turned), 1e4)
        np.testing.assert_allclose(found, features, atol=0.02, rtol=0.02)
    for flat in (np.zeros((64, 64, 1)), np.ones((64, 64, 3)), rng.random((64, 64, 1))):
        assert np.isfinite(picture_features(flat.astype(np.float32))).all()


@given(st.integers(20, 96), st.booleans(), st.integers(0, 99), st.floats(0, 1))
@settings(max_examples=12)
def test_features_see_no_padding(short, upright, seed, beside):
    """In a square, with any grey beside it, they are those of the image alone."""
    rng = np.random.default_rng(seed)
    image = picture(rng, True, True, (96, 96))[:short, :, None].astype(np.float32) / 255
    image = image.transpose(1, 0, 2) if upright else image
    alone = picture_features(image)
    square, shape = np.full((96, 96, 1), beside, np.float32), image.shape[:2]
    inner_part(square, shape)[:] = inner_part(square_picture(image, 96), shape)
    found = picture_features(inner_part(square, shape))
    np.testing.assert_allclose(found, alone, atol=1e-5, rtol=1e-5)
    turned = picture_features(np.ascontiguousarray(image.transpose(1, 0, 2)))
    np.testing.assert_allclose(turned, alone, atol=0.02, rtol=0.02)


def test_a_strip_of_a_texture_looks_like_all_of_it():
    """Grey values and texture of a half are those of the whole; with padding they are not."""
    rng = np.random.default_rng(1)
    whole = cv2.GaussianBlur(rng.normal(0, 1, (128, 128)), (0, 0), 1.5)[..., None]
    whole = (0.5 + 0.2 * whole / whole.std()).astype(np.float32).clip(0, 1)
    told = picture_features(whole)[:40]
    half = picture_features(whole[32:96])[:40]
    padded = picture_features(square_picture(whole[32:96], 128))[:40]
    assert np.median(np.abs(half - told)) < 0.03  # 0.011
    assert np.median(np.abs(padded - told)) > 0.2  # 0.37


def test_a_picture_is_fitted_without_cutting_or_stretching():
    image = np.full((40, 80, 1), 0.5, np.float32)
    image[10:30, 20:60] = 1.0
    excluded = np.zeros((40, 80), bool)
    excluded[:5] = True
    image[:5] = 0.0
    square = square_picture(image, 40, excluded)
    mean = image[5:].mean()
    np.testing.assert_allclose(square[[0, 9, 30, 39]], mean, atol=1e-5)
    np.testing.assert_allclose(square[10:12], mean, atol=1e-5)
    assert (square > 0.99).sum() == pytest.approx(200, abs=20)
    with pytest.raises(InputError, match="all of the picture"):
        square_picture(image, 40, np.ones((40, 80), bool))


def test_micrographs_in_memory(model):
    rng = np.random.default_rng(3)
    image = Micrograph(picture(rng, False, False), name="mine_50000X")
    run = run_categories([image], model)
    assert run.images["magnification"].tolist() == [50_000]
    assert answer_of(run, "mine_50000X", "shape")["answer"] == "blobs"


def test_what_does_not_fit_other_commands_is_said_in_a_line(
    folder, model_path, tmp_path, monkeypatch, capsys
):
    write_folder(tmp_path / "data", number=4)
    for arguments in (
        ("evaluate", model_path, tmp_path / "data"),
        ("models", "export", model_path, "--to", "bioimageio", "-o", tmp_path / "m.zip"),
        ("run", folder, "--task", "phases", "--model", model_path, "-o", tmp_path / "run"),
        ("run", folder, "--task", "categories", "-o", tmp_path / "run"),
    ):
        code, _, err = call(monkeypatch, capsys, *arguments)
        assert code == 2
        assert len(err.strip().splitlines()) == 1
    code, said, _ = call(monkeypatch, capsys, "models", "show", model_path)
    assert code == 0
    assert max(map(len, said.splitlines())) < 400
