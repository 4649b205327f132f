"""Grown crystals under noise of a fifth of white."""

from dataclasses import replace

import numpy as np
import pytest

from layerscope.core.micrograph import Micrograph
from layerscope.measure.scores_overlap import mask_iou
from layerscope.synth.crystal_growth import Growth
from layerscope.synth.crystals import synth_crystals
from layerscope.tasks.crystals import find_crystals


def spoilt(image, seed):
    noise = np.random.default_rng(seed).normal(0, 0.2 * image.white_level, image.data.shape)
    data = np.clip(np.rint(image.data + noise), 0, image.white_level)
    return replace(image, data=data.astype(image.data.dtype))


@pytest.fixture(scope="module")
def truth():
    return synth_crystals(21, Growth(touching=0, thick=0), shape=(480, 720), n_crystals=9)


def test_crystals_are_found_whole_and_named(truth):
    found = find_crystals(spoilt(truth.micrograph, 3))
    iou = mask_iou(found.domains.detections.masks, truth.masks)
    best, seen = iou.argmax(axis=0), iou.max(axis=0) > 0.5
    assert np.mean(seen) >= 0.85
    assert np.mean(iou.max(axis=0)[seen]) > 0.8
    named = [i for i in np.flatnonzero(seen) if not found.domains.cut[best[i]]]
    right = [found.shapes.names[best[i]] == truth.shape[i] for i in named]
    assert np.mean(right) >= 0.7
    np.testing.assert_allclose(found.shapes.probabilities.sum(axis=1), 1)


def test_what_has_a_colour_of_its_own_is_less_sure():
    """Three squares of one colour, and one as strong of another."""
    level = np.full((240, 320, 3), 130.0)
    for x, colour in ((30, (100, 95, 130)), (130, (100, 95, 130)), (230, (100, 95, 130))):
        level[30:70, x : x + 40] = colour
    level[150:190, 130:170] = (160, 130, 93)
    found = find_crystals(spoilt(Micrograph(level.astype(np.uint8), name="a"), 2))
    below = found.domains.detections.masks.boxes[:, 0] > 100
    assert below.sum() == 1
    assert len(found) == 4
    score = found.domains.detections.score
    assert score[below].max() < 0.5 * score[~below].min()


def test_islands_stay_whole_where_nothing_is_split(truth):
    image = spoilt(truth.micrograph, 3)
    whole = find_crystals(image, split=False)
    assert 0 < len(whole) <= len(truth) + 3


def test_a_bare_field_has_no_crystals():
    bare = synth_crystals(1, shape=(300, 400), n_crystals=0, clutter=0).micrograph
    found = [len(find_crystals(spoilt(bare, seed))) for seed in range(4)]
    assert sum(found) <= 1


def test_a_field_too_small_to_average_is_flattened():
    small = np.full((40, 200, 3), 120, np.uint8)
    assert len(find_crystals(spoilt(Micrograph(small, name="a"), 1))) == 0
