"""Objects from a network's answer: a perfect answer gives the truth back; files of others run."""

import cv2
import numpy as np
import pytest
from yolo_files import answer_of, write_export

from layerscope.core.evaluation import Objects
from layerscope.core.examples import Example
from layerscope.core.micrograph import Micrograph
from layerscope.core.results import CropMasks
from layerscope.crystals import Settings, run_crystals
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.annotations import read_coco
from layerscope.models.letterbox import Letterbox
from layerscope.models.yolo import calibrated, read_yolo
from layerscope.models.yolo_decode import (
    Candidates,
    Picking,
    box_overlap,
    draw_objects,
    read_candidates,
    suppress,
)
from layerscope.report.crystals_folder import CrystalsFolder
from layerscope.tasks.learned_crystals import find_crystals_learned, find_objects
from layerscope.training.answers import open_candidate

NAMES = {0: "MoS2", 1: "MoSe2"}


def truth(shape=(300, 420)):
    """Two triangles and a hexagon: masks of the image, classes from 0."""
    outlines = [
        [(40, 40), (160, 60), (80, 150)],
        [(300, 30), (380, 90), (290, 120)],
        [(200, 180), (260, 180), (290, 230), (260, 280), (200, 280), (170, 230)],
    ]
    masks = np.zeros((3, *shape), np.uint8)
    for mask, outline in zip(masks, outlines, strict=True):
        cv2.fillPoly(mask, [np.array(outline, np.int32)], 1)
    return masks, np.array([0, 1, 0])


def perfect(masks, classes, place):
    """Answer of a network that is right."""
    boxes, small = [], []
    for mask in masks:
        x, y, w, h = cv2.boundingRect(mask)
        boxes.append((y, x, y + h, x + w))
        seen = place.frame(place.shrink(255 * mask[..., None]), 0.0)[..., 0]
        size = place.canvas[1] // 4, place.canvas[0] // 4
        small.append(cv2.resize(seen, size, interpolation=cv2.INTER_AREA))
    return answer_of(place.to_input(np.array(boxes, float)), classes, np.array(small), 2)


def overlap(found, masks):
    dense = [found.masks.dense(i) for i in range(len(found))]
    return np.array([[(d & (m > 0)).sum() / (d | (m > 0)).sum() for m in masks] for d in dense])


@pytest.mark.parametrize("shape", [(300, 420), (600, 840)])
def test_a_perfect_answer_gives_the_truth_back(shape):
    masks, classes = truth()
    masks = np.stack([cv2.resize(m, shape[::-1], interpolation=cv2.INTER_NEAREST) for m in masks])
    place = Letterbox.fit(shape, 416, 32)
    flat, prototypes = perfect(masks, classes, place)
    picked = suppress(read_candidates(flat, 2, 0.25), Picking())
    found = draw_objects(picked, prototypes, place)
    iou = overlap(found, masks)
    assert iou.max(axis=0).min() > 0.93
    assert found.class_index[iou.argmax(axis=0)].tolist() == (classes + 1).tolist()
    np.testing.assert_allclose(found.score, 0.9, rtol=1e-6)


def test_the_file_of_another_program_runs(tmp_path):
    masks, classes = truth()
    place = Letterbox.inside((300, 420), (320, 416))
    flat, prototypes = perfect(masks, classes, place)
    path = write_export(tmp_path / "mine.onnx", flat, prototypes, NAMES, (320, 416))
    model = read_yolo(path)
    assert model.classes == ("MoS2", "MoSe2")
    assert model.canvas == (320, 416)
    for image in (
        np.zeros((300, 420, 3), np.uint8), np.zeros((300, 420), np.uint16),
        np.zeros((300, 420), np.float32),
    ):  # fmt: skip
        found = model.find(image)
        assert overlap(found, masks).max(axis=0).min() > 0.93
    assert len(model.find(np.zeros((300, 420, 3), np.uint8), Picking(least=0.95))) == 0


def test_files_of_another_layout_are_refused(tmp_path):
    flat, prototypes = np.zeros((38, 8), np.float32), np.zeros((32, 8, 8), np.float32)
    wrong = {
        "no names": (flat, prototypes, "", "names"),
        "three names": (flat, prototypes, {0: "a", 1: "b", 2: "c"}, "rows of boxes"),
        "code for names": (flat, prototypes, "__import__('os')", "names"),
        "few prototypes": (flat, prototypes[:8], NAMES, "prototypes"),
    }
    for name, (rows, maps, names, said) in wrong.items():
        path = write_export(tmp_path / f"{name}.onnx", rows, maps, names, (32, 32))
        with pytest.raises(UnreadableFile, match=said):
            read_yolo(path)


