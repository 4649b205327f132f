"""Shifts of a field, and outlines that follow them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_parts import one_square, scene

from layerscope.core.results import CropMasks, Detections
from layerscope.live.motion import Shift, shift_between, thumb_of
from layerscope.live.overlay import shifted

WHOLE = scene(5, shape=(500, 640))


@given(st.integers(-60, 60), st.integers(-80, 80))
def test_a_shift_is_found_to_two_pixels(dy, dx):
    before, after = WHOLE[80:400, 100:540], WHOLE[80 - dy : 400 - dy, 100 - dx : 540 - dx]
    shift = shift_between(thumb_of(before), thumb_of(after), 440)
    assert shift is not None
    assert abs(shift.y_px - dy) <= 2
    assert abs(shift.x_px - dx) <= 2


@pytest.mark.parametrize("seed", range(6))
def test_other_fields_have_no_shift(seed):
    assert shift_between(thumb_of(scene(seed)), thumb_of(scene(seed + 50)), 320) is None


def test_frames_of_other_sizes_have_no_shift():
    assert shift_between(thumb_of(WHOLE), thumb_of(WHOLE[:200]), 640) is None


@given(st.integers(-90, 90), st.integers(-130, 130))
def test_masks_move_as_pictures_do(dy, dx):
    shape = (80, 120)
    boxes = np.array([[0, 0, 9, 14], [30, 50, 44, 70], [70, 100, 80, 120]])
    rng = np.random.default_rng(3)
    crops = tuple(rng.random((b[2] - b[0], b[3] - b[1])) > 0.4 for b in boxes)
    found = three(CropMasks(boxes, crops, shape))
    moved, rows = shifted(found, Shift(dy, dx))
    assert len(moved) == len(rows)
    kept = dict(zip(rows, range(len(rows)), strict=True))
    for i in range(3):
        expected = np.zeros(shape, bool)
        ys, xs = np.nonzero(found.masks.dense(i))
        inside = (ys + dy >= 0) & (ys + dy < 80) & (xs + dx >= 0) & (xs + dx < 120)
        expected[ys[inside] + dy, xs[inside] + dx] = True
        drawn = moved.masks.dense(kept[i]) if i in kept else np.zeros(shape, bool)
        assert np.array_equal(drawn, expected)


def three(masks):
    one = one_square(masks.shape)
    rows = one[np.zeros(3, int)]
    return Detections(masks, rows.score, rows.flags, np.arange(1, 4), rows.signal, rows.layers)


def test_no_shift_changes_nothing():
    found = one_square((240, 320))
    same, rows = shifted(found, Shift(0.3, -0.4))
    assert same is found
    assert rows == [0]
