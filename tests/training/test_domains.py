"""A network of objects from labelled images to a file that ONNX Runtime runs."""

import json
from dataclasses import replace

import model_files
import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from layerscope.cli import app
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.annotated import read_dataset, write_dataset
from layerscope.models.card import ModelCard
from layerscope.models.file import read_model
from layerscope.models.yolo import calibrated, read_yolo
from layerscope.models.yolo_decode import Picking
from layerscope.synth.crystal_growth import Growth
from layerscope.synth.crystal_labels import LABELS, label_grown, thickness_of
from layerscope.synth.crystals import crystal_set
from layerscope.training.domain_scores import best_cut, fit_calibration, judge
from layerscope.training.domains import (
    DomainSettings,
    fit_domains,
    found_and_marked,
    live,
    parts_of,
    start_network,
    take_over,
)
from layerscope.training.networks.network import count_parameters
from layerscope.training.yolo_export import export_yolo
from layerscope.training.yolo_network import Decoded, build_yolo
from layerscope.training.yolo_pictures import Drawing

RUN = CliRunner()
TINY = DomainSettings("tiny", 64, 0, 1, 4)


@pytest.fixture(scope="module")
def pictures():
    growth = Growth(outer="MoSe2", thick=0.4)
    return list(crystal_set(3, 5, growth, shape=(96, 128), n_crystals=4, clutter=0))


@pytest.fixture(scope="module")
def data(pictures):
    return label_grown(pictures, "material")


@pytest.mark.parametrize(("size", "millions"), [("n", 3.4), ("s", 11.8)])
def test_sizes_are_those_that_were_published(size, millions):
    assert count_parameters(build_yolo(size, 80)) / 1e6 == pytest.approx(millions, rel=0.01)


def test_answers_have_the_layout_of_an_export():
    network = build_yolo("tiny", 3).eval()
    with torch.no_grad():
        flat, prototypes = Decoded(network)(torch.rand(2, 3, 64, 96))
    assert flat.shape == (2, 4 + 3 + 32, 8 * 12 + 4 * 6 + 2 * 3)
    assert prototypes.shape == (2, 32, 16, 24)
    assert 0 <= float(flat[:, 4:7].min()) <= float(flat[:, 4:7].max()) <= 1
    assert float(flat[:, 4:7].mean()) < 0.05  # an untrained network finds nothing
    with pytest.raises(InputError):
        build_yolo("tiny", 0)


