"""A mask per class on disk: written, read back, and what damage costs."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.core.examples import IGNORE, Example, Instance
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.annotated.class_masks import has_class_masks, read_class_masks, write_mask

SHAPE = (9, 12)


def folder(root, masks, where="masks"):
    """Write images/a.png and a mask per class, each (H, W) of 0, 1 and IGNORE."""
    (root / "images").mkdir()
    cv2.imwrite(str(root / "images" / "a.png"), np.full(SHAPE, 90, np.uint8))
    for name, mask in masks.items():
        (root / where / name).mkdir(parents=True)
        write_mask(root / where / name / "a.png", mask == 1, mask == IGNORE)
    return root


@given(seed=st.integers(0, 2**31), where=st.sampled_from(["masks", "annotations", "labels"]))
def test_masks_come_back_as_they_were(tmp_path_factory, seed, where):
    values = np.random.default_rng(seed).choice([0, 1, IGNORE], (*SHAPE, 3)).astype(np.uint8)
    names = ("flake", "hole", "dirt")
    root = tmp_path_factory.mktemp("set")
    masks = {n: values[..., k] for k, n in enumerate(names)}
    data = read_class_masks(folder(root, masks, where), ("hole", "flake"))
    assert data.classes == ("background", "hole", "flake")
    assert (data.examples[0].class_masks(2) == values[..., [1, 0]]).all()


def test_all_classes_by_name_and_what_has_no_mask(tmp_path):
    root = folder(tmp_path, {n: np.ones(SHAPE, np.uint8) for n in ("hole", "flake")})
    cv2.imwrite(str(root / "images" / "bare.png"), np.zeros(SHAPE, np.uint8))
    cv2.imwrite(str(root / "images" / "half.png"), np.zeros(SHAPE, np.uint8))
    write_mask(root / "masks" / "hole" / "half.png", np.zeros(SHAPE, bool))
    data = read_class_masks(root)
    assert data.classes == ("background", "flake", "hole")
    assert [e.name for e in data.examples] == ["a", "half"]
    assert data.notes == ("1 images have no mask: left out",)
    half = data.examples[1].class_masks(2)
    assert (half[..., 0] == IGNORE).all()
    assert (half[..., 1] == 0).all()


def test_a_picture_of_0_and_1_is_a_mask(tmp_path):
    root = folder(tmp_path, {"hole": np.zeros(SHAPE, np.uint8)})
    ones = np.zeros(SHAPE, np.uint8)
    ones[:4] = 1
    cv2.imwrite(str(root / "masks" / "hole" / "a.png"), ones)
    assert (read_class_masks(root).examples[0].class_masks(1)[..., 0] == ones).all()


def test_what_cannot_be_read_is_said(tmp_path):
    assert not has_class_masks(tmp_path)
    with pytest.raises(UnreadableFile, match="masks/CLASS/NAME"):
        read_class_masks(tmp_path)
    root = folder(tmp_path, {"hole": np.zeros(SHAPE, np.uint8)})
    assert has_class_masks(root)
    with pytest.raises(InputError, match="no masks of 'flake'; there are hole"):
        read_class_masks(root, ("flake",))
    mask = root / "masks" / "hole" / "a.png"
    cv2.imwrite(str(mask), np.zeros((3, 4), np.uint8))
    with pytest.raises(InputError, match="3 x 4 px"):
        read_class_masks(root).examples[0].class_masks(1)
    mask.write_bytes(mask.read_bytes()[:30])
    with pytest.raises(UnreadableFile, match="readable mask"):
        read_class_masks(root).examples[0].class_masks(1)


def test_masks_of_objects_overlap_and_boxes_are_unknown():
    whole, corner = np.ones((6, 8), bool), np.ones((3, 3), bool)
    marked = [
        Instance(1, (0, 0, 6, 8), whole),
        Instance(2, (2, 2, 5, 5), corner),
        Instance(2, (4, 0, 6, 4)),
    ]
    example = Example.from_arrays("x", np.zeros((6, 8), np.uint8), marked)
    masks = example.class_masks(2)
    assert (masks[..., 0] == 1).all()
    expected = np.zeros((6, 8), np.uint8)
    expected[4:, :4] = IGNORE
    expected[2:5, 2:5] = 1
    assert (masks[..., 1] == expected).all()


@given(seed=st.integers(0, 2**31))
def test_label_map_and_masks_say_the_same_where_nothing_overlaps(seed):
    labels = np.random.default_rng(seed).choice([0, 1, 2, IGNORE], SHAPE).astype(np.uint8)
    image = np.zeros(SHAPE, np.uint8)
    masks = Example.from_arrays("x", image, labels).class_masks(2)
    assert (Example.from_arrays("x", image, masks).label_map() == labels).all()
