"""Masks to a data set: laws of the steps, pairing, and that training reads what is written."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from typer.testing import CliRunner

from layerscope.cli import app
from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.prepared import PreparedImage
from layerscope.errors import InputError, UnknownName
from layerscope.io.annotated import read_dataset
from layerscope.io.annotated.class_masks import read_class_masks
from layerscope.io.ilastik.exports import write_labels, write_probabilities
from layerscope.io.ilastik.project_file import write_project
from layerscope.labelling.dataset import prepare
from layerscope.labelling.dataset_masks import (
    check_overlap,
    fill_voids,
    masks_above,
    open_class,
    open_mask,
    resize_masks,
)
from layerscope.labelling.dataset_settings import PrepareSettings
from layerscope.labelling.dataset_sources import MaskSource, Thresholds, pair_name, read_thresholds
from layerscope.labelling.thresholds import write_thresholds
from layerscope.report.dataset_folder import npz_bytes


def one_hot(seed, classes=3, void=0.3, shape=(17, 23)):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, shape)
    masks = labels[..., None] == np.arange(classes)
    masks[rng.random(shape) < void] = False
    masks[rng.integers(shape[0]), rng.integers(shape[1])] = np.arange(classes) == 0
    return masks


@given(st.integers(0, 2**31), st.floats(0, 0.98))
def test_filled_voids_leave_one_class_a_pixel_the_nearest(seed, void):
    masks = one_hot(seed, void=void)
    filled = fill_voids(masks)
    assert (filled.masks.sum(axis=2) == 1).all()
    assert (filled.masks | ~masks).all()  # nothing that was labelled changes
    assert filled.added.sum() == (~masks.any(axis=2)).sum()
    places = np.argwhere(masks.any(axis=2))
    for y, x in np.argwhere(~masks.any(axis=2))[:20]:
        distance = ((places - (y, x)) ** 2).sum(axis=1)
        nearest = places[distance == distance.min()]
        classes = {int(masks[a, b].argmax()) for a, b in nearest}
        assert int(filled.masks[y, x].argmax()) in classes


def test_voids_far_from_any_label_stay():
    masks = np.zeros((9, 9, 2), bool)
    masks[4, 4, 1] = True
    near = fill_voids(masks, within_px=2).masks
    y, x = np.mgrid[:9, :9]
    assert (near[..., 1] == ((y - 4) ** 2 + (x - 4) ** 2 <= 4)).all()
    assert not fill_voids(np.zeros((4, 4, 2), bool)).masks.any()


@given(st.integers(0, 2**31), st.integers(1, 4))
def test_an_opening_only_takes_away_and_once_is_enough(seed, radius):
    rng = np.random.default_rng(seed)
    mask = cv2.GaussianBlur(rng.normal(size=(40, 50)), (0, 0), 2) > 0
    assert not (open_mask(mask, radius) & ~mask).any()
    # Once is enough inside; at the border the picture goes on as it ends, which the first changes.
    inside = np.pad(mask[8:-8, 8:-8], 8)
    opened = open_mask(inside, radius)
    assert (open_mask(opened, radius) == opened).all()


def test_an_opening_takes_threads_and_specks_and_leaves_what_the_border_cuts():
    mask = np.zeros((40, 40), bool)
    mask[:15, :15] = True  # in the corner
    mask[30, 5:35], mask[35, 35] = True, True
    opened = open_mask(mask, 2)
    assert opened[0, 0]
    assert not opened[20:].any()
    assert (opened[:12, :12] == mask[:12, :12]).all()


@given(st.integers(0, 2**31), st.integers(1, 3))
def test_opening_a_class_keeps_one_class_a_pixel(seed, radius):
    masks = fill_voids(one_hot(seed)).masks
    out = open_class(masks, 1, radius, exclusive=True)
    assert (out.sum(axis=2) == 1).all()
    assert (out[..., 1] == open_mask(masks[..., 1], radius)).all()
    apart = open_class(masks, 1, radius, exclusive=False)
    assert (apart[..., [0, 2]] == masks[..., [0, 2]]).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5))
def test_nearest_neighbour_repeats_pixels_and_mixes_none(height, width, times):
    labels = np.arange(height * width).reshape(height, width)
    masks = (labels[..., None] % 3) == np.arange(3)
    big = resize_masks(masks, (height * times, width * times))
    assert (big == masks.repeat(times, 0).repeat(times, 1)).all()
    assert (resize_masks(big, (height, width)) == masks).all()
    odd = resize_masks(masks, (height + 3, max(1, width - 1)))
    assert (odd.sum(axis=2) == 1).all()


def test_thresholds_reach_and_the_most_probable_class_wins():
    maps = np.array([[[0.7, 0.3], [0.69, 0.31], [0.45, 0.55]]], np.float32)
    assert masks_above(maps, (0.7, 0.5), overlapping=False).tolist() == [
        [[True, False], [False, False], [False, True]]
    ]
    low = masks_above(maps, (0.4, 0.3), overlapping=True)
    assert low.all()
    assert (masks_above(maps, (0.4, 0.3), overlapping=False).sum(axis=2) == 1).all()


def test_classes_that_must_not_overlap_are_named_with_their_pixels():
    masks = np.zeros((4, 4, 3), bool)
    masks[:2, :, 0], masks[1:, :, 1] = True, True
    with pytest.raises(InputError, match=r"4 pixels are both flake and hole.*--both flake\+hole"):
        check_overlap(masks, ("flake", "hole", "dirt"), ())
    check_overlap(masks, ("flake", "hole", "dirt"), (frozenset(("hole", "flake")),))


def test_the_narrowest_threshold_counts():
    known = Thresholds(0.7, {"flake": 0.6}, {("a", "flake"): 0.9})
    assert [known.of(*where) for where in (("A", "flake"), ("b", "flake"), ("b", "hole"))] == [
        0.9, 0.6, 0.7,
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"threshold 1\.5"):
        Thresholds(1.5)


@pytest.mark.parametrize(
    ("file", "name"),
    [("a_Probabilities.h5", "a"), ("a b_Simple Segmentation.h5", "a b"), ("a_mask.png", "a"),
     ("a.tif", "a"), ("mask.png", "mask"), ("_mask.png", "_mask")],
)  # fmt: skip
def test_names_that_pair(file, name):
    from pathlib import Path

    assert pair_name(Path(file)) == name


def scene(seed=0):
    """Grey image; a disc (flake) over a hole at its right; truth of both."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :64]
    flake = (y - 24) ** 2 + (x - 24) ** 2 < 15**2
    hole = (x > 30) & (x < 52)
    image = np.clip(120 - 40 * flake + 60 * hole + rng.normal(0, 5, flake.shape), 0, 255)
    return image.astype(np.uint8), flake, hole


