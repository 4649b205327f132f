"""What `robust` sees of a picture: channels that hardly change with contrast."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.tasks.coverage.channels import FILM_CHANNELS, film_channels


def steps(shares, values, *, noise=0.02, seed=0, side=96):
    """Stripes of the given shares and grey values."""
    edges = np.round(np.cumsum([0.0, *shares]) * side).astype(int)
    grey = np.zeros((side, side))
    for value, left, right in zip(values, edges[:-1], edges[1:], strict=True):
        grey[:, left:right] = value
    grey += np.random.default_rng(seed).normal(0, noise, grey.shape)
    return np.clip(grey, 0, 1).astype(np.float32)[:, :, None]


ALL = np.ones((96, 96), bool)


def test_the_first_valley_parts_substrate_from_film_where_two_classes_part_layers():
    """3 % substrate, then two layers of which the upper is far away."""
    picture = steps((0.10, 0.45, 0.45), (0.2, 0.4, 0.8))
    seen = film_channels(picture, ALL)
    assert np.mean(seen[..., 3] > 0.5) == pytest.approx(0.90, abs=0.02)
    assert np.mean(seen[..., 2] > 0.5) == pytest.approx(0.45, abs=0.05)


@given(share=st.floats(0.1, 0.9), gain=st.floats(0.4, 1.0), gamma=st.floats(0.7, 1.4))
def test_contrast_of_the_export_changes_little(share, gain, gamma):
    picture = steps((1 - share, share), (0.3, 0.7))
    other = (gain * picture**gamma).astype(np.float32)
    one, two = film_channels(picture, ALL), film_channels(other, ALL)
    assert one.shape == (96, 96, FILM_CHANNELS)
    assert np.mean(np.abs(one[..., 1] - two[..., 1])) < 0.03
    for k in (2, 3):
        assert np.mean(one[..., k] > 0.5) == pytest.approx(share, abs=0.03)
        assert np.mean((one[..., k] > 0.5) != (two[..., k] > 0.5)) < 0.03


def test_what_does_not_count_changes_nothing():
    picture = steps((0.6, 0.4), (0.3, 0.7))
    known = ALL.copy()
    known[:, :10] = False
    spoilt = picture.copy()
    spoilt[:, :8] = 1.0
    one, two = film_channels(picture, known), film_channels(spoilt, known)
    assert np.array_equal(one[:, 14:], two[:, 14:])


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_picture_of_one_value_has_channels_too(value):
    seen = film_channels(np.full((40, 50, 3), value, np.float32), np.ones((40, 50), bool))
    assert np.isfinite(seen).all()
    assert seen.min() >= 0
    assert seen.max() <= 1
    nothing = film_channels(np.full((40, 50, 1), value, np.float32), np.zeros((40, 50), bool))
    assert np.isfinite(nothing).all()
