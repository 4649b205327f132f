"""Labels from tables and label images, and which region each one means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from layerscope.core.results import CropMasks, Detections, RegionSignal
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.labels import Labels, assign_labels, read_labels


def _detections(painted, masks=None):
    masks = CropMasks.from_labels(painted) if masks is None else masks
    n = len(masks)
    rgb, one = np.zeros((n, 3)), np.ones(n)
    count = np.ones(n, np.int64)
    signal = RegionSignal(rgb, rgb, rgb, rgb, rgb, count, one, one)
    return Detections(masks, one, np.zeros(n, np.int64), count, signal)


def _field():
    painted = np.zeros((60, 80), np.int32)
    painted[5:20, 5:20] = 1
    painted[5:20, 20:40] = 2
    painted[40:43, 10:70] = 3
    return painted


def _table(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "image,x,y,layers\na.jpg,7,8,1\nb.png,3,4.5,2\n",
        "\ufeffFile;y_px;x_px;n_layers;who\na.jpg;8;7;1;me\nb.png;4.5;3;2.0;\n",
        "layers\timage\trow\tcol\r\n1\ta.jpg\t8\t7\r\n\r\n2\tb.png\t4.5\t3\r\n",
        'name, x ,y,layer\n"a.jpg", 7,8 ,1\nb.png,3,4.5,2',
    ],
)
def test_every_common_table_reads_the_same(tmp_path, text):
    labels = read_labels(_table(tmp_path, text))
    assert labels.image == ("a.jpg", "b.png")
    assert labels.x_px.tolist() == [7, 3]
    assert labels.y_px.tolist() == [8, 4.5]
    assert labels.layers.tolist() == [1, 2]
    assert labels.notes == ()
    assert len(labels) == 2


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,abc,2,1", "not a number: 'abc'"),
        ("a,1,2", "3 cells, expected 4"),
        ("a,1,2,0", "layers=0, expected a whole number"),
        ("a,1,2,1.5", "layers=1.5"),
        ("a,1,2,nan", "layers=nan"),
        ("a,1,2,inf", "layers=inf"),
        ("a,1,2,999", "layers=999"),
        ("a,-1,2,1", "no position"),
        ("a,nan,2,1", "no position"),
        (",1,2,1", "no image name"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_go_on(tmp_path, row, said):
    labels = read_labels(_table(tmp_path, f"image,x,y,layers\na,5,6,2\n{row}\nb,7,8,3\n"))
    assert labels.layers.tolist() == [2, 3]
    assert len(labels.notes) == 1
    assert labels.notes[0].startswith("labels.csv line 3: ")
    assert said in labels.notes[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column 'image'"),
        ("image,x,y\na,1,2\n", "no column 'layers'"),
        ("image,x_um,y_um,layers\na,1,2,3\n", "no column 'x'"),
        ("image,x,y,layers\n", "The table is empty"),
        ("image,x,y,layers\na,b,c,d\n", "line 2: not a number"),
    ],
)
def test_a_useless_table_is_refused_in_one_line(tmp_path, text, said):
    with pytest.raises(InputError, match=said) as caught:
        read_labels(_table(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_what_is_no_table_is_refused(tmp_path):
    binary = tmp_path / "x.csv"
    binary.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    with pytest.raises(UnreadableFile, match="UTF-8"):
        read_labels(binary)
    with pytest.raises(UnreadableFile, match="no such file"):
        read_labels(tmp_path / "missing.csv")
    huge_cell = _table(tmp_path, 'image,x,y,layers\n"' + "a" * 200_000 + '",1,2,3\n')
    with pytest.raises(UnreadableFile, match="not a table"):
        read_labels(huge_cell)


@pytest.mark.parametrize("kind", ["L", "P", "I;16", "1"])
def test_label_images_of_every_mode(tmp_path, kind):
    values = (_field() > 0).astype(np.uint8) if kind == "1" else _field().astype(np.uint8)
    image = Image.fromarray(values.astype(np.uint16) if kind == "I;16" else values)
    if kind == "P":
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    if kind == "1":
        image = Image.fromarray(values.astype(bool))
    image.save(tmp_path / "chip 1.png")
    labels = read_labels(tmp_path / "chip 1.png")
    np.testing.assert_array_equal(labels.mask_of("/data/Chip 1.JPG"), values)
    assert labels.mask_of("chip 2") is None


def test_a_folder_keeps_what_it_can_read(tmp_path):
    Image.fromarray(_field().astype(np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "b.png")
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(tmp_path / "c.tif")
    (tmp_path / "d.png").write_text("not an image")
    (tmp_path / "readme.txt").write_text("ignored")
    labels = read_labels(tmp_path)
    assert list(labels.masks) == ["a"]
    assert [("RGB" in n, "255" in n, "not a readable" in n) for n in labels.notes] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match="no usable label image"):
        read_labels(tmp_path)


def test_a_truncated_label_image_is_refused(tmp_path):
    path = tmp_path / "a.png"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 5, (90, 90), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(UnreadableFile, match="not a readable"):
        read_labels(path)


def _points(*rows):
    image, x, y, layers = zip(*rows, strict=True)
    return Labels(image, np.array(x, float), np.array(y, float), np.array(layers, np.int64))


def test_points_find_their_regions():
    labels = _points(("img.jpg", 6, 6, 1), ("x/IMG.png", 39, 19, 2), ("other", 12, 41, 7))
    got = assign_labels(labels, "img", _detections(_field()))
    assert got.layers.tolist() == [1, 2, 0]
    assert got.notes == ()


def test_a_click_beside_a_thin_flake_counts_and_a_far_one_is_noted():
    labels = _points(("i", 30, 45.5, 3), ("i", 75, 20, 1))
    got = assign_labels(labels, "i", _detections(_field()))
    assert got.layers.tolist() == [0, 0, 3]
    assert got.notes == ("i: no region at x=75, y=20 (labelled 1 layers)",)


def test_contradictions_are_resolved_or_flagged():
    labels = _points(*[("i", 7, 7, k) for k in (2, 2, 3)], ("i", 25, 7, 1), ("i", 26, 7, 4))
    got = assign_labels(labels, "i", _detections(_field()))
    assert got.layers.tolist() == [2, 0, 0]
    assert "region 1 is labelled 2 and 3 layers: majority 2 used" in got.notes[0]
    assert "region 2 is labelled 1 and 4 layers: label not used" in got.notes[1]


def test_the_smaller_of_two_overlapping_regions_is_meant():
    outer, inner = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    outer[5:35, 5:35], inner[10:20, 10:20] = True, True
    masks = CropMasks.from_dense([outer, inner], (40, 40))
    labels = _points(("i", 15, 15, 3), ("i", 30, 30, 1))
    assert assign_labels(labels, "i", _detections(None, masks)).layers.tolist() == [1, 3]
    turned = CropMasks.from_dense([inner, outer], (40, 40))
    assert assign_labels(labels, "i", _detections(None, turned)).layers.tolist() == [3, 1]


def _mask_labels(mask):
    none = np.zeros(0)
    return Labels((), none, none, np.zeros(0, np.int64), {"i": mask.astype(np.uint8)})


def test_label_images_label_what_they_cover():
    mask = np.where(_field() == 3, 4, 0)
    mask[5:20, 5:14] = 1
    mask[5:20, 14:40] = 2
    mask[5:20, 30:40] = 0
    got = assign_labels(_mask_labels(mask), "i", _detections(_field()))
    assert got.layers.tolist() == [1, 2, 4]
    assert len(got.notes) == 1
    assert "region 1 holds several" in got.notes[0]
    other = assign_labels(_mask_labels(mask[:-1]), "i", _detections(_field()))
    assert other.layers.tolist() == [0, 0, 0]
    assert "59 x 80 px, image 60 x 80" in other.notes[0]


def test_a_label_image_that_touches_a_region_does_not_label_it():
    mask = np.where(_field() == 3, 4, 0)
    mask[:, :50] = 0
    got = assign_labels(_mask_labels(mask), "i", _detections(_field()))
    assert got.layers.tolist() == [0, 0, 0]
    assert got.notes == ()


def test_nothing_in_nothing_out():
    got = assign_labels(_points(("i", 1, 1, 1)), "i", Detections.empty((10, 10)))
    assert got.layers.shape == (0,)
    assert len(got.notes) == 1
    empty = Labels((), np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
    assert assign_labels(empty, "i", _detections(_field())).layers.tolist() == [0, 0, 0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9999))
def test_the_order_of_rows_changes_no_label(seed):
    rng = np.random.default_rng(seed)
    rows = [("i", rng.integers(0, 80), rng.integers(0, 60), rng.integers(1, 4)) for _ in range(12)]
    detections = _detections(_field())
    one = assign_labels(_points(*rows), "i", detections).layers
    two = assign_labels(_points(*[rows[k] for k in rng.permutation(12)]), "i", detections).layers
    np.testing.assert_array_equal(one, two)
