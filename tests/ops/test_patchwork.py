"""The substrate of a mosaic: fitted in blocks, the same in every window, also where covered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.ops import patchwork
from layerscope.ops.patchwork import cells_of, fit_mosaic, surface_at

BARE = np.array([130.0, 112.0, 156.0])


def fields(shape, period=(150, 240), vignette=0.06):
    """Cells of a mosaic of fields with vignetting; noise of a cell mean."""
    y, x = (np.arange(n) % p / p * 2 - 1 for n, p in zip(shape, period, strict=True))
    light = 1 - vignette * (y[:, None] ** 2 + x[None] ** 2) / 2
    noise = np.random.default_rng(0).normal(0, 0.2, (*shape, 3))
    return (BARE * light[..., None] + noise).astype(np.float32), light


@pytest.mark.parametrize("coarse", [8, 2])
def test_blocks_follow_the_light_of_each_field(monkeypatch, coarse):
    monkeypatch.setattr(patchwork, "_COARSE", coarse)
    cells, light = fields((600, 600))
    background = fit_mosaic(cells, np.ones((600, 600), bool))
    assert background.confident
    assert background.surface.shape == cells.shape
    off = background.surface * 255 - BARE * light[..., None]
    assert np.percentile(np.abs(off), 95) < 0.5
    assert np.abs(off).max() < 2.5
    assert (background.surface_se * 255 < 0.5).all()


def test_flakes_do_not_bend_it_and_a_covered_block_follows_the_whole():
    cells, _ = fields((600, 600), vignette=0.0)
    bent = cells.copy()
    bent[40:70, 50:90] *= 0.9
    bent[300:600, 300:600] *= 0.7  # tape residue over more than a block
    background = fit_mosaic(bent, np.ones((600, 600), bool))
    assert np.abs(background.surface * 255 - BARE).max() < 2


def test_what_is_no_picture_does_not_count():
    cells, light = fields((600, 600))
    valid = np.ones((600, 600), bool)
    cells[:, 350:], valid[:, 350:] = 0, False
    background = fit_mosaic(cells, valid)
    off = (background.surface * 255 - BARE * light[..., None])[:, :340]
    assert np.percentile(np.abs(off), 95) < 0.5


def test_a_known_level_is_used():
    cells, _ = fields((600, 600), vignette=0.0)
    cells[:, :450] *= 0.8  # a film covers most of the chip
    film = fit_mosaic(cells, np.ones((600, 600), bool))
    told = fit_mosaic(cells, np.ones((600, 600), bool), BARE / 255)
    assert film.level == pytest.approx(0.8 * BARE / 255, abs=0.01)
    assert told.surface[300, 550] * 255 == pytest.approx(BARE, abs=1)


SURFACE = np.random.default_rng(1).uniform(0.3, 0.7, (40, 50, 3)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([1, 2, 4, 8]))
def test_the_surface_is_the_same_in_every_window(data, cell):
    height, width = 40 * cell - data.draw(st.integers(0, cell - 1)), 50 * cell
    top, left = (32 * data.draw(st.integers(0, (n - 1) // 32)) for n in (height, width))
    bottom = data.draw(st.integers(top + 1, height))
    right = data.draw(st.integers(left + 1, width))
    whole = surface_at(SURFACE, cell, 0, 0, height, width)
    part = surface_at(SURFACE, cell, top, left, bottom, right)
    inside = slice(0, max(0, min(right, width - 6) - left))
    assert part.shape == (bottom - top, right - left, 3)
    assert np.array_equal(part[:, inside], whole[top:bottom, left:right][:, inside])


def test_cells_cut_by_the_border_are_means_of_what_is_there():
    levels = np.full((10, 9, 3), 7, np.float32)
    levels[8:] = 3
    cells = cells_of(levels, 4)
    assert cells.shape == (3, 3, 3)
    assert (cells[2] == 3).all()
