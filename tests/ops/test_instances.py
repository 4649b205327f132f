"""Touching crystals are parted, single ones are not."""

import cv2
import numpy as np
import pytest
from films import fill, polygon
from scipy import ndimage

from layerscope.errors import InputError
from layerscope.ops.instances import _distance, label_islands, split_touching, without_gaps
from layerscope.synth.surface import synth_surface


def pair(rng, sides):
    """Two crystals of which at most a tenth of the smaller lies in the other, and that touch."""
    while True:
        radius = rng.uniform(14, 40, 2)
        gap = rng.uniform(0.8, 2.0) * radius.mean()
        t = rng.uniform(0, 2 * np.pi)
        centres = (90, 90), (90 + gap * np.sin(t), 90 + gap * np.cos(t))
        both = [
            fill((200, 200), polygon(sides, r, rng.uniform(0, 120), c))
            for r, c in zip(radius, centres, strict=True)
        ]
        shared = np.count_nonzero(both[0] & both[1])
        if 0 < shared < 0.1 * min(np.count_nonzero(m) for m in both):
            return both[0] | both[1]


@pytest.mark.parametrize("sides", [3, 6])
def test_pairs_that_touch_are_two(sides):
    rng = np.random.default_rng(sides)
    counts = [int(split_touching(pair(rng, sides)).max()) for _ in range(80)]
    assert np.mean(np.array(counts) == 2) >= 0.95


@pytest.mark.parametrize("sides", [3, 4, 6, 40])
def test_single_crystals_stay_whole(sides):
    rng = np.random.default_rng(sides)
    for _ in range(40):
        mask = fill((130, 130), polygon(sides, rng.uniform(4, 55), rng.uniform(0, 120), (64, 65)))
        assert split_touching(mask).max() == 1


def test_irregular_islands_stay_whole():
    rng = np.random.default_rng(5)
    t = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    k = np.arange(2, 9)[:, None]
    for _ in range(40):
        wave = 0.2 * rng.normal(size=(7, 1)) / k * np.cos(k * t + rng.uniform(0, 6.3, (7, 1)))
        radius = rng.uniform(8, 45) * np.clip(1 + wave.sum(axis=0), 0.4, 2)
        corners = np.stack([100 + radius * np.cos(t), 100 + radius * np.sin(t)], axis=1)
        mask = np.zeros((200, 200), np.uint8)
        cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1)
        assert split_touching(mask > 0).max() == 1


def test_counts_of_synthetic_films_are_within_five_percent():
    found, true = 0, 0
    for seed in range(100, 116):
        coverage = 0.05 + 0.53 * (seed * 0.618 % 1)
        surface = synth_surface(seed, shape=(256, 256), coverage=coverage)
        found += int(split_touching(surface.layers > 0).max())
        true += int(np.count_nonzero(np.bincount(surface.grains.ravel())[1:] >= 20))
    assert found == pytest.approx(true, rel=0.05)


def test_labels_fill_the_mask_and_part_islands():
    mask = synth_surface(3, shape=(128, 128), coverage=0.5).layers > 0
    labels = split_touching(mask)
    np.testing.assert_array_equal(labels > 0, mask)
    assert sorted(np.unique(labels[mask])) == list(range(1, labels.max() + 1))
    islands = label_islands(mask)
    for value in range(1, labels.max() + 1):
        assert len(np.unique(islands[labels == value])) == 1


@pytest.mark.parametrize("mask", [np.zeros((9, 9), bool), np.ones((9, 9), bool)])
def test_nothing_and_everything(mask):
    assert split_touching(mask).max() == int(mask.any())


def test_gaps_do_not_notch():
    mask = fill((100, 100), polygon(6, 40, 10, (50, 50)))
    valid = np.ones(mask.shape, bool)
    valid[48:52, 10:60] = False
    closed = without_gaps(mask & valid, valid, 12)
    assert np.count_nonzero(closed != mask) < 30
    assert split_touching(closed).max() == 1


def test_a_stack_is_refused():
    with pytest.raises(InputError, match="expected a plane"):
        split_touching(np.zeros((2, 3, 4), bool))


@pytest.mark.parametrize("shape", [(64, 64), (33, 130)])
def test_distances_are_exact_wherever_memory_lies(shape):
    noise = np.random.default_rng(0).random(shape).astype(np.float32)
    inside = (cv2.GaussianBlur(noise, (0, 0), 4) > 0.49).astype(np.uint8)
    expected = ndimage.distance_transform_edt(inside).astype(np.float32)
    for n in range(20):
        room = np.ones(inside.size + n, np.uint8)[n:].reshape(shape)
        room[:] = inside
        assert (_distance(room) == expected).all()
