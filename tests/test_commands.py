"""The command line as a user meets it: exit codes, one clear line per error, files written."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from layerscope.cli import main

ASKED = ["--material", "graphene", "--substrate", "SiO2(90nm)/Si", "--tone", "linear", "-q"]


@pytest.fixture
def command(capsys, monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["layerscope", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


def test_help_is_fast():
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "layerscope", "--help"], capture_output=True, check=False
    )
    after = os.times()
    # Of the processor: the clock on the wall depends on what else runs.
    assert after.children_user - before.children_user < 1  # 0.21 s
    assert done.returncode == 0
    assert b"calibrate" in done.stdout


def test_importing_costs_nothing():
    heavy = "numpy torch pandas matplotlib scipy PIL tifffile reportlab cv2"
    code = f"import layerscope.cli, sys; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_run_writes_everything(command, synthetic_folder, tmp_path):
    out = tmp_path / "out"
    code, text, _ = command("run", synthetic_folder, *ASKED, "--pixel-size", "0.3844um", "-o", out)
    assert code == 0
    assert "calibration ok" in text
    names = {p.name for p in out.iterdir()}
    assert names >= {
        "objects.csv", "objects.parquet", "annotations.coco.json", "masks", "layers", "geojson",
        "overlays", "report.html", "report.pdf", "run.json", "calibration.toml",
    }  # fmt: skip
    record = json.loads((out / "run.json").read_text())
    assert record["images"][0]["pixel_size_um"] == 0.3844
    assert len(record["images"][0]["sha256"]) == 64


def test_json_and_some_failed(command, synthetic_folder, tmp_path):
    (tmp_path / "words.jpg").write_text("no image")
    arguments = ["run", synthetic_folder, tmp_path / "words.jpg", *ASKED, "--no-report", "--json"]
    code, text, _ = command(*arguments, "-o", tmp_path / "out")
    assert code == 3
    summary = json.loads(text)
    assert summary["images"] == 3
    assert "text" in summary["failed"][0]["reason"]


def test_nothing_usable(command, tmp_path):
    (tmp_path / "words.jpg").write_text("no image")
    arguments = (tmp_path / "words.jpg", *ASKED, "--no-report", "-o", tmp_path / "out")
    assert command("run", *arguments)[0] == 4
    assert command("calibrate", tmp_path / "none.jpg", *ASKED)[0] == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--material", "graphen"], "Did you mean graphene"),
        (["--substrate", "SiO3(90nm)/Si"], "SiO2"),
        (["--substrate", "SiO2/Si"], "how thick"),
        (["--pixel-size", "3"], "0.3844um"),
        (["--tone", "srbg"], "srgb"),
        (["--layers", "0-3"], "1-3"),
        (["--min-area", "many"], "100um2"),
        (["--objective", "20x"], "table"),
        (["--calibration", "none.toml"], "none.toml"),
        (["--labels", "none.csv"], "none.csv"),
        (["--head", "none.json"], "none.json"),
        (["--flat-field", "none.png"], "none.png"),
        (["-o", "/proc/no/such"], "-o"),
    ],
)
def test_usage_errors_are_one_line(command, synthetic_folder, tmp_path, change, words):
    code, _, err = command("run", synthetic_folder, *ASKED, "-o", tmp_path / "out", *change)
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_contrast_answers_which_oxide(command, tmp_path):
    code, text, _ = command(
        "contrast", "graphene", "-s", "SiO2(90nm)/Si", "--best-oxide", "-o", tmp_path / "c.png"
    )
    assert code == 0
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
    best = int(text.split("seen best on a film of")[1].split()[0])
    assert 75 <= best <= 95  # Blake et al. (2007): 90 nm, for green light
    code, text, _ = command("contrast", "graphene", "--json", "--layers", 3)
    assert len(json.loads(text)["contrast_rgb"]) == 3


def test_synth_calibrate_and_reuse(command, tmp_path):
    code, text, _ = command("synth", "flakes", "-o", tmp_path / "s", "-n", 2, "--seed", 4)
    assert code == 0
    assert "2 images" in text
    assert (tmp_path / "s" / "truth.csv").exists()
    saved = tmp_path / "c.toml"
    assert command("calibrate", tmp_path / "s", *ASKED, "-o", saved)[0] == 0
    arguments = ["run", tmp_path / "s", *ASKED, "--no-report", "-o", tmp_path / "out"]
    code, text, _ = command(*arguments, "--calibration", saved)
    assert code == 0
    assert "2L" in text


def test_lists(command):
    assert "0.335 nm" in command("materials")[1]
    assert "ccd_linear" in command("synth", "flakes", "-o", "x", "--camera", "list")[1]
    assert command("--version")[1].startswith("layerscope ")


@pytest.mark.parametrize("form", ["gsf", "png"])
def test_synthetic_films_are_covered_as_they_were_drawn(command, tmp_path, form):
    asked = ("--size", "320x256", "--coverage", 0.4, "--format", form)
    code, text, _ = command("synth", "films", "-o", tmp_path / "s", "-n", 2, *asked)
    assert (code, text.split()[0]) == (0, "2")
    truth = pd.read_csv(tmp_path / "s" / "truth.csv")["coverage"]
    scans = sorted((tmp_path / "s").glob(f"*.{form}"))
    where = ("-o", tmp_path / "r", "--no-report", "-q")
    assert command("run", *scans, "--task", "coverage", "-m", "WSe2", *where)[0] == 0
    found = pd.read_csv(tmp_path / "r" / "images.csv")["coverage"]
    assert np.abs(found - truth).max() < 0.03
    assert command("synth", "films", "-o", tmp_path / "t", "--format", "tif")[0] == 2


@pytest.mark.parametrize(
    "what", [("train", "flakes", "."), ("pretrain", "flakes"), ("pretrain", "phases")]
)
def test_without_torch_training_says_what_to_install(what):
    code = (
        "import sys; sys.modules['torch'] = None; from layerscope.cli import main; "
        f"sys.argv = ['layerscope', *{what!r}, '-o', 'x.onnx']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "layerscope: this command needs an optional part: pip install 'layerscope[train]'"
    ]