def test_the_less_probable_of_two_boxes_goes():
    boxes = np.array([[0, 0, 10, 10], [0, 1, 10, 11], [0, 1, 10, 11], [40, 40, 50, 50]], float)
    found = Candidates(
        boxes, np.array([0.9, 0.8, 0.7, 0.6]), np.array([0, 0, 1, 0]), np.zeros((4, 32), np.float32)
    )
    assert suppress(found, Picking()).score.tolist() == [0.9, 0.7, 0.6]
    assert suppress(found, Picking(any_class=True)).score.tolist() == [0.9, 0.6]
    assert suppress(found, Picking(most_overlap=0.9)).score.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert suppress(found, Picking(most=1)).score.tolist() == [0.9]
    assert box_overlap(boxes)[0, 1] == pytest.approx(90 / 110)


def test_bad_numbers_are_refused():
    with pytest.raises(InputError, match="classes"):
        read_candidates(np.zeros((40, 3), np.float32), 2, 0.5)
    with pytest.raises(InputError):
        Picking(least=2)


def test_calibration_keeps_the_order_and_half():
    score = np.linspace(0.01, 0.99, 50)
    moved = calibrated(score, (0.5, 0.3))
    assert (np.diff(moved) > 0).all()
    assert calibrated(score, (1.0, 0.0)) is score
    assert calibrated(np.array([0.5]), (3.0, 0.0))[0] == pytest.approx(0.5)


@pytest.fixture
def export(tmp_path):
    """A file of another program that sees `truth` in every picture of 300 x 420 px."""
    masks, classes = truth()
    flat, prototypes = perfect(masks, classes, Letterbox.inside((300, 420), (320, 416)))
    return write_export(tmp_path / "mine.onnx", flat, prototypes, NAMES, (320, 416))


def test_a_run_names_and_measures_what_the_file_finds(export, tmp_path):
    out = tmp_path / "run"
    folder = CrystalsFolder(out)
    settings = Settings(model=str(export), pixel_size="0.1um")
    micrograph = Micrograph(np.full((300, 420, 3), 90, np.uint8), name="grown")
    run = run_crystals([micrograph], settings, on_result=folder)
    folder.finish(run)
    table = run.crystals
    assert table["class"].tolist().count("MoS2") == 2
    masks, _ = truth()
    assert table["area_px"].sum() == pytest.approx(masks.sum(), rel=0.03)
    assert table["area_um2"].sum() == pytest.approx(0.01 * table["area_px"].sum())
    assert sorted(table["shape"])[0] == "hexagon"
    assert "Classes of the model" in (out / "report.html").read_text()
    (coco,) = read_coco(out / "annotations.coco.json")
    assert list(coco.classes) == table["class"].tolist()
    assert run.provenance["model"] == "mine"


def test_masked_pixels_belong_to_no_crystal(export):
    bar = np.zeros((300, 420), bool)
    bar[:125] = True
    image = Micrograph(np.full((300, 420), 90, np.uint8), excluded=bar)
    model = read_yolo(export)
    named, objects = find_crystals_learned(image, model), find_objects(image, model)
    domains = named.domains
    assert np.array_equal(objects.masks.labels(), domains.detections.masks.labels())
    assert [model.classes[k - 1] for k in objects.class_index] == list(named.classes)
    assert not (domains.detections.masks.labels()[bar] > 0).any()
    assert len(named.classes) == len(domains) == 2
    with pytest.raises(InputError):
        find_crystals_learned(image, read_yolo(export), min_area_px=0)


def test_a_file_of_another_program_is_evaluated(export):
    candidate = open_candidate(export)
    image = np.zeros((300, 420, 3), np.uint8)
    found = candidate.ask(Example.from_arrays("p", image, [])).objects
    assert candidate.classes == ("background", "MoS2", "MoSe2")
    assert sorted(found.class_index.tolist()) == [1, 1, 2]


def test_the_smaller_of_two_masks_lies_on_top():
    class Nested:
        classes = ("core", "shell")

        def find(self, image):
            shell, core = np.ones((60, 60), bool), np.ones((20, 20), bool)
            boxes = np.array([[20, 20, 80, 80], [40, 40, 60, 60]])
            masks = CropMasks(boxes, (shell, core), (100, 120))
            return Objects.found(masks, np.array([2, 1]), np.array([0.9, 0.8]))

    image = Micrograph(np.full((100, 120, 3), 90, np.uint8))
    named, objects = find_crystals_learned(image, Nested()), find_objects(image, Nested())
    domains = named.domains.detections
    assert np.array_equal(objects.masks.labels(), domains.masks.labels())
    assert np.array_equal(objects.score, domains.score)
    assert len(find_objects(image, Nested(), min_area_px=401)) == 1
    assert dict(zip(named.classes, domains.masks.area_px.tolist(), strict=True)) == {
        "core": 400, "shell": 3200,
    }  # fmt: skip
    assert dict(zip(named.classes, domains.score.tolist(), strict=True)) == {
        "core": 0.8, "shell": 0.9,
    }  # fmt: skip
