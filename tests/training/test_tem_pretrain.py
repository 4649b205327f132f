"""Pretraining on synthetic TEM scenes: the same each time, figures, and a file to go on from."""

import numpy as np
import pytest

from layerscope.core.examples import IGNORE, DataSet, Example
from layerscope.errors import InputError
from layerscope.training.phases import PhaseSettings, train_phases
from layerscope.training.tem_pretrain import (
    CLASSES,
    TemPretrainSettings,
    map_figures,
    open_series,
    pretrain_tem,
)

TINY = TemPretrainSettings(
    "light-n", steps=2, scenes=2, held_out=1, scene_px=96, side_px=64, batch=1
)


def test_scenes_are_kept_and_no_held_out_one_is_learned(tmp_path):
    told = []
    scenes, held_out = open_series(TINY, tmp_path, lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    again, _ = open_series(TINY, tmp_path, lambda done, total: pytest.fail("drawn again"))
    for one, other in zip(scenes.images + scenes.labels, again.images + again.labels, strict=True):
        assert (one == other).all()
    assert not set(scenes.names) & set(held_out.names)
    assert scenes.overlapping
    assert scenes.classes == CLASSES


def test_figures_are_of_known_pixels():
    truth = np.zeros((1, 2, 2, 2), np.uint8)
    truth[0, 0] = [[1, 1], [IGNORE, 0]]
    found = np.zeros(truth.shape, bool)
    found[0, 0] = [[True, False], [True, False]]
    assert map_figures(found, truth) == {"mean_iou": 0.25, "iou_flake": 0.5, "iou_hole": 0.0}


def test_what_cannot_be_trained_is_said():
    with pytest.raises(InputError, match="multiple of 64"):
        TemPretrainSettings(side_px=100)


@pytest.mark.thorough
def test_a_training_goes_on_from_it(tmp_path):
    card = pretrain_tem(tmp_path / "base.onnx", TINY, folder=tmp_path / "kept")
    assert (card.output, card.classes, card.channels) == ("labels", CLASSES, 1)
    assert "synthetic_mean_iou" in card.metrics
    assert set(card.metrics["islands"]) == {"flake"}
    full = (tmp_path / "base.safetensors").stat().st_size
    assert full < 2.6 * card.parameters
    rng = np.random.default_rng(0)
    examples = tuple(
        Example.from_arrays(
            f"im{i}", rng.integers(0, 256, (64, 64)).astype(np.uint8),
            rng.integers(0, 2, (64, 64, 2)).astype(np.uint8),
        )
        for i in range(2)
    )  # fmt: skip
    lines = []
    settings = PhaseSettings(
        start=tmp_path / "base.onnx", steps=1, folds=2, jobs=1, overlapping=True
    )
    data = DataSet(examples, ("background", "hole", "flake"))
    done = train_phases(data, tmp_path / "own.onnx", settings, tell=lines.append)
    assert "starts from phases-tem" in lines
    assert done.card.network == "light-n"
