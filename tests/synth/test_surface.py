"""Synthetic AFM scans: truth is exact, whatever the draw."""

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.errors import InputError, UnknownName
from layerscope.io.spm import read_spm
from layerscope.physics.materials import load
from layerscope.synth.surface import synth_surface
from layerscope.synth.surface_artefacts import Artefacts, touch
from layerscope.synth.surface_fields import draw_field
from layerscope.synth.surface_files import write_pictures, write_surfaces
from layerscope.synth.surface_islands import Habit
from layerscope.synth.surface_picture import COLOUR_MAPS, annotated_picture
from layerscope.synth.surface_substrate import SAPPHIRE_STEP_NM, Substrate

SMALL = (96, 128)
FLAT = Substrate("sio2", 0.1, 0.0, 0.0, 20.0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), coverage=st.floats(0.02, 0.98), layers=st.integers(1, 4))
def test_truth_agrees_with_itself(seed, coverage, layers):
    habit = Habit("triangle", True, 0.2, True)
    surface = synth_surface(seed, shape=SMALL, coverage=coverage, max_layers=layers, habit=habit)
    film = surface.layers > 0
    assert film.sum() == round(coverage * film.size)
    assert surface.coverage == film.mean()
    assert surface.layers.max() <= layers
    assert ((surface.domains > 0) == film).all()
    assert ((surface.grains > 0) == film).all()
    for grain in range(1, surface.n_domains + 1):  # a domain is connected
        piece = (surface.domains == grain).astype(np.uint8)
        assert cv2.connectedComponents(piece, connectivity=8)[0] == 2


def test_same_arguments_same_bytes():
    a, b = synth_surface(3, shape=SMALL), synth_surface(3, shape=SMALL)
    assert a.micrograph.data.tobytes() == b.micrograph.data.tobytes()
    assert a.layers.tobytes() == b.layers.tobytes()
    assert synth_surface(4, shape=SMALL).micrograph.data.tobytes() != a.micrograph.data.tobytes()


@pytest.mark.parametrize("material", ["WSe2", "MoS2", "graphene"])
def test_levels_are_layers_of_the_material(material):
    surface = synth_surface(1, shape=SMALL, coverage=0.5, material=material, substrate=FLAT,
                            offset_nm=0.25, max_layers=3, artefacts=Artefacts())  # fmt: skip
    assert surface.step_nm == load(material).require_layer_nm()
    assert np.array_equal(surface.micrograph.data, surface.heights_nm)
    for n in np.unique(surface.layers):
        level = surface.heights_nm[surface.layers == n].mean()
        assert level == pytest.approx(n * surface.step_nm + 0.25 * (n > 0), abs=2e-3)


