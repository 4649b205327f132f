"""Counts, distances and edges against closed forms and larger fields."""

import numpy as np
import pytest
from films import fill, polygon
from scipy.stats import chi2

from layerscope.errors import InputError
from layerscope.measure.number_density import (
    border_weights,
    clark_evans,
    edge_length_density,
    weighted_count,
)


def windows(rng, n_fields, border):
    """Number density and mean width by a window of 100 px on squares of 4 to 60 px, and truth."""
    density, widths, true_width = [], [], []
    for _ in range(n_fields):
        n = rng.poisson(36)
        size = rng.choice([4, 20, 60], n)
        low = rng.integers(0, 300, (n, 2))
        boxes = np.concatenate([low, low + size[:, None]], axis=1) - 100
        seen = (boxes[:, :2] < 100).all(1) & (boxes[:, 2:] > 0).all(1)
        clipped = np.clip(boxes[seen], 0, 100)
        cut = (clipped[:, :2] == 0).any(1) | (clipped[:, 2:] == 100).any(1)
        weights = border_weights(clipped, cut, (0, 0, 100, 100), border)
        density.append(weights.sum() / 1e4)
        widths.append([weights.sum(), (weights * (clipped[:, 2] - clipped[:, 0])).sum()])
        true_width.append(size.mean())
    total, weighted = np.sum(widths, axis=0)
    return np.mean(density), np.std(density) / np.sqrt(n_fields), weighted / total


def test_weighting_takes_the_borders_bias_off():
    # 36 squares with corners in 300 x 300 px, of widths 4, 20 and 60 in equal shares.
    density, error, width = windows(np.random.default_rng(3), 3000, "weighted")
    assert density == pytest.approx(36 / 9e4, abs=3 * error)
    assert error < 0.03 * 36 / 9e4
    assert width == pytest.approx(28, rel=0.05)


def test_leaving_out_has_a_bias_and_says_so():
    density, _, width = windows(np.random.default_rng(3), 400, "excluded")
    assert density < 0.85 * 36 / 9e4
    assert width < 0.85 * 28


@pytest.mark.parametrize("n", [0, 1, 7, 40])
def test_weights_of_one_give_the_exact_poisson_interval(n):
    found = weighted_count(np.ones(n))
    low = chi2.ppf(0.025, 2 * n) / 2 if n else 0.0
    assert (found.value, found.low) == (n, pytest.approx(low))
    assert found.high == pytest.approx(chi2.ppf(0.975, 2 * n + 2) / 2)


def test_weighted_counts_hold_the_truth():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        weights = np.concatenate([np.full(rng.poisson(8), 1.0), np.full(rng.poisson(6), 2.5)])
        found = weighted_count(weights)
        hits += found.low <= 23 <= found.high
    assert hits >= 0.93 * 400


def test_clark_evans_of_random_and_of_ordered_places():
    from layerscope.measure.domains import nearest_centres

    rng = np.random.default_rng(1)
    random = [
        clark_evans(nearest_centres(rng.uniform(0, 10, (60, 2))), 100.0, 40.0) for _ in range(200)
    ]
    assert np.mean([r.value for r in random]) == pytest.approx(1, abs=0.02)
    assert np.mean([r.low <= 1 <= r.high for r in random]) >= 0.92
    y, x = np.mgrid[0.5:10, 0.5:10]
    grid = nearest_centres(np.stack([y.ravel(), x.ravel()], axis=1))
    # A square lattice has 2 but for the correction, which is made for random places.
    assert clark_evans(grid, 100.0, 40.0).value == pytest.approx(2, rel=0.1)
    few = clark_evans(np.ones(3), 1.0, 4.0)
    assert np.isnan(few.value)
    assert few.interval == "none: 3 domains, fewer than 7"


@pytest.mark.parametrize("angle", range(0, 60, 7))
@pytest.mark.parametrize("sides", [3, 6, 60])
def test_edges_have_the_length_of_the_outline(sides, angle):
    corners = polygon(sides, 70, angle, (100.3, 99.6))
    mask = fill((200, 200), corners)
    length = np.hypot(*(corners - np.roll(corners, 1, axis=0)).T).sum()
    density, error = edge_length_density(mask, np.ones_like(mask), (1.0, 1.0))
    assert density * mask.size == pytest.approx(length, rel=0.04)
    assert error > 0


def test_edges_at_the_border_do_not_count():
    half = np.zeros((120, 100), bool)
    half[:60] = True
    density, _ = edge_length_density(half, np.ones_like(half), (1.0, 1.0))
    assert density * half.size == pytest.approx(100, rel=0.04)
    tall, _ = edge_length_density(half, np.ones_like(half), (0.5, 1.0))
    assert tall * half.size * 0.5 == pytest.approx(100, rel=0.06)
    assert edge_length_density(half, np.zeros_like(half), (1, 1))[0] == 0


def test_an_unknown_way_is_refused():
    with pytest.raises(InputError, match="expected one of weighted, half, excluded"):
        border_weights(np.zeros((0, 4), int), np.zeros(0, bool), (0, 0, 9, 9), "guess")
