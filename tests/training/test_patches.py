"""Batches depend on seed and step; grids cover the picture."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.examples import IGNORE
from layerscope.errors import InputError
from layerscope.ops.augment import Augmentation
from layerscope.training.patches import PatchSource, grid_patches, with_foreground

EVERYTHING = Augmentation(mosaic_share=0.5, paste_share=0.5)


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, s, dtype=np.uint8) for s in ((90, 100, 3), (60, 140, 3))]
    labels = [np.zeros(i.shape[:2], np.uint8) for i in images]
    labels[0][10:14, 10:14] = 1
    labels[1][20:50, 20:110] = 2
    return images, labels


def test_a_batch_depends_on_seed_and_step_only(pictures):
    source = PatchSource(*pictures, 32, EVERYTHING, seed=4)
    x, y = source.batch(7, 6)
    source.batch(8, 3)
    again = PatchSource(*pictures, 32, EVERYTHING, seed=4).batch(7, 2)
    assert (again[0] == x[:2]).all()
    assert (again[1] == y[:2]).all()
    assert x.shape == (6, 3, 32, 32)
    assert y.shape == (6, 32, 32)
    assert (x.dtype, y.dtype) == (np.float32, np.uint8)
    for other in (PatchSource(*pictures, 32, EVERYTHING, seed=5).batch(7, 6), source.batch(9, 6)):
        assert (other[0] != x).any()
    assert set(np.unique(y)) <= {0, 1, 2, IGNORE}


def test_rare_classes_are_seen_as_often_as_frequent_ones(pictures):
    source = PatchSource(*pictures, 24, seed=1, foreground_share=1.0, least_foreground_px=1)
    y = source.batch(0, 200)[1]
    assert np.mean([(p == 1).any() for p in y]) == pytest.approx(0.5, abs=0.12)


def test_without_foreground_wish_most_patches_are_empty(pictures):
    source = PatchSource(*pictures, 16, seed=1, foreground_share=0.0)
    seen = np.mean([(p == 1).any() for p in source.batch(0, 200)[1]])
    assert seen < 0.1


def test_normalisation_and_float_labels(pictures):
    images, labels = pictures
    maps = [np.stack([m > 0, m, m], axis=2).astype(np.float32) for m in labels]
    source = PatchSource(images, maps, 16, normalise=lambda image: image - 0.5)
    x, y = source.batch(0, 8)
    assert y.shape == (8, 3, 16, 16)
    assert y.dtype == np.float32
    assert x.min() < -0.3
    assert (y[:, 0] > 0).any()


def test_unlabelled_pictures_still_give_patches():
    blank = PatchSource([np.zeros((20, 20, 1), np.uint8)], [np.full((20, 20), IGNORE, np.uint8)], 8)
    assert (blank.batch(0, 2)[1] == IGNORE).all()


def test_what_does_not_belong_together_is_refused():
    grey, colour = np.zeros((9, 9, 1), np.uint8), np.zeros((9, 9, 3), np.uint8)
    labels = np.zeros((9, 9), np.uint8)
    with pytest.raises(InputError, match="channels"):
        PatchSource([grey, colour], [labels, labels], 4)
    with pytest.raises(InputError, match="label maps"):
        PatchSource([grey], [], 4)
    with pytest.raises(InputError, match="0 images"):
        PatchSource([], [], 4)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 120), st.integers(1, 120), st.integers(1, 50), st.data())
def test_a_grid_covers_the_picture_and_stays_in_it(height, width, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    boxes = grid_patches((height, width), size, overlap)
    hit = np.zeros((height, width), int)
    for top, left, bottom, right in boxes:
        assert 0 <= top < bottom <= height
        assert 0 <= left < right <= width
        assert (bottom - top, right - left) == (min(size, height), min(size, width))
        hit[top:bottom, left:right] += 1
    assert hit.min() >= 1
    assert len(set(boxes)) == len(boxes)
    tops = sorted({b[0] for b in boxes})
    assert all(a + size - b >= overlap for a, b in pairwise(tops))
    if size - overlap > 0 and height > size:
        assert len(tops) == -(-(height - size) // (size - overlap)) + 1


def test_grid_without_overlap_meets_exactly():
    assert grid_patches((4, 6), 2) == [(t, c, t + 2, c + 2) for t in (0, 2) for c in (0, 2, 4)]
    with pytest.raises(InputError, match="overlap"):
        grid_patches((4, 6), 2, 2)


def test_foreground_filter_counts_pixels():
    labels = np.zeros((4, 8), np.uint8)
    labels[0, :3] = 1
    labels[:, 4:] = IGNORE
    boxes = grid_patches((4, 8), 4)
    assert with_foreground(boxes, labels, 3) == [(0, 0, 4, 4)]
    assert with_foreground(boxes, labels, 4) == []
