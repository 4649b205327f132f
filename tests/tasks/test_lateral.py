"""Core and shell of lateral heterostructures against synthetic truth."""

import numpy as np
import pytest

from layerscope.measure.scores_overlap import mask_iou
from layerscope.physics.thin_film import Stack
from layerscope.synth.crystal_growth import Growth
from layerscope.synth.crystals import synth_crystals
from layerscope.tasks.crystals import find_crystals
from layerscope.tasks.lateral import Setup, find_lateral

SETUP = Setup(("MoS2", "MoSe2"), Stack.parse("SiO2(285nm)/Si"))


def grown(outer, **more):
    growth = Growth(inner="MoS2", outer=outer, touching=0, thick=0, size_um=(20, 40), **more)
    return synth_crystals(5, growth, objective="20x", shape=(360, 480), n_crystals=5, clutter=0)


def read(truth, setup):
    found = find_crystals(truth.micrograph)
    iou = mask_iou(found.domains.detections.masks, truth.masks)
    best = iou.argmax(axis=0)
    return [find_lateral(truth.micrograph, found, setup)[i] for i in best], iou.max(axis=0)


@pytest.mark.parametrize("setup", [SETUP, None], ids=["materials", "colour"])
def test_core_share_is_that_of_the_truth(setup):
    truth = grown("MoSe2", bilayer=0)
    seen, iou = read(truth, setup)
    assert len(seen) >= 3
    assert min(iou) > 0.8
    share = np.array([one.core_share for one in seen])
    assert np.nanmedian(np.abs(share - truth.core_share)) < 0.03
    assert np.count_nonzero(np.isfinite(share)) >= len(share) / 2
    # No outline is shorter than that of a disc, where neither frame nor neighbour takes of it.
    disc = np.array(
        [one.interface_px / (2 * np.sqrt(np.pi * max(one.core.sum(), 1))) for one in seen]
    )
    assert 0.98 < np.nanmedian(disc) < 1.4
    for one in seen:
        if setup is not None and one.core_sheets and one.shell_sheets:
            assert (one.core_sheets, one.shell_sheets) == ((("MoS2", 1),), (("MoSe2", 1),))
        if np.isfinite(one.core_share):
            assert one.ring_width_px > 2


@pytest.mark.parametrize("setup", [SETUP, None], ids=["materials", "colour"])
def test_a_second_layer_is_no_core(setup):
    seen, _ = read(grown(None, bilayer=1), setup)
    assert all(np.isnan(one.core_share) for one in seen)
    assert any(one.top_share > 0.02 for one in seen)
    turns = np.array([one.twist_deg for one in seen])
    assert np.isfinite(turns).any()
    assert np.nanmedian(np.abs(turns)) < 5  # drawn parallel to the crystals


def test_a_bare_chip_has_none():
    bare = synth_crystals(1, shape=(240, 320), n_crystals=0, clutter=0).micrograph
    assert find_lateral(bare, find_crystals(bare)) == ()
