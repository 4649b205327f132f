"""The embedding head: accuracy, unknowns, honesty, few labels, repeatability."""

from __future__ import annotations

import numpy as np
import pytest

from layerscope.core.results import UNKNOWN
from layerscope.errors import InputError
from layerscope.measure.reliability import expected_calibration_error, layer_columns
from layerscope.models.amm import AmmHead
from layerscope.models.gmm import GmmHead
from layerscope.models.network import Schedule
from layerscope.models.samples import Samples

QUICK = Schedule(steps=250, batch=180)


@pytest.fixture(scope="module")
def head(regions):
    return AmmHead.fit(regions(10, 30, 1), schedule=QUICK)


def test_ladder_is_read_on_images_never_seen(head, regions):
    test = regions(30, 20, 2)
    got = head.predict(test.contrast, test.contrast_se, layer_nm=0.335)
    assert np.mean(got.n_layers == test.layers) > 0.95
    assert expected_calibration_error(got.probability, layer_columns(test.layers, 10)) <= 0.05
    assert head.classes == (1, 2, 3, 4, 5)
    given = got.n_layers > 0
    np.testing.assert_allclose(got.thickness_nm[given], 0.335 * got.n_layers[given])
    assert np.all(got.thickness_low_nm[given] <= got.thickness_nm[given])
    assert np.all(got.thickness_nm[given] <= got.thickness_high_nm[given])


def test_what_is_far_is_unknown(head):
    """On a sphere around the ladder, in every direction."""
    direction = np.random.default_rng(3).standard_normal((500, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    for radius in (1.0, 3.0, 30.0):
        far = np.array([-0.3, -0.3, -0.2]) + radius * direction
        got = head.predict(far, np.full((500, 3), 0.002))
        assert np.mean(got.n_layers == UNKNOWN) > 0.995
        assert got.probability[:, -1].mean() > 0.99


def test_bare_substrate_is_no_layer(head):
    got = head.predict(np.zeros((1, 3)), np.full((1, 3), 0.002))
    assert got.n_layers.tolist() == [UNKNOWN]
    assert got.withheld == ("colour of the bare substrate",)


def test_a_noisier_region_is_less_sure(head, ladder):
    middle = (ladder[2:3] * 0.6 + ladder[3:4] * 0.4).repeat(2, axis=0)
    se = np.array([[0.001] * 3, [0.03] * 3])
    sure, unsure = head.predict(middle, se).probability[:, :5].max(axis=1)
    assert unsure < sure


def test_scores_equal_a_plain_loop(head, ladder):
    """Published: Mahalanobis in the embedding with 1e-5 on the diagonal; here plus J se^2 J^T."""
    g = head.gaussians
    contrast = ladder[:3] + 0.02
    se = np.array([[0.001, 0.002, 0.003], [0.01, 0.02, 0.01], [0.0, 0.0, 0.0]])
    got = g.score(contrast, se)
    for i in range(3):
        slope = g.network.slope(contrast[i : i + 1])[0]
        for k in range(len(g.labels)):
            away = g.network.embed(contrast[i : i + 1])[0] - g.mean[k]
            total = g.covariance[k] + 1e-5 * np.eye(16) + slope @ np.diag(se[i] ** 2) @ slope.T
            expected = away @ np.linalg.inv(total) @ away
            assert got.distance2[i, k] == pytest.approx(expected, rel=1e-6)
            volume = np.sqrt(np.linalg.det(g.spread[k] + np.diag(se[i] ** 2)))
            assert got.log_volume[i, k] == pytest.approx(np.log(volume), rel=1e-9)


def test_region_error_goes_through_the_network_like_a_cloud(head, ladder):
    """Linear propagation against the spread of 20 000 embedded copies."""
    network = head.gaussians.network
    se = np.array([0.004, 0.003, 0.005])
    copies = ladder[1] + np.random.default_rng(4).normal(0, 1, (20000, 3)) * se
    slope = network.slope(ladder[1:2])[0] * se
    expected = np.cov(network.embed(copies).T)
    assert np.linalg.norm(slope @ slope.T - expected) < 0.1 * np.linalg.norm(expected)


@pytest.mark.parametrize(("n", "least"), [(1, 0.75), (3, 0.88), (5, 0.9)])
def test_few_labels_are_enough(regions, few, n, least):
    test = regions(20, 20, 8)
    right = []
    for seed in range(2):
        head = AmmHead.fit(few(regions(1, 150, 20 + seed), n, seed), schedule=QUICK)
        got = head.predict(test.contrast, test.contrast_se)
        right.append(np.mean(got.n_layers == test.layers))
    assert np.mean(right) > least


def test_training_learns_what_no_ellipsoid_can():
    """Two arms of a spiral. Untrained weights reach 0.53 here, Gaussians in contrast 0.46."""
    rng = np.random.default_rng(5)
    angle = rng.uniform(0, 2 * np.pi, 600)
    arm = (0.1 + 0.05 * angle) * np.array([np.cos(angle), np.sin(angle), 0 * angle])
    contrast = np.vstack([arm.T, -arm.T]) + rng.normal(0, 0.012, (1200, 3)) - 0.5
    names = [f"chip {i % 2}" for i in range(1200)]
    samples = Samples.from_regions(contrast, np.zeros((1200, 3)), np.repeat([1, 2], 600), names)
    free = AmmHead.fit(samples, schedule=Schedule(spectral_norm=None)).card.metrics["accuracy"]
    held = AmmHead.fit(samples).card.metrics["accuracy"]
    assert free > 0.95
    assert held > 0.62
    assert GmmHead.fit(samples).card.metrics["accuracy"] < 0.6


def test_same_seed_same_head_other_seed_other_head(regions, tmp_path):
    samples = regions(1, 40, 9)
    files = []
    for i, seed in enumerate((0, 0, 1)):
        AmmHead.fit(samples, schedule=QUICK, seed=seed).save(tmp_path / f"{i}.json")
        files.append((tmp_path / f"{i}.json").read_bytes())
    assert files[0] == files[1] != files[2]


def test_ablation_without_spectral_norm(regions):
    free = AmmHead.fit(regions(1, 60, 1), schedule=Schedule(250, 180, spectral_norm=None))
    norms = [np.linalg.norm(w, 2) for w in free.gaussians.network.blocks]
    assert max(norms) > 0.5
    assert free.card.training["schedule"]["spectral_norm"] is None


def test_impossible_training_is_refused(regions, few):
    with pytest.raises(InputError, match="no labelled flake"):
        AmmHead.fit(Samples.concatenate([]))
    with pytest.raises(InputError, match="under 4 samples"):
        AmmHead.fit(few(regions(4, 20, 1), 1, 0), shrink_regions=0)
