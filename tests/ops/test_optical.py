"""The bare substrate: choice, surface, noise, flat fields and setups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.micrograph import Micrograph
from layerscope.errors import InputError
from layerscope.ops.optical import (
    Background,
    FlatField,
    SubstrateCandidate,
    binning_of,
    fit_background,
    flat_field_from_reference,
    flat_field_from_set,
)
from layerscope.ops.setups import group_setups, number_setups

BARE = np.array([0.51, 0.44, 0.61])


def field(shape=(320, 480), *, vignette=0.0, tilt=0.0, noise=0.004, seed=0, level=BARE):
    """Bare substrate as fractions of white, with the light that it has at each pixel."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    light = 1 - vignette * (x**2 + y**2) / 2 + tilt * x
    clean = light[..., None] * level
    return clean + np.random.default_rng(seed).normal(0, noise, clean.shape), clean


def as_micrograph(image, **more):
    return Micrograph(np.round(np.clip(image, 0, 1) * 255).astype(np.uint8), **more)


@pytest.mark.parametrize(("vignette", "tilt"), [(0, 0), (0.15, 0), (0.1, 0.05)])
def test_surface_follows_the_light_and_not_the_flakes(vignette, tilt):
    image, clean = field(vignette=vignette, tilt=tilt)
    image[60:140, 90:200] *= [0.86, 0.75, 0.93]
    image[200:300, 20:120] *= 1.5
    background = fit_background(as_micrograph(image))
    error = background.at(image.shape[:2]) / clean - 1
    assert background.confident
    assert np.abs(np.median(error)) < 0.002
    # Inside the flakes the surface is an extrapolation, outside it is fitted.
    assert np.abs(error).max() < 0.015


def test_round_aperture_is_no_polynomial_but_followed():
    image, clean = field()
    y, x = np.indices(image.shape[:2])
    far = np.hypot(y - 160, x - 240) / 288
    shade = 1 - 0.12 / (1 + np.exp(-(far - 0.85) / 0.08))
    background = fit_background(as_micrograph(image * shade[..., None]))
    error = background.at(image.shape[:2]) / (clean * shade[..., None]) - 1
    assert np.quantile(np.abs(error), 0.98) < 0.015


@pytest.mark.parametrize("sd", [0.003, 0.006, 0.012])
def test_noise_is_measured(sd):
    image, _ = field(noise=sd)
    measured = fit_background(as_micrograph(image)).noise
    expected = np.hypot(sd, 1 / 255 / np.sqrt(12))
    assert measured == pytest.approx(expected * np.ones(3), rel=0.12)


def test_a_film_over_most_of_the_field_is_a_candidate_and_the_truth_can_be_given():
    image, _ = field()
    film = BARE * [0.8, 0.7, 0.9]
    image[:, 130:] += film - BARE
    free = fit_background(as_micrograph(image))
    assert min(np.abs(c.level - BARE).max() for c in free.candidates) < 0.01
    assert min(np.abs(c.level - film).max() for c in free.candidates) < 0.01
    told = fit_background(as_micrograph(image), substrate_level=BARE)
    assert told.level == pytest.approx(BARE, abs=0.01)
    assert told.confident


def test_wrong_substrate_level_is_refused():
    with pytest.raises(InputError, match="substrate_level"):
        fit_background(as_micrograph(field()[0]), substrate_level=[130, 113, 155])


def test_flat_field_from_reference_removes_the_vignette():
    reference, clean = field(vignette=0.3)
    flat = flat_field_from_reference(as_micrograph(reference))
    error = flat.at((320, 480)) / (clean / clean.mean((0, 1))) - 1
    assert np.abs(error).max() < 0.02
    corrected = fit_background(as_micrograph(clean), flat_field=flat)
    assert np.ptp(corrected.surface, axis=(0, 1)).max() < 0.02


