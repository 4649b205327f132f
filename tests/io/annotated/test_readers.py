"""Files as other programs write them, and what each reader makes of them."""

import base64
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.errors import InputError, UnreadableFile
from layerscope.io.annotated import read_dataset
from layerscope.io.annotated.brush import brush_of_mask, mask_of_brush

SHAPE = (40, 60)
# pycocotools 2.0.11 with NumPy 2.
OLD_NUMPY = "ignore:__array__ implementation:DeprecationWarning"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.full((*SHAPE, 3), 90, np.uint8))
    return tmp_path


def coco(folder, *segmentations, **more):
    entries = [
        {"id": i, "image_id": 7, "category_id": 3, "segmentation": s, "bbox": [2, 3, 5, 6], **more}
        for i, s in enumerate(segmentations)
    ]
    document = {
        "images": [{"id": 7, "file_name": "a.png", "height": SHAPE[0], "width": SHAPE[1]}],
        "categories": [
            {"id": 0, "name": "all", "supercategory": "none"},
            {"id": 3, "name": "flake", "supercategory": "all"},
            {"id": 9, "name": "rare", "supercategory": "all"},
        ],
        "annotations": entries,
    }
    (folder / "labels.json").write_text(json.dumps(document))
    return read_dataset(folder)


@pytest.mark.filterwarnings(OLD_NUMPY)
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.05, 0.95))
def test_coco_run_lengths_agree_with_pycocotools(tmp_path_factory, seed, share):
    tools = pytest.importorskip("pycocotools.mask")
    folder = tmp_path_factory.mktemp("coco")
    (folder / "images").mkdir()
    cv2.imwrite(str(folder / "images" / "a.png"), np.zeros(SHAPE, np.uint8))
    mask = np.random.default_rng(seed).random(SHAPE) < share
    mask[3, 4] = True
    packed = tools.encode(np.asfortranarray(mask.astype(np.uint8)))
    changes = np.diff(np.r_[False, mask.T.ravel()].astype(int))
    plain = np.diff(np.r_[0, np.flatnonzero(changes), mask.size]).tolist()
    texts = {"size": list(SHAPE), "counts": packed["counts"].decode()}
    lists = {"size": list(SHAPE), "counts": plain}
    assert (tools.decode(tools.frPyObjects(lists, *SHAPE)) == mask).all()
    found = coco(folder, texts, lists, iscrowd=1).examples[0].instances
    for one in found:
        top, left, bottom, right = one.box
        assert (one.mask == mask[top:bottom, left:right]).all()
        assert one.mask.sum() == mask.sum()
        assert one.crowd


@pytest.mark.filterwarnings(OLD_NUMPY)
def test_coco_polygons_are_those_of_pycocotools_but_for_the_rim(folder):
    tools = pytest.importorskip("pycocotools.mask")
    ring = [5.3, 4.1, 40.2, 7.9, 52.0, 30.5, 20.4, 36.6]
    second = [2.0, 30.0, 10.0, 30.0, 10.0, 38.0, 2.0, 38.0]
    one = coco(folder, [ring, second]).examples[0]
    theirs = tools.decode(tools.merge(tools.frPyObjects([ring, second], *SHAPE))).astype(bool)
    ours = one.label_map() == 1
    assert np.logical_and(ours, theirs).sum() / np.logical_or(ours, theirs).sum() > 0.97


def test_coco_categories_boxes_and_the_root_of_roboflow(folder):
    data = coco(folder, [], [[2, 3, 7, 9]])
    assert data.classes == ("background", "flake", "rare")
    assert [i.box for i in data.examples[0].instances] == [(3, 2, 9, 7)] * 2
    assert all(i.mask is None for i in data.examples[0].instances)
    assert (data.examples[0].label_map()[3:9, 2:7] == 255).all()


def test_coco_of_another_image_size_is_noted(folder):
    cv2.imwrite(str(folder / "images" / "a.png"), np.zeros((10, 10), np.uint8))
    with pytest.raises(InputError, match=r"no labelled image.*\(10, 10\).*\(40, 60\)"):
        coco(folder, [])


