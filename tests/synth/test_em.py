"""Synthetic electron micrographs: truth is exact, physics holds, files read back."""

import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.errors import InputError
from layerscope.io import read
from layerscope.io.annotated import read_dataset
from layerscope.synth.em import CLASSES, PIXEL_SIZE_NM, synth_em
from layerscope.synth.em_files import MASKS, em_set, write_em
from layerscope.synth.em_flakes import LAYER_NM
from layerscope.synth.em_optics import (
    Microscope,
    detect,
    expose_em,
    interaction_rad_v_nm,
    wavelength_nm,
)
from layerscope.synth.em_support import SUPPORTS, Support, cell_borders, lay_support

SMALL = (96, 128)
BRIGHT = Microscope(dose_e_px=1e6, blur_px=0.0, convergence_mrad=0.0)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), pixel=st.floats(*PIXEL_SIZE_NM), kind=st.sampled_from(SUPPORTS))
def test_truth_agrees_with_itself(seed, pixel, kind):
    picture = synth_em(seed, shape=SMALL, pixel_size_nm=pixel, support=kind)
    assert picture.micrograph.shape == SMALL
    whole = np.zeros(SMALL, bool)
    for (where, crop), n in zip(picture.flakes, picture.n_layers, strict=True):
        assert crop.any()
        assert (picture.layers[where][crop] >= n).all()
        whole[where] |= crop
    assert np.array_equal(whole, picture.flake_mask)
    assert not (picture.folds & ~whole).any()
    # Nothing hangs in an empty hole.
    assert not (picture.contamination & picture.holes & ~whole).any()
    labels = picture.label_map
    assert np.array_equal(labels == CLASSES.index("flake"), whole)
    assert np.array_equal(labels == CLASSES.index("hole"), picture.holes & ~whole)
    assert picture.holes.any() <= (kind != "film")


def test_same_arguments_same_bytes():
    a, b = (synth_em(3, shape=SMALL) for _ in range(2))
    assert a.micrograph.data.tobytes() == b.micrograph.data.tobytes()
    assert a.layers.tobytes() == b.layers.tobytes()
    assert synth_em(4, shape=SMALL).micrograph.data.tobytes() != a.micrograph.data.tobytes()


def test_a_picture_costs_less_than_a_second():
    synth_em(0)
    seconds = []
    for seed in range(1, 6):
        begin = time.process_time()
        synth_em(seed)
        seconds.append(time.process_time() - begin)
    assert np.median(seconds) < 1.0


def test_layers_stay_in_their_range():
    numbers = np.concatenate([
        synth_em(s, shape=SMALL, layers=(3, 5), n_flakes=12).n_layers for s in range(8)
    ])  # fmt: skip
    assert set(numbers) == {3, 4, 5}


def test_wavelength_and_interaction_are_those_of_the_textbook():
    # Reimer and Kohl, table 2.2: 200 kV, 2.508 pm; interaction 7.29 mrad / (V nm).
    assert wavelength_nm(200) == pytest.approx(2.508e-3, rel=1e-3)
    assert wavelength_nm(80) == pytest.approx(4.176e-3, rel=1e-3)
    assert interaction_rad_v_nm(200) == pytest.approx(7.29e-3, rel=2e-3)


def test_grey_falls_with_thickness_as_the_exponential_says():
    rng = np.random.default_rng(0)
    for thickness in (5.0, 20.0, 60.0):
        beam = expose_em(rng, BRIGHT, np.full((64, 64), thickness), np.zeros((64, 64)), 50.0)
        assert beam.mean() == pytest.approx(np.exp(-thickness / BRIGHT.mean_free_path_nm), rel=0.01)


def test_an_edge_has_fringes_out_of_focus_and_none_in_focus():
    step = np.zeros((64, 128))
    step[:, 64:] = 20.0
    fringe = {}
    for defocus in (0.0, 4000.0):
        scope = replace(BRIGHT, defocus_nm=defocus, cs_mm=0.0, convergence_mrad=0.02)
        beam = expose_em(np.random.default_rng(1), scope, step, np.zeros(step.shape), 2.0)
        fringe[defocus] = beam[:, 44:64].mean(axis=0).max()
    assert fringe[0.0] == pytest.approx(1.0, abs=0.01)
    assert fringe[4000.0] > 1.05


def test_shot_noise_is_that_of_the_dose():
    scope = Microscope(dose_e_px=400, black=0.0, white=2.0)
    grey = detect(np.random.default_rng(2), scope, np.ones((200, 200)), 16) / (2**16 - 1) * 2.0
    assert grey.mean() == pytest.approx(1.0, abs=0.002)
    assert grey.std() == pytest.approx(1 / 20, rel=0.03)


def test_grey_alone_does_not_tell_flakes_from_carbon():
    """The best threshold of each picture, chosen with the truth, leaves much of the flakes."""
    scores = []
    for seed in range(16):
        picture = synth_em(seed, shape=(256, 256), pixel_size_nm=3.0)
        flake = picture.flake_mask[~picture.holes]
        if not 0.1 < flake.mean() < 0.6:
            continue
        grey = cv2.GaussianBlur(picture.micrograph.data, (0, 0), 2)[~picture.holes]
        cuts = np.quantile(grey, np.linspace(0.02, 0.98, 49))
        iou = [((grey < c) & flake).sum() / ((grey < c) | flake).sum() for c in cuts]
        scores.append(max(iou))
    assert len(scores) >= 6
    assert np.median(scores) < 0.75


