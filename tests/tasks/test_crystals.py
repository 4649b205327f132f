"""Grown crystals in micrographs: found whole, with their shape and direction."""

import cv2
import numpy as np
import pytest

from layerscope.core.micrograph import Micrograph
from layerscope.errors import InputError
from layerscope.measure.domains import measure_domains
from layerscope.measure.scores_overlap import mask_iou
from layerscope.synth.crystal_growth import Growth
from layerscope.synth.crystals import synth_crystals
from layerscope.tasks.crystals import find_crystals

PURE = Growth(touching=0, thick=0)
LATERAL = Growth(inner="MoS2", outer="MoSe2", touching=0.3, thick=0)


@pytest.fixture(
    scope="module", params=[(PURE, "50x", "ccd_linear"), (LATERAL, "100x", "cmos_srgb")]
)
def seen(request):
    growth, objective, camera = request.param
    truth = synth_crystals(
        12, growth, objective=objective, camera=camera, shape=(480, 720), n_crystals=9
    )
    return truth, find_crystals(truth.micrograph)


def matched(truth, found):
    iou = mask_iou(found.domains.detections.masks, truth.masks)
    return iou.argmax(axis=0), iou.max(axis=0)


def test_crystals_are_found_whole(seen):
    truth, found = seen
    _, iou = matched(truth, found)
    assert np.mean(iou > 0.75) >= 0.85


def test_shapes_and_directions_are_right(seen):
    truth, found = seen
    best, iou = matched(truth, found)
    table = measure_domains(found.domains, None, pixel_size=truth.micrograph.pixel_size)
    right, off = [], []
    for i in np.flatnonzero((iou > 0.5) & ~found.domains.cut[best]).tolist():
        right.append(found.shapes.names[best[i]] == truth.shape[i])
        turn = table["facet_direction_mod60_deg"][best[i]] - truth.lattice_deg[i]
        off.append(abs((turn + 30) % 60 - 30))
    assert np.mean(right) >= 0.8
    assert np.nanmedian(off) < 1


def test_every_terrace_belongs_to_its_crystal(seen):
    _, found = seen
    number = found.domains.detections.masks.labels()
    assert len(found.terraces) >= len(found)
    for owner, (where, crop) in zip(found.crystal, found.terraces.masks, strict=True):
        if owner:
            assert np.mean(number[where][crop] == owner) > 0.5


def test_crystals_that_share_a_terrace_have_its_score():
    """Two touching hexagons of one colour are one terrace: it belongs to one, and is in both."""
    rng = np.random.default_rng(4)
    level = np.full((200, 320, 3), 140.0)
    turn = np.radians(np.arange(0, 360, 60) + 30)
    for x in (110, 196):
        corners = np.stack([x + 50 * np.cos(turn), 100 + 50 * np.sin(turn)], axis=1)
        cv2.fillPoly(level, [np.rint(corners).astype(np.int32)], (110, 105, 120))
    data = np.rint(cv2.GaussianBlur(level, (0, 0), 1) + rng.normal(0, 1.5, level.shape))
    found = find_crystals(Micrograph(data.astype(np.uint8), name="a"))
    assert len(found) == 2
    assert len(found.terraces) == 1
    assert found.domains.detections.score.min() > 0.9


def test_bare_chip_and_bad_numbers():
    bare = synth_crystals(1, shape=(240, 320), n_crystals=0, clutter=0)
    assert len(find_crystals(bare.micrograph)) == 0
    with pytest.raises(InputError):
        find_crystals(bare.micrograph, min_area_px=0)