def test_every_layer_lies_on_the_one_below():
    surface = synth_surface(11, shape=(256, 256), coverage=0.7, max_layers=4)
    for n in range(2, int(surface.layers.max()) + 1):
        below = cv2.dilate((surface.layers >= n).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert (surface.layers[below] >= n - 1).all()


@pytest.mark.parametrize("coverage", [0.0, 1.0])
def test_bare_and_closed(coverage):
    surface = synth_surface(5, shape=SMALL, coverage=coverage)
    assert surface.coverage == coverage
    assert surface.n_domains == int(coverage)


def test_islands_that_keep_apart_stay_one_each():
    surface = synth_surface(9, shape=(256, 256), coverage=0.25, n_nuclei=20,
                            habit=Habit("hexagon", True, 0.0, False))  # fmt: skip
    assert surface.n_domains == len(np.unique(surface.grains)) - 1 > 10
    with pytest.raises(InputError, match="coalesce"):
        synth_surface(9, shape=(256, 256), coverage=0.99, habit=Habit("hexagon", True, 0.0, False))


def test_sapphire_has_its_step_height():
    width_nm = 40 * 10.0
    miscut = float(np.degrees(np.arctan(SAPPHIRE_STEP_NM / width_nm)))
    stepped = Substrate("sapphire", miscut, 0.0, 0.0, 20.0)
    bare = synth_surface(2, coverage=0.0, shape=(64, 400), substrate=stepped, artefacts=Artefacts())
    staircase = bare.heights_nm + SAPPHIRE_STEP_NM * (np.arange(400) * 10.0 / width_nm)
    level = (staircase - staircase[0, 0]) / SAPPHIRE_STEP_NM
    assert np.isclose(level, np.round(level), atol=1e-3).mean() > 0.9
    assert abs(np.polyfit(np.arange(400), bare.heights_nm.mean(0), 1)[0]) < 1e-3  # no staircase


def test_oxide_is_as_rough_as_told():
    rough = Substrate("sio2", 0.1, 0.0, 0.22, 25.0)
    bare = synth_surface(2, coverage=0.0, substrate=rough, artefacts=Artefacts(), pixel_size_nm=5.0)
    assert bare.heights_nm.std() == pytest.approx(0.22, rel=0.02)


@pytest.mark.parametrize("length", [3.0, 8.0, 40.0])
def test_field_has_its_correlation_length(length):
    lag, along_x, along_y = round(length), [], []
    for seed in range(6):
        field = draw_field(np.random.default_rng(seed), (500, 500), length)
        along_x.append((field[:, :-lag] * field[:, lag:]).mean())
        along_y.append((field[:-lag] * field[lag:]).mean())
    assert np.mean(along_x) == pytest.approx(np.exp(-1), abs=0.06)
    assert np.mean(along_y) == pytest.approx(np.exp(-1), abs=0.06)


def test_tip_rounds_a_spike_to_its_own_shape():
    spike = np.zeros((41, 41))
    spike[20, 20] = 3.0
    felt = touch(spike, 20.0, (1.0, 1.0))
    r = np.hypot(*(np.indices((41, 41)) - 20))
    assert np.allclose(felt, np.maximum(3 - r**2 / 40, 0), atol=1e-12)
    assert (touch(felt, 5.0, (1.0, 2.0)) >= felt).all()


def test_artefacts_add_up_to_the_scan():
    one = {"shape": SMALL, "coverage": 0.3, "substrate": FLAT}
    tilted = synth_surface(6, **one, artefacts=Artefacts(tilt_nm=10))
    rest = tilted.micrograph.data - tilted.heights_nm
    y, x = np.indices(SMALL)
    plane = np.stack([np.ones(rest.size), x.ravel(), y.ravel()], 1)
    fit = plane @ np.linalg.lstsq(plane, rest.ravel(), rcond=None)[0]
    assert np.abs(rest.ravel() - fit).max() < 1e-3
    noisy = synth_surface(6, **one, artefacts=Artefacts(noise_nm=0.1))
    assert (noisy.micrograph.data - noisy.heights_nm).std() == pytest.approx(0.1, rel=0.03)
    rows = synth_surface(6, **one, artefacts=Artefacts(row_nm=0.2, row_walk_nm=0.1, drift_nm=1))
    assert (rows.micrograph.data - rows.heights_nm).std(axis=1).max() < 1e-5
    scarred = synth_surface(6, **one, artefacts=Artefacts(scars=5))
    changed = np.abs(scarred.micrograph.data - scarred.heights_nm) > 1e-6
    assert changed.any()
    assert not changed[~scarred.scars].any()


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"shape": (8, 64)}, "16"),
        ({"coverage": 1.2}, "0 to 1"),
        ({"max_layers": 5}, "1 to 4"),
        ({"pixel_size_nm": 0.0}, "positive"),
        ({"substrate": "granite"}, "sapphire"),
    ],
)
def test_refuses(wrong, word):
    with pytest.raises(InputError, match=word):
        synth_surface(1, **{"shape": SMALL, **wrong})


