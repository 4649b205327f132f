"""Images and masks brought to one pixel size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.core.examples import IGNORE, DataSet, Example
from layerscope.errors import InputError
from layerscope.training.resampled import resample

CLASSES = ("background", "a", "b")


def one(image, masks, size_nm):
    example = Example.from_arrays("x", image, masks, pixel_size_nm=size_nm)
    return DataSet((example,), CLASSES)


@given(seed=st.integers(0, 2**31), times=st.integers(1, 3))
def test_twice_as_coarse_is_the_mean_of_blocks(seed, times):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (64, 70)).astype(np.uint8)
    masks = rng.choice([0, 1, IGNORE], (64, 70, 2)).astype(np.uint8)
    fine = [np.repeat(np.repeat(p, times, 0), times, 1) for p in (coarse, masks)]
    (back,) = resample(one(*fine, 2.0), 2.0 * times).examples
    assert (back.read_image()[..., 0] == coarse).all()
    assert (back.class_masks(2) == masks).all()
    assert (back.shape, back.pixel_size_nm) == ((64, 70), 2.0 * times)


def test_finer_pixels_keep_the_share_of_a_mask():
    masks = np.zeros((64, 64, 2), np.uint8)
    masks[10:30, 20:50, 0] = 1
    (back,) = resample(one(np.zeros((64, 64), np.uint8), masks, 4.0), 2.0).examples
    assert back.class_masks(2)[..., 0].mean() == masks[..., 0].mean()
    assert back.read_image().shape == (128, 128, 1)


def test_what_cannot_be_resampled_is_said():
    image, masks = np.zeros((80, 80), np.uint8), np.ones((80, 80, 2), np.uint8)
    with pytest.raises(InputError, match="no pixel size"):
        resample(one(image, masks, None), 2.0)
    for wanted in (0.5, 20.0):
        with pytest.raises(InputError, match="nearer to those"):
            resample(one(image, masks, 4.0), wanted)
