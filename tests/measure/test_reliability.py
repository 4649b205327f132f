"""Reliability numbers against plain double loops and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.results import THICK, UNKNOWN
from layerscope.errors import InputError
from layerscope.measure.reliability import (
    brier_score,
    expected_calibration_error,
    layer_columns,
    negative_log_likelihood,
    reliability_diagram,
    wilson_interval,
)


def _answers(n, k, seed, coarse=False):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(k, 0.4), n)
    if coarse:
        p = np.round(p, 1)
        p[:, 0] += 1 - p.sum(1)
        p = np.abs(p) / np.abs(p).sum(1, keepdims=True)
    truth = np.array([rng.choice(k, p=row) for row in p], int).reshape(n)
    return p, truth


def _loop_ece_width(p, truth, n_bins):
    total = 0.0
    for b in range(n_bins):
        confidences, rights = [], []
        for row, t in zip(p, truth, strict=True):
            top = max(row)
            if b / n_bins < top <= (b + 1) / n_bins:
                confidences.append(top)
                rights.append(float(list(row).index(top) == t))
        if confidences:
            gap = abs(sum(rights) / len(rights) - sum(confidences) / len(confidences))
            total += gap * len(rights) / len(truth)
    return total


def _loop_ece_mass(p, truth, n_bins):
    rows = zip(p.tolist(), truth, strict=True)
    answers = sorted((max(row), float(row.index(max(row)) == t)) for row, t in rows)
    size, total = len(answers) // n_bins, 0.0
    for b in range(n_bins):
        part = answers[b * size : (b + 1) * size]
        gap = sum(c for c, _ in part) / size - sum(r for _, r in part) / size
        total += abs(gap) * size / len(answers)
    return total


def _loop_brier(p, truth):
    total = 0.0
    for row, t in zip(p, truth, strict=True):
        for k, value in enumerate(row):
            total += (value - (1.0 if k == t else 0.0)) ** 2
    return total / len(truth)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 60), k=st.integers(2, 6), seed=st.integers(0, 9999), bins=st.integers(1, 15)
)
def test_scores_equal_double_loops(n, k, seed, bins):
    p, truth = _answers(n, k, seed)
    got = expected_calibration_error(p, truth, n_bins=bins, binning="width")
    assert got == pytest.approx(_loop_ece_width(p, truth, bins), abs=1e-12)
    assert brier_score(p, truth) == pytest.approx(_loop_brier(p, truth), abs=1e-12)
    by_hand = -sum(np.log(max(row[t], 1e-12)) for row, t in zip(p, truth, strict=True)) / n
    assert negative_log_likelihood(p, truth) == pytest.approx(by_hand, rel=1e-12)


def test_equal_mass_bins_equal_a_sorted_loop():
    p, truth = _answers(200, 4, 3)
    assert expected_calibration_error(p, truth) == pytest.approx(_loop_ece_mass(p, truth, 10))
    assert set(reliability_diagram(p, truth).count) == {20}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 9999), binning=st.sampled_from(["mass", "width"]))
def test_row_order_and_ties_change_nothing(seed, binning):
    p, truth = _answers(50, 3, seed, coarse=True)
    order = np.random.default_rng(seed).permutation(50)
    one = reliability_diagram(p, truth, n_bins=7, binning=binning)
    two = reliability_diagram(p[order], truth[order], n_bins=7, binning=binning)
    for name in ("confidence", "accuracy", "accuracy_low", "accuracy_high", "count"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert one.count.sum() == 50


def test_honest_probabilities_have_small_error_and_boasting_shows():
    p, truth = _answers(20000, 5, 1)
    assert expected_calibration_error(p, truth) < 0.012
    boast = p**4 / (p**4).sum(1, keepdims=True)
    assert expected_calibration_error(boast, truth) > 0.1
    diagram = reliability_diagram(p, truth)
    inside = (diagram.accuracy_low <= diagram.confidence) & (
        diagram.confidence <= diagram.accuracy_high
    )
    assert inside.sum() >= 8
    assert np.all(np.diff(diagram.confidence) > 0)


def test_known_values():
    certain = np.eye(3)
    assert expected_calibration_error(certain, [0, 1, 2]) == 0
    assert expected_calibration_error(certain, [1, 2, 0]) == 1
    assert brier_score(certain, [1, 2, 0]) == 2
    assert negative_log_likelihood(np.full((4, 5), 0.2), [0, 1, 2, 3]) == pytest.approx(np.log(5))
    assert negative_log_likelihood(certain, [1, 1, 1]) == pytest.approx(-2 / 3 * np.log(1e-12))


def test_wilson_interval_published_values():
    """81 of 263: Newcombe, Stat. Med. 17, 857 (1998), table I, method 3; also 0/20 and 1/29."""
    low, high = wilson_interval([81, 0, 1, 0], [263, 20, 29, 0])
    np.testing.assert_allclose(low, [0.2553, 0, 0.0061, 0], atol=5e-5)
    np.testing.assert_allclose(high, [0.3662, 0.1611, 0.1718, 1], atol=5e-5)


def test_columns_of_layer_numbers():
    got = layer_columns([1, 4, 5, 12, THICK, UNKNOWN], 5)
    assert got.tolist() == [0, 3, 4, 5, 5, 6]
    with pytest.raises(InputError, match="-7"):
        layer_columns([-7], 5)


def test_nothing_in_nothing_out():
    none = np.zeros((0, 4)), np.zeros(0, int)
    diagram = reliability_diagram(*none)
    assert len(diagram.count) == 0
    for score in (expected_calibration_error, brier_score, negative_log_likelihood):
        assert np.isnan(score(*none))
    assert np.isnan(diagram.calibration_error)


@pytest.mark.parametrize(
    ("p", "truth", "said"),
    [
        (np.ones((2, 1)), [0], "expected"),
        (np.eye(2), [0, 2], "column numbers"),
        (np.eye(2), [0.5, 1.0], "column numbers"),
        (np.full((1, 2), 0.7), [0], "adding to one"),
        (np.array([[1.5, -0.5]]), [0], "negative"),
        (np.array([[np.nan, 1.0]]), [0], "finite"),
    ],
)
def test_wrong_input_is_named(p, truth, said):
    with pytest.raises(InputError, match=said):
        expected_calibration_error(p, truth)


def test_wrong_options_are_named():
    with pytest.raises(InputError, match="binning"):
        reliability_diagram(np.eye(2), [0, 1], binning="depth")
    with pytest.raises(InputError, match="n_bins"):
        reliability_diagram(np.eye(2), [0, 1], n_bins=0)
