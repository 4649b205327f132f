"""Tiles cover a mosaic once, clusters are the same in bands, stitching loses or doubles nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from layerscope.core.results import CropMasks, Detections, RegionSignal
from layerscope.errors import InputError
from layerscope.ops.stitching import stitch
from layerscope.ops.tiles import Window, label_clusters, link, long_clusters, plan_tiles

SHAPE = (300, 420)


@settings(max_examples=50)
@given(
    st.integers(1, 400), st.integers(1, 400), st.sampled_from([64, 100, 128]), st.integers(0, 90)
)
def test_cores_cover_every_pixel_once(height, width, tile, halo):
    count = np.zeros((height, width), int)
    for t in plan_tiles((height, width), tile, halo):
        count[t.core.top : t.core.bottom, t.core.left : t.core.right] += 1
        assert t.core & t.seen == t.core
        assert (t.seen & Window(0, 0, height, width)) == t.seen
    assert (count == 1).all()


def test_tiles_too_small_are_refused():
    with pytest.raises(InputError, match="tiles of 8 px"):
        plan_tiles(SHAPE, 8, 0)


@settings(max_examples=150)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.6), st.integers(1, 9), st.integers(0, 12))
def test_long_clusters_are_those_of_the_whole(seed, density, step, longest):
    rng = np.random.default_rng(seed)
    mask = np.where(rng.random((40, 33)) < density, 255, 0).astype(np.uint8)
    bands = (label_clusters(mask[top : top + step]) for top in range(0, 40, step))
    whole = label_clusters(mask).boxes
    sides = (whole[:, 2:] - whole[:, :2]).max(axis=1, initial=0)
    expected = np.unique(whole[sides > longest], axis=0)
    assert np.array_equal(long_clusters(bands, longest), expected)


def test_pixels_that_share_a_bare_one_are_one_cluster():
    mask = np.zeros((20, 40), np.uint8)
    mask[5:8, 3:6] = mask[5:8, 8:11] = mask[5:8, 30:33] = 255
    assert len(label_clusters(mask)) == 3
    assert len(label_clusters(link(mask, 2))) == 2


def detections(masks, seed=0):
    n, rng = len(masks), np.random.default_rng(seed)
    level, background = rng.uniform(0.2, 0.6, (2, n, 3))
    error, spread = np.full((n, 3), 0.001), np.full((n, 3), 0.01)
    signal = RegionSignal(
        level, error, background, error, spread, masks.area_px.copy(), np.ones(n), np.zeros(n)
    )
    return Detections(masks, np.full(n, 0.5), np.zeros(n, np.int64), np.arange(1, n + 1), signal)


def views(labels, tiles):
    """What a perfect finder says of each tile: every region that touches the core, cut at seen."""
    parts = []
    for tile in tiles:
        s, c = tile.seen, tile.core
        part = np.zeros_like(labels)
        part[s.top : s.bottom, s.left : s.right] = labels[s.top : s.bottom, s.left : s.right]
        touching = np.unique(labels[c.top : c.bottom, c.left : c.right])
        part[~np.isin(part, touching[touching > 0])] = 0
        parts.append(detections(CropMasks.from_labels(_compact(part))))
    return parts


def _compact(labels):
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def assert_same_regions(found, labels):
    expected = CropMasks.from_labels(_compact(labels))
    order = np.lexsort(expected.boxes.T[::-1])
    assert np.array_equal(found.masks.boxes, expected.boxes[order])
    for got, want in zip(found.masks.crops, expected.take(order).crops, strict=True):
        assert np.array_equal(got, want)


def ring(labels, centre, outer, inner, value):
    y, x = np.ogrid[: labels.shape[0], : labels.shape[1]]
    r = np.hypot(y - centre[0], x - centre[1])
    labels[(r < outer) & (r >= inner)] = value


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.permutations(range(20)))
def test_views_of_random_disks_are_put_together(seed, order):
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, int)
    for value in range(1, 9):
        ring(labels, rng.uniform((0, 0), SHAPE), rng.uniform(4, 60), 0, value)
    # A disk that others cut into pieces is several regions.
    labels = sum(ndimage.label(labels == v)[0] + 100 * v * (labels == v) for v in range(1, 9))
    tiles = plan_tiles(SHAPE, 64, 16)
    parts = views(labels, tiles)
    found = stitch(parts, tiles)
    assert_same_regions(found, labels)
    mixed = [i for i in order if i < len(tiles)]
    mixed += [i for i in range(len(tiles)) if i not in mixed]
    again = stitch([parts[i] for i in mixed], [tiles[i] for i in mixed])
    assert np.array_equal(again.masks.boxes, found.masks.boxes)
    assert np.array_equal(again.signal.level, found.signal.level)
    assert np.array_equal(again.flake_id, found.flake_id)


def test_a_ring_larger_than_a_tile_is_one():
    labels = np.zeros(SHAPE, int)
    ring(labels, (150, 200), 130, 110, 1)
    tiles = plan_tiles(SHAPE, 64, 16)
    assert_same_regions(stitch(views(labels, tiles), tiles), labels)


def test_touching_across_a_seam_is_no_reason_to_unite():
    labels = np.zeros(SHAPE, int)
    labels[40:90, 100:128], labels[40:90, 128:160] = 1, 2  # the seam is at 128
    tiles = plan_tiles(SHAPE, 128, 16)
    found = stitch(views(labels, tiles), tiles)
    assert len(found) == 2
    assert_same_regions(found, labels)


def test_views_that_disagree_stay_apart():
    shape, tiles = (100, 200), plan_tiles((100, 200), 100, 20)
    left, right = np.zeros(shape, int), np.zeros(shape, int)
    left[10:40, 60:120], right[35:80, 80:150] = 1, 1
    parts = [detections(CropMasks.from_labels(x)) for x in (left, right)]
    assert len(stitch(parts, tiles)) == 2


def test_united_signal_is_weighted_by_what_each_core_holds():
    shape, tiles = (100, 200), plan_tiles((100, 200), 100, 20)
    left, right = np.zeros(shape, int), np.zeros(shape, int)
    left[10:40, 10:120], right[10:40, 80:110] = 1, 1
    parts = [detections(CropMasks.from_labels(x), seed) for seed, x in enumerate((left, right))]
    united = stitch(parts, tiles)
    level = [p.signal.level[0] for p in parts]
    assert united.masks.boxes.tolist() == [[10, 10, 40, 110]]
    assert united.signal.level[0] == pytest.approx((90 * level[0] + 10 * level[1]) / 100)
    assert united.signal.core_px[0] == 30 * 100


def test_flakes_of_united_regions_are_united():
    shape, tiles = (100, 200), plan_tiles((100, 200), 100, 20)
    labels = np.zeros(shape, int)
    labels[10:40, 60:150], labels[40:60, 60:80], labels[40:60, 130:150] = 1, 2, 3
    parts = [
        Detections(p.masks, p.score, p.flags, np.ones(len(p), np.int64), p.signal)
        for p in views(labels, tiles)
    ]
    assert stitch(parts, tiles).flake_id.tolist() == [1, 1, 1]


def test_parts_and_tiles_must_match():
    tiles = plan_tiles(SHAPE, 128, 16)
    with pytest.raises(InputError, match="1 parts of 12 tiles"):
        stitch([Detections.empty(SHAPE)], tiles)


def test_nothing_in_nothing_out():
    tiles = plan_tiles(SHAPE, 128, 16)
    found = stitch([Detections.empty(SHAPE, {"task": "flakes"})] * len(tiles), tiles)
    assert (len(found), found.masks.shape, found.provenance) == (0, SHAPE, {"task": "flakes"})
