"""Masks survive every file form exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from layerscope.core.results import CropMasks
from layerscope.core.run import ImageResult
from layerscope.io.annotations import (
    read_coco,
    read_geojson,
    read_instances,
    write_coco,
    write_geojson,
    write_instances,
)
from layerscope.io.polygons import fill_polygon, outline_polygons
from layerscope.io.rle import compress, expand, mask_from_runs, run_lengths

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))
labels = hnp.arrays(
    np.int32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=14),
    elements=st.integers(0, 4),
)  # fmt: skip


def same(a: CropMasks, b: CropMasks) -> bool:
    return len(a) == len(b) and all((a.dense(i) == b.dense(i)).all() for i in range(len(a)))


def column_major_runs(mask):
    """Pixel by pixel, as the definition says."""
    runs, value, length = [], False, 0
    for pixel in mask.T.ravel():
        if pixel != value:
            runs.append(length)
            value, length = pixel, 0
        length += 1
    return [*runs, length]


def coco_decode(text):
    """Follow the published decoder line by line, one character at a time."""
    counts, p = [], 0
    while p < len(text):
        x = k = 0
        more = True
        while more:
            c = ord(text[p]) - 48
            x |= (c & 0x1F) << (5 * k)
            more = bool(c & 0x20)
            p, k = p + 1, k + 1
            if not more and c & 0x10:
                x |= -1 << (5 * k)
        if len(counts) > 2:
            x += counts[-2]
        counts.append(x)
    return counts


@given(mask=masks)
def test_runs_against_the_definition(mask):
    assert run_lengths(mask).tolist() == column_major_runs(mask)


@given(mask=masks, top=st.integers(0, 3), left=st.integers(0, 3), rest=st.integers(0, 2))
def test_runs_of_a_crop_are_those_of_the_image(mask, top, left, rest):
    full = np.pad(mask, ((top, rest), (left, rest)))
    assert run_lengths(mask, (top, left), full.shape).tolist() == column_major_runs(full)


@given(mask=masks)
def test_run_lengths_round_trip(mask):
    runs = run_lengths(mask)
    assert coco_decode(compress(runs)) == runs.tolist()
    np.testing.assert_array_equal(mask_from_runs(expand(compress(runs)), mask.shape), mask)


@given(runs=st.lists(st.integers(0, 10**7), min_size=1, max_size=9))
def test_any_runs_compress_without_loss(runs):
    text = compress(np.array(runs))
    assert coco_decode(text) == runs
    assert expand(text).tolist() == runs


def test_published_example():
    # A 3 x 3 mask with the middle pixel: runs 4 1 4; the letters follow from the format by hand.
    mask = np.zeros((3, 3), bool)
    mask[1, 1] = True
    assert compress(run_lengths(mask)) == "414"


@given(mask=masks, top=st.integers(0, 3), left=st.integers(0, 3))
def test_polygons_round_trip(mask, top, left):
    full = np.pad(mask, ((top, 2), (left, 2)))
    back = np.zeros_like(full)
    for polygon in outline_polygons(mask, (top, left)):
        part = fill_polygon([np.array(ring, float) for ring in polygon], full.shape)
        assert not (back & part).any()
        back |= part
    np.testing.assert_array_equal(back, full)


@given(mask=masks)
def test_rings_are_simple_and_turn_at_every_corner(mask):
    for polygon in outline_polygons(mask):
        for number, ring in enumerate(polygon):
            assert len(set(ring)) == len(ring)
            x, y = np.array(ring).T
            dx, dy = np.roll(x, -1) - x, np.roll(y, -1) - y
            assert ((dx == 0) ^ (dy == 0)).all()
            assert ((dx == 0) == (np.roll(dx, -1) != 0)).all()
            area = (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
            assert (area > 0) == (number == 0)


@settings(max_examples=40, deadline=None)
@given(values=labels)
def test_files_round_trip(make_detections, tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("masks")
    original = CropMasks.from_labels(values)
    found = make_detections(original, numbers=[(1, 0, -1, 9)[i % 4] for i in range(len(original))])
    image = ImageResult("a", "", "", values.shape, None, np.zeros(3), 0, found)
    write_coco(folder / "a.json", [image])
    write_geojson(folder / "a.geojson", found)
    write_instances(folder / "a.png", original)
    (from_coco,) = read_coco(folder / "a.json")
    assert same(from_coco.masks, original)
    assert from_coco.score.tolist() == found.score.tolist()
    assert same(read_geojson(folder / "a.geojson", values.shape).masks, original)
    assert same(read_instances(folder / "a.png"), original)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (6, 5)])
def test_full_and_empty_masks(shape):
    for value in (False, True):
        mask = np.full(shape, value)
        runs = run_lengths(mask)
        assert runs.tolist() == ([0, mask.size] if value else [mask.size])
        np.testing.assert_array_equal(mask_from_runs(runs, shape), mask)
        assert len(outline_polygons(mask)) == int(value)
