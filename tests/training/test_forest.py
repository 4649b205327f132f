"""Pixel forests: their file answers as they do, and drawn pixels stand for the image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.examples import IGNORE
from layerscope.errors import InputError
from layerscope.models.card import ModelCard
from layerscope.models.file import read_model
from layerscope.models.forest import (
    PARITY,
    ForestSettings,
    PixelSamples,
    grow_forest,
    write_forest,
)
from layerscope.models.session import open_session
from layerscope.models.trees import trees_of
from layerscope.models.trees_file import forest_graph
from layerscope.ops.normalisation import normalise
from layerscope.ops.pixel_features import pixel_features
from layerscope.training.forest import draw_pixels


def samples(classes, n=3000, width=6, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, width)).astype(np.float32)
    level = features[:, 0] + 0.5 * features[:, 1] + 0.3 * rng.standard_normal(n)
    place = np.digitize(level, np.quantile(level, np.linspace(0, 1, len(classes) + 1)[1:-1]))
    return PixelSamples(features, np.array(classes, np.uint8)[place], np.ones(n))


@pytest.mark.parametrize(
    ("classes", "outputs"), [((0, 1), 2), ((1, 2), 3), ((0, 1, 2), 3), ((0, 3), 5)]
)
def test_the_file_answers_as_the_forest(classes, outputs):
    drawn = samples(classes)
    forest = grow_forest(drawn, ForestSettings(trees=12))
    session = open_session(forest_graph([trees_of(forest, outputs)]))
    asked = samples(classes, seed=1).features
    # Values on a threshold itself must go the same way too.
    asked[: len(forest.estimators_), 0] = [t.tree_.threshold[0] for t in forest.estimators_]
    found = session.run(None, {"features": asked})[0]
    wanted = np.zeros((len(asked), outputs))
    wanted[:, forest.classes_] = forest.predict_proba(asked)
    assert np.abs(found - wanted).max() < PARITY
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_a_model_file_answers_for_an_image(tmp_path):
    """Through windows, normalisation and file: what the forest says of the features."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (70, 90, 1), np.uint8)
    unit = normalise("standard", image.astype(np.float32) / np.float32(255))
    rows = pixel_features(unit, "wide").reshape(54, -1).T
    classes = (rows[:, 8] > 0).astype(np.uint8)
    forest = grow_forest(PixelSamples(rows, classes, np.ones(len(rows))), ForestSettings(trees=9))
    card = ModelCard(
        "f", "phases", "classes", ("a", "b"), channels=1, normalisation="standard",
        input="pixel_features", features="wide", network="forest",
    )  # fmt: skip
    written = write_forest(forest, card, tmp_path / "f.onnx", rows[:200])
    model = read_model(tmp_path / "f.onnx")
    assert model.card == written
    assert written.metrics["onnx_parity"] <= PARITY
    wanted = forest.predict_proba(rows).reshape(70, 90, 2)
    np.testing.assert_allclose(model.predict(image), wanted, atol=PARITY)


def test_the_same_forest_for_any_number_of_jobs():
    drawn = samples((0, 1))
    one, two = (
        forest_graph([trees_of(grow_forest(drawn, ForestSettings(trees=8, jobs=jobs)), 2)])
        for jobs in (1, 2)
    )
    assert one == two


@given(st.integers(0, 10_000), st.integers(1, 900))
@settings(max_examples=40, deadline=None)
def test_drawn_pixels_stand_for_all(seed, number):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, IGNORE], (20, 30), p=[0.7, 0.25, 0.02, 0.03]).astype(np.uint8)
    index, weights = draw_pixels(labels, number, rng)
    flat = labels.ravel()
    assert len(set(index.tolist())) == len(index)
    assert (flat[index] != IGNORE).all()
    for value in np.unique(flat[flat != IGNORE]):
        assert weights[flat[index] == value].sum() == pytest.approx((flat == value).sum())


def test_a_rare_class_is_drawn():
    labels = np.zeros((100, 100), np.uint8)
    labels[:2, :5] = 1
    index, _ = draw_pixels(labels, 200, np.random.default_rng(0))
    assert np.count_nonzero(labels.ravel()[index]) == 10


def test_one_class_teaches_nothing():
    with pytest.raises(InputError, match="only one class"):
        grow_forest(samples((1,)), ForestSettings())
