from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.stage import StagePosition
from layerscope.errors import InputError
from layerscope.ops.correlation import Shifts
from layerscope.ops.stage import fit_affine
from layerscope.synth.wafer import Raster, synth_scan

SHAPE = (300, 400)


def reader(scan):
    return cache(lambda i: scan.image(i).micrograph)


def off(fitted, true):
    return np.linalg.norm(fitted.matrix - true.matrix, 2) / np.linalg.norm(true.matrix, 2)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    rotation=st.floats(-180, 180),
    flip=st.booleans(),
    misaligned=st.floats(-3, 3),
    overlap=st.floats(0.1, 0.25),
)
def test_any_orientation_is_found_without_a_guess(seed, rotation, flip, misaligned, overlap):
    raster = Raster((3, 3), SHAPE, overlap, 384.4, rotation, flip, misaligned, error_um=0.1)
    scan = synth_scan(seed, raster)
    fitted = fit_affine(scan.positions, reader(scan))
    assert off(fitted, raster.affine) < 3e-3
    assert fitted.rms_um < 0.3844
    assert fitted.n_pairs >= 3
    assert fitted.mirrored == flip
    assert fitted.notes == ()


def test_a_stage_that_misses_by_microns_is_averaged():
    raster = Raster((4, 4), SHAPE, 0.15, rotation_deg=90, error_um=2.0)
    scan = synth_scan(12, raster)
    fitted = fit_affine(scan.positions, reader(scan))
    assert off(fitted, raster.affine) < 2e-2
    assert 1 < fitted.rms_um < 6


def test_order_of_the_images_changes_nothing():
    scan = synth_scan(3, Raster((3, 3), SHAPE, 0.2))
    read = reader(scan)
    order = np.random.default_rng(0).permutation(len(scan)).tolist()
    plain = fit_affine(scan.positions, read)
    mixed = fit_affine([scan.positions[i] for i in order], lambda i: read(order[i]))
    np.testing.assert_allclose(mixed.matrix, plain.matrix, rtol=1e-9)


def test_a_wrong_pixel_size_is_noted_with_both_numbers():
    scan = synth_scan(3, Raster((3, 3), SHAPE, 0.2))
    told = PixelSize(400.0, 400.0, "user")
    (note,) = fit_affine(scan.positions, reader(scan), pixel_size=told).notes
    assert "0.3844" in note
    assert "0.4 um (user)" in note


def test_bare_overlaps_with_dust_on_the_sensor_are_no_shift():
    scan = synth_scan(2, Raster((3, 3), SHAPE, 0.2), n_flakes=0, clutter=0.0)
    with pytest.raises(InputError, match="show the same flakes"):
        fit_affine(scan.positions, reader(scan))
    told = PixelSize(384.4, 384.4, "user")
    fitted = fit_affine(scan.positions, reader(scan), pixel_size=told)
    np.testing.assert_allclose(fitted.matrix, np.diag([0.3844, 0.3844]))
    assert "taken as the stage's x and y" in fitted.notes[0]


def test_images_that_do_not_overlap_are_refused():
    scan = synth_scan(2, Raster((3, 3), SHAPE, -0.2))
    with pytest.raises(InputError, match="expected 3 in two directions"):
        fit_affine(scan.positions, reader(scan))


def test_one_row_of_images_does_not_tell_flips():
    scan = synth_scan(2, Raster((1, 6), SHAPE, 0.25))
    with pytest.raises(InputError, match="one direction"):
        fit_affine(scan.positions, reader(scan))


def test_no_positions_and_mixed_sizes():
    scan = synth_scan(3, Raster((3, 3), SHAPE, 0.2))
    read = reader(scan)
    with pytest.raises(InputError):
        fit_affine([None] * 9, read)
    other = Micrograph(np.zeros((50, 60, 3), np.uint8))
    positions = (*scan.positions, StagePosition(12000.0, -3300.0))
    fitted = fit_affine(positions, lambda i: other if i == 9 else read(i))
    assert off(fitted, scan.raster.affine) < 3e-3


@pytest.mark.parametrize(("y", "x"), [(0, 170), (-95, 3), (60, -120), (-88, -20)])
def test_shift_of_textured_pictures_to_a_tenth_of_a_pixel(y, x):
    import cv2

    big = np.random.default_rng(1).normal(0, 0.1, (320, 420)).astype(np.float32)
    big = cv2.GaussianBlur(big, (0, 0), 1.5)
    first = big[100:220, 130:330]
    second = big[100 + y : 220 + y, 130 + x : 330 + x] if x <= 90 else None
    if second is None:
        first = big[100:220, :200]
        second = big[100 + y : 220 + y, x : x + 200]
    shifts = Shifts((120, 200))
    found = shifts.between(shifts.prepare(first), shifts.prepare(second))
    assert (found.y_px, found.x_px) == pytest.approx((y, x), abs=0.1)
    assert found.correlation > 0.95
    assert found.lead > 1.4