def test_refuses_unknown_names():
    with pytest.raises(UnknownName):
        synth_surface(1, shape=SMALL, material="unobtainium")
    with pytest.raises(InputError, match="hexagon"):
        Habit("octagon", True, 0.0, True)
    with pytest.raises(InputError, match="noise_nm"):
        Artefacts(noise_nm=-1)


@pytest.mark.parametrize("suffix", ["gsf", "gwy", "npy"])
def test_files_read_back(tmp_path, suffix):
    surfaces = [
        synth_surface(s, shape=SMALL, coverage=0.3, pixel_size_nm=(8.0, 4.0)) for s in (1, 2)
    ]
    paths = write_surfaces(surfaces, tmp_path, suffix=suffix)
    table = pd.read_csv(tmp_path / "truth.csv")
    for surface, path, (_, row) in zip(surfaces, paths, table.iterrows(), strict=True):
        again = read_spm(path)
        unit = 1.0 if suffix != "npy" or again.value_unit == "nm" else None
        if unit:
            assert np.allclose(again.data, surface.micrograph.data, rtol=1e-6, atol=1e-5)
        if suffix != "npy":
            size = again.require_scale()
            assert (size.y_nm, size.x_nm) == (pytest.approx(8.0), pytest.approx(4.0))
        layers = cv2.imread(str(tmp_path / "layers" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(layers, surface.layers)
        assert (row["image"], row["coverage"]) == (path.name, surface.coverage)


@pytest.mark.parametrize("colour_map", COLOUR_MAPS)
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_picture_maps_back_to_heights(colour_map, theme):
    surface = synth_surface(3, shape=(128, 160), coverage=0.4, artefacts=Artefacts(noise_nm=0.05))
    picture = annotated_picture(
        surface.micrograph, colour_map=colour_map, theme=theme, range_nm=(-1, 4)
    )
    top, left, bottom, right = picture.crop
    inside = picture.rgb[top:bottom, left:right].astype(int)
    assert inside.shape[:2] == surface.layers.shape
    nearest = np.abs(inside[:, :, None] - picture.lookup.astype(int)).sum(-1).argmin(-1)
    heights = picture.low_nm + nearest * (picture.high_nm - picture.low_nm) / 255
    assert np.abs(heights - surface.micrograph.data).max() < 1.5 * 5 / 255
    y0, x0, y1, x1 = picture.colour_bar
    assert np.array_equal(picture.rgb[y0, x0], picture.lookup[255])
    assert np.array_equal(picture.rgb[y1 - 1, x1 - 1], picture.lookup[0])
    y0, x0, y1, x1 = picture.scale_bar
    ink = 255 if theme == "dark" else 0
    assert (picture.rgb[y0:y1, x0:x1] == ink).all()
    assert x1 - x0 == round(picture.scale_bar_nm / picture.pixel_size.x_nm)


def test_pictures_are_written_with_their_truth(tmp_path):
    surface = synth_surface(3, shape=(128, 160), coverage=0.4)
    (path,) = write_pictures([surface], tmp_path, colour_map="viridis", theme="light")
    row = pd.read_csv(tmp_path / "truth.csv").iloc[0]
    rgb = cv2.imread(str(path))[..., ::-1]
    crop = rgb[row.crop_top : row.crop_bottom, row.crop_left : row.crop_right]
    assert crop.shape == (128, 160, 3)
    film = crop[surface.layers > 0].mean()
    assert film > crop[surface.layers == 0].mean()


def test_picture_refuses():
    surface = synth_surface(3, shape=SMALL)
    with pytest.raises(UnknownName, match="gold"):
        annotated_picture(surface.micrograph, colour_map="gould")
    with pytest.raises(InputError, match="theme"):
        annotated_picture(surface.micrograph, theme="pink")
    with pytest.raises(InputError, match="higher"):
        annotated_picture(surface.micrograph, range_nm=(2, 1))
    with pytest.raises(InputError, match="gsf"):
        write_surfaces([surface], ".", suffix="exe")
