"""YOLO through a stand-in for ultralytics: what is asked of it, what is made of its answers."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from layerscope.errors import (  # noqa: E402
    InputError,
    MissingExtra,
    UnknownName,
    UnreadableFile,
)
from layerscope.training.networks.yolo import YOLO, YoloFinder  # noqa: E402


class StandIn:
    """The part of its documented interface that is used."""

    def __init__(self, configuration):
        self.configuration = configuration
        self.model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        self.trained = None

    def train(self, **options):
        self.trained = options

    def predict(self, image, **options):
        blue = torch.as_tensor(image[..., 0] > 128)
        red = torch.as_tensor(image[..., 2] > 128)
        if not (blue.any() or red.any()):
            return [SimpleNamespace(masks=None, boxes=None)]
        boxes = SimpleNamespace(cls=torch.tensor([0.0, 1.0]), conf=torch.tensor([0.4, 0.9]))
        return [SimpleNamespace(masks=SimpleNamespace(data=torch.stack((red, blue)).float()),
                                boxes=boxes)]  # fmt: skip


@pytest.fixture
def ultralytics(monkeypatch):
    module = ModuleType("ultralytics")
    module.YOLO = StandIn
    monkeypatch.setitem(sys.modules, "ultralytics", module)


def test_without_ultralytics_one_line_says_what_it_is_and_its_licence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(MissingExtra, match=r"AGPL.*pip install ultralytics") as caught:
        YoloFinder("yolo/11n")
    assert "\n" not in str(caught.value)


def test_nothing_imports_ultralytics_by_itself():
    assert "ultralytics" not in sys.modules


def test_names_are_those_of_its_configurations(ultralytics):
    assert YOLO["yolo/v8n"] == "yolov8n-seg.yaml"
    assert YOLO["yolo/11m"] == "yolo11m-seg.yaml"
    assert len(YOLO) == 6
    with pytest.raises(UnknownName, match="yolo/11n"):
        YoloFinder("yolo/11")


def test_objects_come_best_first_with_classes_from_one_and_colours_in_order(ultralytics):
    image = np.zeros((20, 30, 3), np.uint8)
    image[:5, :, 0] = 255  # red
    image[10:, :, 2] = 255  # blue
    first, second = YoloFinder("yolo/11n").find(image)
    assert (first.class_index, second.class_index) == (2, 1)
    assert first.score == pytest.approx(0.9)
    assert first.mask.dtype == torch.bool
    assert first.mask[10:].all()
    assert second.mask[:5].all()
    assert not second.mask[5:].any()
    assert YoloFinder("yolo/11n").find(np.zeros_like(image)) == []
    with pytest.raises(InputError, match="uint8 RGB"):
        YoloFinder("yolo/11n").find(image[..., 0])


def test_training_is_asked_for_with_seed_and_folder(ultralytics, tmp_path):
    finder = YoloFinder("yolo/v8s")
    with pytest.raises(UnreadableFile, match=r"data\.yaml"):
        finder.train(tmp_path / "data.yaml", tmp_path / "out")
    (tmp_path / "data.yaml").write_text("names: [flake]")
    finder.train(tmp_path / "data.yaml", tmp_path / "runs" / "a", epochs=3, seed=7)
    asked = finder._yolo.trained
    assert (asked["epochs"], asked["seed"], asked["deterministic"]) == (3, 7, True)
    assert (asked["project"], asked["name"]) == (str(tmp_path / "runs"), "a")


def test_weights_go_round_as_tensors_and_its_pickles_are_refused(ultralytics, tmp_path):
    finder = YoloFinder("yolo/11n")
    finder.save(tmp_path / "yolo.safetensors")
    again = YoloFinder("yolo/11n", tmp_path / "yolo.safetensors")
    assert "7 of 7 entries" in again.origin
    for a, b in zip(finder._yolo.model.parameters(), again._yolo.model.parameters(), strict=True):
        assert torch.equal(a, b)
    torch.save({"model": finder._yolo.model}, tmp_path / "best.pt")
    with pytest.raises(UnreadableFile, match="could run code"):
        YoloFinder("yolo/11n", tmp_path / "best.pt")
    torch.save({"other.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(UnreadableFile, match="0 of 7"):
        YoloFinder("yolo/11n", tmp_path / "other.pt")