@pytest.fixture
def folder(tmp_path):
    """Images a, b and c; probabilities of a and b beside them, and of one without an image."""
    (tmp_path / "images").mkdir()
    for name, seed in (("a", 0), ("b", 1), ("c", 2)):
        image, flake, hole = scene(seed)
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), image)
        top = flake & ~hole
        sure = np.stack([~flake & ~hole, top, hole], axis=-1)
        maps = np.where(sure, 0.9, 0.05).astype(np.float32)
        maps[:3] = 1 / 3  # nobody knows
        if name != "c":
            write_probabilities(tmp_path / "images" / f"{name}_Probabilities.h5", maps)
    write_probabilities(tmp_path / "images" / "x_Probabilities.h5", maps)
    return tmp_path


def run(*arguments):
    result = CliRunner().invoke(app, ["prepare", *map(str, arguments), "-q"])
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_probabilities_become_a_data_set_that_training_reads(folder):
    images, out = folder / "images", folder / "out"
    result = run(images, "-o", out, "--masks", images, "--classes", "1=film,2=flake,3=hole",
                 "--opening", "flake=1")  # fmt: skip
    assert result.exit_code == 3  # c has no mask
    assert "2 paired, 1 no mask, 1 no image, 0 refused" in result.output
    data = read_dataset(out / "dataset")
    assert set(data.classes) >= {"film", "flake", "hole"}
    for example, seed in zip(data.examples, (0, 1), strict=True):
        _, flake, hole = scene(seed)
        labels = example.label_map()
        named = np.array(data.classes)[labels]
        assert (named[3:][hole[3:]] == "hole").all()
        assert (named[3:][(flake & ~hole)[3:]] == "flake").mean() > 0.97
        assert (labels[:3] == labels[3]).all()  # voids took the nearest
    counts = (out / "counts.csv").read_text().splitlines()
    assert len(counts) == 1 + 2 * 3
    kept = json.loads((out / "prepare.json").read_text())
    assert kept["images"][0]["thresholds"] == {"film": 0.7, "flake": 0.7, "hole": 0.7}
    assert len(kept["images"][0]["sources"][1]["sha256"]) == 64
    coco = read_dataset(out / "coco")
    assert len(coco) == 2
    assert coco.classes[1:] == ("flake", "hole")
    assert (out / "qc" / "a_overlay.png").is_file()
    assert (out / "qc" / "a_probability_hole.png").is_file()


