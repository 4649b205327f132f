"""Rows that levelling set one layer apart are said, whatever the fraction comes out as."""

import numpy as np

from layerscope.core.coverage import Coverage, LabelMap
from layerscope.ops.surface import level
from layerscope.synth.surface import synth_surface
from layerscope.tasks.coverage import _doubt_rows, find_coverage


def coverage_of(labels):
    film = LabelMap(labels.astype(np.uint8), ("substrate", "film"), np.ones(labels.shape, bool))
    share = float(labels.mean())
    return Coverage(share, max(share - 0.01, 0), min(share + 0.01, 1), "terraces", film)


def test_a_rim_along_a_row_is_doubted():
    labels = np.zeros((60, 80), bool)
    labels[30:, :50] = True
    assert "one scan row" in _doubt_rows(coverage_of(labels)).doubts[0]


def test_islands_and_rims_along_columns_are_not():
    labels = np.zeros((60, 80), bool)
    labels[10:40, 10:40] = True
    labels[:, 70:] = True
    assert _doubt_rows(coverage_of(labels)).doubts == ()


def test_a_scan_levelled_apart_is_not_believed():
    surface = synth_surface(4, shape=(260, 260), coverage=0.6, pixel_size_nm=12.0)
    answer = find_coverage(level(surface.micrograph), layer_nm=surface.step_nm)
    assert abs(answer.fraction - 0.6) < 0.03 or answer.doubts
