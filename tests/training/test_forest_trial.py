"""Pixels drawn strip by strip have the features that they have in the whole image."""

import numpy as np
import pytest

from layerscope.ops.normalisation import normalise
from layerscope.ops.pixel_features import pixel_features
from layerscope.training import forest_trial
from layerscope.training.choice import Candidate
from layerscope.training.forest_trial import sample_images
from layerscope.training.labelled import LabelledImages

SHAPE = (300, 60)


@pytest.fixture
def data():
    image = np.random.default_rng(0).integers(0, 255, (*SHAPE, 1), np.uint8)
    labels = (image[:, :, 0] > 200).astype(np.uint8)
    return LabelledImages(("a",), ("a",), (image,), (labels,), ("x", "y"))


@pytest.mark.parametrize(("most_px", "strips"), [(10**9, 5), (SHAPE[1] * 150, 2)])
def test_strips_change_no_feature(data, monkeypatch, most_px, strips):
    monkeypatch.setattr(forest_trial, "_STRIP_VALUES", SHAPE[1] * 54 * 64)
    monkeypatch.setattr(forest_trial, "_MOST_PX", most_px)
    drawn = sample_images(data, Candidate("forest", "standard", "wide"), 400)
    whole = pixel_features(normalise("standard", data.unit(0)), "wide").reshape(54, -1).T
    rows = {row.tobytes() for row in np.ascontiguousarray(whole)}
    learned, checked = drawn.learned[0], drawn.checked[0]
    near = [np.abs(whole - row).max(axis=1).min() for row in learned.features[::40]]
    assert max(near) < 1e-5
    # One of the last strip's rows may differ in rounding, most do not.
    assert np.mean([row.tobytes() in rows for row in learned.features]) > 0.5
    assert len(checked.classes) <= strips * 64 * SHAPE[1]
    assert learned.weights.sum() == pytest.approx(len(checked.classes))


def test_what_is_drawn_depends_on_the_seed_alone(data):
    candidate = Candidate("forest", "unit", "scales")
    one, two, other = (
        sample_images(data, candidate, 300, seed=s, jobs=j).learned[0].features
        for s, j in ((1, 1), (1, 4), (2, 1))
    )
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)
