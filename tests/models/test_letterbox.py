"""How an image lies in a network's input: laws of the place and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.errors import InputError
from layerscope.models.letterbox import Letterbox

SIDES = st.integers(1, 900)


@given(SIDES, SIDES, st.integers(32, 640), st.sampled_from([1, 8, 32]))
def test_the_image_is_inside_and_the_input_is_no_larger_than_needed(height, width, side, stride):
    place = Letterbox.fit((height, width), side, stride)
    top, left = place.corner
    assert max(place.inner) == side
    for inner, canvas, corner in zip(place.inner, place.canvas, (top, left), strict=True):
        assert canvas % stride == 0
        assert corner >= 0
        assert corner + inner <= canvas < inner + stride


@given(SIDES, SIDES, SIDES, SIDES)
def test_a_given_input_is_filled_along_one_side(height, width, rows, columns):
    place = Letterbox.inside((height, width), (rows, columns))
    assert place.inner[0] <= rows
    assert place.inner[1] <= columns
    assert place.inner[0] == rows or place.inner[1] == columns


@given(
    SIDES, SIDES, st.integers(32, 640),
    st.lists(st.tuples(*[st.floats(-100, 1000)] * 4), min_size=1, max_size=4),
)  # fmt: skip
def test_boxes_come_back(height, width, side, boxes):
    place, told = Letterbox.fit((height, width), side, 32), np.array(boxes)
    np.testing.assert_allclose(place.to_image(place.to_input(told)), told, atol=1e-6)


@given(st.integers(40, 200), st.integers(40, 200), st.integers(64, 256), st.integers(0, 10**6))
def test_what_is_marked_is_where_its_box_says(height, width, side, seed):
    rng = np.random.default_rng(seed)
    top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
    bottom, right = top + rng.integers(8, height // 2), left + rng.integers(8, width // 2)
    image = np.zeros((height, width, 3), np.uint8)
    image[top:bottom, left:right] = 255
    place = Letterbox.fit((height, width), side, 32)
    seen = place.frame(place.shrink(image), 0.0)[..., 0]
    box = place.to_input(np.array([[top, left, bottom, right]], float))[0]
    area = (box[2] - box[0]) * (box[3] - box[1])
    assert seen.sum() == pytest.approx(area, rel=0.15, abs=2)
    y, x = np.nonzero(seen > 0.5)
    assert abs(y.mean() + 0.5 - (box[0] + box[2]) / 2) < 1
    assert abs(x.mean() + 0.5 - (box[1] + box[3]) / 2) < 1


def test_other_images_and_sizes_are_refused():
    with pytest.raises(InputError):
        Letterbox.fit((0, 10), 32, 32)
    with pytest.raises(InputError):
        Letterbox.inside((10, 10), (0, 32))
    with pytest.raises(InputError, match="in a place"):
        Letterbox.fit((10, 10), 32, 32).shrink(np.zeros((11, 10, 3), np.uint8))
