"""Scores of masks that overlap, against sets of pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.core.examples import IGNORE
from layerscope.errors import InputError
from layerscope.measure.scores_masks import MASK_FIGURES, MaskCounts, mean_figure

SHAPE = (7, 9, 2)


def sides(seed):
    rng = np.random.default_rng(seed)
    share = rng.uniform(0, 0.6, 2)
    truth = rng.choice([0, 1, IGNORE], SHAPE, p=[0.9 - share[0], share[0], 0.1])
    return rng.random(SHAPE) < share[1], truth.astype(np.uint8)


@given(st.integers(0, 2**31))
def test_figures_are_those_of_sets(seed):
    found, truth = sides(seed)
    counts = MaskCounts.compare(found, truth)
    for k in range(2):
        known = set(np.flatnonzero(truth[..., k] != IGNORE))
        real = set(np.flatnonzero(truth[..., k] == 1))
        said = set(np.flatnonzero(found[..., k])) & known
        sizes = {
            "iou": (len(real & said), len(real | said)),
            "dice": (2 * len(real & said), len(real) + len(said)),
            "precision": (len(real & said), len(said)),
            "recall": (len(real & said), len(real)),
            "specificity": (len(known - real - said), len(known - real)),
        }
        for name in MASK_FIGURES:
            part, whole = sizes[name]
            expected = part / whole if whole else np.nan
            assert counts.figure(name)[k] == pytest.approx(expected, nan_ok=True)
        assert counts.known[k] == len(known)


@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=4))
def test_images_together_are_one_long_image(seeds):
    drawn = [sides(s) for s in seeds]
    parts = [MaskCounts.compare(f, t) for f, t in drawn]
    joined = MaskCounts.compare(*(np.concatenate(side) for side in zip(*drawn, strict=True)))
    together = MaskCounts.together(parts)
    for one, other in zip(vars(together).values(), vars(joined).values(), strict=True):
        assert (one == other).all()


def test_nothing_there_and_nothing_found_has_no_figure():
    nothing = MaskCounts.compare(np.zeros(SHAPE, bool), np.zeros(SHAPE, np.uint8))
    assert np.isnan(nothing.figure("iou")).all()
    assert np.isnan(mean_figure(nothing.figure("iou")))
    assert mean_figure(np.array([0.5, np.nan])) == 0.5
    with pytest.raises(InputError, match="beside truth"):
        MaskCounts.compare(np.zeros((2, 3, 1), bool), np.zeros((2, 3, 2), np.uint8))