def test_flat_field_from_a_set_sees_through_flakes():
    images = []
    for seed in range(9):
        image, clean = field(vignette=0.2, seed=seed)
        place = 45 * seed
        image[30:200, place : place + 90] *= 1.6
        images.append(as_micrograph(image))
    flat = flat_field_from_set(images)
    error = flat.at((320, 480)) / (clean / clean.mean((0, 1))) - 1
    assert np.abs(error).max() < 0.02


def test_flat_fields_that_cannot_divide_are_refused():
    dark = np.zeros((40, 40, 3), np.uint8)
    with pytest.raises(InputError, match="cannot be a flat field"):
        flat_field_from_reference(Micrograph(dark))
    with pytest.raises(InputError, match="3 or more"):
        flat_field_from_set([as_micrograph(field()[0])])
    with pytest.raises(InputError, match="positive"):
        FlatField(np.zeros((4, 4, 3), np.float32), "test")


@pytest.mark.parametrize(
    ("shape", "binning"), [((1200, 1920), 2), ((640, 640), 1), ((1, 1), 1), ((4000, 6000), 4)]
)
def test_binning_keeps_half_a_million_pixels(shape, binning):
    assert binning_of(shape) == binning


def background(level, confident=True, others=()):
    candidates = tuple(SubstrateCandidate(np.array(c), 0.4, 0.5) for c in (level, *others))
    level = np.array(level, float)
    surface = np.broadcast_to(level.astype(np.float32), (4, 4, 3))
    return Background(level, surface, np.full(3, 0.01), np.full(3, 0.001), candidates, confident)


def test_the_set_corrects_the_image_that_took_the_film_for_the_substrate():
    film = BARE * [0.8, 0.7, 0.9]
    images = [background(BARE * s) for s in (1, 0.99, 1.02, 1.01)]
    images.append(background(film, confident=False, others=[BARE * 1.005]))
    setup, revised = group_setups(images)
    assert setup.tolist() == [0] * 5
    assert revised[:4] == (None,) * 4
    assert revised[4] == pytest.approx(BARE * 1.005)


def test_exposures_are_setups_of_their_own():
    images = [background(BARE * s) for s in (1, 1.01, 0.99, 0.5, 0.505)]
    setup, revised = group_setups(images)
    assert setup.tolist() == [0, 0, 0, 1, 1]
    assert all(r is None for r in revised)


def test_a_drifting_exposure_is_cut_into_setups():
    images = [background(BARE * s) for s in np.geomspace(0.7, 1.3, 24)]
    setup, _ = group_setups(images)
    for k in range(setup.max() + 1):
        levels = np.log([b.level for b, s in zip(images, setup, strict=True) if s == k])
        assert np.ptp(levels, axis=0).max() < 0.4
    assert 2 <= setup.max() + 1 <= 5


def test_twenty_thousand_images_are_grouped_as_few_are():
    rng = np.random.default_rng(3)
    mean = BARE * rng.choice([1.0, 0.8, 0.55], p=[0.6, 0.3, 0.1], size=20_000)[:, None]
    levels = mean * rng.normal(1, 0.004, (20_000, 3))
    setup = number_setups(levels)
    few = number_setups(levels[:400])
    assert setup.max() == 2
    assert setup[:400].tolist() == few.tolist()


def test_no_images_no_setups():
    setup, revised = group_setups([])
    assert len(setup) == 0
    assert revised == ()


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(7)))
def test_setups_do_not_depend_on_the_order(order):
    images = [background(BARE * s) for s in (1, 1.01, 0.99, 0.5, 0.505, 0.7)]
    images.append(background(BARE * 0.8, confident=False, others=[BARE * 0.5]))
    setup, revised = group_setups(images)
    again, revised_again = group_setups([images[i] for i in order])
    assert again.tolist() == setup[list(order)].tolist()
    for place, i in enumerate(order):
        assert (revised[i] is None) == (revised_again[place] is None)
