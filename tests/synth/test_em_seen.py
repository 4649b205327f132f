"""What of a synthetic TEM image a person could label, and the masks that are written of it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.examples import IGNORE
from layerscope.io.annotated.class_masks import read_class_masks
from layerscope.synth.em import synth_em
from layerscope.synth.em_files import em_set, write_em

SMALL = (96, 96)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), least=st.floats(0, 0.3))
def test_masks_overlap_and_only_faint_flakes_are_unknown(seed, least):
    picture = synth_em(seed % 40, shape=SMALL, pixel_size_nm=8.0)
    flake, hole = np.moveaxis(picture.maps_seen(least), 2, 0)
    assert (hole == picture.holes).all()
    assert set(np.unique(flake)) <= {0, 1, IGNORE}
    assert ((flake > 0) == picture.flake_mask).all()
    seen = np.zeros(SMALL, bool)
    for (where, crop), contrast in zip(picture.flakes, picture.contrast, strict=True):
        if contrast >= least:
            seen[where] |= crop
    assert ((flake == 1) == seen).all()


def test_more_electrons_show_fainter_flakes_down_to_a_limit():
    picture = synth_em(3, shape=SMALL, pixel_size_nm=8.0)
    least = [
        replace(picture, microscope=replace(picture.microscope, dose_e_px=dose)).visible_contrast
        for dose in (50.0, 200.0, 1e7)
    ]
    assert least[0] == pytest.approx(2 * least[1])
    assert least[0] > least[1] > least[2] == 0.015


def test_written_masks_are_those_of_the_picture(tmp_path):
    told = {"specimens": 1, "shape": SMALL, "pixel_size_nm": 8.0}
    write_em(em_set(5, 2, **told), tmp_path, least_contrast=None)
    data = read_class_masks(tmp_path, ("flake", "hole"))
    for example, picture in zip(data.examples, em_set(5, 2, **told), strict=True):
        assert (example.class_masks(2) == picture.maps_seen()).all()
    assert data.groups == ("specimen-0", "specimen-0")