def test_the_same_input_gives_the_same_bytes(folder):
    images = folder / "images"
    for name in ("one", "two"):
        run(images / "a.png", "-o", folder / name, "--masks", images, "--classes",
            "1=film,2=flake,3=hole")  # fmt: skip
    files = [p.relative_to(folder / "one") for p in (folder / "one").rglob("*") if p.is_file()]
    assert len(files) > 9
    for file in files:
        assert (folder / "one" / file).read_bytes() == (folder / "two" / file).read_bytes()


def test_saved_thresholds_of_a_pixel_model_are_used(folder):
    saved = Thresholds(0.95, {"hole": 0.5}, {("a", "flake"): 0.8})
    write_thresholds(folder / "m.thresholds.json", saved)
    run(folder / "images" / "a.png", "-o", folder / "o", "--masks", folder / "images", "--classes",
        "1=film,2=flake,3=hole", "--thresholds", folder / "m.thresholds.json", "--fill",
        "unlabelled")  # fmt: skip
    kept = json.loads((folder / "o" / "prepare.json").read_text())["images"][0]["thresholds"]
    assert kept == {"film": 0.95, "flake": 0.8, "hole": 0.5}


def masks_of_classes(folder):
    for name in ("flake", "hole"):
        (folder / name).mkdir()
    for image, seed in (("a", 0), ("b", 1), ("c", 2)):
        _, flake, hole = scene(seed)
        cv2.imwrite(str(folder / "flake" / f"{image}_mask.png"), flake.astype(np.uint8) * 255)
        cv2.imwrite(str(folder / "hole" / f"{image}.png"), hole.astype(np.uint8))


def test_holes_under_flakes_are_both_only_where_it_is_allowed(folder):
    masks_of_classes(folder)
    both = ("--masks", f"flake={folder / 'flake'}", "--masks", f"hole={folder / 'hole'}")
    refused = run(folder / "images", "-o", folder / "no", *both)
    assert refused.exit_code == 4
    assert "are both flake and hole" in refused.output
    result = run(folder / "images", "-o", folder / "yes", *both, "--both", "flake+hole",
                 "--size", "128x96")  # fmt: skip
    assert result.exit_code == 0
    data = read_class_masks(folder / "yes" / "dataset")
    assert data.classes == ("background", "flake", "hole")
    _, flake, hole = scene(0)
    twice = np.stack([flake, hole], axis=-1).repeat(2, 0).repeat(2, 1)
    assert (data.examples[0].class_masks(2) == twice).all()
    coco = read_dataset(folder / "yes" / "coco").examples[0]
    assert (coco.class_masks(2) == twice).all()


def test_labels_of_ilastik_and_label_pictures_are_read_too(folder):
    (folder / "labels").mkdir()
    (folder / "pictures").mkdir()
    _, flake, hole = scene()
    labels = np.where(hole, 3, np.where(flake, 2, 1)).astype(np.uint8)
    labels[10:20] = 0
    write_labels(folder / "labels" / "a_Labels.h5", labels)
    cv2.imwrite(str(folder / "pictures" / "a.png"), labels)
    image = folder / "images" / "a.png"
    found = {}
    for where in ("labels", "pictures"):
        run(image, "-o", folder / f"of_{where}", "--masks", folder / where, "--classes",
            "1=film,2=flake,3=hole", "--fill", "unlabelled")  # fmt: skip
        found[where] = read_dataset(folder / f"of_{where}" / "dataset").examples[0].label_map()
    assert (found["labels"] == found["pictures"]).all()
    assert (found["labels"][10:20] == 255).all()
    background = run(image, "-o", folder / "b", "--masks", folder / "labels", "--classes",
                     "1=film,2=flake,3=hole", "--fill", "background")  # fmt: skip
    assert background.exit_code == 0
    filled = read_dataset(folder / "b" / "dataset")
    assert (np.array(filled.classes)[filled.examples[0].label_map()[10:20]] == "film").all()


