"""Scribbles in files, thresholds beside a model, windows to paint next, and the commands."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from layerscope.cli import app
from layerscope.core.micrograph import Micrograph
from layerscope.errors import InputError, UnreadableFile
from layerscope.labelling.classifier import PaintSettings
from layerscope.labelling.learning import fit_pixels
from layerscope.labelling.regions import next_regions
from layerscope.labelling.scribble_files import (
    class_names,
    find_scribbles,
    read_scribbles,
    write_scribbles,
)
from layerscope.labelling.thresholds import (
    Thresholds,
    decide,
    read_thresholds,
    thresholds_path,
    write_thresholds,
)
from layerscope.models.file import read_model
from layerscope.report.doubt_pictures import draw_doubt

SHAPE = (90, 120)


def halves(seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 40, SHAPE).astype(np.uint8) + np.uint8(40)
    image[:, 60:] += 120
    labels = np.zeros(SHAPE, np.uint8)
    labels[40:43, 5:50], labels[20:23, 70:110] = 1, 2
    return image, labels


def test_scribbles_come_back_and_find_their_image(tmp_path):
    labels = halves(0)[1]
    for name in ("a.png", "B_Labels.png", "c.txt", "other.png"):
        if name.endswith("png"):
            write_scribbles(tmp_path / name, labels)
        else:
            (tmp_path / name).write_text("x")
    found = find_scribbles(["a", "b", "c"], tmp_path)
    assert {k: p.name for k, p in found.items()} == {"a": "a.png", "b": "B_Labels.png"}
    np.testing.assert_array_equal(read_scribbles(found["b"], SHAPE), labels)
    with pytest.raises(InputError, match="on an image of"):
        read_scribbles(found["a"], (3, 4))
    with pytest.raises(InputError, match="no scribbles of these images"):
        find_scribbles(["x"], tmp_path)
    write_scribbles(tmp_path / "a_labels.png", labels)
    with pytest.raises(InputError, match="keep one"):
        find_scribbles(["a"], tmp_path)
    with pytest.raises(InputError, match="no folder"):
        find_scribbles(["a"], tmp_path / "none")


def test_scribbles_of_ilastik_are_read(tmp_path):
    pytest.importorskip("h5py")
    from layerscope.io.ilastik.exports import write_labels

    labels = halves(0)[1]
    write_labels(tmp_path / "a_Labels.h5", labels)
    found = find_scribbles(["a"], tmp_path)
    np.testing.assert_array_equal(read_scribbles(found["a"], SHAPE), labels)


def test_classes_get_the_names_that_were_told():
    assert class_names({1: "x"}, 2) == ("x", "class 2")
    with pytest.raises(InputError, match="class 3"):
        class_names({3: "x"}, 2)


@given(
    st.floats(0.01, 1), st.dictionaries(st.sampled_from("abc"), st.floats(0.01, 1)),
    st.dictionaries(st.tuples(st.sampled_from(["i", "é 1"]), st.sampled_from("abc")),
                    st.floats(0.01, 1)),
)  # fmt: skip
def test_thresholds_come_back(tmp_path_factory, default, of_class, of_image):
    path = tmp_path_factory.mktemp("t") / "m.thresholds.json"
    known = Thresholds(default, of_class, of_image)
    write_thresholds(path, known)
    assert read_thresholds(path) == known


def test_the_narrowest_threshold_decides():
    p = np.array([[[0.75, 0.25], [0.65, 0.35], [0.45, 0.55], [0.5, 0.5]]], np.float32)
    cuts = Thresholds(0.7, {"b": 0.5}, {("img", "a"): 0.6})
    np.testing.assert_array_equal(decide(p, ("a", "b"), Thresholds(), "img"), [[1, 0, 0, 0]])
    np.testing.assert_array_equal(decide(p, ("a", "b"), cuts, "img"), [[1, 1, 2, 2]])
    np.testing.assert_array_equal(decide(p, ("a", "b"), cuts, "other"), [[1, 0, 2, 2]])
    seventy = np.full((1, 1, 2), np.float32(70) * np.float32(1 / 100))
    assert decide(seventy, ("a", "b"), Thresholds(), "x")[0, 0] == 1


def test_damaged_thresholds_are_refused(tmp_path):
    path = tmp_path / "m.thresholds.json"
    assert read_thresholds(path) == Thresholds()
    for text in ("{", "[]", "{}", '{"default": "x"}', '{"default": 0.5, "images": {"a": 3}}'):
        path.write_text(text)
        with pytest.raises(UnreadableFile):
            read_thresholds(path)
    path.write_text('{"default": 7}')
    with pytest.raises(InputError, match="over 0"):
        read_thresholds(path)


def test_what_is_painted_is_not_suggested_and_the_strange_is():
    image, labels = halves(0)
    settings = PaintSettings(trees=15, normalisation="unit", jobs=1)
    classifier = fit_pixels([image], [labels], ("a", "b"), settings)
    between = np.full(SHAPE, 118, np.uint8)  # neither dark nor bright: the forest cannot know
    chosen = next_regions(
        classifier, [("painted", image, labels), ("same", image, None), ("new", between, None)], 5
    )
    assert [r.image for r in chosen] == ["new", "same"]
    assert chosen[0].distance > chosen[1].distance
    assert all(0 <= r.uncertainty <= 1 and 0 <= r.distance <= 1 for r in chosen)
    assert next_regions(classifier, [("painted", image, labels)], 5) == []


def test_the_picture_shows_all_and_says_what_is_undecided():
    image, labels = halves(0)
    micrograph = Micrograph(image)
    unsure = np.zeros(SHAPE, np.float32)
    unsure[:, 60:] = 1
    drawn = draw_doubt(micrograph, labels, unsure, ("a", "b"), title="x")
    right = drawn[:, drawn.shape[1] // 2 :].reshape(-1, 3).astype(int)
    for colour in ((255, 234, 70), (0, 32, 76)):  # both ends of cividis
        assert (np.abs(right - colour).max(axis=1) < 12).any()


def test_commands_train_classify_and_run(tmp_path):
    for folder in ("images", "scribbles"):
        (tmp_path / folder).mkdir()
    for seed in range(3):
        image, labels = halves(seed)
        cv2.imwrite(str(tmp_path / "images" / f"i{seed}.png"), image)
        if seed:
            write_scribbles(tmp_path / "scribbles" / f"i{seed}.png", labels)
    runner, model = CliRunner(), str(tmp_path / "m.onnx")
    said = runner.invoke(
        app, ["train", "pixels", str(tmp_path / "images"), "--scribbles",
              str(tmp_path / "scribbles"), "-o", model, "--classes", "dark,bright",
              "--trees", "9", "--features", "scales"],
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    assert "dark: 270 painted pixels" in said.output
    assert "i0  rows" in said.output
    assert read_model(model).card.classes == ("dark", "bright")
    out = tmp_path / "out"
    said = runner.invoke(
        app, ["classify", str(tmp_path / "images"), "--model", model, "-o", str(out),
              "--threshold", "dark=0.6", "--threshold", "I1:bright=0.9"],
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    cuts = json.loads(thresholds_path(tmp_path / "m.onnx").read_text())
    assert cuts == {"default": 0.7, "classes": {"dark": 0.6}, "images": {"i1": {"bright": 0.9}}}
    classes = cv2.imread(str(out / "i0_classes.png"), cv2.IMREAD_UNCHANGED)
    assert (classes[:, :50] == 1).mean() > 0.95
    assert (classes[:, 70:] == 2).mean() > 0.95
    assert (out / "shares.csv").read_text().splitlines()[0] == "image,dark,bright,unknown"
    wrong = runner.invoke(
        app, ["classify", str(tmp_path / "images"), "--model", model, "--threshold", "x=0.6"]
    )
    assert isinstance(wrong.exception, InputError)