def test_a_run_of_layerscope_is_a_coco_file_whose_images_lie_elsewhere(
    synthetic_run, synthetic_folder, tmp_path
):
    from layerscope.io.annotations import write_coco

    write_coco(tmp_path / "objects.json", synthetic_run.images)
    with pytest.raises(InputError, match="no image called"):
        read_dataset(tmp_path / "objects.json")
    data = read_dataset(tmp_path / "objects.json", images=synthetic_folder)
    assert len(data) == len(synthetic_run.images)
    assert data.examples[0].pixel_size_nm == pytest.approx(384.4)
    for example, image in zip(data.examples, synthetic_run.images, strict=True):
        for one, (where, crop) in zip(example.instances, image.detections.masks, strict=True):
            assert (one.box[0], one.box[1]) == (where[0].start, where[1].start)
            assert (one.mask == crop).all()


def yolo(folder, text, names):
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "a.txt").write_text(text)
    (folder / "data.yaml").write_text(names)
    return read_dataset(folder)


@pytest.mark.parametrize(
    "names",
    [
        "names: ['thin', \"thick, old\"]\nnc: 2\n",
        "nc: 2\nnames: [thin, 'thick, old']  # two\n",
        "train: x\nnames:\n- thin\n- 'thick, old'\nroboflow:\n  url: a\n",
        'names:\n  0: thin\n  1: "thick, old"\n\nnc: 2\n',
        "names: {0: thin, 1: 'thick, old'}\n",
        "names:\n  - thin\n  # remark\n  - 'thick, old'\npath: ..\n",
        "names: [\n  thin,\n  'thick, old',\n  ]\nnc: 2\n",
    ],
)
def test_yolo_names_in_every_way_that_exports_write_them(folder, names):
    yaml = pytest.importorskip("yaml")
    listed = yaml.safe_load(names)["names"]
    listed = list(listed.values()) if isinstance(listed, dict) else listed
    data = yolo(folder, "1 0.5 0.5 0.5 0.5\n", names)
    assert data.classes == ("background", *listed) == ("background", "thin", "thick, old")
    assert data.examples[0].instances[0].box == (10, 15, 30, 45)


def test_a_damaged_yolo_file_loses_its_image_only(folder):
    cv2.imwrite(str(folder / "images" / "b.png"), np.zeros(SHAPE, np.uint8))
    (folder / "labels").mkdir()
    (folder / "labels" / "b.txt").write_bytes(b"0 0.5 0.5 \xff 0.1\n")
    data = yolo(folder, "0 0.5 0.5 0.1 0.1\n", "names: [a]\n")
    assert [e.name for e in data.examples] == ["a"]
    assert "b.txt: no UTF-8" in data.notes[0]


def test_yolo_boxes_and_segments_may_stand_in_one_file(folder):
    data = yolo(folder, "0 .5 .5 .5 .5\n0 0 0 0.5 0 0.5 0.5 0 0.5\n", "names: [a]\n")
    box, area = data.examples[0].instances
    assert box.mask is None
    assert area.box == (0, 0, 20, 30)
    assert area.mask.all()


