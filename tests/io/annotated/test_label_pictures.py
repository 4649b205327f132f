"""What the values of label pictures mean, and where groups come from."""

import cv2
import numpy as np
import pytest
from PIL import Image

from layerscope.core.examples import IGNORE
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.annotated import read_dataset

# pycocotools 2.0.11 with NumPy 2.
OLD_NUMPY = "ignore:__array__ implementation:DeprecationWarning"


def make(folder, masks, labels="masks"):
    """Folder with one image per mask, called p0, p1 ..."""
    for name in ("images", labels):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i, mask in enumerate(masks):
        mask = np.asarray(mask)
        cv2.imwrite(
            str(folder / "images" / f"p{i}.png"), np.full((*mask.shape[:2], 3), 9, np.uint8)
        )
        cv2.imwrite(str(folder / labels / f"p{i}.png"), mask)
    return folder


def bytes_of(*rows):
    return np.array(rows, np.uint8)


def test_values_count_as_classes(tmp_path):
    data = read_dataset(make(tmp_path, [bytes_of([0, 1, 2]), bytes_of([3, 0, 0])]))
    assert data.classes == ("background", "class_1", "class_2", "class_3")
    assert data.examples[1].label_map().tolist() == [[3, 0, 0]]
    assert data.notes == ()


def test_255_alone_is_a_class_and_beside_others_unlabelled(tmp_path):
    binary = read_dataset(make(tmp_path / "a", [bytes_of([0, 255]), bytes_of([0, 0])]))
    assert binary.classes == ("background", "foreground")
    assert binary.examples[0].label_map().tolist() == [[0, 1]]
    assert "255" in binary.notes[0]
    mixed = read_dataset(make(tmp_path / "b", [bytes_of([0, 255]), bytes_of([0, 1])]))
    assert mixed.classes == ("background", "class_1")
    assert mixed.examples[0].label_map().tolist() == [[0, IGNORE]]
    assert mixed.notes == ("255 is read as unlabelled",)


def test_255_after_a_gap_is_refused_until_it_is_told(tmp_path):
    make(tmp_path, [bytes_of([0, 128, 255])])
    with pytest.raises(InputError, match=r"0, 128, 255: 255 may be .* classes\.toml"):
        read_dataset(tmp_path)
    told = read_dataset(tmp_path, values={"bare": 0, "film": 128, "hole": 255})
    assert told.classes == ("bare", "film", "hole")
    assert told.examples[0].label_map().tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("text", "classes", "expected"),
    [
        ("[classes]\nbackground = 0\nfilm = 255\n", ("background", "film"), [0, IGNORE, 1]),
        ("[classes]\nfilm = 255\nhole = 7\n", ("background", "film", "hole"), [0, 2, 1]),
        ("unlabelled = 0\n[classes]\na = 7\nb = 255\n", ("background", "a", "b"), [IGNORE, 1, 2]),
        ("unlabelled = [255]\n[classes]\nWSe2 = 0\nMoS2 = 7\n", ("WSe2", "MoS2"), [0, 1, IGNORE]),
        ("[classes]\nother = 0\nbackground = 7\n", None, None),
    ],
)
def test_classes_file_decides(tmp_path, text, classes, expected):
    make(tmp_path, [bytes_of([0, 7, 255])])
    (tmp_path / "classes.toml").write_text(text)
    data = read_dataset(tmp_path)
    if classes is None:
        assert data.classes == ("other", "background")
        return
    assert data.classes == classes
    assert data.examples[0].label_map().tolist() == [expected]
    assert bool(data.notes) == (IGNORE in expected and "unlabelled" not in text)


@pytest.mark.parametrize(
    "text",
    [
        "classes = 5",
        "[classes]\na = 'x'",
        "[classes]\na = 1\nb = 1",
        "[classes",
        "[classes]\na = -1",
    ],
)
def test_a_classes_file_that_means_nothing_is_refused(tmp_path, text):
    make(tmp_path, [bytes_of([0, 1])])
    (tmp_path / "classes.toml").write_text(text)
    with pytest.raises(InputError, match=r"classes\.toml"):
        read_dataset(tmp_path)


