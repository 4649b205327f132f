"""Distances to probabilities: limits, fitting, and the figures on the card."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.measure.reliability import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
)
from layerscope.models.confidence import (
    ClassScores,
    Confidence,
    HeldOut,
    fit_confidence,
    hold_out,
    metrics,
)
from layerscope.models.gmm import GmmHead, _fit_gaussians


def _drawn(n, temperature, wrong, seed, spacing=5.0, sd=0.02):
    """Regions from three Gaussians in a row, wider than the head believes, some of wrong colour."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    seen = np.where(rng.random(n) < wrong, rng.integers(0, 3, n), truth)
    x = rng.standard_normal((n, 3)) * np.sqrt(temperature)
    x[:, 0] += seen * spacing
    centres = np.arange(3)[:, None] * [spacing, 0, 0]
    distance2 = ((x[:, None] - centres) ** 2).sum(2)
    volume = np.full((n, 3), 3 * np.log(sd))
    return HeldOut(ClassScores(distance2, volume), truth, np.full(3, 1 / 3), 10)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 9999),
    temperature=st.floats(0.1, 15),
    wrong=st.floats(0.001, 0.3),
    reach=st.floats(0, 1e6),
)
def test_rows_add_to_one_and_distance_never_makes_surer(seed, temperature, wrong, reach):
    rng = np.random.default_rng(seed)
    distance2 = rng.uniform(0, 40, (1, 4))
    distance2 = np.vstack([distance2, distance2 + reach])
    scores = ClassScores(distance2, np.full((2, 4), -11.0))
    confidence = Confidence(5.0, temperature, wrong)
    probability, outlier = confidence.weigh(scores, np.full(4, 0.25))
    np.testing.assert_allclose(probability.sum(1) + outlier, 1, atol=1e-12)
    assert np.all(probability >= 0)
    assert outlier[1] >= outlier[0] - 1e-12


def test_limits():
    scores = ClassScores(np.array([[0.0, 1e9], [1e9, 1e9], [np.inf, 4.0]]), np.full((3, 2), -12.0))
    probability, outlier = Confidence(5.0, 1.0, 0.1).weigh(scores, np.array([0.5, 0.5]))
    assert outlier[1] == 1
    assert np.all(outlier[[0, 2]] < 1e-3)
    np.testing.assert_allclose(probability[0] / probability[0].sum(), [0.95, 0.05])
    np.testing.assert_allclose(probability[2] / probability[2].sum(), [0.05, 0.95])
    none = ClassScores(np.zeros((0, 2)), np.zeros((0, 2)))
    assert [len(a) for a in Confidence(5.0).weigh(none, np.array([0.5, 0.5]))] == [0, 0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_gate_is_in_inflated_standard_deviations(temperature):
    edge2 = 9.0 * temperature
    scores = ClassScores(np.array([[edge2 * 0.999], [edge2 * 1.001]]), np.full((2, 1), -12.0))
    _, outlier = Confidence(3.0, temperature).weigh(scores, np.ones(1))
    assert outlier[0] < 0.1
    assert outlier[1] == 1


@pytest.mark.parametrize(
    ("temperature", "wrong"), [(1.0, 0.01), (3.0, 0.01), (1.0, 0.1), (0.4, 0.05)]
)
def test_fit_finds_what_made_the_data(temperature, wrong):
    held_out = _drawn(3000, temperature, wrong, 1, spacing=6.0 * np.sqrt(temperature))
    got = fit_confidence(held_out, Confidence(5.0))
    assert got.temperature == pytest.approx(temperature, rel=0.3)
    assert got.wrong_rate == pytest.approx(wrong, rel=0.4, abs=0.004)


def test_fit_makes_new_answers_honest():
    start = Confidence(5.0)
    learned, fresh = _drawn(400, 3.0, 0.03, 2), _drawn(4000, 3.0, 0.03, 3)
    fitted = fit_confidence(learned, start)
    assert metrics(fresh, fitted)["ece"] < 0.03 < metrics(fresh, start)["ece"]
    assert metrics(fresh, fitted)["log_loss"] < metrics(fresh, start)["log_loss"]


def test_without_data_the_defaults_stay():
    got = fit_confidence(_drawn(0, 1, 0, 0), Confidence(5.0))
    assert got.temperature == pytest.approx(1.0)
    assert got.wrong_rate == pytest.approx(0.05, rel=0.1)
    assert metrics(_drawn(0, 1, 0, 0), got) == {
        "held_out_regions": 0,
        "held_out_images": 10,
        "untestable_regions": 0,
    }


def test_one_odd_label_does_not_make_all_answers_timid():
    held_out = _drawn(200, 1.0, 0.0, 4)
    far = held_out.scores.distance2.copy()
    far[0] = 400.0
    odd = HeldOut(ClassScores(far, held_out.scores.log_volume), held_out.truth, held_out.prior, 10)
    assert fit_confidence(odd, Confidence(5.0)).temperature < 1.35


def test_card_figures_are_those_of_the_reliability_module():
    held_out = _drawn(777, 2.0, 0.05, 5, spacing=3.0)
    confidence = Confidence(5.0)
    probability, outlier = confidence.weigh(held_out.scores, held_out.prior)
    full = np.column_stack([probability, outlier])
    got = metrics(held_out, confidence)
    assert got["ece"] == pytest.approx(expected_calibration_error(full, held_out.truth), abs=1e-12)
    assert got["brier"] == pytest.approx(brier_score(full, held_out.truth), abs=1e-12)
    assert got["log_loss"] == pytest.approx(negative_log_likelihood(full, held_out.truth), abs=1e-9)


def test_no_image_tests_a_head_that_saw_it(regions):
    samples = regions(7, 12, 1)
    seen = []

    def build(part):
        seen.append(set(part.group.tolist()))
        return _fit_gaussians(part, "supervised", 5.0, None)

    held_out = hold_out(build, samples)
    assert len(held_out) == len(samples)
    assert len(seen) == 5
    for fold, groups in enumerate(seen):
        assert groups == set(range(7)) - set(range(fold, 7, 5))


def test_a_class_on_one_image_only_is_counted_as_untestable(regions):
    samples = regions(4, 15, 2)
    rare = np.where((samples.layers == 3) & (samples.group > 0), 2, samples.layers)
    changed = type(samples)(
        samples.contrast, samples.contrast_se, rare, samples.group, samples.region,
        samples.group_names,
    )  # fmt: skip
    card = GmmHead.fit(changed).card
    assert card.metrics["untestable_regions"] == np.sum((rare == 3) & (samples.group == 0))
    assert 3 in card.classes
