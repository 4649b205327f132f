"""What patches of a network are made of."""

import numpy as np
import pytest

pytest.importorskip("torch")

from layerscope.ops.normalisation import NORMALISATIONS, normalise
from layerscope.training.network_trial import SPANS


def test_every_normalisation_has_a_span():
    assert set(SPANS) == set(NORMALISATIONS)


@pytest.mark.parametrize("name", tuple(NORMALISATIONS))
def test_patches_keep_nearly_all_of_a_normalised_image(name):
    rng = np.random.default_rng(0)
    image = np.full((64, 80, 3), (0.5, 0.4, 0.45), np.float32)
    image[20:40, 10:50] *= 0.7
    image = np.clip(image + rng.normal(0, 0.02, image.shape), 0, 1).astype(np.float32)
    low, high = SPANS[name]
    values = normalise(name, image)
    assert ((values >= low) & (values <= high)).mean() > 0.98
    assert np.ptp(values) > 0.05 * (high - low)  # 8 bits still tell shades apart
