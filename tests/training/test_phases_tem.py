"""`phases-tem`, the network that comes with the package, and what starts from it."""

import numpy as np
import pytest

from layerscope.core.examples import DataSet, Example
from layerscope.measure.scores_masks import MaskCounts, mean_figure
from layerscope.models.shipped import model_path, open_model
from layerscope.synth.em import synth_em
from layerscope.tasks.phases import cut_masks
from layerscope.training.overlapping import PRETRAINED, for_classes, shipped_weights
from layerscope.training.phases import PhaseSettings, train_phases
from layerscope.training.weights import read_state


def test_the_shipped_file_is_small_and_says_where_it_comes_from():
    model = open_model(PRETRAINED)
    assert model_path(PRETRAINED).stat().st_size < 2.5e6
    assert shipped_weights(PRETRAINED).stat().st_size < 2.5e6
    assert model.card.precision == "fp16"
    assert (model.card.classes, model.card.output) == (("flake", "hole"), "labels")
    assert {t.licence for t in model.card.trained_on} == {"BSD-3-Clause"}


def test_flakes_and_holes_of_films_that_it_never_saw_are_found():
    model, parts = open_model(PRETRAINED), []
    for seed in (7_000_000_001, 7_000_000_002, 7_000_000_003):
        scene = synth_em(seed, shape=(320, 320), pixel_size_nm=6.0)
        found = model.predict(scene.micrograph.data, 6.0)
        cuts = np.array([model.card.thresholds[c] for c in model.card.classes], np.float32)
        parts.append(MaskCounts.compare(cut_masks(found, cuts), scene.maps_seen()))
    assert mean_figure(MaskCounts.together(parts).figure("iou")) > 0.6


def test_its_last_layer_answers_for_classes_in_any_order():
    state = read_state(shipped_weights(PRETRAINED))
    turned = for_classes(state, ("flake", "hole"), ("hole", "dirt", "flake"))
    (key,) = (k for k in state if k.endswith("head.weight"))
    assert (turned[key][2] == state[key][0]).all()
    assert (turned[key][0] == state[key][1]).all()
    assert not turned[key][1].any()


@pytest.mark.thorough
def test_a_training_on_grey_images_starts_from_it(tmp_path):
    rng, lines = np.random.default_rng(0), []
    examples = tuple(
        Example.from_arrays(
            f"im{i}", rng.integers(0, 256, (64, 64)).astype(np.uint8),
            rng.integers(0, 2, (64, 64, 2)).astype(np.uint8),
        )
        for i in range(2)
    )  # fmt: skip
    data = DataSet(examples, ("background", "flake", "hole"))
    settings = PhaseSettings(steps=1, folds=2, jobs=1, overlapping=True)
    train_phases(data, tmp_path / "own.onnx", settings, tell=lines.append)
    assert f"starts from {PRETRAINED}" in lines