def test_classes_file_may_be_a_list(tmp_path):
    make(tmp_path, [bytes_of([0, 1])])
    (tmp_path / "classes.toml").write_text('classes = ["bare", "film", "hole"]')
    assert read_dataset(tmp_path).classes == ("bare", "film", "hole")


def test_instances_are_told_by_the_folder_or_by_option(tmp_path):
    numbers = np.array([[0, 1, 1], [300, 300, 0]], np.uint16)
    by_name = read_dataset(make(tmp_path / "a", [numbers], "instances"))
    by_option = read_dataset(make(tmp_path / "b", [numbers]), instances=True)
    for data in (by_name, by_option):
        assert data.classes == ("background", "object")
        assert [i.box for i in data.examples[0].instances] == [(0, 1, 1, 3), (1, 0, 2, 2)]
        assert data.examples[0].label_map().tolist() == [[0, 1, 1], [1, 1, 0]]
    with pytest.raises(InputError, match="number objects"):
        read_dataset(make(tmp_path / "c", [np.arange(400, dtype=np.uint16)[None]]))


def test_masks_give_the_class_of_numbered_objects(tmp_path):
    make(tmp_path, [np.array([[1, 1, 2, 2]], np.uint8)], "instances")
    make(tmp_path, [bytes_of([2, 2, 1, 0])])
    assert [i.class_index for i in read_dataset(tmp_path).examples[0].instances] == [2, 1]


def test_palettes_and_grey_colours_are_values(tmp_path):
    make(tmp_path, [bytes_of([0, 1, 2]), bytes_of([0, 1, 2]), bytes_of([0, 1, 2])])
    grey = Image.fromarray(bytes_of([0, 1, 2]))
    indexed = Image.new("P", (3, 1))
    indexed.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    indexed.putdata([0, 1, 2])
    indexed.save(tmp_path / "masks" / "p0.png")
    Image.merge("RGB", [grey] * 3).save(tmp_path / "masks" / "p1.png")
    data = read_dataset(tmp_path)
    assert [e.label_map().tolist() for e in data.examples] == [[[0, 1, 2]]] * 3


def test_a_coloured_or_smaller_picture_is_noted(tmp_path):
    make(tmp_path, [bytes_of([0, 1]), bytes_of([0, 1]), bytes_of([0, 1])])
    cv2.imwrite(str(tmp_path / "masks" / "p0.png"), np.array([[[0, 0, 255], [9, 9, 9]]], np.uint8))
    cv2.imwrite(str(tmp_path / "masks" / "p1.png"), bytes_of([0, 1, 1]))
    data = read_dataset(tmp_path)
    assert [e.name for e in data.examples] == ["p2"]
    assert any("colours" in n for n in data.notes)
    assert any("(1, 3)" in n for n in data.notes)


def test_images_without_label_picture_are_no_background(tmp_path):
    make(tmp_path, [bytes_of([0, 1]), bytes_of([0, 1])])
    (tmp_path / "masks" / "p1.png").rename(tmp_path / "masks" / "other.png")
    data = read_dataset(tmp_path)
    assert len(data) == 1
    assert data.notes == ("1 images have no label picture: left out",)
    (tmp_path / "masks" / "other.png").rename(tmp_path / "masks" / "p1_mask.tif")
    assert len(read_dataset(tmp_path)) == 2


def test_groups_come_from_a_table_a_pattern_or_the_image(tmp_path):
    make(tmp_path, [bytes_of([0, 1])] * 3)
    own = read_dataset(tmp_path)
    assert own.groups == ("p0", "p1", "p2")
    assert own.grouped_by == "each image is its own group"
    matched = read_dataset(tmp_path, group_pattern=r"([01])$")
    assert matched.groups == ("0", "1", "p2")
    assert "pattern" in matched.grouped_by
    assert "p2" in matched.notes[0]
    (tmp_path / "groups.csv").write_text(
        "image,group,split\nP0.png,chip,train\nimages/p2.png,chip,\n"
    )
    told = read_dataset(tmp_path)
    assert told.groups == ("chip", "p1", "chip")
    assert told.examples[0].split == "train"
    assert told.grouped_by == "groups.csv"
    assert "p1" in told.notes[0]
    with pytest.raises(InputError, match="no regular expression"):
        read_dataset(tmp_path, group_pattern="(")
    (tmp_path / "groups.csv").write_text("a;b\n1;2\n")
    with pytest.raises(InputError, match="image,group"):
        read_dataset(tmp_path)


