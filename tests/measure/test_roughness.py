"""Roughness of surfaces whose figures are known in closed form."""

import numpy as np
import pytest
from scipy.integrate import quad

from layerscope.errors import InputError
from layerscope.measure.roughness import MEANINGS, roughness


def wave(amplitude_nm, period_px, shape=(256, 256)):
    return amplitude_nm * np.sin(2 * np.pi * np.arange(shape[1]) / period_px) * np.ones(shape)


def test_a_sine_has_the_figures_of_a_sine():
    heights, part = wave(3.0, 64), np.ones((256, 256), bool)
    found = roughness(heights, part, pixel_nm=(2.0, 2.0))
    assert found["Sq"].value == pytest.approx(3 / np.sqrt(2), rel=1e-9)
    assert found["Sa"].value == pytest.approx(6 / np.pi, rel=1e-3)
    assert found["Ssk"].value == pytest.approx(0, abs=1e-9)
    assert found["Sku"].value == pytest.approx(1.5, rel=1e-9)
    steep = 3.0 * 2 * np.pi / 128
    length, _ = quad(lambda t: np.sqrt(1 + (steep * np.cos(t)) ** 2), 0, 2 * np.pi)
    assert found["Sdr"].value == pytest.approx(100 * (length / (2 * np.pi) - 1), rel=0.01)


def test_a_slope_is_exact_in_sdr():
    y, x = np.mgrid[:64, :64]
    found = roughness(0.3 * x + 0.8 * y, np.ones((64, 64), bool), pixel_nm=(4.0, 2.0))
    assert found["Sdr"].value == pytest.approx(100 * (np.sqrt(1 + 0.15**2 + 0.2**2) - 1), rel=1e-9)


def test_only_the_part_counts():
    heights = wave(1.0, 32)
    heights[:, 128:] = 1e3
    heights[5, 5] = np.nan
    part = np.zeros(heights.shape, bool)
    part[:, :128] = True
    assert roughness(heights, part, pixel_nm=None)["Sq"].value == pytest.approx(0.5**0.5, rel=1e-3)


def test_noise_is_taken_off():
    rng = np.random.default_rng(0)
    heights = wave(1.0, 64) + rng.normal(0, 0.5, (256, 256))
    found = roughness(heights, np.ones(heights.shape, bool), pixel_nm=None, noise_nm=0.5)
    assert found["Sq"].value == pytest.approx(np.sqrt(0.75), rel=0.01)
    assert found["Sq_corrected"].value == pytest.approx(np.sqrt(0.5), rel=0.02)
    assert found["Sq_corrected"].low < np.sqrt(0.5) < found["Sq_corrected"].high


def test_intervals_of_random_surfaces_hold_the_truth():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(40):
        found = roughness(rng.normal(0, 1, (160, 160)), np.ones((160, 160), bool), pixel_nm=None)
        hits += found["Sq"].low <= 1 <= found["Sq"].high
    assert hits >= 33


def test_what_cannot_be_said_has_a_reason():
    found = roughness(np.zeros((64, 64)), np.zeros((64, 64), bool), pixel_nm=(1, 1))
    assert {f.interval for f in found.values()} == {"none: 0 px, fewer than 16"}
    flat = roughness(np.zeros((64, 64)), np.ones((64, 64), bool), pixel_nm=None)
    assert flat["Sq"].value == 0
    assert np.isnan(flat["Ssk"].value)
    assert flat["Sdr"].interval == "none: no pixel size"
    assert flat["Sq_corrected"].interval == "none: the instrument's noise is not known"
    assert set(found) == set(MEANINGS)


@pytest.mark.parametrize("change", [{"part": np.ones((3, 3), bool)}, {"noise_nm": -1.0}])
def test_wrong_arguments_are_refused(change):
    given = {"part": np.ones((8, 8), bool), "noise_nm": None} | change
    with pytest.raises(InputError):
        roughness(np.zeros((8, 8)), given["part"], pixel_nm=None, noise_nm=given["noise_nm"])
