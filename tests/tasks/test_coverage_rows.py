"""Rows that levelling set one layer apart are said, whatever the fraction comes out as."""

import numpy as np

from layerscope.core.coverage import Coverage, LabelMap
from layerscope.core.micrograph import Micrograph, Modality, Step
from layerscope.ops.surface import level
from layerscope.synth.surface import synth_surface
from layerscope.tasks.coverage import _doubt_levelling, _doubt_rows, find_coverage


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
    labels[10:40, 10:35] = True
    labels[:, 70:] = True
    assert _doubt_rows(coverage_of(labels)).doubts == ()


def test_a_scan_levelled_apart_is_not_believed():
    surface = synth_surface(4, shape=(260, 260), coverage=0.6, pixel_size_nm=12.0)
    answer = find_coverage(level(surface.micrograph), layer_nm=surface.step_nm)
    assert abs(answer.fraction - 0.6) < 0.03 or answer.doubts


def levelled(flat):
    step = Step("level", {"chosen": "rows", "flatness_by_candidate": {"rows": flat, "plane": 0.1}})
    return Micrograph(np.zeros((32, 32), np.float32), Modality.AFM, None, "nm", history=(step,))


def test_what_levelling_scored_low_is_doubted():
    answer = coverage_of(np.zeros((32, 32), bool))
    assert _doubt_levelling(answer, levelled(0.9)).doubts == ()
    assert "levelling left 2.0 times" in _doubt_levelling(answer, levelled(0.5)).doubts[0]
    plain = Micrograph(np.zeros((32, 32), np.float32), Modality.AFM, None, "nm")
    assert _doubt_levelling(answer, plain).doubts == ()