def test_yolo_layout_of_exports_with_splits(tmp_path):
    for split in ("train", "valid"):
        (tmp_path / split / "images").mkdir(parents=True)
        (tmp_path / split / "labels").mkdir()
        for name in ("x", split):
            cv2.imwrite(str(tmp_path / split / "images" / f"{name}.jpg"), np.zeros(SHAPE, np.uint8))
        (tmp_path / split / "labels" / "x.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    (tmp_path / "classes.txt").write_text("mono\n")
    data = read_dataset(tmp_path)
    assert [(e.name, e.split) for e in data.examples] == [
        ("train", "train"), ("train_x", "train"), ("valid", "valid"), ("valid_x", "valid"),
    ]  # fmt: skip
    assert [len(e.instances) for e in data.examples] == [0, 1, 0, 1]
    assert data.notes == ("2 images have no label file: taken as images without objects",)


def labelme(folder, *shapes):
    document = {"shapes": list(shapes), "imagePath": "..\\images\\a.png", "imageData": None,
                "imageHeight": SHAPE[0], "imageWidth": SHAPE[1]}  # fmt: skip
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations" / "a.json").write_text(json.dumps(document))
    return read_dataset(folder)


def test_labelme_shapes(folder):
    mask = np.zeros((5, 6), np.uint8)
    mask[1:4, 2:5] = 1
    png = base64.b64encode(cv2.imencode(".png", mask)[1].tobytes()).decode()
    shapes = [
        {"label": "c", "points": [[30, 20], [30, 30]], "shape_type": "circle"},
        {"label": "r", "points": [[9, 8], [3, 2]], "shape_type": "rectangle"},
        {"label": "m", "points": [[50, 30], [55, 34]], "shape_type": "mask", "mask": png},
        {"label": "p", "points": [[0, 0], [4, 0], [4, 4]], "shape_type": "polygon", "group_id": 5},
        {"label": "p", "points": [[0, 9], [4, 9], [4, 12], [0, 12]], "group_id": 5},
        {"label": "l", "points": [[0, 9], [4, 9]], "shape_type": "line"},
        {"label": "__ignore__", "points": [[0, 9], [4, 9], [9, 9]], "shape_type": "polygon"},
    ]
    data = labelme(folder, *shapes)
    circle, rectangle, painted, joined = data.examples[0].instances
    assert circle.area_px == pytest.approx(np.pi * 100, rel=0.02)
    assert circle.box == (10, 20, 30, 40)
    assert (rectangle.box, rectangle.mask) == ((2, 3, 8, 9), None)
    assert (painted.box, painted.area_px) == ((31, 52, 34, 55), 9)
    assert joined.box == (0, 0, 12, 4)
    assert joined.area_px == 12 + 10
    assert data.classes == ("background", "c", "m", "p", "r")
    assert len(data.notes) == 1
    assert "'line'" in data.notes[0]


def test_labelme_mask_that_reaches_out_of_the_image_is_cut(folder):
    png = base64.b64encode(cv2.imencode(".png", np.ones((9, 9), np.uint8))[1].tobytes()).decode()
    shape = {"label": "m", "shape_type": "mask", "mask": png}
    data = labelme(
        folder, shape | {"points": [[-4, -3], [4, 5]]}, shape | {"points": [[55, 36], [0, 0]]}
    )
    assert [i.box for i in data.examples[0].instances] == [(0, 0, 6, 5), (36, 55, 40, 60)]


def label_studio(folder, results, image="/data/upload/3/0a1b2c3d-a.png", **more):
    task = {"id": 1, "data": {"image": image}, "annotations": [{"result": results, **more}]}
    (folder / "project.json").write_text(json.dumps([task]))
    return read_dataset(folder)


def region(kind, value, **more):
    size = {"original_width": SHAPE[1], "original_height": SHAPE[0]}
    return {"id": "q", "type": kind, "value": value, **size, **more}


def test_label_studio_regions_in_percent(folder):
    data = label_studio(
        folder,
        [
            region("rectanglelabels", {"x": 10, "y": 25, "width": 20, "height": 50, "rotation": 0,
                                       "rectanglelabels": ["box"]}, id="a"),
            region("polygonlabels", {"points": [[0, 0], [50, 0], [50, 50], [0, 50]],
                                     "polygonlabels": ["area"]}, id="b"),
            region("ellipselabels", {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "rotation": 0,
                                     "ellipselabels": ["round"]}, id="c"),
            region("rectanglelabels", {"x": 50, "y": 25, "width": 20, "height": 25, "rotation": 90,
                                       "rectanglelabels": ["turned"]}, id="d"),
            region("polygon", {"points": [[90, 90], [100, 90], [100, 100], [90, 100]]}, id="e"),
            region("labels", {"labels": ["apart"]}, id="e"),
            region("choices", {"choices": ["good"]}, id="f"),
        ],
    )  # fmt: skip
    found = {data.classes[i.class_index]: i for i in data.examples[0].instances}
    assert (found["box"].box, found["box"].mask) == ((10, 6, 30, 18), None)
    assert found["area"].box == (0, 0, 20, 30)
    assert found["round"].area_px == pytest.approx(np.pi * 6 * 8, rel=0.05)
    # A quarter turn clockwise about the first corner: 12 x 10 px become 10 wide, to the left.
    assert found["turned"].box == (10, 20, 22, 30)
    assert found["apart"].box == (36, 54, 40, 60)
    assert data.notes == ()


def test_label_studio_takes_the_first_annotation_that_counts(folder):
    value = {"x": 0, "y": 0, "width": 50, "height": 50, "rectanglelabels": ["r"]}
    task = {
        "data": {"image": "/data/local-files/?d=images/a.png"},
        "annotations": [
            {"was_cancelled": True, "result": []},
            {"result": [region("rectanglelabels", value)]},
            {"result": []},
        ],
    }
    (folder / "project.json").write_text(json.dumps([task, {"data": {"image": "b.png"}}]))
    data = read_dataset(folder)
    assert len(data.examples[0].instances) == 1
    assert any("first of 2" in n for n in data.notes)
    assert any("b.png" in n for n in data.notes)


def decode_slowly(numbers):
    """Oracle of the brush format: one bit after the other, as its documentation says."""
    bits = iter("".join(f"{n:08b}" for n in numbers))

    def read(n):
        return int("".join(next(bits) for _ in range(n)), 2)

    total, width = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    out = []
    while len(out) < total:
        repeats = read(1)
        length = 1 + read(sizes[read(2)])
        out += [read(width)] * length if repeats else [read(width) for _ in range(length)]
    return np.array(out)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 14), st.integers(1, 14), st.integers(0, 2**31), st.floats(0, 1))
