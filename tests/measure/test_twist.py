"""Twist of a second layer: drawn polygons at known turns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.measure.hexagon import hexagon_of, twist_between
from layerscope.synth.crystal_outlines import arrival, draw_outline


def drawn(shape, turn_deg, size_px=80.0, half=70):
    outline = draw_outline(np.random.default_rng(0), shape, size_px, turn_deg, irregularity=0)
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    return arrival(outline, y, x) < 1


def off(found, wanted, period):
    return abs((found - wanted + period / 2) % period - period / 2)


@given(st.floats(0, 360), st.floats(-59, 59))
def test_triangles_on_triangles_are_told_modulo_120(start, turn):
    lower, upper = drawn("triangle", start), drawn("triangle", start + turn, 40)
    twist = twist_between(hexagon_of(lower), hexagon_of(upper))
    assert -60 < twist <= 60
    assert off(twist, turn, 120) < 2


@given(st.floats(0, 360), st.floats(-29, 29))
def test_hexagons_on_triangles_are_told_modulo_60(start, turn):
    lower, upper = hexagon_of(drawn("triangle", 30)), hexagon_of(drawn("hexagon", start, 40))
    other = hexagon_of(drawn("hexagon", start + turn, 40))
    assert -30 < twist_between(lower, upper) <= 30
    assert off(twist_between(lower, other) - twist_between(lower, upper), turn, 60) < 2


def test_antiparallel_triangles_are_2h():
    assert abs(twist_between(*map(hexagon_of, (drawn("triangle", 10), drawn("triangle", 70))))) > 58


Y, X = np.mgrid[-30:31, -30:31]
CROSS = (np.minimum(np.abs(Y), np.abs(X)) < 4) & (np.maximum(np.abs(Y), np.abs(X)) < 28)


@pytest.mark.parametrize("mask", [np.zeros((40, 40), bool), np.eye(60, dtype=bool), CROSS])
def test_what_has_no_facets_has_no_hexagon(mask):
    assert hexagon_of(mask) is None
