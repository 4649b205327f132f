"""Smoothing along borders: it keeps shares, keeps borders, and takes specks away."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.ops.guided import guided_maps


def probabilities(shape, classes, seed):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), shape).astype(np.float32)


def by_hand(plane, guide, radius):
    """He, Sun and Tang, equations 5 to 8, pixel by pixel in double precision."""
    pad = 2 * radius
    guide = np.pad((guide - guide.mean()) / guide.std(), pad, mode="symmetric")
    plane = np.pad(plane.astype(float), pad, mode="symmetric")
    height, width = (n - 2 * radius for n in plane.shape)
    slope, level = np.zeros((height, width)), np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            here = (slice(y, y + 2 * radius + 1), slice(x, x + 2 * radius + 1))
            i, p = guide[here], plane[here]
            slope[y, x] = ((i * p).mean() - i.mean() * p.mean()) / (i.var() + 0.05)
            level[y, x] = p.mean() - slope[y, x] * i.mean()
    out = np.zeros((height - 2 * radius, width - 2 * radius))
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            here = (slice(y, y + 2 * radius + 1), slice(x, x + 2 * radius + 1))
            out[y, x] = slope[here].mean() * guide[y + pad, x + pad] + level[here].mean()
    return out


def test_it_is_the_published_filter():
    image = np.random.default_rng(3).random((14, 17), np.float32)
    maps = np.stack([np.full_like(image, 0.3), np.full_like(image, 0.7)], axis=2)
    maps[..., 0] += 0.2 * np.random.default_rng(4).random(image.shape, np.float32)
    maps[..., 1] = 1 - maps[..., 0]
    found = guided_maps(maps, image[..., None], 2)[..., 0]
    wanted = by_hand(maps[..., 0], image.astype(float), 2)
    np.testing.assert_allclose(found[4:-4, 4:-4], wanted[4:-4, 4:-4], atol=2e-5)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 4), st.integers(0, 9),
       st.sampled_from([1, 3]), st.integers(0, 99))  # fmt: skip
def test_probabilities_stay_probabilities(height, width, classes, radius, channels, seed):
    maps = probabilities((height, width), classes, seed)
    image = np.random.default_rng(seed).random((height, width, channels), np.float32)
    out = guided_maps(maps, image, radius)
    assert out.dtype == np.float32
    assert out.min() >= 0
    np.testing.assert_allclose(out.sum(axis=2), 1, atol=1e-5)
    if radius == 0:
        assert out is maps
    # Lamp and gain say nothing.
    np.testing.assert_allclose(guided_maps(maps, 3 * image + 0.5, radius), out, atol=2e-3)


@pytest.mark.parametrize("radius", [2, 4, 8])
def test_specks_go_and_borders_stay(radius):
    rng = np.random.default_rng(0)
    truth = np.zeros((64, 64), bool)
    truth[:, 30:] = True
    image = np.where(truth, 0.7, 0.3).astype(np.float32) + rng.normal(0, 0.01, truth.shape)
    p = np.clip(np.where(truth, 0.8, 0.2) + rng.normal(0, 0.3, truth.shape), 0, 1)
    maps = np.stack([1 - p, p], axis=2).astype(np.float32)
    before = ((p > 0.5) != truth).mean()
    smooth = guided_maps(maps, image[..., None].astype(np.float32), radius)
    after = (smooth.argmax(axis=2) != truth).mean()
    assert after < before / 10
    blurred = cv2.boxFilter(maps[..., 1], -1, (4 * radius + 1,) * 2)
    near = slice(28, 32)  # a filter that does not see the border leaves a ramp there
    kept = np.abs(smooth[:, near, 1] - np.where(truth[:, near], 0.8, 0.2)).mean()
    assert kept < np.abs(blurred[:, near] - np.where(truth[:, near], 0.8, 0.2)).mean() / 3