def test_altered_copies_of_roboflow_share_the_group(tmp_path):
    make(tmp_path, [bytes_of([0, 1])] * 2)
    for i, code in enumerate("ab"):
        for name in ("images", "masks"):
            (tmp_path / name / f"p{i}.png").rename(tmp_path / name / f"f_jpg.rf.{code * 32}.png")
    data = read_dataset(tmp_path)
    assert data.groups == ("f_jpg", "f_jpg")
    assert "1 altered copies" in data.grouped_by


def test_float_and_16_bit_images_become_fractions_of_white(tmp_path):
    make(tmp_path, [bytes_of([0, 1])])
    cv2.imwrite(str(tmp_path / "images" / "p0.png"), np.array([[0, 65535]], np.uint16))
    image = read_dataset(tmp_path).examples[0].read_image()
    assert image.dtype == np.float32
    assert image[..., 0].tolist() == [[0, 1]]


def test_an_image_that_changed_its_size_is_refused(tmp_path):
    data = read_dataset(make(tmp_path, [bytes_of([0, 1])]))
    cv2.imwrite(str(tmp_path / "images" / "p0.png"), np.zeros((5, 5), np.uint8))
    with pytest.raises(InputError, match="the image is 5 x 5"):
        data.examples[0].read_image()
    (tmp_path / "images" / "p0.png").unlink()
    with pytest.raises(UnreadableFile, match="p0"):
        data.examples[0].read_image()


def test_pixel_size_can_be_told(tmp_path):
    data = read_dataset(make(tmp_path, [bytes_of([0, 1])]), pixel_size="0.3844um")
    assert data.examples[0].pixel_size_nm == pytest.approx(384.4)


@pytest.mark.parametrize(
    ("path", "options", "images", "groups", "classes"),
    [
        ("optical/hbn_coco", {}, 20, 20, ("Less_Thick_BN", "Thick_BN", "Thin_BN")),
        ("optical/monolayer_boxes", {}, 160, 143, ("class_0",)),
        ("optical/cvd_defects", {}, 24, 24, ("impurity", "void")),
        ("optical/exfoliated/graphene", {}, 5, 5, ("object",)),
        ("tem/graphene_hrtem", {"group_pattern": r"^\d{4}_\d{4}"}, 68, 13, ("foreground",)),
        ("sem/cvd_graphene", {"values": {"copper": 0, "graphene": 255}}, 12, 12, ("graphene",)),
    ],
)
def test_real_sets(shared_data, path, options, images, groups, classes):
    data = read_dataset(shared_data / path, **options)
    assert (len(data), len(set(data.groups))) == (images, groups)
    assert data.classes[1:] == classes
    example = data.examples[0]
    assert example.read_image().shape[:2] == example.label_map().shape == example.shape


@pytest.mark.filterwarnings(OLD_NUMPY)
def test_real_polygons_agree_with_pycocotools(shared_data):
    tools = pytest.importorskip("pycocotools.coco")
    import contextlib
    import io

    folder = shared_data / "optical" / "hbn_coco"
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = tools.COCO(str(folder / "valid" / "_annotations.coco.json"))
    data = {e.path.name: e for e in read_dataset(folder).examples}
    worst, compared = 1.0, 0
    for image in theirs.loadImgs(theirs.getImgIds())[:6]:
        entries = [a for a in theirs.loadAnns(theirs.getAnnIds(image["id"])) if a["segmentation"]]
        ours = [i for i in data[image["file_name"]].instances if i.mask is not None]
        assert len(entries) == len(ours)
        for entry, instance in zip(entries, ours, strict=True):
            mask = theirs.annToMask(entry).astype(bool)
            top, left, bottom, right = instance.box
            both = np.logical_and(mask[top:bottom, left:right], instance.mask).sum()
            if instance.area_px > 400:
                worst = min(worst, both / (mask.sum() + instance.area_px - both))
                compared += 1
    assert compared > 50
    # pycocotools also fills pixels that the outline only touches.
    assert worst > 0.9
