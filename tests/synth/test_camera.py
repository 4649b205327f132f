from dataclasses import replace

import numpy as np
import pytest

from layerscope.errors import InputError, UnknownName
from layerscope.ops.tone import tone_curve
from layerscope.synth.camera import (
    CCD_LINEAR,
    CMOS_SRGB,
    GAMMA_18,
    add_noise,
    blur,
    develop,
    find_camera,
    lamp_spectrum,
    photograph,
)


def flat(value, size=400):
    return np.full((size, size, 3), value, np.float32)


def test_halogen_is_redder_when_cooler():
    wave = np.array([450.0, 650.0])
    cool, hot = lamp_spectrum("halogen:2800", wave), lamp_spectrum("halogen:3400", wave)
    assert cool[1] / cool[0] > hot[1] / hot[0]


def test_halogen_follows_planck_ratio():
    wave = np.array([450.0, 650.0])
    second = 1.438777e7
    expected = (450 / 650) ** 5 * np.expm1(second / (450 * 3200)) / np.expm1(second / (650 * 3200))
    light = lamp_spectrum("halogen:3200", wave)
    assert light[1] / light[0] == pytest.approx(expected, rel=1e-6)


def test_white_led_has_a_gap_between_pump_and_phosphor():
    pump, gap, phosphor = lamp_spectrum("led:5600", [452, 482, 560])
    assert gap < 0.7 * pump
    assert gap < phosphor


@pytest.mark.parametrize("lamp", ["halogen:", "halogen:99", "led:hot"])
def test_lamp_without_sensible_temperature(lamp):
    with pytest.raises(InputError, match="2000 to 10000"):
        lamp_spectrum(lamp, [500])


def test_unknown_lamp_and_camera_offer_near_names():
    with pytest.raises(UnknownName, match="halogen"):
        lamp_spectrum("halogn:3000", [500])
    with pytest.raises(UnknownName, match="ccd_linear"):
        find_camera("ccd_linea")


def test_shot_noise_variance_grows_with_light():
    camera = replace(CCD_LINEAR, read_noise_e=0.0, full_well_e=5000.0)
    for light in (0.1, 0.4, 0.8):
        noisy = add_noise(camera, flat(light), np.random.default_rng(1))
        assert noisy.var() == pytest.approx(light / 5000, rel=0.02)


def test_read_noise_is_what_is_left_in_the_dark():
    camera = replace(CCD_LINEAR, read_noise_e=10.0, full_well_e=1000.0)
    dark = add_noise(camera, flat(0.0), np.random.default_rng(1))
    assert dark.std() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize(("camera", "tone"), [(CMOS_SRGB, "srgb"), (GAMMA_18, "gamma:1.8")])
def test_tone_is_the_inverse_of_the_analysis_curve(camera, tone):
    grey = np.linspace(0, 1, 101)[:, None] * np.ones(3)
    level = develop(replace(camera, saturation=0.0, black=0.0), grey)
    np.testing.assert_allclose(tone_curve(tone).decode(level), grey, atol=1e-6)


def test_unknown_tone():
    with pytest.raises(UnknownName, match="tone curve"):
        develop(replace(CCD_LINEAR, tone="film"), np.ones((1, 3)))


def test_levels_are_rounded_to_the_bit_depth():
    light = flat(0.501, 8)
    rng = np.random.default_rng(0)
    eight = photograph(replace(CCD_LINEAR, black=0.0), light, rng, noise=False)
    twelve = photograph(replace(CCD_LINEAR, bit_depth=12), light, rng, noise=False)
    assert (eight.dtype, int(eight[0, 0, 0])) == (np.uint8, 128)
    assert (twelve.dtype, int(twelve[0, 0, 0])) == (np.uint16, 2052)


def test_sharpening_overshoots_at_an_edge():
    light = flat(0.3, 32)
    light[:, 16:] = 0.6
    rng = np.random.default_rng(0)
    plain = photograph(CCD_LINEAR, light, rng, noise=False)
    sharp = photograph(replace(CCD_LINEAR, sharpen=0.5), light, rng, noise=False)
    assert sharp.max() > plain.max()
    assert sharp.min() < plain.min()


def test_blur_acts_per_channel():
    point = np.zeros((21, 21, 3), np.float32)
    point[10, 10] = 1
    seen = blur(point, (0.0, 1.0, 2.0))
    assert seen[10, 10, 0] == 1
    assert seen[10, 10, 1] > seen[10, 10, 2] > 0
    np.testing.assert_allclose(seen.sum(axis=(0, 1)), 1, rtol=1e-5)