def test_brush_is_read_and_written_as_documented(height, width, seed, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    numbers = brush_of_mask(mask)
    assert (decode_slowly(numbers).reshape(height, width, 4)[..., 3] > 0).tolist() == mask.tolist()
    assert (mask_of_brush(numbers, mask.shape) == mask).all()


def test_brush_with_values_that_differ():
    """Label Studio itself stores colour channels as single values; only the last one counts."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 4))
    pixels[..., 3] = np.where(np.arange(15).reshape(3, 5) % 3 == 0, 255, 0)
    flat = pixels.ravel().tolist()
    bits = f"{60:032b}{7:05b}" + "".join(f"{s - 1:04b}" for s in (3, 4, 8, 16))
    bits += f"000{6:03b}" + "".join(f"{v:08b}" for v in flat[:7])
    bits += f"010{52:08b}" + "".join(f"{v:08b}" for v in flat[7:])
    bits += "0" * (-len(bits) % 8)
    numbers = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    assert (mask_of_brush(numbers, (3, 5)) == (pixels[..., 3] > 0)).all()
    for kept in (3, 8, 20):
        with pytest.raises(InputError, match="brush"):
            mask_of_brush(numbers[:kept], (3, 5))
    with pytest.raises(InputError, match="expected 4 x 5 x 5"):
        mask_of_brush(numbers, (5, 5))


def test_a_large_brush_is_read_quickly():
    import time

    mask = np.zeros((1200, 1920), bool)
    mask[300:900, 400:1500] = np.random.default_rng(0).random((600, 1100)) < 0.98
    numbers = brush_of_mask(mask)
    started = time.process_time()
    assert (mask_of_brush(numbers, mask.shape) == mask).all()
    assert time.process_time() - started < 1


def cvat(folder, shapes, head=""):
    text = (
        f"<?xml version='1.0' encoding='utf-8'?>{head}<annotations><version>1.1</version>"
        "<meta><task><labels><label><name>two</name></label><label><name>one</name></label></labels>"
        "</task></meta>"
        f"<image id='0' name='sub/a.png' width='{SHAPE[1]}' height='{SHAPE[0]}'>{shapes}</image>"
        "</annotations>"
    )
    (folder / "annotations.xml").write_text(text)
    return read_dataset(folder)


def test_cvat_shapes(folder):
    data = cvat(
        folder,
        "<polygon label='one' points='0.0,0.0;10.0,0.0;10.0,5.0;0.0,5.0' group_id='1'/>"
        "<polygon label='one' points='20,0;30,0;30,5;20,5' group_id='1'/>"
        "<box label='two' xtl='1.2' ytl='2.2' xbr='8.9' ybr='9.1'/>"
        "<mask label='one' rle='2, 3, 4' left='50' top='30' width='3' height='3'/>"
        "<ellipse label='two' cx='30' cy='20' rx='5' ry='10'/>"
        "<polyline label='one' points='0,0;1,1'/><tag label='two'/>",
    )
    joined, box, mask, ellipse = data.examples[0].instances
    assert data.classes == ("background", "two", "one")
    assert (joined.box, joined.area_px) == ((0, 0, 5, 30), 100)
    assert (box.box, box.mask) == ((2, 1, 9, 9), None)
    assert (mask.box, mask.mask.tolist()) == (
        (30, 50, 32, 53),
        [[False, False, True], [True, True, False]],
    )
    assert ellipse.area_px == pytest.approx(np.pi * 50, rel=0.05)
    assert len(data.notes) == 1
    assert "polyline" in data.notes[0]


def test_cvat_with_entities_is_refused(folder):
    with pytest.raises(UnreadableFile, match="declares a type"):
        cvat(folder, "<box label='&a;'/>", "<!DOCTYPE x [<!ENTITY a 'b'>]>")
