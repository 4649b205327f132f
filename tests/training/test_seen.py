"""Images that taught a model are known again, and do not judge it."""

import json
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx")
import model_files
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from layerscope.cli import app
from layerscope.core.examples import DataSet, Example
from layerscope.errors import InputError
from layerscope.models.card import ModelCard, TrainingSet
from layerscope.models.file import read_model
from layerscope.report.evaluation_sections import trained_sentence
from layerscope.training.answers import open_candidate
from layerscope.training.evaluate import Examination, evaluate
from layerscope.training.seen import MOST_KEPT, Seen, fingerprint, fingerprints


def _image(number, shape=(24, 32)):
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def _data(numbers):
    labels = (np.arange(24)[:, None] < 12) * np.ones((24, 32), np.uint8)
    made = [Example.from_arrays(f"i{n:02d}", _image(n), labels) for n in numbers]
    return DataSet(tuple(made), ("bare", "film"))


def _model(path, numbers, **more):
    seen = fingerprints(_image(n) for n in numbers)
    source = TrainingSet("mine", images=len(numbers), groups=2, seen=seen, **more)
    return model_files.write(path, trained_on=(source,))


@given(st.integers(0, 10**6), st.booleans())
def test_grey_in_any_number_of_channels_is_one_image_and_one_level_is_another(seed, as_float):
    grey = _image(seed, (5, 7))
    grey = grey.astype(np.float32) / 255 if as_float else grey
    assert fingerprint(grey) == fingerprint(grey[..., None])
    assert fingerprint(grey) == fingerprint(np.repeat(grey[..., None], 3, axis=2))
    other = grey.copy()
    other[0, 0] = 1 - other[0, 0] if as_float else other[0, 0] ^ 1
    assert fingerprint(other) != fingerprint(grey)
    assert fingerprint(grey.reshape(7, 5)) != fingerprint(grey)


def test_a_card_keeps_no_more_than_it_can_hold_and_says_so():
    images = [np.full((1, 1), n, np.uint16) for n in range(MOST_KEPT + 1)]
    kept = fingerprints(images)
    assert len(kept) == MOST_KEPT
    assert list(kept) == sorted(kept)
    assert kept == fingerprints(images[::-1])
    card = {"trained_on": [{"name": "x", "groups": 3, "seen": list(kept)}]}
    assert not Seen.of_card(card).whole
    assert images[0] in Seen.of_card(card) or fingerprint(images[0]) > kept[-1]


@pytest.mark.parametrize(
    ("sources", "whole"),
    [((), True), (({"name": "synthetic", "images": 560},), True), (({"groups": 3},), False),
     (({"groups": 3, "seen": ["ab"]}, "nonsense"), True), (({"groups": 1, "seen": 7},), True)],
)  # fmt: skip
def test_what_a_card_does_not_name_is_told(sources, whole):
    assert Seen.of_card({"trained_on": sources}).whole == whole


def test_fingerprints_survive_the_card():
    card = ModelCard(
        "m", "phases", "classes", ("a", "b"), trained_on=(TrainingSet("x", seen=("0a", "1b")),)
    )
    assert ModelCard.from_json(card.to_json()) == card
    assert asdict(card)["trained_on"][0]["seen"] == ("0a", "1b")


def test_images_that_taught_the_model_count_in_no_figure(tmp_path):
    model = open_candidate(_model(tmp_path / "m.onnx", [1, 2, 3]))
    result = evaluate(model, _data([2, 3, 4, 5]))
    assert result.trained_on == ("i02", "i03")
    assert list(result.images["image"]) == ["i04", "i05"]
    assert trained_sentence(result) == "2 of 4 images were trained on and count in no figure"
    alone = evaluate(replace(model, seen=Seen()), _data([4, 5]))
    assert result.images.equals(alone.images)
    kept = evaluate(model, _data([2, 3, 4, 5]), Examination(keep_trained=True))
    assert len(kept.images) == 4
    assert "flatter" in trained_sentence(kept)
    with pytest.raises(InputError, match="learned from 2 of these 2 images"):
        evaluate(model, _data([2, 3]))


def _say(*arguments):
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_says_it_on_the_page_and_in_the_terminal(tmp_path):
    model, data = _model(tmp_path / "m.onnx", [1, 2]), tmp_path / "data"
    mask = (np.arange(24)[:, None] < 12) * np.ones((24, 32), np.uint8)
    for folder, picture in (("images", _image), ("masks", lambda n: mask)):
        (data / folder).mkdir(parents=True)
        for n in (2, 3):
            cv2.imwrite(str(data / folder / f"new-name-{n}.png"), picture(n))
    out = tmp_path / "out"
    said = _say("evaluate", model, data, "-o", out, "-q")
    assert "look: 1 of 2 images was trained on and counts in no figure" in said
    page = (out / "evaluation.html").read_text()
    assert "1 of 2 images was trained on" in page
    assert "new-name-2" in page


def test_a_run_knows_what_taught_its_model(tmp_path):
    card = read_model(_model(tmp_path / "m.onnx", [1, 2])).card
    (tmp_path / "classes").mkdir()
    (tmp_path / "areas.csv").write_text("image,class,value\na,bare,0\na,film,1\n")
    provenance = {"version": "0", "model": json.loads(card.to_json())}
    (tmp_path / "run.json").write_text(json.dumps({"provenance": provenance}))
    seen = open_candidate(tmp_path).seen
    assert _image(2) in seen
    assert _image(3) not in seen
    assert seen.whole
    (tmp_path / "run.json").write_text('{"provenance": {"model": "by name"}}')
    assert open_candidate(tmp_path).seen == Seen()
