"""Classes that overlap, from labels to masks in a folder, on pictures that are quickly learned."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from layerscope.core.examples import IGNORE, DataSet, Example
from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.core.segmentation import ClassMasks
from layerscope.errors import InputError
from layerscope.io.annotated.class_masks import write_mask
from layerscope.models.file import read_model
from layerscope.report.phases_errors import MaskErrorsFolder
from layerscope.report.phases_folder import PhasesFolder
from layerscope.report.phases_pictures import class_image, phase_colour, value_names
from layerscope.segmentation import run_phases
from layerscope.training.class_losses import losses_of
from layerscope.training.ensemble import Ensemble
from layerscope.training.labelled import load_labelled
from layerscope.training.networks import build
from layerscope.training.overlap_scores import evaluate_masks
from layerscope.training.overlapping import for_classes
from layerscope.training.phases import PhaseSettings, train_phases

CLASSES = ("background", "flake", "hole")


def picture(seed):
    """A bright round hole, and a flake darker by a third that lies over a part of it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    hole = np.hypot(y - rng.uniform(20, 44), x - rng.uniform(20, 44)) < 16
    flake = np.abs(y - rng.uniform(16, 48)) < 11
    grey = np.where(hole, 0.9, 0.5) * np.where(flake, 0.65, 1.0)
    grey = grey + 0.02 * rng.standard_normal(grey.shape)
    masks = np.stack([flake, hole], -1).astype(np.uint8)
    masks[:2, :, 0] = IGNORE
    return np.rint(255 * np.clip(grey, 0, 1)).astype(np.uint8), masks


def dataset(number, first=0):
    examples = []
    for i in range(first, first + number):
        image, masks = picture(i)
        told = {"group": f"s{i % 3}", "pixel_size_nm": 5.0}
        examples.append(Example.from_arrays(f"im{i}", image, masks, **told))
    return DataSet(tuple(examples), CLASSES)


