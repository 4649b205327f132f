"""Coverage on films that are known: heights, pictures, real SEM pictures; laws and refusals."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.errors import InputError, UnknownName
from layerscope.ops.surface import level
from layerscope.synth.surface import synth_surface
from layerscope.tasks.coverage import find_coverage


def _terraced(heights_nm, *, noise_nm=0.05, seed=0, side=160):
    """Nested squares at the given heights; each is half as wide as the one below."""
    data = np.random.default_rng(seed).normal(0, noise_nm, (side, side))
    inset = side // 8
    for height in heights_nm:
        data[inset : side - inset, inset : side - inset] += height
        inset += side // 10
    return Micrograph(data.astype(np.float32), Modality.AFM, PixelSize(10, 10, "test"), "nm")


def _spots(ratio, *, seed=1, particles=0):
    """Dark discs on a substrate of two grains that differ by 10 %."""
    rng = np.random.default_rng(seed)
    grey = np.full((480, 640), 130.0)
    grey[:, 400:] *= 0.9
    film = np.zeros(grey.shape, np.uint8)
    for y, x, r in zip(
        rng.integers(0, 480, 12), rng.integers(0, 640, 12), rng.integers(15, 60, 12), strict=True
    ):
        cv2.circle(film, (int(x), int(y)), int(r), 1, -1)
    grey[film > 0] *= ratio
    for y, x in zip(rng.integers(0, 480, particles), rng.integers(0, 640, particles), strict=True):
        cv2.circle(grey, (int(x), int(y)), 3, 250, -1)
    grey = cv2.GaussianBlur(grey, (0, 0), 1) + rng.normal(0, 5, grey.shape)
    return Micrograph(grey.clip(0, 255).astype(np.uint8), Modality.SEM), float(film.mean())


def test_every_terrace_has_its_height_and_share():
    found = find_coverage(_terraced([0.8, 0.65, 0.65]), layer_nm=0.65)
    assert [t.n_layers for t in found.terraces] == [0, 1, 2, 3]
    assert [t.height_nm for t in found.terraces] == pytest.approx([0, 0.8, 1.45, 2.1], abs=0.03)
    assert [t.fraction for t in found.terraces] == pytest.approx(
        [0.4375, 0.2600, 0.1800, 0.1225], abs=0.01
    )
    assert found.step_low_nm <= 0.65 <= found.step_high_nm
    assert found.film.classes == ("substrate", "1 layer", "2 layers", "3 layers")


def test_the_first_layers_offset_is_not_taken_for_the_step():
    found = find_coverage(_terraced([1.0, 0.7]))
    assert found.step_nm == pytest.approx(0.7, abs=0.02)


def test_steps_of_sapphire_are_no_layers():
    scan = _terraced([0.7])
    steps = 0.2165 * (np.arange(160) // 20 - np.arange(160) / 20)
    found = find_coverage(replace(scan, data=(scan.data + steps).astype(np.float32)))
    assert len(found.terraces) == 2
    assert found.fraction == pytest.approx(0.5625, abs=0.01)


def test_bare_sapphire_is_doubted_not_covered():
    steps = 0.2165 * (np.arange(200) // 25)[:, None] + np.zeros((200, 200))
    noisy = steps + np.random.default_rng(0).normal(0, 0.04, steps.shape)
    bare = Micrograph(noisy.astype(np.float32), Modality.AFM, None, "nm")
    found = find_coverage(bare)
    assert found.fraction == 0
    assert (found.low, found.high) == (0, 1)
    assert any("bare or wholly covered" in d for d in found.doubts)


def test_dust_is_counted_in_nothing():
    scan = _terraced([0.7])
    scan.data[70:90, 2:12] += 30
    found = find_coverage(scan)
    assert not found.film.valid[72:88, 4:10].any()
    assert found.fraction == pytest.approx(14400 / (25600 - 200), abs=0.01)


@pytest.mark.slow
def test_raw_scans_with_every_artefact():
    """Seeds of no other test; the benchmark has hundreds."""
    errors, steps, held = [], [], 0
    for seed in range(9000, 9006):
        surface = synth_surface(seed)
        found = find_coverage(level(surface.micrograph), layer_nm=surface.step_nm)
        errors.append(abs(found.fraction - surface.coverage))
        steps.append(abs(found.step_nm / surface.step_nm - 1))
        held += found.low <= surface.coverage <= found.high
    assert np.median(errors) < 0.005
    assert np.median(steps) < 0.03
    assert held >= 5


@settings(max_examples=12, deadline=None)
@given(
    shift=st.floats(-50, 50),
    tilt=st.floats(-0.15, 0.15),
    turns=st.integers(0, 3),
    mirrored=st.booleans(),
)
@example(shift=0, tilt=-0.09375, turns=0, mirrored=False)  # a contour on the tilt hid a level
@example(shift=0, tilt=0.14, turns=0, mirrored=False)  # the upper two levels became one
def test_where_zero_lies_and_how_the_scan_lies_do_not_matter(shift, tilt, turns, mirrored):
    scan = _terraced([0.7, 0.7])
    data = scan.data + shift + tilt * np.linspace(-1, 1, 160)[:, None]
    data = np.rot90(data[:, ::-1] if mirrored else data, turns)
    found = find_coverage(replace(scan, data=np.ascontiguousarray(data, np.float32)))
    assert [t.fraction for t in found.terraces] == pytest.approx([0.4375, 0.26, 0.3025], abs=0.01)


@settings(max_examples=8, deadline=None)
@given(unit=st.floats(0.5, 3.0))
def test_a_thicker_material_gives_thicker_steps(unit):
    scan = _terraced([0.7 * unit, 0.65 * unit], noise_nm=0.05 * unit)
    found = find_coverage(scan, layer_nm=0.65 * unit)
    assert found.step_nm == pytest.approx(0.65 * unit, rel=0.03)


@pytest.mark.parametrize("ratio", [0.5, 0.7])
@pytest.mark.parametrize("particles", [0, 60])
def test_film_on_grains_with_particles(ratio, particles):
    picture, true = _spots(ratio, particles=particles)
    found = find_coverage(picture)
    assert found.fraction == pytest.approx(true, abs=0.015)
    assert found.low <= true <= found.high


def test_grains_alone_are_no_film():
    picture, _ = _spots(1.0)
    found = find_coverage(picture)
    assert found.fraction == 0
    assert found.doubts


def test_a_bright_film_is_found_when_told():
    picture, true = _spots(0.6)
    inverted = replace(picture, data=255 - picture.data)
    assert find_coverage(inverted, film="bright").fraction == pytest.approx(true, abs=0.02)


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_scale_changes_little(ratio):
    picture, _ = _spots(0.7)
    scaled = replace(picture, data=cv2.resize(picture.data, None, fx=ratio, fy=ratio))
    change = find_coverage(scaled).fraction - find_coverage(picture).fraction
    assert abs(change) < 0.02


def test_threshold_by_hand_is_in_the_unit_of_the_values():
    found = find_coverage(_terraced([0.7]), threshold=0.35)
    assert found.method == "threshold"
    assert found.provenance["by"] == "hand"
    assert found.fraction == pytest.approx(0.5625, abs=0.01)
    assert find_coverage(_terraced([0.7]), threshold=5.0).fraction == 0


def test_methods_that_disagree_raise_a_doubt():
    found = find_coverage(_terraced([0.7]), threshold=-5.0)
    assert found.fraction == 1
    assert set(found.by_method) == {"threshold", "terraces"}
    assert any("look at the mask" in d for d in found.doubts)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"layer_nm": -1.0}, "expected 0.1 to 100 nm"),
        ({"max_layers": 0}, "expected 1 to 12"),
        ({"film": "grey"}, "expected bright or dark"),
        ({"threshold": float("nan")}, "expected a number"),
        ({"threshold": 1.0, "method": "terraces"}, "leave one of them"),
    ],
)
def test_values_out_of_range_are_refused(told, message):
    with pytest.raises(InputError, match=message):
        find_coverage(_terraced([0.7]), **told)


def test_unknown_method_and_wrong_input_are_refused_by_name():
    with pytest.raises(UnknownName, match="terraces"):
        find_coverage(_terraced([0.7]), method="terrace")
    picture, _ = _spots(0.7)
    with pytest.raises(InputError, match="need heights in nm"):
        find_coverage(picture, method="terraces")
    with pytest.raises(InputError, match="too small"):
        find_coverage(Micrograph(np.zeros((9, 40), np.float32)))


def test_real_pictures_of_graphene(shared_data):
    """Four of twelve, one of each kind; the benchmark has all."""
    folder, errors = shared_data / "sem" / "cvd_graphene", []
    for name in ("Set_4_Good_15", "Set_4_Good_21", "Set_4_Good_26", "Set_4_Good_39"):
        data = cv2.imread(str(folder / "images" / f"{name}.tif"), cv2.IMREAD_GRAYSCALE)
        mask = cv2.imread(str(folder / "masks" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
        found = find_coverage(Micrograph(data, Modality.SEM, name=name))
        errors.append(abs(found.fraction - np.mean(mask > 127)))
    assert max(errors) < 0.03
