"""Grown crystals: outlines that are what they say, and pictures whose truth adds up."""

import cv2
import numpy as np
import pytest
from films import coverage_of
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.errors import InputError
from layerscope.io.annotated import read_dataset
from layerscope.measure.domains import find_domains, measure_domains
from layerscope.synth.crystal_files import write_crystals
from layerscope.synth.crystal_growth import Growth
from layerscope.synth.crystal_outlines import HEXAGONALITY, SHAPES, arrival, draw_outline
from layerscope.synth.crystals import crystal_set, synth_crystals

SEEDS = st.integers(0, 10_000)


def times(outline, half):
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    return arrival(outline, y, x)


@given(SEEDS, st.sampled_from(SHAPES), st.floats(40, 120), st.floats(0, 360))
def test_outline_holds_the_area_of_its_disc(seed, shape, size_px, turn_deg):
    outline = draw_outline(np.random.default_rng(seed), shape, size_px, turn_deg)
    time = times(outline, int(outline.reach_px) + 2)
    assert (time < 1).sum() == pytest.approx(np.pi / 4 * size_px**2, rel=0.05)
    assert (time < 0.5).sum() == pytest.approx(np.pi / 16 * size_px**2, rel=0.15)


@settings(max_examples=15)
@given(SEEDS, st.sampled_from(sorted(HEXAGONALITY)), st.floats(0, 360))
def test_measured_facets_are_those_that_were_drawn(seed, shape, turn_deg):
    outline = draw_outline(np.random.default_rng(seed), shape, 120, turn_deg, irregularity=0)
    mask = times(outline, int(outline.reach_px) + 2) < 1
    domains = find_domains(coverage_of(mask.astype(np.uint8)))
    row = measure_domains(domains, None, pixel_size=None).iloc[0]
    off = (row["facet_direction_mod60_deg"] - outline.lattice_deg + 30) % 60 - 30
    low, high = HEXAGONALITY[shape]
    assert row["facetting"] > 0.97
    assert low - 0.06 < row["hexagonality"] < high + 0.06
    assert abs(off) < 1


def test_truth_of_a_heterostructure_adds_up():
    growth = Growth(inner="MoS2", outer="MoSe2", bilayer=0.5, thick=0, touching=0.4)
    picture = synth_crystals(3, growth, shape=(300, 420), n_crystals=10)
    kind = picture.materials(["MoS2", "MoSe2"])
    assert len(picture) >= 5
    assert picture.micrograph.data.shape == (300, 420, 3)
    for i, (where, crop) in enumerate(picture.masks):
        inside = kind[where][crop]
        assert inside.min() > 0
        assert np.mean(inside == 1) == pytest.approx(picture.core_share[i])
    assert set(np.unique(picture.layers())) == {0, 1, 2}


def test_touching_crystals_touch_and_others_do_not():
    apart = synth_crystals(5, Growth(touching=0), shape=(300, 420), n_crystals=12)
    close = synth_crystals(5, Growth(touching=1), shape=(300, 420), n_crystals=12)
    assert not apart.touching.any()
    assert close.touching.sum() >= 4


def test_crystals_of_one_direction():
    picture = synth_crystals(2, Growth(aligned=True), shape=(300, 420), n_crystals=10)
    known = np.radians(6 * picture.lattice_deg[np.isfinite(picture.lattice_deg)])
    assert abs(np.exp(1j * known).mean()) > 0.97


def test_sets_repeat_and_do_not_depend_on_their_length():
    few = list(crystal_set(1, 1, shape=(96, 128), n_crystals=3, objectives=("20x", "100x")))
    more = list(crystal_set(1, 2, shape=(96, 128), n_crystals=3, objectives=("20x", "100x")))
    assert few[0].encoded == more[0].encoded
    assert more[0].micrograph.pixel_size.x_nm > more[1].micrograph.pixel_size.x_nm


@pytest.mark.parametrize(
    "call",
    [
        lambda: Growth(shapes={"circle": 1.0}),
        lambda: Growth(size_um=(0, 3)),
        lambda: Growth(bilayer=2),
        lambda: synth_crystals(0, objective="3x"),
        lambda: draw_outline(np.random.default_rng(0), "circle", 9, 0),
        lambda: list(crystal_set(0, 1, cameras=())),
    ],
)
def test_what_cannot_be_is_refused(call):
    with pytest.raises(InputError):
        call()


def test_a_folder_is_read_as_labelled_images(tmp_path):
    growth = Growth(inner="MoS2", outer="MoSe2")
    written = write_crystals(crystal_set(4, 2, growth, shape=(96, 160), n_crystals=4), tmp_path)
    data = read_dataset(tmp_path)
    assert data.classes == ("substrate", "MoS2", "MoSe2")
    assert [e.path for e in data.examples] == written
    truth = (tmp_path / "truth.csv").read_text().splitlines()
    numbers = [cv2.imread(str(p), -1).max() for p in sorted((tmp_path / "instances").iterdir())]
    assert len(truth) == 1 + sum(numbers)
    with pytest.raises(InputError):
        write_crystals([], tmp_path)
