"""Laws of light, of ladders and of posteriors, for inputs that nobody chose."""

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.results import RegionSignal
from layerscope.ops.tone import contrast, tone_curve
from layerscope.physics.calibration import calibrate
from layerscope.physics.ladder import PARAMETERS, LadderModel, Prior
from layerscope.physics.materials import Material, load, materials
from layerscope.physics.thickness import count_layers
from layerscope.physics.thin_film import Stack, contrast_ladder, flake_reflectance
from layerscope.synth import synth_signals

WAVE = np.array([430.0, 550.0, 680.0])
CRYSTALS = [n for n in materials() if load(n).layer_nm is not None]
fast = settings(max_examples=40, deadline=None)
indices = st.floats(1.0, 6.0)
losses = st.floats(0.0, 4.0)
lengths = st.floats(0.0, 400.0)


def medium(n, k=0.0):
    grid = np.array([300.0, 900.0])
    return Material("made up", 0.5, grid, np.full(2, n), np.full(2, k), "", "", "")


@fast
@given(indices, losses, lengths, indices, losses, lengths, indices, losses, st.floats(0.01, 0.95))
def test_reflectance_is_a_share(n1, k1, d1, n2, k2, d2, n3, k3, na):
    stack = Stack(((medium(n2, k2), d2),), medium(n3, k3))
    r = flake_reflectance(medium(n1, k1), [0.0, d1], stack, WAVE, na=na)
    assert np.all((r >= 0) & (r <= 1 + 1e-12))


@fast
@given(indices, losses, lengths, indices, lengths, st.floats(0.2, 5.0))
def test_lengths_scale_with_the_wavelength(n, k, d, n2, d2, factor):
    """Without dispersion only ratios of length to wavelength count."""
    flake, film, base = medium(n, k), medium(n2), medium(3.9)
    small = flake_reflectance(flake, [d], Stack(((film, d2),), base), WAVE)
    stretched = Stack(((film, d2 * factor),), base)
    large = flake_reflectance(flake, [d * factor], stretched, WAVE * factor)
    np.testing.assert_allclose(large, small, rtol=1e-9, atol=1e-12)


@fast
@given(indices, losses, lengths, st.floats(0.0, 1.0))
def test_a_film_split_in_two_is_the_same_film(n, k, d, share):
    film, base = medium(n, k), medium(3.9, 0.02)
    whole = flake_reflectance(film, [d], Stack((), base), WAVE)
    split = flake_reflectance(film, [d * share], Stack(((film, d * (1 - share)),), base), WAVE)
    np.testing.assert_allclose(split, whole, rtol=1e-9, atol=1e-12)


@fast
@given(st.sampled_from(CRYSTALS), st.floats(1.0, 350.0))
def test_thin_layers_add_up(name, oxide_nm):
    """A film thin against the wavelength changes the light in proportion to its thickness."""
    material, stack = load(name), Stack.parse("SiO2(90nm)/Si").with_oxide(oxide_nm)
    one, two = contrast_ladder(material, stack, thickness_nm=[1e-4, 2e-4])
    # Of the strongest channel: where the contrast of one changes its sign, the next order is left.
    np.testing.assert_allclose(two, 2 * one, rtol=0, atol=2e-3 * np.abs(two).max())


