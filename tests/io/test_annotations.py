"""Annotation files: what other programs expect in them, and what bad ones say."""

import json
import os
from dataclasses import replace

import cv2
import numpy as np
import pytest

from layerscope.core.micrograph import PixelSize
from layerscope.core.results import CropMasks
from layerscope.core.run import ImageResult
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.annotations import (
    read_coco,
    read_geojson,
    read_instances,
    write_coco,
    write_geojson,
    write_instances,
    write_layers,
)


@pytest.fixture
def labels():
    values = np.zeros((30, 40), np.int32)
    values[2:12, 3:20] = 1
    values[5:8, 6:9] = 0
    values[15:25, 30:40] = 2
    values[14, 29] = 2  # touches its region at a corner only
    return values


@pytest.fixture
def found(make_detections, labels):
    return make_detections(labels, numbers=[2, 0], flake_id=[1, 1])


@pytest.fixture
def image(found):
    size = PixelSize(100, 100, "test")
    return ImageResult("a", "/x/a.jpg", "", (30, 40), size, np.zeros(3), 0, found)


def test_coco_fields(tmp_path, image):
    write_coco(tmp_path / "a.json", [image], {"software": "layerscope"})
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["info"] == {"software": "layerscope"}
    assert document["images"] == [
        {"id": 1, "file_name": "a.jpg", "height": 30, "width": 40, "pixel_size_nm": [100.0, 100.0]}
    ]
    assert [(c["id"], c["name"]) for c in document["categories"]] == [(2, "2L"), (254, "thick")]
    first, second = document["annotations"]
    assert first["bbox"] == [3, 2, 17, 10]
    assert first["area"] == 170 - 9
    assert (first["id"], first["image_id"], first["category_id"]) == (1, 1, 2)
    assert first["segmentation"]["size"] == [30, 40]
    assert (second["category_id"], second["score"], second["flake_id"]) == (254, 0.75, 1)


def test_coco_keeps_overlaps_and_empty_images(tmp_path, make_detections):
    masks = CropMasks(np.array([[0, 0, 3, 3], [1, 1, 4, 4]]), (np.ones((3, 3), bool),) * 2, (5, 5))
    both = ImageResult("b", "", "", (5, 5), None, np.zeros(3), 0, make_detections(masks))
    none = replace(both, name="c", detections=both.detections[:0])
    write_coco(tmp_path / "a.json", [none, both])
    empty, full = read_coco(tmp_path / "a.json")
    assert (empty.file_name, len(empty.masks), empty.masks.shape) == ("c", 0, (5, 5))
    assert full.classes == ("unknown", "unknown")
    np.testing.assert_array_equal(full.masks.dense(0), masks.dense(0))
    np.testing.assert_array_equal(full.masks.dense(1), masks.dense(1))


