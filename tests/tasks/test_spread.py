"""Intervals and tables of a run with an ensemble: its spread is used, and told."""

import numpy as np
import pytest

pytest.importorskip("onnx")
import model_files

from layerscope.core.micrograph import Micrograph
from layerscope.errors import InputError
from layerscope.models.file import read_model
from layerscope.segmentation import run_phases
from layerscope.tasks.phases import disagreement, find_phases, measure_areas
from layerscope.tasks.shares import ShareErrors

ERRORS = {"rms": [0.4, 0.4], "specimens": 5, "images": 5, "by": "spread"}


@pytest.fixture
def image():
    pixels = np.random.default_rng(4).integers(0, 256, (40, 52), dtype=np.uint8)
    excluded = np.zeros((40, 52), bool)
    excluded[30:] = True
    return Micrograph(pixels, name="a", excluded=excluded)


def opened(path, **graph):
    metrics = {"share_errors": ERRORS}
    return read_model(model_files.write(path, model_files.graph(**graph), metrics=metrics))


def test_intervals_are_as_wide_as_the_networks_disagree(image, tmp_path):
    model = opened(tmp_path / "m.onnx", spread=True)
    run = run_phases([image], model)
    mean, spread = model.predict_with_spread(image.data)
    counted = spread[:30].reshape(-1, 2)
    share = np.bincount(mean[:30].argmax(axis=2).ravel(), minlength=2) / (30 * 52)
    low, high = ShareErrors((0.4, 0.4), 5, 5).interval(share, counted.mean(axis=0, dtype=float))
    np.testing.assert_allclose(run.areas["fraction_low"], low, atol=1e-6)
    np.testing.assert_allclose(run.areas["fraction_high"], high, atol=1e-6)
    chosen = np.take_along_axis(counted, mean[:30].argmax(axis=2).reshape(-1, 1), axis=1)
    assert run.images["disagreement"][0] == pytest.approx(chosen.mean(), rel=1e-5)
    assert disagreement(find_phases(image, model)) == run.images["disagreement"][0]


def test_one_network_disagrees_with_nobody(image, tmp_path):
    path = model_files.write(tmp_path / "one.onnx", model_files.graph())
    run = run_phases([image], read_model(path))
    assert np.isnan(run.images["disagreement"][0])


def test_a_card_that_asks_for_a_spread_which_is_not_there_fails_by_name(image, tmp_path):
    phases = find_phases(image, opened(tmp_path / "m.onnx"))
    errors = ShareErrors.from_metrics(ERRORS, 2)
    with pytest.raises(InputError, match="no ensemble"):
        measure_areas(phases, errors)
