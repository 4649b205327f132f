"""Terraces from maps: ideal maps give the truth back, holes stay, order and place do not matter."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from layerscope.core.results import CropMasks
from layerscope.errors import InputError
from layerscope.models.instances import Decoding, decode, join_alike, part_by
from layerscope.training.flake_targets import depth_of, meeting

rectangles = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(8, 24), st.integers(8, 24)),
    min_size=1,
    max_size=6,
)


def painted(boxes, shape=(72, 72)):
    """Label image of rectangles, later ones on top; connected areas of one number each."""
    layered = np.zeros(shape, np.int32)
    for number, (top, left, height, width) in enumerate(boxes, start=1):
        layered[top : top + height, left : left + width] = number
    labels, last = np.zeros(shape, np.uint16), 0
    for number in range(1, len(boxes) + 1):
        count, area = cv2.connectedComponents((layered == number).astype(np.uint8), connectivity=4)
        labels[area > 0] = area[area > 0] + last
        last += count - 1
    return labels


def ideal(labels):
    """The maps that a perfect network would draw, at their own resolution."""
    depth = depth_of(CropMasks.from_labels(labels)) / 255
    return np.stack([labels > 0, meeting(labels), depth], axis=2).astype(np.float32)


def best_ious(truth, found):
    out = {}
    for value in np.unique(truth)[1:]:
        mask = truth == value
        total = np.array([(mask | (found == k)).sum() for k in range(found.max() + 1)])
        shared = np.bincount(found[mask], minlength=found.max() + 1)
        out[int(value)] = float((shared / total)[1:].max(initial=0))
    return out


@settings(max_examples=60)
@given(rectangles)
@example([(24, 25, 24, 15), (32, 15, 8, 19)])  # a neck 6 pixels wide between ends of 8
def test_ideal_maps_give_the_terraces_back(boxes):
    truth = painted(boxes)
    found = decode(ideal(truth))
    assert ((found > 0) == (truth > 0)).mean() > 0.97
    for value, iou in best_ious(truth, found).items():
        mask = (truth == value).astype(np.uint8)
        if cv2.distanceTransform(mask, cv2.DIST_L2, 5).max() < 4:  # nothing but boundaries
            continue
        _, _, width, height = cv2.boundingRect(mask)
        # What others left of a rectangle may have a neck that is a saddle, and is parted there.
        assert iou > (0.65 if mask.sum() == width * height else 0.35), value


@settings(max_examples=30)
@given(rectangles, st.booleans(), st.booleans())
@example([(0, 0, 23, 13), (0, 0, 8, 8), (8, 0, 10, 10)], True, False)
def test_a_mirrored_picture_has_the_mirrored_terraces(boxes, rows, columns):
    maps = ideal(painted(boxes))
    step = (-1 if rows else 1, -1 if columns else 1)
    there = decode(maps)[:: step[0], :: step[1]]
    here = decode(np.ascontiguousarray(maps[:: step[0], :: step[1]]))
    assert here.max() == there.max()
    assert ((here > 0) == (there > 0)).all()
    # Pixels as far from one terrace as from the next go to either, a row of them at most.
    box = np.ones((3, 3), np.uint8)
    inside = cv2.erode(there, box) == cv2.dilate(there, box)
    pairs = np.unique(np.stack([there[inside], here[inside]]), axis=1)
    assert len(set(pairs[0])) == len(set(pairs[1])) == pairs.shape[1]


@given(rectangles)
@settings(max_examples=30, deadline=None)
def test_numbers_follow_the_raster(boxes):
    found = decode(ideal(painted(boxes))).ravel()
    _, first = np.unique(found[found > 0], return_index=True)
    assert (np.diff(first) > 0).all()
    assert set(np.unique(found)) - {0} == set(range(1, found.max() + 1))


def test_two_terraces_share_their_boundary_half_and_half():
    truth = painted([(10, 10, 20, 20), (10, 30, 20, 20)])
    found = decode(ideal(truth))
    assert found.max() == 2
    assert abs(int((found == 1).sum()) - int((found == 2).sum())) <= 20


def test_without_boundary_they_are_one():
    maps = ideal(painted([(10, 10, 20, 40)]))
    assert decode(maps).max() == 1


def test_a_hole_stays_a_hole():
    truth = painted([(10, 10, 40, 40)])
    truth[25:35, 25:35] = 0
    found = decode(ideal(truth))
    assert found.max() == 1
    assert (found[25:35, 25:35] == 0).all()


def test_a_neck_parts_two_summits():
    truth = painted([(10, 5, 24, 24), (20, 29, 3, 10), (10, 39, 24, 24)])
    maps = ideal((truth > 0).astype(np.uint16))
    assert decode(maps).max() == 2


def test_nothing_in_nothing_out():
    assert not decode(np.zeros((16, 24, 3), np.float32)).any()


def test_specks_are_noise():
    maps = np.zeros((16, 16, 3), np.float32)
    maps[4, 4] = (1, 0, 1)
    assert not decode(maps).any()


def test_maps_of_another_shape_are_refused():
    with pytest.raises(InputError, match="expected"):
        decode(np.zeros((16, 16), np.float32))


@pytest.mark.parametrize("wrong", [{"foreground": 0.0}, {"dynamics": 1.0}, {"min_seed_px": 0}])
def test_cuts_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match="expected"):
        Decoding(**wrong)


@settings(max_examples=40, deadline=None)
@given(rectangles, rectangles)
def test_parting_loses_no_pixel_and_joins_no_regions(boxes, colours):
    labels, plateaus = painted(boxes), painted(colours)
    parted = part_by(labels, plateaus, 10, 0.1)
    assert ((parted > 0) == (labels > 0)).all()
    pairs = np.unique(np.stack([parted[parted > 0], labels[parted > 0]]), axis=1)
    assert len(np.unique(pairs[1])) <= parted.max(initial=0)


def test_a_region_of_two_plateaus_is_two_terraces():
    labels = painted([(10, 10, 20, 40)])
    plateaus = painted([(10, 10, 20, 18), (10, 32, 20, 18)])
    parted = part_by(labels, plateaus, 10, 0.1)
    assert parted.max() == 2
    assert (parted == 1).sum() == (parted == 2).sum() == 400
    assert part_by(labels, plateaus, 10, 0.6).max() == 1
    assert part_by(labels, plateaus, 500, 0.1).max() == 1
    assert part_by(labels, np.zeros_like(plateaus), 10, 0.1).max() == 1


def test_plateaus_of_one_colour_are_one_terrace():
    """Three plateaus of one region, two of them alike, and an alike one of another region."""
    labels = np.zeros((4, 12), np.uint16)
    labels[:, :9], labels[:, 9:] = 1, 2
    plateaus = np.repeat(np.array([1, 2, 3, 4], np.uint16), 3)[None].repeat(4, axis=0)
    level = np.array([[0.0] * 3, [10.0] * 3, [10.5] * 3, [30.0] * 3, [10.0] * 3])
    joined = join_alike(labels, plateaus, level, np.ones(3))
    assert joined[0, 0] == joined[0, 3]
    assert len(np.unique(joined)) == 3
    assert joined[0, 9] == 4
    parted = part_by(labels, joined, 1, 0.1)
    assert len(np.unique(parted)) == 3
