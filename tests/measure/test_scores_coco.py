"""Average precision and recall against the official COCO evaluation."""

import contextlib
import io

import numpy as np
import pytest

from layerscope.core.evaluation import Objects
from layerscope.core.results import CropMasks
from layerscope.errors import InputError
from layerscope.measure.scores_overlap import box_area, box_iou, mask_iou
from layerscope.measure.scores_precision import (
    AREA_RANGES_PX,
    average_precision,
    match_objects,
    rank_class,
)

SHAPE = (240, 260)


def _masks(rng, number, near=None):
    """Noisy rectangles, or copies of `near` shifted by a few pixels."""
    out = []
    for _ in range(number):
        mask = np.zeros(SHAPE, bool)
        if near is not None and len(near) and rng.random() < 0.8:
            mask = np.roll(near.dense(rng.integers(len(near))), rng.integers(-6, 7, 2), (0, 1))
        else:
            (h, w), (y, x) = rng.integers(4, 130, 2), rng.integers(0, 230, 2)
            part = mask[y : y + h, x : x + w]
            part[...] = rng.random(part.shape) < 0.9
        if mask.any():
            out.append(mask)
    return CropMasks.from_dense(out, SHAPE)


def _case(seed):
    """Found and marked objects of one to five images: crowds, two classes, equal scores."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(rng.integers(1, 6)):
        marked = _masks(rng, rng.integers(1, 9))
        found = _masks(rng, rng.integers(1, 15), marked)
        m, n = len(marked), len(found)
        truth = Objects(marked, rng.integers(1, 3, m), np.ones(m), rng.random(m) < 0.2)
        images.append(
            (Objects.found(found, rng.integers(1, 3, n), rng.integers(0, 8, n) / 8), truth)
        )
    return images


def _entry(objects, k, image, mask):
    top, left, bottom, right = objects.masks.boxes[k].tolist()
    return {
        "image_id": image,
        "category_id": int(objects.class_index[k]),
        "segmentation": mask.encode(np.asfortranarray(objects.masks.dense(k).astype(np.uint8))),
        "bbox": [left, top, right - left, bottom - top],
    }


def _official(images, kind, most):
    coco, evaluation = (
        pytest.importorskip("pycocotools.coco"),
        pytest.importorskip("pycocotools.cocoeval"),
    )
    mask = pytest.importorskip("pycocotools.mask")
    marked, found = [], []
    for i, (answers, truth) in enumerate(images, 1):
        for k in range(len(truth)):
            extra = {"area": int(truth.masks.area_px[k]), "iscrowd": int(truth.crowd[k])}
            marked.append(_entry(truth, k, i, mask) | extra | {"id": len(marked) + 1})
        for k in range(len(answers)):
            entry = _entry(answers, k, i, mask) | {"score": float(answers.score[k])}
            entry.pop("segmentation" if kind == "bbox" else "bbox")
            found.append(entry)
    with contextlib.redirect_stdout(io.StringIO()):
        data = coco.COCO()
        sizes = [{"id": i + 1, "height": SHAPE[0], "width": SHAPE[1]} for i in range(len(images))]
        names = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
        data.dataset = {"info": {}, "images": sizes, "categories": names, "annotations": marked}
        data.createIndex()
        judge = evaluation.COCOeval(data, data.loadRes(found), kind)
        judge.params.maxDets = most
        judge.evaluate()
        judge.accumulate()
    precision, recall = judge.eval["precision"].mean(axis=1), judge.eval["recall"]
    return [np.where(v == -1, np.nan, v) for v in (precision, recall)]


def _ranking(images, index, kind, most):
    ranked = []
    for answers, truth in images:
        found, marked = answers.of_class(index), truth.of_class(index)
        boxes = found.masks.boxes, marked.masks.boxes
        if kind == "segm":
            iou, area = mask_iou(found.masks, marked.masks, marked.crowd), found.masks.area_px
        else:
            iou, area = box_iou(*boxes, marked.crowd), box_area(boxes[0])
        areas = area, marked.masks.area_px
        ranked.append(match_objects(found, marked, iou, areas, max_detections=most))
    return rank_class(ranked)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("seed", range(14))
def test_figures_are_those_of_the_official_evaluation(seed, kind):
    images, most = _case(seed), [1, 2, 5] if seed % 2 else [1, 10, 100]
    official = _official(images, kind, most)
    for index in (1, 2):
        ranking = _ranking(images, index, kind, most[-1])
        for a, area in enumerate(AREA_RANGES_PX):
            for m, number in enumerate(most):
                ours = average_precision(ranking, area=area, max_detections=number)
                for mine, theirs in zip(ours, official, strict=True):
                    np.testing.assert_allclose(mine[0], theirs[:, index - 1, a, m], atol=1e-12)


def test_a_weight_counts_an_image_as_often_as_repeating_it():
    images = _case(3) + _case(4)
    weights = np.random.default_rng(0).integers(0, 4, len(images)).astype(float)
    repeated = [image for image, w in zip(images, weights, strict=True) for _ in range(int(w))]
    weighted = average_precision(_ranking(images, 1, "segm", 100), weights=weights[None])
    plain = average_precision(_ranking(repeated, 1, "segm", 100))
    np.testing.assert_allclose(weighted, plain, atol=1e-12)


def test_masks_of_different_images_are_refused():
    with pytest.raises(InputError, match="one image"):
        mask_iou(CropMasks.empty((4, 4)), CropMasks.empty((4, 5)))
