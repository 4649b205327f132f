"""Both finders together: nothing twice, nothing classical lost, what only the network saw added."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.results import CropMasks, Detections, Flag, RegionSignal
from layerscope.errors import InputError
from layerscope.tasks.joined_flakes import join_detections

SHAPE = (40, 60)
boxes = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 50), st.integers(2, 12), st.integers(2, 12)),
    max_size=6,
)


def detections(places, score=0.9, flags=0):
    """Disjoint rectangles; later ones lose what earlier ones hold."""
    free, crops = np.ones(SHAPE, bool), []
    for top, left, height, width in places:
        mask = np.zeros(SHAPE, bool)
        mask[top : top + height, left : left + width] = True
        if (mask & free).any():
            crops.append(mask & free)
            free &= ~mask
    n = len(crops)
    rgb, one = np.full((n, 3), 0.5), np.ones(n)
    signal = RegionSignal(rgb, rgb, rgb, rgb, rgb, np.full(n, 9), one, one)
    masks = CropMasks.from_dense(crops, SHAPE)
    return Detections(
        masks, np.full(n, float(score)), np.full(n, int(flags)), np.ones(n, np.int64), signal,
        provenance={"task": "flakes"},
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(boxes, boxes)
def test_no_pixel_is_claimed_twice_and_no_classical_one_is_lost(first, second):
    classical, learned = detections(first), detections(second)
    joined = join_detections(classical, learned)
    claims = np.zeros(SHAPE, int)
    for where, crop in joined.masks:
        claims[where] += crop
    assert claims.max(initial=0) <= 1
    assert (claims[classical.masks.labels() > 0] == 1).all()
    assert (claims > 0).sum() <= ((classical.masks.labels() + learned.masks.labels()) > 0).sum()
    assert joined.masks.boxes.tolist() == sorted(joined.masks.boxes.tolist())


@settings(max_examples=20, deadline=None)
@given(boxes)
def test_with_itself_nothing_is_added(places):
    alone = detections(places)
    joined = join_detections(alone, alone)
    assert len(joined) == len(alone)
    assert np.array_equal(joined.masks.labels() > 0, alone.masks.labels() > 0)
    assert (joined.score == 0.9).all()


def test_what_the_network_alone_saw_is_added():
    joined = join_detections(detections([(2, 2, 8, 8)]), detections([(20, 30, 9, 9)]))
    assert len(joined) == 2
    assert joined.flake_id.tolist() == [1, 2]
    assert joined.provenance["finder"] == "both"


def test_what_it_is_not_sure_of_is_not():
    assert len(join_detections(detections([]), detections([(2, 2, 8, 8)], score=0.4))) == 0


def test_confirmed_residue_is_none_and_unconfirmed_loses_score():
    flags = Flag.RESIDUE | Flag.EDGE_STRIP
    classical = detections([(2, 2, 8, 8), (20, 30, 8, 8)], flags=flags)
    joined = join_detections(classical, detections([(2, 2, 8, 8)]))
    assert joined.flags.tolist() == [int(Flag.EDGE_STRIP), int(flags)]
    assert joined.score.tolist() == [0.9, 0.45]


def test_other_images_are_refused():
    with pytest.raises(InputError, match="images"):
        join_detections(detections([]), Detections.empty((4, 4)))
