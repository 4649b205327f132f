"""The report of a data set counts right and warns of what would spoil a training."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from labelled import instance, labelled_set
from typer.testing import CliRunner

from layerscope.cli import app
from layerscope.cli.data import value_map
from layerscope.core.examples import IGNORE, DataSet, Example, Instance
from layerscope.errors import InputError
from layerscope.io.annotated import read_dataset, write_dataset
from layerscope.training.data import describe_data, load_arrays, split_examples
from layerscope.training.preview import preview_augmentation


def example(name, labels, group="", split=""):
    labels = np.asarray(labels, np.uint8)
    made = Example.from_arrays(name, np.zeros((*labels.shape, 1), np.uint8), labels, group=group)
    return replace(made, split=split)


def test_pixels_are_counted_per_class_and_split():
    data = DataSet(
        (
            example("a", [[0, 0, 1, IGNORE]], "g", "train"),
            example("b", [[1, 1, 1, 1]], "g", "train"),
            example("c", [[0, 2, 2, 2]], "h", "test"),
        ),
        ("bare", "film", "hole"),
    )
    report = describe_data(data)
    rows = report.table.set_index(["split", "class"])
    assert rows.index.tolist() == [(s, c) for s in ("train", "test") for c in data.classes]
    assert rows["pixels"].tolist() == [2, 5, 0, 1, 0, 3]
    assert rows["share"].tolist() == pytest.approx([2 / 7, 5 / 7, 0, 0.25, 0, 0.75])
    assert rows["images"].tolist() == [1, 2, 0, 1, 0, 1]
    assert rows["groups"].tolist() == [1, 1, 0, 1, 0, 1]
    assert rows["objects"].isna().all()
    assert report.split_by == "as the files say"
    missing = [w for w in report.warnings if "missing" in w]
    assert len(missing) == 2
    assert "'hole' is missing from train" in missing[0]
    assert "'film' is missing from test" in missing[1]
    assert any("2 groups" in w for w in report.warnings)


def test_objects_are_counted_also_those_with_a_box_only():
    objects = [
        instance(1, 0, 0, np.ones((2, 2), bool)),
        Instance(2, (3, 3, 5, 5)),
        Instance(2, (5, 0, 6, 9)),
    ]
    many = tuple(
        Example.from_arrays(f"e{i}", np.zeros((9, 9), np.uint8), objects) for i in range(4)
    )
    report = describe_data(DataSet(many, ("background", "x", "y")), share=0.25)
    rows = report.table.set_index(["split", "class"])["objects"]
    assert rows["train", "x"] == 3
    assert rows["train", "y"] == 6
    assert rows["valid", "y"] == 2
    assert any("'y' has boxes and no masks" in w for w in report.warnings)
    assert not any("'x'" in w for w in report.warnings)


def test_a_group_on_both_sides_is_a_warning():
    data = DataSet(
        (example("a", [[0, 1]], "g", "train"), example("b", [[0, 1]], "g", "valid")), ("b", "f")
    )
    assert any("lie in more than one split" in w for w in describe_data(data).warnings)
    apart = DataSet(
        tuple(
            example(n, [[0, 1]], n, s)
            for n, s in zip("abcd", ["train"] * 3 + ["valid"], strict=True)
        ),
        ("b", "f"),
    )
    assert describe_data(apart).warnings == ()


def test_rare_classes_and_unlabelled_pixels_are_named():
    labels = np.zeros((50, 50), np.uint8)
    labels[0, 0] = 1
    data = DataSet(tuple(example(f"e{i}", labels) for i in range(4)), ("bare", "rare"))
    assert any("'rare' is 0.040%" in w for w in describe_data(data).warnings)
    labels = np.full((50, 50), IGNORE, np.uint8)
    labels[:5] = 1
    data = DataSet(tuple(example(f"e{i}", labels) for i in range(4)), ("bare", "film"))
    assert any("90% of the pixels are not labelled" in w for w in describe_data(data).warnings)


def test_without_splits_groups_are_held_out():
    data = DataSet(tuple(example(f"e{i}", [[0, 1]], f"g{i // 2}") for i in range(10)), ("b", "f"))
    splits, source = split_examples(data, 0.2, 3)
    assert splits.count("valid") == 2
    assert all(len({splits[i], splits[i + 1]}) == 1 for i in range(0, 10, 2))
    assert "seed 3" in source
    one = DataSet((example("a", [[0, 1]]),), ("b", "f"))
    assert split_examples(one) == (["train"], "one group: nothing can be held out")


def test_an_image_that_cannot_be_read_is_listed(tmp_path):
    write_dataset(labelled_set(), tmp_path / "set", "label_pictures")
    data = read_dataset(tmp_path / "set")
    (tmp_path / "set" / "masks" / "grey.png").unlink()
    report = describe_data(data)
    assert len(report.unreadable) == 1
    assert report.unreadable[0].startswith("grey")
    assert report.table["pixels"].sum() == 48 * 64 + 30 * 40


def test_arrays_share_their_channels():
    images, labels = load_arrays(labelled_set())
    assert [i.shape for i in images] == [(48, 64, 3), (30, 40, 3), (40, 70, 3)]
    assert all(i.dtype == np.uint8 for i in images)
    assert (images[2][..., 0] == images[2][..., 2]).all()
    assert [m.shape for m in labels] == [(48, 64), (30, 40), (40, 70)]


def test_preview_shows_every_class_and_repeats_itself(tmp_path):
    data = labelled_set(boxes=True)
    for name in "ab":
        preview_augmentation(data, tmp_path / f"{name}.png", size_px=40, rows=3, columns=1, seed=1)
    picture = cv2.imread(str(tmp_path / "a.png"))[..., ::-1]
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert picture.shape[1] == pytest.approx((1.55 * 2 + 0.2) * 200, abs=2)
    for colour in ((0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9), (64, 64, 64)):
        assert (np.abs(picture.astype(int) - colour).max(-1) < 12).sum() > 300
    with pytest.raises(InputError, match=r"\.png or \.pdf"):
        preview_augmentation(data, tmp_path / "a.gif")


@pytest.fixture
def folder(tmp_path):
    write_dataset(labelled_set(), tmp_path / "set", "coco")
    return tmp_path / "set"


def command(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_data_command(folder, tmp_path):
    told = command("data", folder, "--preview", tmp_path / "p.png", "--patch", 32)
    assert told.exit_code == 0
    assert "3 images, 2 groups (groups.csv)" in told.stdout
    assert "warning: 2 groups" in told.stdout
    assert (tmp_path / "p.png").stat().st_size > 10_000
    summary = json.loads(command("data", folder, "--json").stdout)
    assert summary["classes"] == ["background", "zeta", "älpha & <b>"]
    assert sum(r["pixels"] for r in summary["table"]) == 48 * 64 + 30 * 40 + 40 * 70


def test_convert_command(folder, tmp_path):
    done = command("convert", folder, "-o", tmp_path / "out", "--to", "labelme")
    assert done.exit_code == 0
    assert "3 images, 2 classes" in done.stdout
    assert read_dataset(tmp_path / "out", "labelme").classes == (
        "background",
        "zeta",
        "älpha & <b>",
    )
    again = command("convert", folder, "-o", tmp_path / "out", "--to", "labelme")
    assert isinstance(again.exception, InputError)


def test_classes_and_groups_are_told_on_the_command_line(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for i in range(4):
        mask = np.zeros((20, 20), np.uint8)
        mask[5:9] = 255
        cv2.imwrite(str(tmp_path / "images" / f"chip{i % 2}_{i}.png"), mask)
        cv2.imwrite(str(tmp_path / "masks" / f"chip{i % 2}_{i}.png"), mask)
    told = command(
        "data", tmp_path, "--classes", "0=copper,255=graphene", "--group-by", "chip[0-9]"
    )
    assert "4 images, 2 groups" in told.stdout
    assert "graphene" in told.stdout
    assert "note" not in told.stdout


@pytest.mark.parametrize("text", ["film", "x=film", "1=", "1=a,2=a", "-1=a", ""])
def test_class_maps_that_mean_nothing_are_refused(text):
    with pytest.raises(InputError, match="--classes"):
        value_map(text)