FAST = PhaseSettings(
    "plain-n", folds=2, jobs=1, steps=4, overlapping=True, losses=("flake=tversky:0.5:0.5",)
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path, lines = tmp_path_factory.mktemp("overlapping") / "model.onnx", []
    train_phases(dataset(5), path, FAST, tell=lines.append)
    return path, lines


@pytest.fixture(scope="module")
def segmented(trained, tmp_path_factory):
    folder, kept = tmp_path_factory.mktemp("run"), []
    writer = PhasesFolder(folder)

    def keep(result):
        kept.append(result)
        writer(result)

    images = [
        Micrograph(picture(20 + i)[0], Modality.TEM, PixelSize(5, 5, "told"), name=f"im{i}")
        for i in range(2)
    ]
    run = run_phases(images, read_model(trained[0]), on_result=keep)
    writer.finish(run)
    return folder, run, kept


def test_the_card_says_what_was_held_out(trained):
    path, lines = trained
    card = read_model(path).card
    assert (card.output, card.classes) == ("labels", ("flake", "hole"))
    assert set(card.thresholds) == {"flake", "hole"}
    assert card.metrics["held_out_images"] == 5
    assert card.metrics["held_out_by"] == "specimen"
    assert card.pixel_size_nm == (5.0, 5.0)
    assert any(line.startswith("held-out mean IoU") for line in lines)
    found = evaluate_masks(read_model(path), dataset(2, first=30))
    iou = found.figures.query("figure == 'iou'").set_index("class")["value"]
    assert iou[""] == pytest.approx(iou[["flake", "hole"]].mean())
    assert len(found.images) == 4


@pytest.mark.thorough
def test_it_learns_masks_that_overlap_and_gives_the_same_bytes_again(tmp_path):
    """One class per pixel would miss the crossing, half of either mask; measured: 0.86."""
    for name in "ab":
        train_phases(dataset(5), tmp_path / f"{name}.onnx", replace(FAST, steps=60))
    found = evaluate_masks(read_model(tmp_path / "a.onnx"), dataset(4, first=30))
    iou = found.figures.query("figure == 'iou'").set_index("class")["value"]
    assert iou[""] > 0.75
    weights = [(tmp_path / f"{n}.safetensors").stat().st_size for n in "ab"]
    assert weights[0] == weights[1]
    images = dataset(1, first=60).examples[0].read_image()
    answers = [read_model(tmp_path / f"{n}.onnx").predict(images) for n in "ab"]
    assert (answers[0] == answers[1]).all()


def test_a_run_gives_masks_areas_and_combinations(segmented):
    folder, run, (first, second) = segmented
    assert isinstance(first.phases, ClassMasks)
    assert run.failures == ()
    for result in (first, second):
        rows = run.areas[run.areas["image"] == result.name].set_index("class")
        for k, name in enumerate(("flake", "hole")):
            mask = result.phases.masks[..., k]
            assert rows.loc[name, "area_px"] == mask.sum()
            assert rows.loc[name, "value"] == 1 << k
            assert rows.loc[name, "area_um2"] == pytest.approx(mask.sum() * 25e-6)
            kept = cv2.imread(str(folder / "masks" / name / f"{result.name}.png"), -1)
            assert (kept == 255 * mask).all()
        both = cv2.imread(str(folder / "classes" / f"{result.name}.png"), -1)
        assert (both == result.phases.masks @ np.array([1, 2])).all()
    assert value_names(first.phases) == {1: "flake", 2: "hole", 3: "flake + hole"}
    assert len({phase_colour(v) for v in (1, 2, 3)}) == 3
    assert json.loads((folder / "run.json").read_text())["areas"]


def test_pixels_that_are_not_counted_are_in_no_share():
    masks, valid = np.ones((4, 6, 2), bool), np.ones((4, 6), bool)
    masks[:, :3, 1], valid[0] = False, False
    phases = ClassMasks(masks, ("a", "b"), valid, (0.5, 0.5))
    assert phases.fractions().tolist() == [1.0, 0.5]
    assert (class_image(phases)[0] == 255).all()
    assert class_image(phases)[1].tolist() == [1, 1, 1, 3, 3, 3]
    with pytest.raises(InputError, match="thresholds"):
        ClassMasks(masks, ("a", "b"), valid, (0.5,))


def test_error_maps_of_each_class(trained, tmp_path):
    folder = MaskErrorsFolder(tmp_path)
    data = dataset(2, first=40)
    folder.finish(evaluate_masks(read_model(trained[0]), data, on_mask=folder))
    names = sorted(p.name for p in (tmp_path / "errors").iterdir())
    assert names == ["im40_flake.png", "im40_hole.png", "im41_flake.png", "im41_hole.png"]
    table = pd.read_csv(tmp_path / "images.csv")
    assert table["iou"].between(0, 1).all()
    assert "no interval" in (tmp_path / "evaluation.html").read_text()


def test_masks_are_read_from_a_folder_by_the_command(trained, tmp_path):
    from typer.testing import CliRunner

    from layerscope.cli import app

    (tmp_path / "images").mkdir()
    for i in range(2):
        image, masks = picture(50 + i)
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), image)
        for k, name in enumerate(CLASSES[1:]):
            (tmp_path / "masks" / name).mkdir(parents=True, exist_ok=True)
            unknown = masks[..., k] == IGNORE
            write_mask(tmp_path / "masks" / name / f"{i}.png", masks[..., k] == 1, unknown)
    args = ["evaluate", str(trained[0]), str(tmp_path), "-o", str(tmp_path / "out"), "-q"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    assert "mean: IoU 0." in done.output


def test_weights_follow_the_names_of_classes():
    state = {"head.weight": torch.arange(4.0).reshape(2, 2, 1, 1), "stem.weight": torch.ones(2, 1)}
    turned = for_classes(state, ("flake", "hole"), ("hole", "dirt", "flake"))
    assert turned["head.weight"][:, :, 0, 0].tolist() == [[2, 3], [0, 0], [0, 1]]
    assert turned["stem.weight"] is state["stem.weight"]
    assert "head.weight" not in for_classes(state, ("flake", "hole"), ("GFM", "CH"))


def test_an_ensemble_of_classes_apart_is_the_mean_of_sigmoids():
    members = [build("light-n", channels=1, outputs=2, seed=s).eval() for s in (1, 2)]
    images = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        apart = torch.stack([m(images).sigmoid() for m in members])
        logits, spread = Ensemble(members, apart=True).eval()(images)
    assert torch.allclose(logits.sigmoid(), apart.mean(0), atol=1e-6)
    assert torch.allclose(spread, apart.std(0, correction=0), atol=2e-6)


def test_losses_by_class():
    logits = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    target = (torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    p, t = torch.sigmoid(logits[0, 0]), target[0, 0]
    both, more, less = (p * t).sum(), (p * (1 - t)).sum(), ((1 - p) * t).sum()
    tversky = 1 - (both + 0.5) / (both + 0.5 + 0.8 * more + 0.2 * less)
    hole = losses_of((), ("hole",))(logits[:, 1:], target[:, 1:])
    found = losses_of(("flake=tversky:0.8:0.2",), ("flake", "hole"))(logits, target)
    assert float(found) == pytest.approx(float(tversky + hole) / 2, rel=1e-5)
    for wrong in ("flake", "dirt=dice", "flake=mse", "flake=tversky:x", "flake=dice:1:2"):
        with pytest.raises(InputError):
            losses_of((wrong,), ("flake", "hole"))


def test_what_cannot_be_learned_is_said(tmp_path):
    data = dataset(2)
    with pytest.raises(InputError, match="forests give one class"):
        train_phases(data, tmp_path / "m.onnx", PhaseSettings("forest", overlapping=True))
    image, masks = picture(0)
    empty = Example.from_arrays("e", image, np.zeros_like(masks))
    with pytest.raises(InputError, match="no pixel is labelled"):
        load_labelled(DataSet((empty,), CLASSES), overlapping=True)
