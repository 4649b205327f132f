"""Scans with a network: the finder is part of what was asked, its model travels with the folder."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from layerscope.batch import settings as batch_settings
from layerscope.batch.plan import Input, Plan
from layerscope.batch.scan import begin
from layerscope.batch.settings import GIVEN, Settings
from layerscope.batch.survey import Survey
from layerscope.batch.work import Desk, Task, _find_in
from layerscope.errors import InputError, UnknownName
from layerscope.finding import Found, find_in
from layerscope.io.sources import Source
from layerscope.models.shipped import model_path
from layerscope.tasks.finders import choose_finder

ASKED = Settings("graphene", "SiO2(90nm)/Si", flat_field="image")
BY_NETWORK = replace(ASKED, finder="network")


@pytest.fixture
def image(tmp_path):
    """A flake a little darker than its substrate."""
    pixels = np.full((96, 128, 3), (150, 120, 140), np.float32)
    pixels[30:70, 40:90] *= 0.9
    noise = np.random.default_rng(0).normal(0, 1.5, pixels.shape)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.clip(pixels + noise, 0, 255).astype(np.uint8)[..., ::-1])
    return path


def planned(folder, image, asked):
    folder.mkdir(exist_ok=True)
    return begin([Source("a", str(image))], folder, asked)


def test_what_was_found_is_what_a_run_finds_and_says_by_what(image, tmp_path):
    plan = planned(tmp_path / "scan", image, BY_NETWORK)
    Survey.of(plan).save(plan.folder)
    desk = Desk(plan.folder)
    found = _find_in(desk, plan.inputs[0], lambda _: None)
    assert isinstance(found, Found)
    wanted = find_in(
        Source("a", str(image)),
        scale=ASKED.scale,
        optics=ASKED.optics(desk.survey.flat_field),
        wanted=ASKED.wanted,
        substrates=desk.survey.substrates,
        finder=choose_finder("network"),
    )
    np.testing.assert_array_equal(found.detections.masks.labels(), wanted.detections.masks.labels())
    assert found.detections.provenance["finder"] == "network"
    entry = desk.do(Task("find", 0, "key"))
    assert entry.regions == len(found.detections)
    from layerscope.batch.parts import part_path, read_found

    kept = read_found(part_path(plan.folder, "find", 0))[0].detections.provenance
    assert kept["model_sha256"] == found.detections.provenance["model_sha256"]


def test_a_worker_opens_the_model_once(image, tmp_path, monkeypatch):
    plan = planned(tmp_path / "scan", image, BY_NETWORK)
    plan = replace(plan, inputs=tuple(Input(i, f"a{i}", str(image)) for i in range(3)))
    plan.save()
    Survey.of(plan).save(plan.folder)
    opened, asked = [], []

    def choose(name, model):
        opened.append(Path(model).parent.name)
        return lambda micrograph, **how: (asked.append(1), choose_finder("classical")(
            micrograph, **how))[1]  # fmt: skip

    monkeypatch.setattr(batch_settings, "choose_finder", choose)
    desk = Desk(plan.folder)
    for _ in range(2):
        desk.do(Task("find", 0, "key"))
    assert opened == [GIVEN]
    assert len(asked) == 6


def test_another_finder_or_model_is_another_scan(image, tmp_path):
    folder = tmp_path / "scan"
    plan = planned(folder, image, ASKED)
    with pytest.raises(InputError, match=r"finder 'classical' -> 'network'; model None -> 'flake"):
        planned(folder, image, BY_NETWORK)
    keys = {plan.find_key(0, "s")}
    network = planned(tmp_path / "network", image, BY_NETWORK)
    keys |= {network.find_key(0, "s"), planned(tmp_path / "both", image, replace(
        BY_NETWORK, finder="both")).find_key(0, "s")}  # fmt: skip
    assert len(keys) == 3
    # The same file under its path is the same model; a changed one is not.
    own = tmp_path / "flake-n.onnx"
    shutil.copy(model_path("flake-n"), own)
    assert planned(tmp_path / "network", image, replace(BY_NETWORK, model=str(own))) == network
    own.write_bytes(own.read_bytes() + b"\x00")
    with pytest.raises(InputError, match="holds a scan with other settings"):
        planned(tmp_path / "network", image, replace(BY_NETWORK, model=str(own)))


def test_plans_of_before_are_of_the_classical_finder():
    before = {k: v for k, v in asdict(ASKED).items() if k not in ("finder", "model")}
    assert Settings.from_json(before) == ASKED
    assert Settings.from_json(before).find_key() == ASKED.find_key()


def test_what_cannot_be_asked_is_refused_before_any_image(image, tmp_path):
    with pytest.raises(UnknownName, match="finder"):
        replace(ASKED, finder="best")
    with pytest.raises(InputError, match="takes no model"):
        replace(ASKED, model="flake-n")
    with pytest.raises(InputError):
        planned(tmp_path / "scan", image, replace(BY_NETWORK, model=str(image)))
    assert not Plan.exists(tmp_path / "scan")


def test_a_copy_that_was_changed_is_not_used(image, tmp_path):
    plan = planned(tmp_path / "scan", image, BY_NETWORK)
    copy = next((plan.folder / GIVEN).glob("flake-n-*.onnx"))
    copy.write_bytes(b"")
    with pytest.raises(InputError, match="changed since it was given"):
        _ = Desk(plan.folder).finder
