"""Outlines fitted to noisy images are those that were drawn."""

import numpy as np
import pytest

from layerscope.measure.crystal_fitting import fit_outlines
from layerscope.measure.crystal_shapes import SHAPES
from layerscope.synth.crystal_outlines import arrival, draw_outline


def drawn(rng, shape, size_px, contrast, side):
    """Image of one crystal in unit noise, and its mask."""
    outline = draw_outline(rng, shape, size_px, 25.0)
    y, x = np.mgrid[:side, :side].astype(np.float32) - np.float32(side / 2 + 3)
    mask = arrival(outline, y, x) < 1
    noise = rng.standard_normal(mask.shape, np.float32)
    return contrast * mask.astype(np.float32) + noise, mask


@pytest.mark.parametrize("size_px", [24, 70])
@pytest.mark.parametrize("shape", SHAPES[:5])
def test_shape_place_and_strength_are_found(shape, size_px):
    image, mask = drawn(np.random.default_rng(7), shape, size_px, 40 / size_px, 4 * size_px)
    start = mask
    if shape != "strip":
        # What is seen first is a part of the crystal: noise has torn it apart.
        start = mask & (np.arange(len(mask))[:, None] < np.median(np.nonzero(mask)[0]))
    fits = fit_outlines(image, np.ones(mask.shape, bool), start)
    best = max(fits, key=lambda fit: fit.strength)
    found = best.mask(mask.shape)
    assert SHAPES[best.family] == shape
    assert np.count_nonzero(found & mask) / np.count_nonzero(found | mask) > 0.8
    expected = 40 / size_px * np.sqrt(mask.sum())
    assert best.strength == pytest.approx(expected, rel=0.15)


def test_contrast_scales_strength_and_changes_no_outline():
    image, mask = drawn(np.random.default_rng(8), "triangle", 20, 1.0, 80)
    everywhere = np.ones(mask.shape, bool)
    once, twice = (
        fit_outlines(k * image, everywhere, mask) for k in (np.float32(1), np.float32(2))
    )
    best, other = (max(fits, key=lambda fit: fit.strength) for fits in (once, twice))
    assert other.strength == pytest.approx(2 * best.strength, rel=1e-5)
    assert other.radius_px == pytest.approx(best.radius_px, rel=1e-5)


def test_what_does_not_count_says_nothing():
    """A bright neighbour that is left out neither draws the outline nor strengthens it."""
    image, mask = drawn(np.random.default_rng(9), "hexagon", 30, 1.5, 110)
    beside = image.copy()
    beside[:, 75:] += 9
    counted = np.ones(mask.shape, bool)
    counted[:, 75:] = False
    one, two = (fit_outlines(i, counted, mask) for i in (image, beside))
    assert one == two
