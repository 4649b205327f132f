"""Label pictures from elsewhere, models as a start, and the command itself."""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request

import cv2
import numpy as np
import pytest
from label_page import CLASSES, DARK, FEW_TREES, LIGHT
from typer.testing import CliRunner

from layerscope.app.masks import open_masks
from layerscope.app.painter import MODEL, STROKES, Painter
from layerscope.app.palette import paint_classes
from layerscope.app.shares import classified
from layerscope.cli import app
from layerscope.errors import InputError, LayerscopeError, UnreadableFile
from layerscope.models.file import read_model

PICTURE = np.where(np.arange(96) < 40, 0, 1).astype(np.uint8) * np.ones((72, 1), np.uint8)


@pytest.fixture
def masks(tmp_path):
    """Folder of label pictures with their classes."""
    (tmp_path / "set" / "masks").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "set" / "masks" / "a.png"), PICTURE)
    (tmp_path / "set" / "classes.toml").write_text("[classes]\nlight = 0\ndark = 1\n")
    return tmp_path / "set"


def test_values_of_masks_become_those_of_the_project(masks):
    found = open_masks(masks)
    assert found.classes == ("light", "dark")
    labels = found.read("a", CLASSES)
    assert (labels == np.where(PICTURE == 1, 1, 2)).all()
    assert found.read("b", CLASSES) is None
    with pytest.raises(InputError, match=r"--classes dark,light,other|--classes light,dark"):
        found.read("a", ("light",))


def test_masks_of_a_run_are_named_by_its_model(tmp_path):
    (tmp_path / "classes").mkdir()
    cv2.imwrite(str(tmp_path / "classes" / "a.png"), PICTURE)
    document = {"provenance": {"model": {"classes": ["background", "dark"]}}}
    (tmp_path / "run.json").write_text(json.dumps(document))
    found = open_masks(tmp_path)
    assert found.classes == ("dark",)
    assert (found.read("a", CLASSES) == PICTURE).all()


def test_masks_without_pictures_or_names_are_refused(tmp_path, masks):
    with pytest.raises(UnreadableFile, match="no label pictures"):
        open_masks(tmp_path / "nowhere")
    (masks / "classes.toml").unlink()
    with pytest.raises(InputError, match="which value is which class"):
        open_masks(masks)
    (masks / "classes.toml").write_text("[classes]\nlight = 300\n")
    with pytest.raises(InputError, match="0 to 255"):
        open_masks(masks)


def test_a_saved_model_answers_in_the_next_project(project, opening, tmp_path):
    painter = Painter(project, FEW_TREES)
    for body in (DARK, LIGHT):
        painter.changed(0, project.do(0, "stroke", body).box)
    painter.classifier().save(tmp_path / "model.onnx")
    other = opening(tmp_path / "next", classes=["light", "dark"])
    started = Painter(other, model=read_model(tmp_path / "model.onnx"))
    assert started.sources() == [MODEL]
    assert list(started.fill(1, MODEL))
    labels = classified(started.shares(1, MODEL), [0, 0])
    assert (labels == np.where(np.arange(96) < 48, 2, 1)).mean() > 0.95
    with pytest.raises(InputError, match="two classes"):
        list(Painter(other).fill(1, STROKES))


def test_usual_names_have_their_colours_and_nobody_shares_one():
    first = {c.name: c.colour for c in paint_classes(["support", "flake", "hole"])}
    assert first == {c.name: c.colour for c in paint_classes(["hole", "support", "flake"])}
    many = paint_classes(["x", "flake", "gfm", "film", "carbon", "y", "z", "u", "v"])
    assert len({c.colour for c in many}) == 9
    for wrong in ([], ["a", "A"], [" "], ["x" * 50], list("abcdefghij")):
        with pytest.raises(InputError):
            paint_classes(wrong)


def test_the_command_serves_saves_and_ends(images, tmp_path):
    pytest.importorskip("uvicorn")
    arguments = ["label", str(images), "-o", str(tmp_path / "p"), "--no-browser", "--port", "0"]
    with subprocess.Popen(
        [sys.executable, "-m", "layerscope", *arguments, "--classes", "dark,light"],
        stdout=subprocess.PIPE, text=True, bufsize=1,
    ) as process:  # fmt: skip
        address = ""
        while not address:
            found = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
            address = found.group() if found else ""
        body = json.dumps(DARK).encode()
        headers = {"content-type": "application/json", "x-layerscope": "1"}
        asked = urllib.request.Request(address + "api/images/0/strokes", body, headers)
        for attempt in range(100):
            try:
                told = json.load(urllib.request.urlopen(asked, timeout=30))
                break
            except OSError:
                assert attempt < 99
                time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.wait(60)
    assert told["state"] == "painted"
    painted = cv2.imread(str(tmp_path / "p" / "scribbles" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert (painted == 1).sum() == told["scribbled"]["dark"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.png"], "no such file"),
        ([], "no images"),
        (["{images}", "--classes", "a,a"], "different names"),
        (["{images}", "--masks", "nowhere"], "no label pictures"),
        (["{images}", "--model", "nowhere.onnx"], "cannot read model"),
        (["{images}", "--pixel-size", "big"], "not a length"),
        (["{images}", "--host", "300.1.1.1"], "cannot listen"),
    ],
)
def test_the_command_says_what_is_wrong(images, tmp_path, arguments, said):
    filled = [a.replace("{images}", str(images)) for a in arguments]
    result = CliRunner().invoke(app, ["label", *filled, "-o", str(tmp_path / "p"), "--no-browser"])
    assert isinstance(result.exception, LayerscopeError)
    assert re.search(said, str(result.exception))
