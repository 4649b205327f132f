"""Gaps between the flakes of a mosaic, found through a tree, are those of all pairs."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.measure import neighbours
from layerscope.measure.neighbours import nearest_flake_gap


def outlines(rng, count, spread):
    """Closed random loops of different length; some flakes are large, some a few pixels."""
    found = []
    for _ in range(count):
        size = rng.choice([1, 6, 40, 200])
        angle = np.linspace(0, 2 * np.pi, max(4, 6 * int(size)), endpoint=False)
        loop = rng.uniform(0, spread, 2) + size * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        found.append(np.round(loop))
    return found


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.sampled_from([300.0, 3000.0]))
def test_a_tree_finds_the_gaps_of_all_pairs(seed, count, spread):
    rng = np.random.default_rng(seed)
    loops, flakes = outlines(rng, count, spread), rng.integers(1, 1 + count, count)
    expected = nearest_flake_gap(loops, flakes, (0.4, 0.5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_FEW", 0)
        patch.setattr(neighbours, "_NEAR", 3)
        found = nearest_flake_gap(loops, flakes, (0.4, 0.5))
    assert np.array_equal(found, expected, equal_nan=True)


def test_memory_for_the_flakes_of_a_mosaic():
    rng = np.random.default_rng(0)
    loops = outlines(rng, 2000, 20_000)
    tracemalloc.start()
    gaps = nearest_flake_gap(loops, np.arange(2000), (1.0, 1.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.isfinite(gaps).all()
    assert peak < 200_000_000
