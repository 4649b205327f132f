"""Strong noise is taken out; an image without it is left as it is."""

import numpy as np
import pytest

from layerscope.core.micrograph import Micrograph
from layerscope.ops.quieting import noise_of, quieted


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


def test_strong_noise_is_averaged_and_the_levels_stay():
    rng = np.random.default_rng(2)
    data = quieted(as_image(scene(rng, 40))).data.astype(float)
    assert data[65:95, 75:125].mean() == pytest.approx(90, abs=4)
    assert data[:40].mean() == pytest.approx(140, abs=4)
    assert data[:40].std() < 10


@pytest.mark.parametrize("sd", [0.02, 0.1])
def test_noise_is_measured(sd):
    rng = np.random.default_rng(3)
    ramp = np.linspace(0.2, 0.8, 200)[None, :] + np.zeros((160, 1))
    noisy = (ramp + rng.normal(0, sd, ramp.shape)).astype(np.float32)
    assert noise_of(noisy) == pytest.approx(sd, rel=0.05)
