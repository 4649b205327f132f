"""Scores of candidates: laws of IoU, and a choice on the folds that all were tried on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.training.choice import (
    Candidate,
    HeldOut,
    Trial,
    best_trial,
    confusion_of,
    held_out_metrics,
    iou_of,
    majority_trial,
    mean_iou,
    trial_lines,
)


def answer(image, fold, confusion):
    return HeldOut(image, fold, np.array(confusion, float), np.full(2, 0.01), 0.02)


RIGHT, HALF = [[0.5, 0.0], [0.0, 0.5]], [[0.25, 0.25], [0.25, 0.25]]


@given(st.integers(0, 10_000), st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_iou_is_intersection_over_union(seed, classes):
    rng = np.random.default_rng(seed)
    true, found = rng.integers(0, classes, (2, 50)).astype(np.uint8)
    iou = iou_of(confusion_of(true, found, classes))
    for k in range(classes):
        union = np.count_nonzero((true == k) | (found == k))
        if union:
            both = np.count_nonzero((true == k) & (found == k))
            assert iou[k] == pytest.approx(both / union)
        else:
            assert np.isnan(iou[k])


def test_only_shared_folds_are_compared():
    """A network that was tried on the easy fold alone does not win by that."""
    forest = Trial(Candidate("forest", "unit", "wide"), (answer(0, 0, RIGHT), answer(1, 1, HALF)))
    easy = Trial(Candidate("light-n", "unit"), (answer(0, 0, [[0.45, 0.05], [0.05, 0.45]]),))
    assert easy.score() > forest.score()
    assert best_trial([forest, easy]) is forest


def test_the_first_of_equals_is_chosen():
    a, b = (Trial(Candidate(n, "unit"), (answer(0, 0, HALF),)) for n in "ab")
    assert best_trial([a, b]) is a


def test_always_saying_one_class_scores_its_share():
    trial = Trial(Candidate("a", "unit"), (answer(0, 0, [[0.1, 0.2], [0.3, 0.4]]),))
    assert majority_trial(trial, np.array([0.3, 0.7])).score() == pytest.approx(0.7 / 2)


def test_the_table_leaves_out_what_was_not_tried():
    trial = Trial(Candidate("a", "unit"), (answer(0, 1, RIGHT),))
    lines = trial_lines([trial], 3)
    assert lines[1].split()[2:] == ["-", "1.000", "-", "1.000"]


def test_metrics_of_a_card():
    trial = Trial(Candidate("a", "unit"), (answer(0, 0, RIGHT), answer(1, 1, HALF)))
    kept = held_out_metrics(trial, majority_trial(trial, np.ones(2)), ("x", "y"), ("s", "t"))
    both = np.array(RIGHT) / 2 + np.array(HALF) / 2
    assert kept["mean_iou"] == pytest.approx(mean_iou(both), abs=1e-4)
    assert kept["share_errors"]["specimens"] == 2
    assert kept["share_errors"]["rms"] == [0, 0]