def test_cell_borders_are_the_bisectors():
    points = np.array([[20.0, 30.0], [100.0, 30.0], [60.0, 400.0]])
    distance, pair = cell_borders(points, (64, 121), grid_px=1)
    assert distance[30, 60] == pytest.approx(0, abs=0.5)
    assert distance[30, 80] == pytest.approx(20, abs=0.5)
    assert (pair[30, 60] == [0, 1]).all()


@pytest.mark.parametrize("kind", SUPPORTS)
@pytest.mark.parametrize("pixel", [0.05, 2.0, 60.0])
def test_holes_have_no_carbon_and_carbon_no_holes(kind, pixel):
    rng = np.random.default_rng(5)
    holes, carbon = lay_support(rng, Support(kind, 1000.0, 400.0, 20.0), SMALL, pixel)
    assert np.array_equal(holes, carbon == 0)
    assert holes.any() == (kind != "film")
    assert not holes.all()


def test_regular_holes_have_their_size():
    rng = np.random.default_rng(5)
    film = Support("regular", 1000.0, 1000.0, 20.0)
    holes, _ = lay_support(rng, film, (600, 600), 10.0)
    _, _, stats, _ = cv2.connectedComponentsWithStats(holes.astype(np.uint8))
    x, y, w, h, area = stats[1:].T
    inner = (x > 0) & (y > 0) & (x + w < 600) & (y + h < 600)
    # Pixels that the outline touches are filled: half a pixel more in radius.
    assert np.median(area[inner]) == pytest.approx(np.pi * 50.5**2, rel=0.03)


def test_folder_reads_back(tmp_path):
    pictures = list(em_set(5, 3, shape=SMALL, pixel_size_nm=(1.0, 8.0), bits=16))
    paths = write_em(pictures, tmp_path)
    data = read_dataset(tmp_path)
    assert data.classes == CLASSES
    assert [e.name for e in data.examples] == [p.stem for p in paths]
    for picture, example, path in zip(pictures, data.examples, paths, strict=True):
        assert np.array_equal(read(path).data, picture.micrograph.data)
        assert np.array_equal(example.label_map(), picture.label_map)
        side_nm = picture.micrograph.pixel_size.x_nm
        assert example.pixel_size_nm == pytest.approx(side_nm, rel=1e-4)
        for folder, mask in zip(MASKS, (picture.flake_mask, picture.holes), strict=False):
            png = cv2.imread(str(tmp_path / "annotations" / folder / f"{path.stem}.png"), -1)
            assert np.array_equal(png > 0, mask)


def test_a_longer_series_begins_with_the_shorter():
    short, long = (list(em_set(1, n, shape=SMALL)) for n in (1, 2))
    assert short[0].micrograph.data.tobytes() == long[0].micrograph.data.tobytes()


def test_faint_flakes_are_left_unlabelled_and_no_others():
    picture = synth_em(8, shape=(300, 300), pixel_size_nm=20.0, n_flakes=8)
    least = float(np.median(picture.contrast))
    seen = picture.label_map_seen(least)
    strong = np.zeros(seen.shape, bool)
    for i in np.flatnonzero(picture.contrast >= least):
        strong |= picture.flakes.dense(i)
    assert (seen[strong] == CLASSES.index("flake")).all()
    assert np.array_equal(seen == 255, picture.flake_mask & ~strong)
    assert (seen == 255).any()
    assert np.array_equal(picture.label_map_seen(0.0), picture.label_map)


def test_contrast_of_a_flat_flake_is_that_of_its_carbon():
    picture = synth_em(5, shape=SMALL, pixel_size_nm=8.0, n_flakes=12, crumpled_share=0.0)
    path = picture.microscope.mean_free_path_nm
    least = 1 - np.exp(-picture.n_layers * LAYER_NM / path)
    assert (picture.contrast >= least - 1e-9).all()


def test_images_of_a_specimen_share_film_and_microscope(tmp_path):
    pictures = list(em_set(3, 4, specimens=2, shape=SMALL, pixel_size_nm=4.0))
    films = [p.support for p in pictures]
    assert films[0] == films[2] != films[1] == films[3]
    assert pictures[0].microscope.black == pictures[2].microscope.black
    assert pictures[0].microscope.dose_e_px != pictures[2].microscope.dose_e_px
    assert not np.array_equal(pictures[0].micrograph.data, pictures[2].micrograph.data)
    write_em(pictures, tmp_path)
    assert read_dataset(tmp_path).groups == ("specimen-0", "specimen-1") * 2
    with pytest.raises(InputError, match="0 specimens"):
        em_set(0, 1, specimens=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (8, 8)}, {"layers": (0, 3)}, {"layers": (5, 2)}, {"bits": 12},
        {"pixel_size_nm": 1e4}, {"pixel_size_nm": (3.0, 1.0)}, {"support": "mesh"},
        {"crumpled_share": 2.0},
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(wrong):
    with pytest.raises(InputError, match="expected"):
        synth_em(0, **wrong)


def test_thickness_of_layers_is_that_of_graphite():
    assert pytest.approx(0.335) == LAYER_NM
