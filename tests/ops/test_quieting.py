"""Strong noise is taken out; an image without it is left as it is."""

import cv2
import numpy as np
import pytest

from layerscope.core.micrograph import Micrograph
from layerscope.ops.quieting import _flattened, is_noisy, noise_of, quieted, without_impulses


def scene(rng, noise=2.0):
    """A square of level 90 on 140, (160, 200, 3)."""
    out = np.full((160, 200, 3), 140.0)
    out[50:110, 60:140] = 90
    return out + rng.normal(0, noise, out.shape)


def as_image(data):
    return Micrograph(np.clip(np.rint(data), 0, 255).astype(np.uint8), name="a")


@pytest.mark.parametrize("white", [False, True])
def test_a_usual_image_is_returned_as_it_is(white):
    data = scene(np.random.default_rng(0))
    if white:
        data[50:110, 60:140] = 255  # a crystal at the camera's limit is no impulse
    image = as_image(data)
    assert quieted(image) is image


def test_impulses_get_the_value_of_their_neighbours():
    rng = np.random.default_rng(1)
    clean = scene(rng)
    drawn = rng.random(clean.shape[:2])
    data = clean.copy()
    data[drawn < 0.1], data[drawn > 0.9] = 0, 255
    image = quieted(as_image(data))
    off = np.abs(image.data - clean).mean(axis=2)
    assert np.mean(off < 10) > 0.97
    sound = (drawn >= 0.1) & (drawn <= 0.9)
    np.testing.assert_array_equal(image.data[sound], as_image(clean).data[sound])
    assert image.history[-1].name == "quieted"


def test_strong_noise_is_flattened_and_levels_and_edges_stay():
    rng = np.random.default_rng(2)
    image = quieted(as_image(scene(rng, 40)))
    data = image.data.astype(float)
    assert data[65:95, 75:125].mean() == pytest.approx(90, abs=4)
    assert data[:40].mean() == pytest.approx(140, abs=4)
    assert data[:40].std() < 3
    assert np.mean((data < 115) == (scene(rng, 0)[..., :1] < 115)) > 0.99
    assert not is_noisy(image)


def test_noise_is_told_from_impulses():
    rng = np.random.default_rng(5)
    noisy, hit = as_image(scene(rng, 40)), scene(rng)
    assert is_noisy(noisy)
    assert without_impulses(noisy) is noisy
    hit[rng.random(hit.shape[:2]) < 0.2] = 255
    assert is_noisy(as_image(hit))
    assert not is_noisy(without_impulses(as_image(hit)))


def test_flattening_minimises_what_it_says():
    """No image beside it has less of total variation and distance together."""
    rng = np.random.default_rng(4)
    noisy = (scene(rng, 40)[40:80, 40:90] / 255).astype(np.float32)
    flat = _flattened(noisy, 0.3)

    def cost(image):
        down, right = np.diff(image, axis=0)[:, :-1], np.diff(image, axis=1)[:-1]
        return (
            0.3 * np.sqrt((down**2 + right**2).sum(axis=2)).sum() + ((image - noisy) ** 2).sum() / 2
        )

    least = cost(flat.astype(float))
    for scale in (1e-3, 1e-2):
        for _ in range(10):
            assert cost(flat + rng.normal(0, scale, flat.shape)) > least
    assert cost(cv2.GaussianBlur(noisy, (0, 0), 3)) > least
    assert flat.mean() == pytest.approx(noisy.mean(), abs=1e-4)


@pytest.mark.parametrize("sd", [0.02, 0.1])
def test_noise_is_measured(sd):
    rng = np.random.default_rng(3)
    ramp = np.linspace(0.2, 0.8, 200)[None, :] + np.zeros((160, 1))
    noisy = (ramp + rng.normal(0, sd, ramp.shape)).astype(np.float32)
    assert noise_of(noisy) == pytest.approx(sd, rel=0.05)
