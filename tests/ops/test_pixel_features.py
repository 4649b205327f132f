"""Pixel features against closed forms: what each filter answers to planes, parabolas, turns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from layerscope.errors import InputError, UnknownName
from layerscope.ops.pixel_features import (
    FEATURE_SETS,
    SIGMAS_PX,
    feature_names,
    pixel_features,
    strips,
)

MIDDLE = (slice(60, 61), slice(60, 61))  # beyond the reach of every border


def named(image, features="scales"):
    return dict(zip(feature_names(1, features), pixel_features(image, features), strict=True))


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).random((150, 130), np.float32)


def grid():
    y, x = np.mgrid[:121, :121] - 60.0
    return x, y


@pytest.mark.parametrize("channels", [1, 3])
def test_each_channel_has_49_features(channels):
    image = np.zeros((20, 30, channels), np.float32)
    assert pixel_features(image).shape == (49 * channels, 20, 30)
    assert len(set(feature_names(channels))) == 49 * channels
    assert len(feature_names(channels, "wide")) == 54 * channels


def test_a_plane_has_its_slope_at_every_scale():
    x, y = grid()
    found = named((0.03 * x + 0.04 * y + 1).astype(np.float32))
    for sigma in SIGMAS_PX[1:]:
        assert found[f"c0 gradient {sigma:g}"][MIDDLE] == pytest.approx(0.05, rel=1e-4)
        assert found[f"c0 laplacian {sigma:g}"][MIDDLE] == pytest.approx(0, abs=1e-5)
        assert found[f"c0 tensor {sigma:g}/1"][MIDDLE] == pytest.approx(0.0025, rel=1e-3)
        assert found[f"c0 tensor {sigma:g}/2"][MIDDLE] == pytest.approx(0, abs=1e-6)
        assert found[f"c0 gaussian {sigma:g}"][MIDDLE] == pytest.approx(1, rel=1e-5)


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1))
@settings(max_examples=10, deadline=None)
def test_a_parabola_has_its_curvatures_at_every_scale(a, b, c):
    x, y = grid()
    found = named((1e-3 * (a * x * x / 2 + b * y * y / 2 + c * x * y)).astype(np.float32))
    low, high = 1e-3 * np.linalg.eigvalsh([[a, c], [c, b]])
    for sigma in SIGMAS_PX[1:]:
        assert found[f"c0 hessian {sigma:g}/1"][MIDDLE] == pytest.approx(high, abs=3e-6)
        assert found[f"c0 hessian {sigma:g}/2"][MIDDLE] == pytest.approx(low, abs=3e-6)
        assert found[f"c0 laplacian {sigma:g}"][MIDDLE] == pytest.approx(low + high, abs=5e-6)


def test_smoothing_is_that_of_another_implementation(noise):
    """Above 1 px: sqrt(sigma^2 - 1), cut at 3.5 sigma, then 1 px, cut at 2."""
    for sigma in (1.6, 3.5, 10.0):
        before = np.sqrt(sigma**2 - 1)
        first = ndimage.gaussian_filter(
            noise.astype(float), before, mode="mirror", radius=int(3.5 * before + 0.5)
        )
        wanted = ndimage.gaussian_filter(first, 1.0, mode="mirror", radius=2)
        np.testing.assert_allclose(named(noise)[f"c0 gaussian {sigma:g}"], wanted, atol=2e-6)


@pytest.mark.parametrize("features", FEATURE_SETS)
def test_a_turned_image_has_turned_features(features, noise):
    square = noise[:128, :128]  # whole steps of the wide scales
    turned = pixel_features(np.ascontiguousarray(np.rot90(square)), features)
    wanted = np.rot90(pixel_features(square, features), axes=(1, 2))
    np.testing.assert_allclose(turned, wanted, atol=1e-5)


def test_only_levels_follow_the_brightness(noise):
    before, after = named(noise, "wide"), named(noise + np.float32(0.5), "wide")
    for name in before:
        level = name.split()[1] in ("gaussian", "value", "mean")
        np.testing.assert_allclose(after[name] - before[name], 0.5 if level else 0, atol=2e-5)


@pytest.mark.parametrize("features", FEATURE_SETS)
@pytest.mark.parametrize("rows", [8, 50, 1000])
def test_strips_are_the_whole(features, rows):
    image = np.random.default_rng(1).random((333, 41), np.float32)
    whole = pixel_features(image, features)
    cut = strips(image.shape, features, rows)
    assert [s.top for s in cut[1:]] == [s.bottom for s in cut[:-1]]
    assert (cut[0].top, cut[-1].bottom) == (0, 333)
    for s in cut:
        part = pixel_features(image[s.first : s.last], features)
        np.testing.assert_allclose(
            part[:, s.top - s.first : s.bottom - s.first], whole[:, s.top : s.bottom], atol=1e-6
        )


def test_what_is_no_image_is_refused():
    with pytest.raises(InputError, match="float32"):
        pixel_features(np.zeros((4, 4)))
    with pytest.raises(InputError, match="float32"):
        pixel_features(np.zeros((0, 4), np.float32))
    with pytest.raises(UnknownName, match="scales"):
        feature_names(1, "scale")
