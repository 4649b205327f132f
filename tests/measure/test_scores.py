"""Scores of objects, pixels and numbers against closed forms and another implementation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics

from layerscope.core.evaluation import Objects
from layerscope.core.results import CropMasks
from layerscope.errors import InputError
from layerscope.measure.reliability import score_diagram
from layerscope.measure.scores_bootstrap import group_weights, interval_of, why_no_interval
from layerscope.measure.scores_overlap import mask_iou
from layerscope.measure.scores_panoptic import (
    confuse_objects,
    count_objects,
    detection_scores,
    panoptic_quality,
)
from layerscope.measure.scores_pixels import (
    PIXEL_SCORES,
    accuracy,
    class_scores,
    confuse_pixels,
    majority_table,
)
from layerscope.measure.scores_regression import score_numbers

SHAPE = (20, 40)


def _boxes(*boxes, classes=None, crowd=None):
    n = len(boxes)
    crops = tuple(np.ones((b[2] - b[0], b[3] - b[1]), bool) for b in boxes)
    return Objects(
        CropMasks(np.array(boxes, np.int64).reshape(-1, 4), crops, SHAPE),
        np.array(classes or [1] * n, np.int64),
        np.ones(n),
        np.array(crowd or [False] * n, bool),
    )


def _count(found, marked, n_classes=1):
    iou = mask_iou(found.masks, marked.masks, marked.crowd)
    return count_objects(found, marked, iou, n_classes), confuse_objects(
        found, marked, iou, n_classes
    )


def test_panoptic_quality_by_hand():
    marked = _boxes((0, 0, 10, 10), (0, 20, 10, 30), (12, 0, 20, 8))
    found = _boxes((0, 0, 10, 8), (0, 20, 10, 30), (12, 30, 20, 38))
    counts, confusion = _count(found, marked)
    assert counts.tolist() == [[2, 1, 1, 1.8]]
    np.testing.assert_allclose(panoptic_quality(counts)[0], [0.9 * 2 / 3, 0.9, 2 / 3])
    np.testing.assert_allclose(detection_scores(counts)[0], [2 / 3, 2 / 3, 2 / 3])
    assert confusion.tolist() == [[0, 1], [1, 2]]


def test_half_an_overlap_is_no_match_and_a_marked_object_is_found_once():
    marked = _boxes((0, 0, 10, 10))
    half, twice = _boxes((0, 0, 10, 5)), _boxes((0, 0, 10, 9), (0, 0, 10, 10))
    assert _count(half, marked)[0].tolist() == [[0, 1, 1, 0]]
    assert _count(twice, marked)[0].tolist() == [[1, 1, 0, 1]]


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong():
    marked = _boxes((0, 0, 20, 20), (0, 30, 10, 40), crowd=[True, False])
    found = _boxes((2, 2, 8, 8), (0, 30, 10, 40))
    counts, confusion = _count(found, marked)
    assert counts.tolist() == [[1, 0, 0, 1]]
    assert confusion.tolist() == [[0, 0], [0, 1]]


def test_a_wrong_class_is_confused_not_right():
    counts, confusion = _count(
        _boxes((0, 0, 9, 9), classes=[2]), _boxes((0, 0, 9, 9), classes=[1]), 2
    )
    assert counts.tolist() == [[0, 0, 1, 0], [0, 1, 0, 0]]
    assert confusion.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_nothing_marked_and_nothing_found_is_no_score():
    counts, _ = _count(_boxes(), _boxes())
    assert np.isnan(panoptic_quality(counts)).all()
    assert np.isnan(detection_scores(counts)).all()


LABELS = arrays.arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 2, 255]))


@settings(max_examples=40, deadline=None)
@given(LABELS, LABELS.filter(lambda a: (a != 255).any()))
def test_pixel_scores_are_those_of_scikit_learn(truth, answer):
    seen = (truth != 255) & (answer != 255)
    table = confuse_pixels(truth, answer, 3)
    assert table.sum() == seen.sum()
    if not seen.any():
        assert np.isnan(accuracy(table))
        return
    t, a = truth[seen], answer[seen]
    assert accuracy(table) == pytest.approx(metrics.accuracy_score(t, a))
    ours = dict(zip(PIXEL_SCORES, class_scores(table).T, strict=True))
    theirs = {
        "iou": metrics.jaccard_score,
        "dice": metrics.f1_score,
        "precision": metrics.precision_score,
        "recall": metrics.recall_score,
    }
    for name, function in theirs.items():
        expected = function(t, a, labels=[0, 1, 2], average=None, zero_division=0)
        known = np.isfinite(ours[name])
        np.testing.assert_allclose(ours[name][known], expected[known], atol=1e-12)
    flipped = [metrics.recall_score(t != k, a != k, zero_division=np.nan) for k in range(3)]
    np.testing.assert_allclose(ours["specificity"], flipped, atol=1e-12)


def test_the_majority_answer_keeps_what_is_there():
    table = np.array([[5, 1, 0], [2, 9, 3], [0, 0, 4]])
    trivial = majority_table(table)
    assert trivial.sum(axis=1).tolist() == table.sum(axis=1).tolist()
    assert accuracy(trivial) == pytest.approx(14 / 24)


def test_labels_beyond_the_classes_are_refused():
    with pytest.raises(InputError, match="beyond 1"):
        confuse_pixels(np.full((2, 2), 2, np.uint8), np.zeros((2, 2), np.uint8), 2)


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(float, 9, elements=st.floats(0, 1)),
    arrays.arrays(float, 9, elements=st.floats(0, 1), unique=True),
)
def test_number_scores_are_those_of_scikit_learn(estimate, truth):
    ours = score_numbers(estimate, truth)
    assert ours.rmse == pytest.approx(metrics.root_mean_squared_error(truth, estimate))
    assert ours.mae == pytest.approx(metrics.mean_absolute_error(truth, estimate))
    assert ours.r2 == pytest.approx(metrics.r2_score(truth, estimate))


def test_r2_knows_which_side_is_the_truth():
    truth, estimate = np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 1.0, 2.0, 2.0])
    assert score_numbers(estimate, truth).r2 == pytest.approx(1 - 2 / 5)
    assert score_numbers(truth, estimate).r2 == pytest.approx(1 - 2 / 1)
    assert score_numbers(estimate + 1, truth).bias == pytest.approx(1)


def test_a_constant_truth_has_no_r2_and_says_why():
    scores = score_numbers([0.1, 0.2, 0.4], [0.3, 0.3, 0.3])
    assert np.isnan(scores.r2)
    assert "no variance" in scores.note
    assert scores.mae == pytest.approx(0.4 / 3)


def test_images_of_a_group_are_drawn_together_whatever_their_order():
    groups = ["b", "a", "b", "c", "a"]
    weights = group_weights(groups, n_resamples=50)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    order = [4, 2, 0, 3, 1]
    again = group_weights([groups[i] for i in order], n_resamples=50)
    assert (again == weights[:, order]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_few_specimens_give_no_interval_and_say_so():
    assert "4 specimens" in why_no_interval(["a", "a", "b", "c", "d"])
    assert why_no_interval(list("abcde")) == ""


def test_the_interval_covers_the_mean_about_as_often_as_it_says():
    rng, hits = np.random.default_rng(1), 0
    for seed in range(200):
        effect = rng.normal(size=20)
        values = np.repeat(effect, 5) + 0.1 * rng.normal(size=100)
        weights = group_weights([f"{i // 5:02d}" for i in range(100)], n_resamples=200, seed=seed)
        low, high = interval_of((weights @ values / 100)[:, None])
        hits += bool(low[0] <= 0 <= high[0])
    assert 0.85 <= hits / 200 <= 0.99  # images drawn singly would cover about half


def test_a_figure_undefined_in_many_resamples_has_no_interval():
    values = np.stack([np.linspace(0, 1, 40), np.where(np.arange(40) < 10, np.nan, 1.0)], axis=1)
    low, high = interval_of(values)
    assert np.isfinite([low[0], high[0]]).all()
    assert np.isnan([low[1], high[1]]).all()


def test_scores_that_keep_their_promise_lie_on_the_diagonal():
    rng = np.random.default_rng(0)
    score = rng.random(20_000)
    assert score_diagram(score, rng.random(20_000) < score).calibration_error < 0.02
    assert score_diagram(score, rng.random(20_000) < score**2).calibration_error > 0.1
    with pytest.raises(InputError):
        score_diagram([1.2], [True])