def test_coco_polygons_and_uncompressed_runs(tmp_path):
    segments = [[[1, 1, 4, 1, 4, 3, 1, 3], [5, 0, 6, 0, 6, 1, 5, 1]], {"size": [4, 6]}]
    segments[1]["counts"] = [4, 4, 16]
    document = {
        "images": [{"id": 7, "file_name": "p.png", "height": 4, "width": 6}],
        "categories": [{"id": 1, "name": "flake"}],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": 1, "segmentation": s}
            for i, s in enumerate(segments)
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    (read,) = read_coco(tmp_path / "a.json")
    expected = np.zeros((4, 6), bool)
    expected[1:3, 1:4] = expected[0, 5] = True
    np.testing.assert_array_equal(read.masks.dense(0), expected)
    np.testing.assert_array_equal(read.masks.dense(1).T.ravel(), np.arange(24) // 4 == 1)
    assert read.classes == ("flake", "flake")
    assert np.isnan(read.score).all()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{", "no JSON"),
        ("[1]", "JSON object"),
        ("{}", "'images' is missing"),
        ('{"images": [{"id": 1}], "annotations": []}', "'height' is missing"),
        ('{"images": [{"id": 1, "height": 9, "width": 1e9}], "annotations": []}', "claims"),
        ('{"images": [], "annotations": [{"image_id": 3}]}', "3 is missing"),
        ('{"images": 5, "annotations": []}', "not COCO"),
    ],
)
def test_bad_coco_is_named(tmp_path, content, word):
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(UnreadableFile, match=word) as error:
        read_coco(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("counts", ["4~", "4P", "999", [4, 4], [-1, 25]])
def test_bad_runs_are_named(tmp_path, counts):
    entry = {"image_id": 1, "segmentation": {"size": [4, 6], "counts": counts}}
    document = {"images": [{"id": 1, "height": 4, "width": 6}], "annotations": [entry]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(UnreadableFile, match="run"):
        read_coco(tmp_path / "a.json")


def test_every_reader_names_a_missing_file(tmp_path):
    for read in (read_coco, read_instances):
        with pytest.raises(UnreadableFile, match="No such file"):
            read(tmp_path / "none")


def test_geojson_as_qupath_reads_it(tmp_path, found):
    measured = [{"area_um2": 1.23456789, "thickness_nm": float("nan")}] * 2
    write_geojson(tmp_path / "a.geojson", found, image="a", measurements=measured)
    document = json.loads((tmp_path / "a.geojson").read_text())
    assert document["type"] == "FeatureCollection"
    first, second = document["features"]
    assert first["properties"]["objectType"] == "annotation"
    assert first["properties"]["classification"] == {"name": "2L", "color": [240, 228, 66]}
    assert first["properties"]["measurements"] == {"score": 0.75, "area_um2": 1.234568}
    outer, hole = first["geometry"]["coordinates"]
    assert outer == [[3, 2], [20, 2], [20, 12], [3, 12], [3, 2]]
    assert hole == [[6, 5], [6, 8], [9, 8], [9, 5], [6, 5]]
    assert second["geometry"]["type"] == "MultiPolygon"
    assert len({f["id"] for f in document["features"]}) == 2


def test_geojson_of_other_programs(tmp_path):
    square = [[[0, 0], [3, 0], [3, 3], [0, 3], [0, 0]]]
    document = {
        "type": "FeatureCollection",
        "features": [
            {"geometry": {"type": "Point", "coordinates": [1, 1]}, "properties": {}},
            {"geometry": None},
            {
                "geometry": {"type": "Polygon", "coordinates": square},
                "properties": {"measurements": [{"name": "score", "value": 0.5}]},
            },
        ],
    }
    (tmp_path / "a.geojson").write_text(json.dumps(document))
    read = read_geojson(tmp_path / "a.geojson", (5, 5))
    assert read.masks.area_px.tolist() == [9]
    assert (read.classes, read.score.tolist()) == (("",), [0.5])


def test_measurements_must_match(tmp_path, found):
    with pytest.raises(InputError, match="2 regions but 1"):
        write_geojson(tmp_path / "a", found, measurements=[{}])


def test_label_images(tmp_path, found, labels):
    write_instances(tmp_path / "i.png", found.masks)
    write_layers(tmp_path / "l.png", found)
    instances = cv2.imread(str(tmp_path / "i.png"), cv2.IMREAD_UNCHANGED)
    layers = cv2.imread(str(tmp_path / "l.png"), cv2.IMREAD_UNCHANGED)
    assert (instances.dtype, layers.dtype) == (np.uint16, np.uint8)
    np.testing.assert_array_equal(instances, labels)
    np.testing.assert_array_equal(layers, np.array([0, 2, 254])[labels])


def test_unknown_layers_are_255(tmp_path, make_detections, labels):
    write_layers(tmp_path / "l.png", make_detections(labels))
    assert set(np.unique(cv2.imread(str(tmp_path / "l.png"), 0))) == {0, 255}


def test_a_colour_picture_is_no_label_image(tmp_path):
    cv2.imwrite(str(tmp_path / "c.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "t.png").write_text("text")
    for name in ("c.png", "t.png"):
        with pytest.raises(UnreadableFile, match="grey label image"):
            read_instances(tmp_path / name)


def test_the_same_input_gives_the_same_bytes(tmp_path, image):
    for name in ("a", "b"):
        write_coco(tmp_path / f"{name}.json", [image])
        write_geojson(tmp_path / f"{name}.geojson", image.detections, image="x")
        write_instances(tmp_path / f"{name}.png", image.detections.masks)
    for suffix in ("json", "geojson", "png"):
        a, b = (tmp_path / f"{n}.{suffix}" for n in "ab")
        assert a.read_bytes() == b.read_bytes()
    assert sorted(os.listdir(tmp_path)) == [
        "a.geojson", "a.json", "a.png", "b.geojson", "b.json", "b.png",
    ]  # fmt: skip


def test_a_failed_write_leaves_the_old_file(tmp_path, image, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left"):
        write_coco(path, [image])
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_missing_folder_is_named(tmp_path, image):
    with pytest.raises(InputError, match=r"cannot write .*no_folder"):
        write_coco(tmp_path / "no_folder" / "a.json", [image])
