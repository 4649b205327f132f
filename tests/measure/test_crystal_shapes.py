"""Shapes told from outlines: every drawn shape, any direction and size, whole or cut by another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.core.results import CropMasks
from layerscope.errors import InputError
from layerscope.measure.crystal_parts import split_into_shapes
from layerscope.measure.crystal_shapes import (
    SHAPES,
    UNKNOWN,
    classify_shapes,
    radial_outline,
    shape_distance,
)
from layerscope.synth.crystal_outlines import arrival, draw_outline


def drawn(seed, shape, size_px, turn_deg=0.0, irregularity=0.02):
    rng = np.random.default_rng(seed)
    outline = draw_outline(rng, shape, size_px, turn_deg, irregularity=irregularity)
    half = int(outline.reach_px) + 3
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    return arrival(outline, y, x) < 1


def named(mask):
    return classify_shapes(CropMasks.from_dense([mask], mask.shape), np.array([False]))


@given(
    st.integers(0, 5000),
    st.sampled_from([s for s in SHAPES if s != "irregular"]),
    st.floats(24, 120),
    st.floats(0, 360),
)
def test_facetted_shapes_are_told_in_any_direction_and_size(seed, shape, size_px, turn_deg):
    answer = named(drawn(seed, shape, size_px, turn_deg))
    assert answer.names == (shape,)
    assert answer.probabilities.sum() == pytest.approx(1)


def test_wavy_outlines_are_irregular():
    names = [named(drawn(seed, "irregular", 60)).names[0] for seed in range(60)]
    assert names.count("irregular") >= 54


def test_a_disc_is_round_everywhere():
    y, x = np.mgrid[-40:41, -40:41]
    outline = radial_outline(np.hypot(y, x) <= 36)
    assert outline.radius_px == pytest.approx(36, rel=0.01)
    assert np.abs(outline.radius - 1).max() < 0.03
    assert outline.free.all()


def test_a_neighbour_takes_directions_and_not_the_name():
    """A triangle of which a disc took a corner is still a triangle, and surer than without it."""
    triangle = np.pad(drawn(1, "triangle", 90, 30, 0), 40)
    rows, columns = np.nonzero(triangle)
    tip = np.argmax(np.hypot(rows - rows.mean(), columns - columns.mean()))
    y, x = np.mgrid[: triangle.shape[0], : triangle.shape[1]]
    disc = np.hypot(y - rows[tip], x - columns[tip]) < 30
    masks = CropMasks.from_labels(np.where(disc, 2, triangle.astype(int)))
    alone = classify_shapes(masks.take(np.array([0])), np.array([False]))
    beside = classify_shapes(masks, np.array([False, False]))
    assert beside.names[0] == "triangle"
    assert beside.probabilities[0, 0] > alone.probabilities[0, 0]


def test_what_the_frame_cuts_is_unknown():
    mask = drawn(0, "hexagon", 40)
    answer = classify_shapes(CropMasks.from_dense([mask], mask.shape), np.array([True]))
    assert answer.names == (UNKNOWN,)
    assert np.isnan(answer.scores[0])
    with pytest.raises(InputError):
        classify_shapes(CropMasks.from_dense([mask], mask.shape), np.array([], bool))


def test_stars_and_blobs_stay_whole_and_pairs_are_parted():
    star = drawn(3, "star", 80)
    assert split_into_shapes(star, 20).max() == 1
    pair = np.zeros((140, 260), bool)
    y, x = np.mgrid[:140, :260].astype(np.float32)
    for centre, turn in ((80, 0.0), (165, 25.0)):
        outline = draw_outline(np.random.default_rng(0), "hexagon", 88, turn, irregularity=0)
        pair |= arrival(outline, y - 70, x - centre) < 1
    assert split_into_shapes(pair, 20).max() == 2
    assert shape_distance(pair) > 0.1
