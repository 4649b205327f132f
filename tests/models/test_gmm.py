"""The Gaussian head against Bayes' rule, the published tables and few labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from layerscope.core.results import THICK, UNKNOWN
from layerscope.errors import InputError
from layerscope.measure.reliability import expected_calibration_error, layer_columns
from layerscope.models.gmm import GmmHead, shrunk_covariance
from layerscope.models.samples import Samples

TABLE = {
    "1": {"contrast": {"b": -0.1, "g": -0.2, "r": -0.3}, "covariance_matrix": np.eye(3) * 4e-4},
    "2": {
        "contrast": {"b": -0.12, "g": -0.24, "r": -0.34},
        "covariance_matrix": [[9e-4, 1e-4, 0], [1e-4, 2e-4, 0], [0, 0, 1e-4]],
    },
}


def test_posterior_is_bayes_rule():
    """Two Gaussians, 5 % even outliers, 5 % wrong targets: by scipy, row by row."""
    head = GmmHead.from_table(TABLE)
    rng = np.random.default_rng(0)
    contrast = np.array([-0.32, -0.22, -0.11]) + rng.normal(0, 0.02, (50, 3))
    se = rng.uniform(0, 0.02, (50, 3))
    got = head.predict(contrast, se, max_layers=4)
    means = [np.array([-0.3, -0.2, -0.1]), np.array([-0.34, -0.24, -0.12])]
    covariances = [np.eye(3) * 4e-4, np.diag([1e-4, 2e-4, 9e-4])]
    covariances[1][1, 2] = covariances[1][2, 1] = 1e-4
    for i in range(50):
        like = [
            multivariate_normal(m, c + np.diag(se[i] ** 2)).pdf(contrast[i])
            for m, c in zip(means, covariances, strict=True)
        ]
        known = 0.95 * np.mean(like)
        unknown = 0.05 / (0.05 + known)
        share = 0.95 * np.array(like) / sum(like) + 0.05 / 2
        expected = [*(1 - unknown) * share, 0, 0, 0, unknown]
        np.testing.assert_allclose(got.probability[i], expected, atol=1e-12)


def test_published_graphene_table_separates_its_layers(published_table):
    head = GmmHead.from_table(published_table("Graphene"))
    assert head.classes == (1, 2, 3, 4)
    np.testing.assert_allclose(head.gaussians.mean[0], [-0.137, -0.140, -0.071])
    answer = head.predict(head.gaussians.mean, np.full((4, 3), 0.002), layer_nm=0.335)
    assert answer.n_layers.tolist() == [1, 2, 3, 4]
    assert np.all(answer.confidence > 0.95)
    np.testing.assert_allclose(answer.thickness_nm, 0.335 * np.arange(1, 5))
    np.testing.assert_allclose(answer.thickness_low_nm, answer.thickness_high_nm)
    rng = np.random.default_rng(1)
    for k in range(4):
        mean, covariance = head.gaussians.mean[k], head.gaussians.covariance[k]
        drawn = rng.multivariate_normal(mean, covariance, 2000)
        got = head.predict(drawn, np.zeros_like(drawn))
        assert np.mean(got.n_layers == k + 1) > 0.99


def test_published_gate_follows_from_the_outlier_density(published_table):
    """Equal odds of outlier and class are at 4.7 standard deviations; the gate is 5."""
    head = GmmHead.from_table(published_table("Graphene"))
    axis = np.linalg.cholesky(head.gaussians.covariance[0])[:, 0]
    away = np.linspace(3, 7, 401)
    direction = -np.sign(axis[0]) * axis  # away from the other layers
    contrast = head.gaussians.mean[0] - away[:, None] * direction
    unknown = head.predict(contrast, np.zeros_like(contrast)).probability[:, -1]
    assert 4.6 < away[np.searchsorted(unknown, 0.5)] <= 5.01
    assert np.all(unknown[away > 5.01] == 1)


def test_far_and_unmeasured_regions_are_unknown():
    head = GmmHead.from_table(TABLE)
    contrast = np.array([[0.5, 0.5, 0.5], [np.nan, 0, 0], [-0.3, -0.2, -0.1]])
    got = head.predict(contrast, np.full((3, 3), 0.01))
    assert got.n_layers.tolist() == [UNKNOWN, UNKNOWN, 1]
    assert got.withheld == ("colour of no labelled class",) * 2 + ("",)
    np.testing.assert_allclose(got.probability.sum(1), 1)


def test_between_two_classes_no_number_is_given():
    table = {
        str(k): {"contrast": dict.fromkeys("rgb", -0.01 * k), "covariance_matrix": np.eye(3) * 1e-3}
        for k in (1, 2, 3)
    }
    got = GmmHead.from_table(table).predict(np.full((1, 3), -0.02), np.zeros((1, 3)))
    assert got.n_layers.tolist() == [UNKNOWN]
    assert got.withheld == ("colour between 2 and 1 layers",)


def test_numbers_above_the_ladder_count_as_thick():
    head = GmmHead.from_table({"1": TABLE["1"], "14": TABLE["2"]})
    got = head.predict(head.gaussians.mean, np.zeros((2, 3)), max_layers=5, layer_nm=0.5)
    assert got.n_layers[1] in (THICK, 1)
    assert got.probability[1, 5] > got.probability[1, 0]
    assert got.max_layers == 5


def test_plain_moments_without_shrinkage(regions):
    samples = regions(6, 40, 3)
    head = GmmHead.fit(samples, method="supervised", shrink_regions=0)
    for k, mean, covariance in zip(
        head.gaussians.labels, head.gaussians.mean, head.gaussians.covariance, strict=True
    ):
        mine = samples.contrast[samples.layers == k]
        np.testing.assert_allclose(mean, mine.mean(0), atol=1e-12)
        np.testing.assert_allclose(covariance, np.cov(mine.T), atol=1e-12)


def test_expectation_maximisation_ignores_stray_pixels():
    rng = np.random.default_rng(4)
    truth = np.array([-0.2, -0.25, -0.1])
    clean = truth + rng.normal(0, 0.01, (2000, 3))
    stray = rng.uniform(-0.8, 0.4, (200, 3))
    n = 2200
    zeros = np.zeros(n, np.int64)
    samples = Samples(
        np.vstack([clean, stray]), np.zeros((n, 3)), zeros + 2, zeros, np.arange(n), ("a",)
    )
    robust = GmmHead.fit(samples).gaussians
    plain = GmmHead.fit(samples, method="supervised").gaussians
    np.testing.assert_allclose(robust.mean[0], truth, atol=0.002)
    np.testing.assert_allclose(np.sqrt(np.diag(robust.covariance[0])), 0.01, rtol=0.1)
    assert np.abs(plain.mean[0] - truth).max() > 0.005
    assert np.sqrt(plain.covariance[0, 0, 0]) > 0.05


def test_slipped_labels_do_not_widen_the_classes(regions):
    clean = GmmHead.fit(regions(12, 30, 3), shrink_regions=0).gaussians
    slipped = regions(12, 30, 3, wrong=0.08)
    robust = GmmHead.fit(slipped, shrink_regions=0).gaussians
    plain = GmmHead.fit(slipped, shrink_regions=0, method="supervised").gaussians
    assert np.abs(robust.mean - clean.mean).max() < 0.006
    widths = [np.sqrt(np.linalg.det(g.covariance)) for g in (clean, robust, plain)]
    assert np.all(widths[1] < 1.6 * widths[0])
    assert np.all(widths[2] > 2 * widths[0])


def test_the_label_and_not_the_red_contrast_gives_the_layer(regions):
    """A ladder that turns round in red and is positive in blue, like hBN."""
    ladder = np.array([[-0.05, -0.02, 0.06], [-0.12, -0.05, 0.13], [-0.02, -0.09, 0.2]])
    head = GmmHead.fit(regions(6, 30, 5, ladder=ladder, sd=0.008))
    test = regions(6, 30, 6, ladder=ladder, sd=0.008)
    got = head.predict(test.contrast, test.contrast_se)
    assert np.mean(got.n_layers == test.layers) > 0.97


@pytest.mark.parametrize(("n", "least"), [(1, 0.8), (3, 0.9), (5, 0.93)])
def test_few_labels_are_enough(regions, few, n, least):
    test = regions(20, 20, 8)
    right = []
    for seed in range(5):
        head = GmmHead.fit(few(regions(8, 30, 20 + seed), n, seed))
        got = head.predict(test.contrast, test.contrast_se)
        right.append(np.mean(got.n_layers == test.layers))
    assert np.mean(right) > least


@pytest.mark.parametrize(("wrong", "heavy"), [(0.0, False), (0.0, True), (0.06, False)])
def test_probabilities_hold_on_images_never_seen(regions, wrong, heavy):
    errors = []
    for seed in range(3):
        head = GmmHead.fit(regions(15, 15, 30 + seed, sd=0.02, wrong=wrong, heavy=heavy))
        test = regions(60, 20, 40 + seed, sd=0.02, wrong=wrong, heavy=heavy)
        got = head.predict(test.contrast, test.contrast_se)
        strange = np.random.default_rng(seed).uniform(-1, 1, (len(test) // 19, 3))
        outside = head.predict(strange, np.zeros_like(strange))
        p = np.vstack([got.probability, outside.probability])
        truth = np.concatenate(
            [layer_columns(test.layers, 10), layer_columns([UNKNOWN] * len(strange), 10)]
        )
        errors.append(expected_calibration_error(p, truth))
    # A training set of 225 regions leaves the temperature itself uncertain: over ten seeds the
    # worst is 0.051, 0.033 and 0.037, the median 0.016, 0.008 and 0.022.
    assert np.mean(errors) <= 0.035
    assert max(errors) <= 0.06


def test_card_tells_held_out_figures_and_training_data(regions):
    card = GmmHead.fit(regions(6, 20, 9), description={"material": "graphene"}).card
    assert card.training["material"] == "graphene"
    assert card.training["n_images"] == 6
    assert card.metrics["held_out_regions"] == 120
    assert card.metrics["accuracy"] > 0.9
    assert card.metrics["ece"] < 0.1
    one_image = GmmHead.fit(regions(1, 30, 9)).card
    assert one_image.metrics["held_out_regions"] == 0
    assert one_image.thresholds["temperature"] == pytest.approx(1)
    assert one_image.thresholds["wrong_rate"] == pytest.approx(0.05, abs=0.01)


def test_priors_move_the_answer():
    samples = Samples.from_regions(
        [[-0.1, -0.1, -0.1], [-0.14, -0.14, -0.14]], np.zeros((2, 3)), [1, 2], ["a", "b"]
    )
    middle = np.full((1, 3), -0.12)
    even = GmmHead.fit(samples).predict(middle, np.zeros((1, 3))).probability[0]
    rare = GmmHead.fit(samples, priors={1: 0.9, 2: 0.1}).predict(middle, np.zeros((1, 3)))
    assert rare.probability[0, 0] > even[0] + 0.1
    with pytest.raises(InputError, match="priors"):
        GmmHead.fit(samples, priors={1: 1.0})


def test_shrinkage_between_its_limits():
    measured, mean = np.diag([1e-3, 2e-3, 3e-3]), np.zeros(3)
    np.testing.assert_allclose(shrunk_covariance(measured, mean, 10**7, 5), measured, rtol=1e-5)
    alone = shrunk_covariance(np.zeros((3, 3)), mean, 1, 5)
    np.testing.assert_allclose(
        np.sqrt(np.diag(alone)), np.sqrt(5 / 3) * np.array([1, 1, 1.8]) / 100
    )


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"x": TABLE["1"]},
        {"0": TABLE["1"]},
        {"1": {"contrast": {"r": 0}}},
        {"1": TABLE["1"] | {"covariance_matrix": -np.eye(3)}},
        {"1": TABLE["1"] | {"covariance_matrix": np.eye(2)}},
        {"1": TABLE["1"] | {"covariance_matrix": [[1, 2, 0], [0, 1, 0], [0, 0, 1]]}},
        {"1": TABLE["1"] | {"contrast": {"r": np.nan, "g": 0, "b": 0}}},
        {"1": None},
    ],
)
def test_broken_tables_are_refused(table):
    with pytest.raises(InputError, match="contrast table") as caught:
        GmmHead.from_table(table)
    assert "\n" not in str(caught.value)


def test_impossible_training_is_refused(regions):
    with pytest.raises(InputError, match="no labelled flake"):
        GmmHead.fit(Samples.concatenate([]))
    with pytest.raises(InputError, match="method"):
        GmmHead.fit(regions(2, 20, 1), method="kmeans")
    single = Samples.from_regions([[0.1, 0.1, 0.1]], np.zeros((1, 3)), [1], ["a"])
    with pytest.raises(InputError, match="too few"):
        GmmHead.fit(single, shrink_regions=0)
