"""Every synthetic camera, own or of an outside package, keeps these promises."""

import numpy as np
import pytest

from layerscope.physics.materials import load
from layerscope.physics.thin_film import Camera, Stack, flake_reflectance
from layerscope.synth.camera import (
    BENCHMARK_CAMERAS,
    CAMERAS,
    WAVELENGTH_NM,
    develop,
    expose,
    find_camera,
)
from layerscope.synth.optical import synth_flakes

BARE = flake_reflectance(load("graphene"), [0.0], Stack.parse("SiO2(90nm)/Si"), WAVELENGTH_NM)[0]


@pytest.mark.parametrize("name", sorted(CAMERAS))
class TestEveryCamera:
    def test_channels_lie_in_the_order_blue_green_red(self, name):
        weight = find_camera(name).response()
        centre = weight @ WAVELENGTH_NM
        assert np.all(weight >= 0)
        np.testing.assert_allclose(weight.sum(axis=1), 1)
        assert 430 < centre[2] < 500 < centre[1] < 575 < centre[0] < 650

    def test_is_not_the_camera_of_the_analysis(self, name):
        camera = find_camera(name)
        departure = []
        for channel in camera.response():
            centre = channel @ WAVELENGTH_NM
            width = np.sqrt(channel @ (WAVELENGTH_NM - centre) ** 2)
            gauss = np.exp(-0.5 * ((WAVELENGTH_NM - centre) / width) ** 2)
            departure.append(np.abs(channel - gauss / gauss.sum()).sum())
        assert max(departure) > 0.1
        assert not np.allclose(camera.response(), Camera().response(WAVELENGTH_NM), atol=1e-3)

    def test_bare_substrate_is_exposed_as_asked(self, name):
        camera = find_camera(name)
        light = expose(camera, BARE[None], BARE)[0]
        assert light.max() / (1 + camera.flare) == pytest.approx(camera.exposure)
        assert light.min() > 0.1 * light.max()

    def test_brighter_light_is_never_a_lower_level(self, name):
        grey = np.linspace(0, 1.2, 200)[:, None] * np.ones(3)
        level = develop(find_camera(name), grey)
        assert np.all(np.diff(level, axis=0) >= 0)
        assert level.min() >= 0
        assert level.max() <= 1

    def test_matrix_keeps_grey(self, name):
        np.testing.assert_allclose(find_camera(name).matrix().sum(axis=1), 1)

    def test_takes_a_picture(self, name):
        image = synth_flakes(3, camera=name, shape=(96, 128), n_flakes=2)
        camera = find_camera(name)
        assert image.micrograph.data.dtype == (np.uint8 if camera.bit_depth == 8 else np.uint16)
        assert image.micrograph.data.max() <= image.micrograph.white_level
        assert image.camera == name


def test_benchmark_has_linear_and_srgb_cameras():
    tones = [find_camera(name).tone for name in BENCHMARK_CAMERAS]
    assert len(set(BENCHMARK_CAMERAS)) == 5
    assert set(tones) == {"linear", "srgb"}
    assert len(CAMERAS) >= 8
