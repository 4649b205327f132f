"""`film-n`, the model of coverage that comes with the package."""

import numpy as np
import pytest

from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.models.shipped import model_path, open_model
from layerscope.ops.surface import level
from layerscope.synth.surface import synth_surface
from layerscope.tasks.coverage import find_coverage


def test_the_shipped_file_is_small_and_says_where_it_comes_from():
    model = open_model("film-n")
    assert model_path("film-n").stat().st_size < 1e6
    assert model.card.name == "film-n"
    assert {t.licence for t in model.card.trained_on} == {"BSD-3-Clause"}
    assert model.card.metrics["held_out_images"] >= 20
    assert model.card.metrics["interval_images"] >= 200
    assert model_path("film-n").with_suffix(".safetensors").exists()


@pytest.fixture(scope="module")
def scan():
    surface = synth_surface(20003, shape=(256, 320), coverage=0.35)
    return level(surface.micrograph)


def test_it_answers_scans_of_any_shape(scan):
    found = find_coverage(scan, method="film-n", layer_nm=0.65)
    assert found.fraction == pytest.approx(0.35, abs=0.02)
    assert found.low <= 0.35 <= found.high < found.low + 0.08
    assert found.method == "film-n"
    assert "terraces" in found.by_method


@pytest.mark.parametrize("turns", [1, 2])
def test_turning_the_scan_changes_little(scan, turns):
    turned = Micrograph(np.rot90(scan.data, turns).copy(), Modality.AFM, None, "nm")
    one, two = (find_coverage(s, method="film-n").fraction for s in (scan, turned))
    assert one == pytest.approx(two, abs=0.01)


def test_it_is_asked_where_the_histogram_has_no_two_humps():
    noise = np.random.default_rng(0).normal(0, 0.05, (160, 160))
    film = np.zeros(noise.shape)
    film[40:110, 30:130] = 0.65
    for heights, asked in ((film + noise, False), (noise, True)):
        scan = Micrograph(heights.astype(np.float32), Modality.AFM, PixelSize(10, 10, "t"), "nm")
        assert ("film-n" in find_coverage(scan, layer_nm=0.65).by_method) == asked
