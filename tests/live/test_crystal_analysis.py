"""Grown crystals live: by shape, by the classes of a network, and what the drawing calls them."""

from dataclasses import replace

import numpy as np
import pytest
from live_parts import GRAPHENE, one_square, scene

from layerscope.core.evaluation import Objects
from layerscope.core.micrograph import PixelSize
from layerscope.draw import Named
from layerscope.errors import InputError, UnknownName
from layerscope.finding import Wanted
from layerscope.live import crystal_analysis
from layerscope.live.analysis import Answer
from layerscope.live.crystal_analysis import CrystalAnalysis, colours_of
from layerscope.live.frame import Picture, framed
from layerscope.live.motion import Shift
from layerscope.live.overlay import draw_answer
from layerscope.live.processes import analysis_of
from layerscope.live.recording import answer_line

CRYSTALS = replace(GRAPHENE, task="crystals")
SIZE = PixelSize(100, 100, "user")


def triangle(shape=(240, 320), side=90):
    """A dark triangle on even ground with some noise."""
    import cv2

    rng = np.random.default_rng(1)
    image = rng.normal(0, 1.5, (*shape, 3)) + np.array([120, 90, 130])
    corners = np.array([[100, 60], [100 + side, 60], [100 + side // 2, 60 + round(side * 0.866)]])
    inside = cv2.fillPoly(np.zeros(shape, np.uint8), [corners], 1) > 0
    image[inside] -= (20, 25, 15)
    return np.clip(cv2.GaussianBlur(image, (0, 0), 1), 0, 255).astype(np.uint8), inside


def test_shapes_are_named():
    pixels, inside = triangle()
    analysis = analysis_of(CRYSTALS)
    assert isinstance(analysis, CrystalAnalysis)
    answer = analysis.answer(3, pixels, SIZE)
    assert answer.error == ""
    assert answer.named.names == ("triangle",)
    mask = answer.detections.masks.dense(0)
    assert (mask & inside).sum() / (mask | inside).sum() > 0.9
    assert 0 < answer.detections.score[0] <= 1
    assert answer.made_of == ("layers ?",)  # no graphene has this colour


class Model:
    """Stands for a network of two classes that finds one square."""

    classes = ("MoS2", "MoSe2")
    card = None

    def find(self, image):
        masks = one_square(image.shape[:2]).masks
        return Objects(masks, np.array([2]), np.array([0.7]), np.zeros(1, bool))


def test_a_network_names_its_classes(monkeypatch):
    monkeypatch.setattr(crystal_analysis, "read_yolo", lambda path: Model())
    answer = analysis_of(replace(CRYSTALS, model="mine.onnx")).answer(1, scene(1), None)
    assert answer.named.names == ("MoSe2",)
    assert set(answer.named.colours) == {"MoS2", "MoSe2"}
    assert answer.detections.masks.boxes.tolist() == [[40, 60, 80, 120]]
    assert answer.made_of == ()  # the classes say it


def test_a_model_of_something_else_is_refused(tmp_path):
    (tmp_path / "no.onnx").write_bytes(b"no model")
    with pytest.raises(InputError):
        analysis_of(replace(CRYSTALS, model=str(tmp_path / "no.onnx")))


def test_tasks_have_names():
    with pytest.raises(UnknownName, match="task"):
        replace(GRAPHENE, task="cristals")


def test_what_crystals_do_not_use_is_refused():
    with pytest.raises(InputError, match="does not use --layers"):
        replace(CRYSTALS, wanted=Wanted(layers=(1, 2)))


def test_names_are_drawn_in_their_colours_and_logged():
    pixels, size = scene(1), SIZE
    named = Named(("MoSe2",), {"MoS2": (10, 20, 30), "MoSe2": (250, 240, 10)})
    answer = Answer(4, one_square((240, 320)), size, named=named)
    drawn = draw_answer(pixels, answer, Shift(0, 0))
    changed = drawn[(drawn != pixels).any(axis=2)]
    assert (changed == (250, 240, 10)).all(axis=1).any()
    frame = framed(Picture(pixels), 4, 0.0, 320)
    (region,) = answer_line(frame, answer, 0.5)["regions"]
    assert region["class"] == "MoSe2"
    assert "layers" not in region
    # One that has left the frame takes its name with it.
    gone = draw_answer(pixels, answer, Shift(500, 0))
    assert gone.shape == pixels.shape


def test_colours_differ():
    assert len(set(colours_of(("triangle", "MoS2", "MoSe2", "scratch")).values())) == 4
    many = colours_of([str(k) for k in range(20)])
    assert len(many) == 20
