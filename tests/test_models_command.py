"""`layerscope models` as a user meets it."""

import json
import sys
import zipfile

import pytest

pytest.importorskip("onnx")

import model_files

from layerscope.cli import main
from layerscope.models.card import TrainingSet


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["layerscope", "models", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


@pytest.fixture
def model(tmp_path):
    return model_files.write(
        tmp_path / "film.onnx", network="light-n", thresholds={"film": 0.4},
        trained_on=(TrainingSet("hBN", "MIT", "A. Author", 12, 4),), metrics={"iou": 0.81234567},
        pixel_size_nm=(100.0, 200.0),
    )  # fmt: skip


def test_list(command, model, tmp_path):
    (tmp_path / "broken.onnx").write_text("no model")
    code, out, err = command("list")
    assert code == 0
    assert "film.onnx" in out
    assert "light-n" in out
    assert "bare, film" in out
    assert "broken.onnx" in err
    code, out, _ = command("list", tmp_path, "--json")
    mine = [m for m in json.loads(out) if m["path"].endswith("film.onnx")]
    assert mine[0]["card"]["network"] == "light-n"
    assert len(mine[0]["sha256"]) == 64


def test_show(command, model):
    code, out, _ = command("show", model)
    assert code == 0
    for told in ("light-n", "100 to 200 nm", "MIT, A. Author", "iou 0.8123", "film 0.4", "9 px"):
        assert told in out
    code, out, _ = command("show", model, "--json")
    assert json.loads(out)["thresholds"] == {"film": 0.4}


def test_export(command, model, tmp_path):
    code, _, _ = command("export", model, "--to", "onnx", "-o", tmp_path / "copy.onnx")
    assert code == 0
    assert (tmp_path / "copy.onnx").read_bytes() == model.read_bytes()
    code, out, _ = command("export", model, "--to", "bioimageio", "--author", "A", "--author", "B")
    assert code == 0
    assert "film.zip" in out
    with zipfile.ZipFile(tmp_path / "film.zip") as archive:
        told = json.loads(archive.read("rdf.yaml"))
    assert [a["name"] for a in told["authors"]] == ["A", "B"]
    assert told["license"] == "MIT"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "missing.onnx"), "cannot read"),
        (("show", "flake-q"), "unknown model"),
        (("list", "nowhere"), "no folder"),
        (("export", "film.onnx", "--to", "torch"), "unknown format"),
        (("export", "film.onnx", "--to", "onnx"), "model itself"),
    ],
)
def test_mistakes_are_told_in_one_line(command, model, arguments, said):
    code, _, err = command(*arguments)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