def test_the_same_seed_gives_the_same_network():
    one, same, other = (build_yolo("tiny", 2, seed=s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not torch.equal(one["backbone.stem.0.weight"], other["backbone.stem.0.weight"])


def test_a_few_steps_lower_the_loss(data):
    settings, losses = replace(TINY, learning_rate=5e-3), []
    drawing = Drawing(64, zoom=(0.9, 1.1), mosaic=0.0)
    fit_domains(
        start_network(settings, data.classes[1:]), data, settings, steps=24, drawing=drawing,
        progress=lambda told: losses.append(told.loss),
    )  # fmt: skip
    assert np.mean(losses[-6:]) < 0.8 * np.mean(losses[:6])  # 0.63 when it was written


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """Files of YOLO polygons, and a model that the command trained on them for one step."""
    folder = tmp_path_factory.mktemp("trained")
    write_dataset(data, folder / "set", "yolo_seg")
    said = RUN.invoke(
        app, ["train", "domains", str(folder / "set"), "-o", str(folder / "mine.onnx"), "--size",
              "tiny", "--minutes", "0", "--epochs", "1", "--image-px", "64", "-q"],
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    return folder


def test_the_file_says_what_it_was_taught(data, trained):
    assert read_dataset(trained / "set").classes == data.classes
    card = read_yolo(trained / "mine.onnx").card
    assert card is not None
    assert card.classes == data.classes[1:]
    assert card.settings["steps_taken"] == 1
    assert card.metrics["onnx_parity"] <= 1e-4
    assert len(card.trained_on[0].seen) == card.trained_on[0].images == 4


def test_the_file_answers_as_the_network_does(data, trained):
    file = trained / "mine.onnx"
    network = start_network(replace(TINY, start=file), data.classes[1:])
    assert "mine.onnx" in network.origin
    model, loose = read_yolo(file), Picking(least=0.0, most=5)
    assert model.card.parameters == count_parameters(network)
    image = data.examples[0].read_image()
    one = model.find(image, loose)
    other = live(network, data.classes[1:], TINY.drawing).find(image, loose)
    assert len(one) == len(other) > 0
    np.testing.assert_allclose(one.score, other.score, atol=1e-4)
    assert np.abs(one.masks.boxes - other.masks.boxes).max() <= 1
    with pytest.raises(InputError, match="finds objects"):
        read_model(file).predict(image)


def test_files_have_names_for_all_classes_and_end_in_onnx(tmp_path):
    network = build_yolo("tiny", 2)
    for names, file in ((("a",), "x.onnx"), (("a", "b"), "x.pt")):
        with pytest.raises(InputError):
            export_yolo(network, ModelCard("x", "domains", "objects", names), tmp_path / file)


def test_weights_go_on_where_the_network_is_the_same():
    source, target = build_yolo("tiny", 2, seed=1), build_yolo("tiny", 3, seed=2)
    assert "of" in take_over(target, source.state_dict(), same_classes=False)
    own, theirs = target.state_dict(), source.state_dict()
    assert torch.equal(own["backbone.stem.0.weight"], theirs["backbone.stem.0.weight"])
    last = "head.classes.0.2.weight"
    assert own[last].shape[0] == 3
    with pytest.raises(InputError, match="start from one of its size"):
        take_over(build_yolo("n", 2), theirs, same_classes=True)


def test_calibration_finds_the_law_that_scores_follow():
    rng = np.random.default_rng(0)
    score = rng.uniform(0.02, 0.98, 4000)
    right = rng.random(4000) < calibrated(score, (0.6, -0.8))
    slope, shift = fit_calibration(score, right)
    assert slope == pytest.approx(0.6, abs=0.06)
    assert shift == pytest.approx(-0.8, abs=0.1)
    assert fit_calibration(score, score < 0.2)[0] > 0


def test_the_cut_is_that_of_the_best_f1():
    score = np.array([0.9, 0.8, 0.7, 0.6])
    assert best_cut(score, np.array([True, True, False, False]), 2) == pytest.approx(0.8)
    assert best_cut(score, np.array([True, False, True, True]), 3) == pytest.approx(0.6)
    assert judge([], 2) == (0.25, (1.0, 0.0), {})


def test_objects_of_synthetic_crystals(pictures):
    found = {label: label_grown(pictures, label) for label in LABELS}
    assert found["material"].classes == ("background", "MoS2", "MoSe2")
    assert found["thickness"].classes == ("background", "thin", "thick", "bulk")
    crystals = sum(len(p) for p in pictures)
    for label in ("shape", "thickness"):
        assert sum(len(e.instances) for e in found[label].examples) == crystals
    for picture, example in zip(pictures, found["material"].examples, strict=True):
        whole = example.label_map() > 0
        assert np.count_nonzero(whole & (picture.masks.labels() == 0)) == 0
    assert [thickness_of(n) for n in (1, 3, 4, 15, 16, 60)] == [
        "thin", "thin", "thick", "thick", "bulk", "bulk",
    ]  # fmt: skip


def test_the_split_of_the_files_is_kept(data):
    train, valid = parts_of(data, 0)
    assert len(train) + len(valid) == len(data)
    assert 0 < len(valid) < len(train)
    assert parts_of(data.take([0]), 0)[1].examples == ()


def test_settings_refuse_what_cannot_be():
    for wrong in ({"minutes": 0.0}, {"batch": 0}, {"noisy": True, "normalisation": "contrast"}):
        with pytest.raises(InputError):
            DomainSettings(**wrong)


def test_the_file_is_run_on_pictures(trained, tmp_path):
    out, model = tmp_path / "run", trained / "mine.onnx"
    picture = min((trained / "set" / "images").rglob("*.png"))
    said = RUN.invoke(
        app, ["run", str(picture), "--task", "crystals", "--model", str(model), "-o", str(out),
              "--json", "-q", "--no-report"],
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    table = pd.read_csv(out / "crystals.csv")
    assert json.loads(said.stdout)["crystals"] == len(table)
    assert "class" in table
    assert json.loads((out / "run.json").read_text())["provenance"]["model"] == "mine"
    wrong = ["train", "domains", str(trained / "set"), "-o", "b.txt"]
    assert RUN.invoke(app, wrong).exception is not None


def test_a_model_of_another_task_is_refused(tmp_path):
    path = tmp_path / "phases.onnx"
    model_files.write(path)
    with pytest.raises(UnreadableFile, match="train domains"):
        read_yolo(path)


@pytest.mark.thorough
def test_a_minute_of_training_finds_cores_and_shells():
    growth = Growth(
        outer="MoSe2", thick=0, bilayer=0, touching=0.1, size_um=(6, 20),
        shapes={"triangle": 0.6, "truncated triangle": 0.15, "hexagon": 0.25},
    )  # fmt: skip
    asked = {"shape": (256, 256), "n_crystals": 6, "clutter": 0.3}
    taught, test = (
        label_grown(crystal_set(seed, n, growth, **asked), "material")
        for seed, n in ((1, 24), (2, 12))
    )
    settings = DomainSettings("half-n", 128, 0, 1, learning_rate=4e-3)
    drawing = Drawing(128, zoom=(0.8, 1.25), mosaic=0.1)
    network = start_network(settings, taught.classes[1:])
    fit_domains(network, taught, settings, steps=240, drawing=drawing)
    pairs = found_and_marked(live(network, taught.classes[1:], drawing), test)
    figures = judge(pairs, 2)[2]
    # 0.81 when it was written; a class of its own for each of two materials.
    assert figures["mask_ap50"] > 0.65
    assert figures["precision"] > 0.7
    assert figures["recall"] > 0.6
