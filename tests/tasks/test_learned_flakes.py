"""The shipped network on synthetic and real micrographs, and what becomes of its answer."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from layerscope import pipeline
from layerscope.core.micrograph import Micrograph
from layerscope.errors import InputError, UnknownName
from layerscope.io import read
from layerscope.models.shipped import SHIPPED, model_path, open_model
from layerscope.synth import match_truth, synth_flakes
from layerscope.tasks.finders import FINDERS, choose_finder
from layerscope.tasks.flakes import find_flakes
from layerscope.tasks.learned_flakes import find_flakes_learned


@pytest.fixture(scope="module")
def model():
    return open_model("flake-n")


def test_the_shipped_file_is_small_and_says_where_it_comes_from(model):
    assert model_path("flake-n").stat().st_size <= 4e6
    assert model.card.precision == "fp16"
    assert {t.licence for t in model.card.trained_on} == {"BSD-3-Clause"}
    assert model.card.metrics["onnx_parity"] <= 1e-3
    assert model_path("flake-n").with_suffix(".safetensors").exists()
    assert model.card.name in SHIPPED


def test_terraces_of_synthetic_micrographs_are_found(synthetic, model):
    right, marked = 0, 0
    for truth in synthetic:
        found, _ = find_flakes_learned(truth.micrograph, model)
        large = truth.masks.area_px >= 300
        right += int((match_truth(found, truth)[large] >= 0).sum())
        marked += int(large.sum())
    assert right / marked > 0.6


def test_an_empty_field_holds_nothing(model):
    empty = synth_flakes(5, shape=(320, 400), empty=True, clutter=0.3).micrograph
    found, background = find_flakes_learned(empty, model)
    assert len(found) <= 1
    assert background.confident


def test_rows_are_in_raster_order_disjoint_and_repeatable(synthetic, model):
    image = synthetic[0].micrograph
    found, _ = find_flakes_learned(image, model)
    again, _ = find_flakes_learned(image, model)
    claims = np.zeros(image.shape, int)
    for where, crop in found.masks:
        claims[where] += crop
    assert claims.max() == 1
    assert found.masks.boxes.tolist() == sorted(found.masks.boxes.tolist())
    assert np.array_equal(found.masks.labels(), again.masks.labels())
    assert np.array_equal(found.score, again.score)
    assert found.provenance["model_sha256"] == model.sha256


@pytest.mark.parametrize("kind", ["uint16", "float32", "grey"])
def test_bit_depth_and_channels_hardly_matter(synthetic, model, kind):
    image = synthetic[0].micrograph
    wanted, _ = find_flakes_learned(image, model)
    if kind == "uint16":
        other = replace(image, data=image.data.astype(np.uint16) * 257, white_level=65535.0)
    elif kind == "float32":
        other = replace(image, data=image.data.astype(np.float32) / 255, white_level=1.0)
    else:
        grey = cv2.cvtColor(image.data, cv2.COLOR_RGB2GRAY)
        other, wanted = replace(image, data=grey), None
    found, _ = find_flakes_learned(other, model)
    if wanted is None:
        assert len(found) > 0
    else:
        same = (found.masks.labels() > 0) == (wanted.masks.labels() > 0)
        assert same.mean() > 0.995


def test_excluded_pixels_hold_no_region(synthetic, model):
    image = synthetic[0].micrograph
    excluded = np.zeros(image.shape, bool)
    excluded[:, : image.shape[1] // 2] = True
    found, _ = find_flakes_learned(replace(image, excluded=excluded), model)
    inside = found.masks.labels()[:, : image.shape[1] // 2 - 4] > 0
    assert not inside.any()


def test_layers_and_measurements_follow(synthetic, model):
    result = pipeline.run(
        [synthetic[0].micrograph], material="graphene", substrate="SiO2(90nm)/Si",
        finder=choose_finder("network", model),
    )  # fmt: skip
    assert not result.failures
    assert len(result.objects) > 0
    assert {"n_layers", "area_px"} <= set(result.objects.columns)
    assert result.parameters["finder"] == "network"
    assert result.parameters["model"] == "flake-n"


def test_both_lose_nothing_that_the_classical_finder_has(synthetic, model):
    image = synthetic[1].micrograph
    classical, _ = find_flakes(image)
    both, _ = choose_finder("both", model)(image, min_area_px=200)
    assert (both.masks.labels()[classical.masks.labels() > 0] > 0).all()
    assert len(both) >= len(classical)


def test_finders_by_name(model):
    assert choose_finder("classical") is find_flakes
    assert set(FINDERS) == {"classical", "network", "both"}
    with pytest.raises(UnknownName, match="clasical"):
        choose_finder("clasical")
    with pytest.raises(InputError, match="takes no model"):
        choose_finder("classical", model)
    with pytest.raises(UnknownName, match="flake-x"):
        choose_finder("network", "flake-x")


def test_another_task_is_refused(synthetic, model):
    other = replace(model, card=replace(model.card, task="phases", output="classes"))
    with pytest.raises(InputError, match="train flakes"):
        find_flakes_learned(synthetic[0].micrograph, other)


def test_specks_and_wrong_areas_are_refused(model):
    speck = Micrograph(np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(InputError, match="32 px"):
        find_flakes_learned(speck, model)


def test_real_graphene(shared_data, model):
    folder = shared_data / "optical" / "exfoliated" / "graphene"
    path = sorted((folder / "images").glob("*.jpg"))[0]
    found, _ = find_flakes_learned(read(path), model)
    truth = cv2.imread(str(folder / "instances" / f"{path.stem}.png"), -1)
    labels = found.masks.labels()
    for value in np.unique(truth)[1:]:
        mask = truth == value
        shared = np.bincount(labels[mask], minlength=len(found) + 1)[1:]
        iou = shared / (np.count_nonzero(mask) + found.masks.area_px - shared)
        assert iou.max() > 0.5
