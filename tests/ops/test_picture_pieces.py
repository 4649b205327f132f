"""What stands out of a picture: found in any light, counted, and told from lines and holes."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.ops.picture_light import even_light
from layerscope.ops.picture_pieces import N_PIECES, find_pieces, piece_features
from layerscope.ops.picture_spots import disc, find_spots

SIDE = 96
Y, X = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]


def flat(value=0.6):
    return np.full((SIDE, SIDE), value, np.float32)


def with_discs(picture, places, radius, factor):
    out = picture.copy()
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for y, x in places:
        out[np.hypot(rows - y, columns - x) <= radius] *= factor
    return out


@given(
    st.tuples(*[st.floats(-0.1, 0.1)] * 4), st.floats(0.05, 0.4), st.booleans(),
    st.floats(0.05, 0.3), st.floats(-2, 0),
)  # fmt: skip
def test_the_light_is_that_of_the_most_common_level(slopes, step, up, share, level):
    """Whatever a third of the picture shows, and however the lamp stands."""
    light = level + slopes[0] * X + slopes[1] * Y + slopes[2] * X * Y + slopes[3] * (X**2 + Y**2)
    other = np.where(share > (Y + 1) / 2, step if up else -step, 0)
    noise = np.random.default_rng(0).normal(0, 0.003, light.shape)
    found = even_light((light + other + noise).astype(np.float32))
    rest = share + 0.1 <= (Y + 1) / 2
    assert np.abs(found - light)[rest].max() < 0.012


@given(st.integers(0, 12), st.booleans())
def test_pieces_are_counted(number, holes):
    places = [(12 + 24 * (i // 4), 12 + 24 * (i % 4)) for i in range(12)]
    drawn = with_discs(flat(), places[:number], 6, 0.9)
    if holes:
        drawn = with_discs(drawn, places[number:], 6, 1.1)
    level = np.log(drawn) - even_light(np.log(drawn))
    pieces = find_pieces(-level, 0.03)
    assert len(pieces) == number
    assert not pieces.cut.any()


def test_a_piece_at_the_border_is_cut_and_the_largest_comes_first():
    drawn = with_discs(flat(0.0) + 1, [(0, 30), (60, 60)], 8, 0.5)
    pieces = find_pieces(1 - drawn, 0.1)
    assert pieces.cut.tolist() == [False, True]
    assert pieces.area[0] > pieces.area[1]
    assert pieces.label[60, 60] == 1
    assert pieces.label[0, 30] == 2
    assert len(find_pieces(flat(0.0), 0.1)) == 0


@pytest.mark.parametrize("number", [0, 1, 5, 14])
def test_spots_are_counted_and_lines_are_not(number):
    places = [(10 + 18 * (i // 5), 10 + 18 * (i % 5)) for i in range(20)]
    drawn = with_discs(flat(), places[:number], 2.3, 0.3)
    cv2.line(drawn, (4, 90), (90, 80), 0.2, 2)
    found = find_spots(drawn)
    assert np.expm1(found.numbers[15]) == pytest.approx(number)
    assert found.numbers[17] == (number > 0)
    if number:
        assert found.without[10, 10] == pytest.approx(0.6)
        assert found.where[10, 10]


def test_contrast_is_that_of_the_specimen_not_of_the_lamp():
    rng = np.random.default_rng(1)
    drawn = with_discs(flat(0.8), [(30, 40), (70, 60)], 10, 0.93)
    drawn = (drawn + rng.normal(0, 0.004, drawn.shape)).astype(np.float32)
    told, dimmed = (np.array(piece_features(p)) for p in (drawn, drawn * np.float32(0.5)))
    assert len(told) == N_PIECES
    np.testing.assert_allclose(told, dimmed, atol=1e-3)
    tilted = (drawn * np.exp(0.05 * X)).astype(np.float32)
    counts = slice(29, 33)  # of what is darker
    np.testing.assert_allclose(told[counts], np.array(piece_features(tilted))[counts], atol=1e-6)
    assert told[29] == pytest.approx(math.log(3))


@pytest.mark.parametrize("side", [5, 9, 17, 27])
def test_a_disc_is_the_same_however_it_is_turned(side):
    np.testing.assert_array_equal(disc(side), disc(side).T)
    np.testing.assert_array_equal(disc(side), disc(side)[::-1])
    assert disc(side).mean() == pytest.approx(math.pi / 4, abs=0.12)
