"""Scores of answers: the same numbers as scikit-learn, and what a majority gets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, f1_score

from layerscope.errors import InputError
from layerscope.measure.scores_categories import (
    CATEGORY_SCORES,
    answer_tables,
    category_figures,
    category_scores,
)

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40)


@given(rows=pairs)
def test_scores_are_those_of_another_implementation(rows):
    truth, given_ = np.array(rows, np.int64).T
    found = dict(zip(CATEGORY_SCORES, category_scores(answer_tables(truth, given_, 4)),
                     strict=True))  # fmt: skip
    assert found["accuracy"] == pytest.approx((truth == given_).mean())
    assert found["macro_f1"] == pytest.approx(f1_score(truth, given_, average="macro"))
    recalls = [(given_[truth == k] == k).mean() for k in np.unique(truth)]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    if len(np.unique(np.concatenate([truth, given_]))) > 1:
        assert found["kappa"] == pytest.approx(cohen_kappa_score(truth, given_))
    else:
        assert np.isnan(found["kappa"])
    if set(given_) <= set(truth) and len(set(truth)) > 1:
        assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, given_))


def test_figures_have_intervals_over_specimens_and_a_baseline():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 120)
    given_ = np.where(rng.random(120) < 0.8, truth, rng.integers(0, 3, 120))
    groups = [f"s{i // 6}" for i in range(120)]
    figures = {f.name: f for f in category_figures("shape", truth, given_, 3, groups)}
    most = np.bincount(truth).max() / 120
    assert figures["accuracy"].baseline == pytest.approx(most)
    assert figures["kappa"].baseline == pytest.approx(0)
    assert figures["balanced_accuracy"].baseline == pytest.approx(1 / 3)
    for figure in figures.values():
        assert figure.low < figure.value < figure.high
        assert (figure.group, figure.note) == ("shape", "")
    few = category_figures("shape", truth, given_, 3, ["a"] * 120)[0]
    assert np.isnan(few.low)
    assert "1 specimen" in few.note


def test_weights_count_images_several_times():
    truth, given_ = np.array([0, 1, 1]), np.array([0, 1, 0])
    weighted = answer_tables(truth, given_, 2, np.array([[2.0, 0, 3], [1, 1, 1]]))
    np.testing.assert_array_equal(weighted[0], [[2, 0], [3, 0]])
    np.testing.assert_array_equal(weighted[1], answer_tables(truth, given_, 2))


def test_answers_out_of_range_are_refused():
    with pytest.raises(InputError, match="expected 0 to 1"):
        answer_tables(np.array([0, 2]), np.array([0, 1]), 2)
