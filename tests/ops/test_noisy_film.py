"""Films under noise: what stands out of it is found, noise itself is not."""

import numpy as np
import pytest

from layerscope.core.micrograph import Micrograph
from layerscope.ops.noisy_film import deviation_of, find_film

LEVEL = np.array([120.0, 100, 140])


def noisy(rng, contrast=0.0, sd=51.0, shape=(200, 260)):
    """Micrograph with a square of 60 px that is `contrast` of white darker, under noise."""
    out = np.tile(LEVEL, (*shape, 1)) + np.linspace(-4, 4, shape[1])[None, :, None]
    out[70:130, 90:150] -= 255 * contrast
    data = np.clip(np.rint(out + rng.normal(0, sd, out.shape)), 0, 255)
    return Micrograph(data.astype(np.uint8), name="a")


def test_noise_alone_is_no_film():
    rng = np.random.default_rng(0)
    found = [find_film(deviation_of(noisy(rng))[0]).any() for _ in range(12)]
    assert sum(found) <= 1


@pytest.mark.parametrize(("contrast", "least"), [(0.05, 0.75), (0.1, 0.85), (0.3, 0.9)])
def test_a_square_is_found_where_it_is(contrast, least):
    film = find_film(deviation_of(noisy(np.random.default_rng(1), contrast))[0])
    truth = np.zeros(film.shape, bool)
    truth[70:130, 90:150] = True
    assert np.count_nonzero(film & truth) / np.count_nonzero(film | truth) > least


@pytest.mark.parametrize("mixed", [False, True])
def test_noise_is_one_in_every_component(mixed):
    """A colour matrix correlates the channels' noise; the deviation is free of that."""
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 20, (160, 200, 3))
    if mixed:
        noise = noise @ np.array([[1.4, -0.3, -0.1], [-0.4, 1.6, -0.2], [0.0, -0.5, 1.5]]).T
    image = Micrograph(np.clip(LEVEL + noise, 0, 255).astype(np.uint8), name="a")
    deviation, background = deviation_of(image)
    np.testing.assert_allclose(np.cov(deviation.value.reshape(-1, 3).T), np.eye(3), atol=0.06)
    np.testing.assert_allclose(background.level * 255, LEVEL - 0.5, atol=1)


def test_a_grey_image_has_one_component_and_what_is_excluded_none():
    image = noisy(np.random.default_rng(3), 0.3)
    left_out = np.zeros(image.shape, bool)
    left_out[:, :140] = True
    grey = Micrograph(image.data[..., 1], name="a", excluded=left_out)
    deviation, _ = deviation_of(grey)
    assert deviation.value.shape == (200, 260, 1)
    assert not deviation.value[left_out].any()
    film = find_film(deviation)
    assert film[80:120, 143:148].all()
    assert not film[:, :130].any()


def test_a_black_channel_says_nothing():
    image = noisy(np.random.default_rng(4), 0.3)
    data = image.data.copy()
    data[..., 2] = 0
    deviation, _ = deviation_of(Micrograph(data, name="a"))
    assert deviation.value.shape[2] == 2
    assert find_film(deviation)[80:120, 100:140].mean() > 0.95
