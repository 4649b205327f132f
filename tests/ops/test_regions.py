"""Label images: seeds, growth, merging, borders at full resolution."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from layerscope.ops.deviation import fixed_point
from layerscope.ops.labels import (
    border_pairs,
    core_labels,
    full_index,
    group_means,
    group_touching,
    sample_regions,
    union,
)
from layerscope.ops.region_features import describe
from layerscope.ops.region_masks import crop_masks, full_resolution
from layerscope.ops.region_merge import merge_regions
from layerscope.ops.regions import (
    Terraces,
    anything_differs,
    find_terraces,
    keep_labels,
    measure_thresholds,
)

BARE = np.array([130, 113, 155], np.float32)
NOISE = np.ones(3)


def scene(shape=(160, 200), noise=0.8, seed=0):
    rng = np.random.default_rng(seed)
    return (BARE + rng.normal(0, noise, (*shape, 3))).astype(np.float32)


def terraces_of(levels, min_area_px=30, usable=None):
    bare = np.broadcast_to(BARE, levels.shape).copy()
    return find_terraces(levels, bare, NOISE, 0.2 * NOISE, min_area_px, usable)


def blurred(levels, sigma=1.0):
    return cv2.GaussianBlur(levels, (0, 0), sigma)


def iou(a, b):
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def test_two_terraces_and_a_hole():
    step = np.zeros((160, 200, 3), np.float32)
    step[40:120, 30:90] = [-10, -16, -8]
    step[40:120, 90:150] = [-20, -31, -16]
    step[70:90, 50:70] = 0
    found = terraces_of(scene() + blurred(step))
    assert len(found) == 2
    one, two = found.labels[60, 40], found.labels[60, 120]
    assert {one, two} == {1, 2}
    truth = np.zeros((160, 200), bool)
    truth[40:120, 30:90] = True
    truth[70:90, 50:70] = False
    assert iou(found.labels == one, truth) > 0.9
    assert found.labels[80, 60] == 0
    assert found.level[one] == pytest.approx([-10, -16, -8], abs=1)


def test_the_rim_of_a_thick_flake_is_no_region():
    step = np.zeros((160, 200, 3), np.float32)
    step[30:130, 40:160] = [90, 100, 60]
    found = terraces_of(scene() + blurred(step, 2.0))
    assert len(found) == 1


def test_opposite_signs_in_different_channels():
    step = np.zeros((160, 200, 3), np.float32)
    step[30:130, 40:160] = [-9, 0, 12]
    found = terraces_of(scene() + blurred(step))
    assert len(found) == 1
    assert found.level[1] == pytest.approx([-9, 0, 12], abs=1)


def test_bare_substrate_has_no_terrace_and_nothing_differs():
    levels = scene()
    bare = np.broadcast_to(BARE, levels.shape).copy()
    assert not anything_differs(levels, bare, NOISE, None)
    assert len(terraces_of(levels)) == 0


def test_masked_pixels_hold_no_region():
    levels = scene()
    levels[20:60, 20:60] -= 20
    usable = np.full(levels.shape[:2], 255, np.uint8)
    usable[:70, :70] = 0
    assert len(terraces_of(levels)) == 1
    assert len(terraces_of(levels, usable=usable)) == 0


def test_border_lies_at_half_level_at_full_resolution():
    """Oracle: a straight edge at a known sub-block position, blurred by the optics."""
    full = np.zeros((160, 200, 3), np.float32)
    full[33:121, 41:150] = -40
    full = blurred(full, 1.5) + BARE
    binned = cv2.resize(full, (100, 80), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(0).normal(0, 0.3, binned.shape).astype(np.float32)
    found = terraces_of(binned + noise)
    bare = np.broadcast_to(BARE, binned.shape).copy()
    labels = full_resolution(found, full.round().astype(np.uint8), 1.0, bare, 2)
    assert labels.shape == (160, 200)
    inside = labels[80] > 0
    assert (inside.argmax(), len(inside) - inside[::-1].argmax()) == (41, 150)
    masks, source = crop_masks(labels, found.labels, 2)
    assert masks.boxes.tolist() == [[33, 41, 121, 150]]
    assert source.tolist() == [0]


def test_features_of_a_sharp_square():
    levels = scene(noise=0.3)
    levels[40:80, 40:80] -= 30
    row = describe(terraces_of(levels))
    assert row.area_px[0] == pytest.approx(1600, rel=0.03)
    assert row.radius_px[0] == pytest.approx(20, abs=1.5)
    assert row.uniformity[0] > 0.99
    assert row.sharpness[0] == pytest.approx(1, abs=0.1)
    assert row.edge_px[0] == pytest.approx(160, rel=0.05)
    assert not row.cut[0]


def test_a_gradient_has_no_sharp_border():
    y, x = np.indices((160, 200))
    bump = 12 * np.exp(-((y - 80) ** 2 + (x - 100) ** 2) / (2 * 30**2))
    row = describe(terraces_of(scene(noise=0.3) + bump[..., None].astype(np.float32)))
    assert np.nanmax(row.sharpness) < 0.4


def test_keep_labels_renumbers():
    levels = scene()
    for left in (20, 80, 140):
        levels[40:80, left : left + 30] -= 20
    found = terraces_of(levels)
    kept = keep_labels(found, np.array([False, True, True]))
    assert len(kept) == 2
    assert kept.labels[60, 30] == 0
    assert kept.labels[60, 90] == 1


def test_label_primitives_against_plain_loops():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, (12, 15)).astype(np.uint16)
    flat = labels.ravel()
    first, second = border_pairs(labels, 1)
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    expected = set()
    for y in range(12):
        for x in range(15):
            for dy, dx in ((0, 1), (1, 0)):
                if y + dy < 12 and x + dx < 15 and labels[y, x] != labels[y + dy, x + dx]:
                    expected.add((y * 15 + x, (y + dy) * 15 + x + dx))
    assert pairs == expected
    rows = rng.normal(size=(180, 3))
    means = group_means(flat, rows.T, 4)
    for k in range(4):
        assert means[k] == pytest.approx(rows[flat == k].mean(axis=0))
    where, value = sample_regions(labels, 4, 5)
    assert (flat[where] == value).all()
    assert (np.bincount(value, minlength=4)[1:] <= 10).all()
    index = full_index(np.array([16]), 15, 2)
    assert sorted(index.tolist()) == [62, 63, 92, 93]
    core = core_labels(np.pad(np.ones((5, 5), np.uint16), 2), 1)
    assert np.count_nonzero(core) == 9


def test_union_and_touching_groups():
    assert union(np.array([1, 3]), np.array([2, 4]), 6).tolist() == [0, 1, 1, 3, 3, 5]
    labels = np.zeros((20, 40), np.uint16)
    labels[5:15, 2:10] = 1
    labels[5:15, 11:20] = 2
    labels[5:15, 30:38] = 3
    assert group_touching(labels, 3, 2).tolist() == [1, 1, 3]


def merged(colours, min_area_px=40):
    """Regions that `merge_regions` leaves of a square in a ring in nothing; (labels, levels)."""
    labels = np.zeros((20, 20), np.uint16)
    labels[4:14, 4:14], labels[5:13, 5:13] = 1, 2
    level = np.array([[0, 0, 0], *colours], float)
    deviation = fixed_point(level[labels].astype(np.float32))
    return merge_regions(labels, level, deviation, 1.0, min_area_px)


def test_a_small_ring_goes_to_the_terrace_that_it_rims():
    labels, level = merged([[-20, -24, 3], [-30, -40, 5]])
    assert np.count_nonzero(labels == 1) == 100
    assert level[1] == pytest.approx(
        (64 * np.array([-30, -40, 5]) + 36 * np.array([-20, -24, 3])) / 100
    )


@pytest.mark.parametrize("ring", [[-5, -6, 0], [30, 40, 5]])
def test_a_small_ring_of_another_colour_is_no_part_of_it(ring):
    labels, level = merged([ring, [-30, -40, 5]])
    assert np.count_nonzero(labels) == 64
    assert level[1] == pytest.approx([-30, -40, 5])


def test_two_terraces_large_enough_stay_apart():
    labels, _ = merged([[-20, -24, 3], [-30, -40, 5]], min_area_px=30)
    assert sorted(np.bincount(labels.ravel())[1:]) == [36, 64]


@pytest.mark.parametrize(("times", "rim"), [(2.0, False), (4.0, True)])
def test_a_strip_of_any_colour_beside_something_far_stronger_may_be_its_fringe(times, rim):
    labels = np.zeros((30, 40), np.uint16)
    labels[5:25, 5:9], labels[5:25, 9:30] = 1, 2
    level = np.array([[0, 0, 0], [20, -20, 5], [20 * times, 20 * times, 20 * times]])
    pixels = fixed_point(level[labels].astype(np.float32))
    features = describe(Terraces(labels, level, pixels, np.ones(3)))
    assert (features.rim_share[0] > 0.3) == rim
    assert features.rim_share[1] == 0


def test_rows_do_not_depend_on_the_bands_and_bytes_are_levels():
    rng = np.random.default_rng(3)
    levels = np.clip(scene((150, 210), 1.0), 0, 255).round()
    for row, column in rng.integers(10, 120, (12, 2)):
        levels[row : row + 20, column : column + 25] -= 17
    bare = np.broadcast_to(BARE, levels.shape).copy()
    limits = measure_thresholds(levels, bare, NOISE, 0.2 * NOISE, 30)
    whole = find_terraces(levels, bare, NOISE, 0.2 * NOISE, 30, None, limits)
    eight_bit = find_terraces(levels.astype(np.uint8), bare, NOISE, 0.2 * NOISE, 30, None, limits)
    np.testing.assert_array_equal(whole.labels, eight_bit.labels)
    shifted = find_terraces(levels[17:], bare[17:], NOISE, 0.2 * NOISE, 30, None, limits)
    np.testing.assert_array_equal(whole.deviation[25:], shifted.deviation[8:])
    np.testing.assert_array_equal(whole.labels[60:] > 0, shifted.labels[43:] > 0)