@fast
@given(st.integers(0, 10_000), st.floats(0.3, 1.0), st.sampled_from(["linear", "gamma:2.2"]))
def test_contrast_does_not_depend_on_the_exposure(seed, exposure, tone):
    signal, _ = synth_signals(seed, n_regions=6)
    curve = tone_curve(tone)
    factor = exposure if tone == "linear" else exposure ** (1 / 2.2)
    scaled = {"level", "level_se", "background", "background_se"}
    dim = RegionSignal(**{k: v * factor if k in scaled else v for k, v in signal.__dict__.items()})
    for one, other in zip(contrast(signal, curve), contrast(dim, curve), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


@fast
@given(st.sampled_from(["linear", "srgb", "gamma:0.4", "gamma:1.8", "gamma:2.2", "gamma:5"]))
def test_decoding_rises_from_black_to_white(name):
    curve, level = tone_curve(name), np.linspace(0, 1, 4001)
    light = curve.decode(level)
    assert np.all(np.diff(light) >= 0)
    assert np.all(np.diff(light[40:]) > 0)
    assert light[0] == 0
    assert np.isclose(light[-1], 1)
    assert np.all(curve.slope(level) >= 0)


@fast
@given(st.floats(0.2, 5.0), st.floats(0, 1))
def test_gamma_is_the_exponent_that_decodes(gamma, level):
    np.testing.assert_allclose(tone_curve(f"gamma:{gamma}").decode(level), level**gamma)


@fast
@given(st.lists(st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)), min_size=1, max_size=6))
def test_a_measured_curve_passes_through_its_points(steps):
    level, light = np.cumsum([(0.0, 0.0), *steps], axis=0).T
    level, light = level / level[-1], light / light[-1]
    curve = tone_curve("table", list(zip(level, light, strict=True)))
    np.testing.assert_allclose(curve.decode(level), light, atol=1e-12)
    assert np.all(np.diff(curve.decode(np.linspace(0, 1, 500))) > 0)


@cache
def ladder_model():
    return LadderModel(load("graphene"), Stack.parse("SiO2(90nm)/Si"), (50, 130))


@fast
@given(st.lists(st.floats(-4, 4), min_size=9, max_size=9), st.sampled_from(["linear", "srgb"]))
def test_any_camera_within_the_limits_sees_finite_colours(z, tone):
    prior = Prior.default(oxide_nm=90, oxide_sd_nm=10)
    theta = np.clip(prior.mean + prior.sd * np.array(z), prior.low, prior.high)[None]
    curve, background = tone_curve(tone), np.array([0.45, 0.3, 0.5])
    encoded = ladder_model().encoded(theta, curve, background)
    assert encoded.shape == (1, ladder_model().nodes.count, 3)
    assert np.all(np.isfinite(encoded))
    assert encoded.min() > -1
    assert len(PARAMETERS) == theta.shape[1]


@cache
def calibrated():
    layers = [1] * 5 + [2] * 4 + [3] * 3 + [4, 5, 30, 200]
    signal, _ = synth_signals(2, layers=layers, wrong_share=0)
    found = calibrate(
        [signal], [np.median(signal.background, axis=0)], load("graphene"),
        Stack.parse("SiO2(90nm)/Si"), tone=tone_curve("linear"),
        labels=[np.array([1, 0, 0, 0, 0, 2] + [0] * 10)],
    )  # fmt: skip
    return signal, found


@fast
@given(st.permutations(range(16)), st.integers(1, 16))
def test_posterior_of_a_row_does_not_depend_on_the_others(order, kept):
    signal, found = calibrated()
    rows = np.array(order[:kept])
    whole, part = count_layers(signal, found, 0), count_layers(signal.take(rows), found, 0)
    np.testing.assert_allclose(part.probability, whole.probability[rows], atol=1e-12)
    np.testing.assert_array_equal(part.n_layers, whole.n_layers[rows])


@fast
@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=8))
def test_any_colour_gets_a_distribution(levels):
    signal, found = calibrated()
    some = signal.take(np.arange(len(levels)))
    posterior = count_layers(RegionSignal(**{**some.__dict__, "level": np.array(levels)}), found, 0)
    assert np.all(posterior.probability >= 0)
    np.testing.assert_allclose(posterior.probability.sum(axis=1), 1, atol=1e-9)
    sure = posterior.n_layers > 0
    assert np.all(posterior.confidence[sure] >= 0.5)
    assert np.all(np.isnan(posterior.thickness_nm) | (posterior.thickness_nm > 0))