def test_the_forest_of_a_project_makes_masks(tmp_path):
    from ilastik_files import project_with_forest
    from ilastik_files import scene as disc_scene

    image, _, disc = disc_scene(1)
    cv2.imwrite(str(tmp_path / "disc.png"), image)
    write_project(tmp_path / "p.ilp", project_with_forest()[0])
    run(tmp_path / "disc.png", "-o", tmp_path / "out", "--masks", tmp_path / "p.ilp")
    data = read_dataset(tmp_path / "out" / "dataset")
    assert data.classes == ("carbon", "flake")
    assert ((data.examples[0].label_map() == 1) == disc).mean() > 0.95


def test_what_is_not_possible_is_said_in_one_line(folder):
    images = folder / "images"
    with pytest.raises(InputError, match="no class is named"):
        run(images, "-o", folder / "o1", "--masks", images)
    with pytest.raises(UnknownName, match="flke"):
        run(images, "-o", folder / "o2", "--masks", images, "--classes", "1=flake", "--opening",
            "flke=2")  # fmt: skip
    with pytest.raises(InputError, match="one folder of several classes"):
        PrepareSettings((MaskSource(images), MaskSource(images, "hole")), {"a": 1})
    result = run(images / "a.png", "-o", folder / "o3", "--masks", images, "--classes", "7=flake")
    assert "3 classes; there is none of number 7" in result.output
    write_labels(images / "a_Labels.h5", np.ones((48, 64), np.uint8))
    with pytest.raises(InputError, match="Probabilities and Labels; say which with --export"):
        run(images, "-o", folder / "o4", "--masks", images, "--classes", "1=film")
    assert not list((folder / "o4").iterdir())  # so that the next try may use it
    (folder / "t.csv").write_text("image,class,threshold\na,flake,high\n")
    with pytest.raises(InputError, match="line 2: 'high'"):
        read_thresholds(folder / "t.csv")


def test_a_mask_of_another_picture_is_refused_and_listed(folder):
    (folder / "s").mkdir()
    write_labels(folder / "s" / "a_Labels.h5", np.ones((48, 48), np.uint8))
    settings = PrepareSettings((MaskSource(folder / "s"),), {"film": 1})
    made = prepare([folder / "images" / "a.png"], settings)
    assert "48 x 48 px (rows x columns), the image 48 x 64" in made.failures[0].reason
    assert made.pairing["status"].tolist() == ["refused"]


def test_strokes_that_flood_the_picture_are_noted(folder):
    (folder / "s").mkdir()
    labels = np.zeros((48, 64), np.uint8)
    labels[2, 2:20], labels[40, 30:50] = 1, 2
    write_labels(folder / "s" / "a_Labels.h5", labels)
    seen = []
    prepare(
        [folder / "images" / "a.png"],
        PrepareSettings((MaskSource(folder / "s"),), {"film": 1, "flake": 2}),
        on_image=seen.append,
    )
    assert "--fill unlabelled" in seen[0].notes[0]


@examples(max_examples=10)
@given(st.integers(0, 2**31))
def test_npz_holds_what_was_prepared(seed):
    import io

    rng = np.random.default_rng(seed)
    masks = rng.random((5, 7, 2)) < 0.5
    image = Micrograph(
        rng.integers(0, 255, (5, 7), np.uint8), pixel_size=PixelSize(2.0, 3.0, "told")
    )
    made = PreparedImage("a", image, masks, np.ones((5, 7), bool), ("x", "y"), True)
    with np.load(io.BytesIO(npz_bytes(made)), allow_pickle=False) as found:
        assert (found["masks"] == masks).all()
        assert (found["image"] == image.data).all()
        assert found["classes"].tolist() == ["x", "y"]
        assert found["pixel_size_nm"].tolist() == [2.0, 3.0]


def test_masks_that_exclude_each_other_must_not_overlap_or_leave_gaps():
    image = Micrograph(np.zeros((4, 4), np.uint8))
    with pytest.raises(InputError, match="overlap or leave gaps"):
        PreparedImage(
            "a", image, np.ones((4, 4, 2), bool), np.ones((4, 4), bool), ("x", "y"), False
        )
