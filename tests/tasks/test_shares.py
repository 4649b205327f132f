"""Intervals of shares: they cover what they say, on images of the kind that was held out."""

import numpy as np
import pytest

from layerscope.errors import InputError
from layerscope.tasks.shares import FLOOR, ShareErrors, expected_variance, scale_of


def drawn(rng, n, bias, heavy):
    """Shares found and true of one class, and the scale that the model expects."""
    scale = rng.uniform(0.005, 0.05, n)
    z = rng.standard_t(4, n) / np.sqrt(2) if heavy else rng.standard_normal(n)
    true = rng.uniform(0.3, 0.7, n)
    return true + scale * (bias + z), true, scale


@pytest.mark.parametrize("bias", [0.0, 1.0])
@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("specimens", [3, 10, 40])
def test_they_cover_the_next_image(specimens, heavy, bias):
    rng, hits = np.random.default_rng(specimens), []
    for _ in range(600):
        found, true, scale = (v[:, None] for v in drawn(rng, specimens, bias, heavy))
        errors = ShareErrors.measure(found, true, scale, [f"s{i}" for i in range(specimens)])
        share, truth, spread = drawn(rng, 1, bias, heavy)
        low, high = errors.interval(share, spread)
        hits.append(low[0] <= truth[0] <= high[0])
    # Three standard errors of 600 tries are 0.027.
    assert np.mean(hits) > 0.95 - 0.027
    assert np.mean(hits) < 1.0


def test_images_of_one_specimen_count_as_one():
    """Ten pictures of a place err alike; ten places do not."""
    rng = np.random.default_rng(5)
    hits = []
    for _ in range(400):
        place = np.repeat(rng.standard_normal(4) * 0.02, 5)[:, None]
        true = np.full((20, 1), 0.5)
        errors = ShareErrors.measure(
            true + place, true, np.full((20, 1), 0.02), list(np.repeat(list("abcd"), 5))
        )
        low, high = errors.interval(0.5 + rng.standard_normal(1) * 0.02, np.array([0.02]))
        hits.append(low[0] <= 0.5 <= high[0])
    assert errors.specimens == 4
    assert np.mean(hits) > 0.92


def test_a_surer_image_has_a_narrower_interval():
    errors = ShareErrors((1.0,), 8, 8)
    widths = []
    for scale in (0.0, FLOOR, 0.01, 0.03):
        low, high = errors.interval(np.array([0.5]), np.array([scale]))
        widths.append(float(high[0] - low[0]))
    assert widths[0] == widths[1] < widths[2] < widths[3]


def test_the_interval_holds_the_share_and_stays_a_share():
    errors = ShareErrors((30.0, 30.0), 5, 5)
    low, high = errors.interval(np.array([0.0, 1.0]), np.array([0.1, 0.1]))
    assert low.tolist() == [0, 0]
    assert high.tolist() == [1, 1]


def test_one_specimen_says_nothing():
    low, high = ShareErrors((1.0,), 1, 30).interval(np.array([0.5]), np.array([0.1]))
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize(
    "kept", [None, {}, {"rms": [1], "specimens": 3}, {"rms": "x", "specimens": 3, "images": 3},
             {"rms": [1.0, float("inf")], "specimens": 3, "images": 3}],
)  # fmt: skip
def test_a_card_without_errors_gives_none(kept):
    assert ShareErrors.from_metrics(kept, 2) is None


def test_a_card_gives_back_what_it_was_given():
    errors = ShareErrors((0.5, 2.25), 4, 9)
    assert ShareErrors.from_metrics(errors.as_metrics(), 2) == errors
    assert ShareErrors.from_metrics(errors.as_metrics(), 3) is None


def test_expected_variance_is_that_of_a_coin():
    p = np.array([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]], np.float32)
    np.testing.assert_allclose(expected_variance(p), [(0.1875 + 0.25) / 3] * 2)
    np.testing.assert_allclose(expected_variance(p, np.array([0, 1, 0], bool)), [0, 0])


def test_shapes_must_agree():
    with pytest.raises(InputError, match="shares"):
        ShareErrors.measure(np.zeros((2, 2)), np.zeros((2, 3)), np.zeros((2, 2)), ["a", "b"])


def test_the_scale_that_errors_follow_gives_narrower_intervals():
    """Errors drawn with the spread of the networks: told variances say nothing of them."""
    rng = np.random.default_rng(7)
    spread = rng.uniform(0.005, 0.08, (60, 1))
    variance = rng.uniform(0.005, 0.08, (60, 1))
    true = np.full((60, 1), 0.5)
    found = true + spread * rng.standard_normal((60, 1))
    groups = [f"s{i}" for i in range(60)]
    followed = ShareErrors.measure(found, true, spread, groups, "spread")
    other = ShareErrors.measure(found, true, variance, groups)
    assert followed.log_width(spread) < other.log_width(variance)
    assert ShareErrors.from_metrics(followed.as_metrics(), 1) == followed
    assert "by" not in other.as_metrics()
    assert ShareErrors.from_metrics(followed.as_metrics() | {"by": "feeling"}, 1) is None


def test_the_spread_of_a_share_is_the_mean_over_its_pixels():
    p = np.full((2, 3, 2), 0.5, np.float32)
    spread = np.arange(12, dtype=np.float32).reshape(2, 3, 2) / 100
    np.testing.assert_allclose(scale_of("spread", p, spread), [0.05, 0.06])
    first = np.array([[True, False, False], [False] * 3])
    np.testing.assert_allclose(scale_of("spread", p, spread, first), [0.0, 0.01])
    np.testing.assert_allclose(scale_of("variance", p, spread, first), [0.25, 0.25])
    assert np.isnan(scale_of("spread", p, spread, ~np.ones((2, 3), bool))).all()
    with pytest.raises(InputError, match="no ensemble"):
        scale_of("spread", p, None)
