"""Thresholds: the best of a grid, refined; per class over images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.examples import IGNORE
from layerscope.errors import InputError, UnknownName
from layerscope.training.thresholds import SCORES, class_thresholds, search_threshold


@settings(max_examples=40, deadline=None)
@given(st.floats(0.06, 0.94))
def test_a_peak_is_found_to_a_hundredth(peak):
    asked = []

    def score(threshold):
        asked.append(threshold)
        return -abs(threshold - peak)

    found, value = search_threshold(score)
    assert abs(found - peak) <= 0.01
    assert value == -abs(found - peak)
    assert len(asked) == len(set(asked)) <= 11 + 2 * 5


def test_of_equal_scores_the_middle():
    assert search_threshold(lambda t: 1.0)[0] == 0.5


def images(seed, count=3):
    """Probabilities that are right above 0.3 for class 1 and above 0.7 for class 2."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        maps = rng.random((40, 50, 3), np.float32)
        truth = (maps > np.array([0.5, 0.3, 0.7])).astype(np.uint8)
        yield maps, truth


@pytest.mark.parametrize("score", sorted(SCORES))
def test_each_class_gets_its_own(score):
    found = class_thresholds(images(0), ("a", "b", "c"), score=score)
    assert found["a"] == pytest.approx(0.5, abs=0.012)
    assert found["b"] == pytest.approx(0.3, abs=0.012)
    assert found["c"] == pytest.approx(0.7, abs=0.012)


def test_the_answer_is_that_of_counting_pixels():
    """Every threshold tried by hand over the pixels themselves."""
    rng = np.random.default_rng(1)
    truth = (rng.random((60, 60)) < 0.3).astype(np.uint8)
    maps = np.clip(0.4 + 0.2 * truth + rng.normal(0, 0.15, truth.shape), 0, 1).astype(np.float32)
    both = np.stack([1 - maps, maps], axis=2)
    found = class_thresholds([(both, truth)], ("rest", "it"))["it"]

    def iou(threshold):
        said = maps >= threshold
        return (said & (truth > 0)).sum() / (said | (truth > 0)).sum()

    best = max(iou(t) for t in np.arange(0.05, 0.95, 0.001))
    assert iou(found) > best - 0.01
    assert iou(found) > iou(0.5)


def test_pixels_that_nobody_labelled_do_not_count():
    pairs = list(images(2))
    hidden = [(np.where(np.arange(40)[:, None, None] < 20, 1 - m, m), t.copy()) for m, t in pairs]
    for _, truth in hidden:
        truth[:20] = IGNORE
    half = [(m[20:], t[20:]) for m, t in pairs]
    names = ("a", "b", "c")
    assert class_thresholds(hidden, names) == class_thresholds(half, names)


def test_a_class_that_is_nowhere_keeps_a_half():
    maps = np.full((8, 8, 2), 0.2, np.float32)
    assert class_thresholds([(maps, np.zeros((8, 8), np.uint8))], ("a", "b"))["b"] == 0.5


def test_what_does_not_fit_is_refused():
    maps = np.zeros((8, 8, 2), np.float32)
    with pytest.raises(InputError, match="classes"):
        class_thresholds([(maps, np.zeros((8, 9), np.uint8))], ("a", "b"))
    with pytest.raises(UnknownName, match="dice"):
        class_thresholds([], ("a",), score="dyce")
    with pytest.raises(InputError, match="expected 0 to 1"):
        search_threshold(lambda t: 0.0, low=0.9, high=0.1)
