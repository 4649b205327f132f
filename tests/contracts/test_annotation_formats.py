"""What every entry of the table of annotation formats must do; a new entry is tested here too."""

import json
import shutil
from contextlib import suppress

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import labelled_set

from layerscope.core.examples import IGNORE, DataSet, Example, Instance
from layerscope.errors import InputError, UnknownName, UnreadableFile
from layerscope.io.annotated import ANNOTATION_FORMATS, read_dataset, write_dataset

KEEPS = ("masks", "boxes", "pictures")


@pytest.fixture(params=list(ANNOTATION_FORMATS))
def form(request):
    return ANNOTATION_FORMATS[request.param]


@pytest.fixture
def written(form, tmp_path):
    write_dataset(labelled_set(), tmp_path / "set", form.name)
    return tmp_path / "set"


def label_files(folder):
    """Files that hold the labels themselves."""
    endings = (".json", ".xml", ".txt", ".h5")
    pictures = [*folder.glob("masks/*"), *folder.glob("instances/*")]
    texts = [p for p in folder.rglob("*") if p.suffix in endings and p.name != "labels.txt"]
    return sorted(pictures or [p for p in texts if p.name != "label_config.xml"])


def test_entry_is_complete(form):
    assert form.name.isidentifier()
    assert len(form.description) > 5
    assert form.keeps in KEEPS
    assert form.read.__doc__
    assert form.write.__doc__


def test_round_trip_keeps_what_the_format_can_hold(form, written):
    """Masks come back pixel by pixel, also from polygons: they follow the pixels' edges."""
    before, after = labelled_set(), read_dataset(written)
    assert after.classes == before.classes
    assert after.notes == ()
    assert [e.name for e in after.examples] == [e.name for e in before.examples]
    assert after.groups == before.groups
    assert after.grouped_by == "groups.csv"
    for one, other in zip(before.examples, after.examples, strict=True):
        assert (one.read_image() == other.read_image()).all()
        assert one.shape == other.shape
        assert len(one.instances) == len(other.instances)
        for i, j in zip(one.instances, other.instances, strict=True):
            assert (i.class_index, i.box) == (j.class_index, j.box)
            assert (j.mask is None) == (form.keeps == "boxes")
            assert j.mask is None or (i.mask == j.mask).all()
        if form.keeps != "boxes":
            assert (one.label_map() == other.label_map()).all()


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 0.9))
@pytest.mark.parametrize("name", [n for n in ANNOTATION_FORMATS if n != "yolo_boxes"])
def test_any_mask_survives(tmp_path_factory, name, seed, share):
    """Noise: pixels that touch at corners, holes in parts in holes, at every border."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 24, 2))
    mask = rng.random(shape) < share
    mask[rng.integers(shape[0]), rng.integers(shape[1])] = True
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    one = Instance(1, box, mask[box[0] : box[2], box[1] : box[3]])
    image = np.zeros((*shape, 3), np.uint8)
    data = DataSet((Example.from_arrays("n", image, [one]),), ("background", "x"))
    folder = tmp_path_factory.mktemp("noise") / "set"
    write_dataset(data, folder, name)
    (other,) = read_dataset(folder, name).examples[0].instances
    assert other.box == box
    assert (other.mask == one.mask).all()


def test_boxes_without_mask_survive_or_are_noted(form, tmp_path):
    notes = write_dataset(labelled_set(boxes=True), tmp_path / "set", form.name)
    after = read_dataset(tmp_path / "set").examples[0]
    box = next((i for i in after.instances if i.box == (33, 30, 45, 44)), None)
    kept = box is not None and box.mask is None
    assert kept or any("boxes without mask" in n for n in notes)
    assert kept == (not any("boxes" in n for n in notes))


def test_label_maps_without_objects_are_written_as_areas(form, tmp_path):
    rng = np.random.default_rng(1)
    labels = np.kron(rng.integers(0, 3, (6, 8)), np.ones((7, 7), int)).astype(np.uint8)
    labels[:5, :5] = IGNORE
    image = rng.integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
    data = DataSet((Example.from_arrays("m", image, labels),), ("background", "one", "two"))
    notes = write_dataset(data, tmp_path / "set", form.name)
    back = read_dataset(tmp_path / "set").examples[0].label_map()
    lost = labels == IGNORE
    if form.keeps == "pictures":
        assert (back == labels).all()
        assert notes == ()
        return
    assert any("nobody labelled" in n for n in notes)
    if form.keeps == "masks":
        assert (back == np.where(lost, 0, labels)).all()


def test_the_same_data_give_the_same_bytes(form, tmp_path):
    for name in "ab":
        write_dataset(labelled_set(), tmp_path / name, form.name)
    files = [sorted(p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*")) for n in "ab"]
    assert files[0] == files[1]
    for path in files[0]:
        if (tmp_path / "a" / path).is_file():
            assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_a_used_folder_is_refused(form, written):
    with pytest.raises(InputError, match="not empty"):
        write_dataset(labelled_set(), written, form.name)


def test_damage_anywhere_is_one_named_line_or_a_note(form, written, tmp_path):
    """Cut each label file at many places and replace parts of it: never another exception."""
    rng = np.random.default_rng(2)
    refusals, noted = [], 0
    for path in label_files(written):
        whole = path.read_bytes()
        cuts = [whole[: int(len(whole) * k / 6)] for k in range(6)]
        spoiled = []
        for _ in range(8):
            data = bytearray(whole)
            at = int(rng.integers(0, max(len(whole) - 4, 1)))
            data[at : at + 4] = rng.integers(32, 127, len(data[at : at + 4])).astype("u1").tobytes()
            spoiled.append(bytes(data))
        for data in [*cuts, *spoiled]:
            path.write_bytes(data)
            try:
                noted += bool(read_dataset(written, form.name).notes)
            except InputError as error:
                refusals.append(str(error))
        path.write_bytes(whole)
    assert all("\n" not in line and str(written) in line for line in refusals)
    assert len(refusals) + noted > 3
    assert read_dataset(written).notes == ()


def test_a_lost_image_does_not_lose_the_others(form, written):
    victim = next(
        p for p in written.rglob("grey.png") if p.parent.name not in ("masks", "instances")
    )
    victim.unlink()
    after = read_dataset(written, form.name)
    assert [e.name for e in after.examples] == ["a b", "empty.1"]


def test_a_damaged_image_is_left_out_or_named(form, written):
    victim = next(
        p for p in written.rglob("grey.png") if p.parent.name not in ("masks", "instances")
    )
    victim.write_bytes(b"\x89PNG\r\n\x1a\nxx")
    after = read_dataset(written, form.name)
    assert "grey" not in [e.name for e in after.examples]
    assert any("grey" in n for n in after.notes)


def test_the_tree_may_move_and_json_may_be_named_alone(form, written, tmp_path):
    moved = tmp_path / "elsewhere" / "set"
    shutil.copytree(written, moved)
    shutil.rmtree(written)
    assert len(read_dataset(moved)) == 3
    single = [*moved.glob("annotations.*"), *moved.glob("tasks.json")]
    if single:
        assert len(read_dataset(single[0])) == 3


ENTRIES = {
    "coco": ("annotations.json", lambda d: d["annotations"][0].update(category_id=99)),
    "label_studio": (
        "tasks.json",
        lambda d: d[0]["annotations"][0]["result"][0]["value"].pop("rle"),
    ),
    "labelme": ("a b.json", lambda d: d["shapes"][0].update(points=[[1, 2]])),
}


@pytest.mark.parametrize("name", list(ENTRIES))
def test_one_wrong_entry_is_noted_and_the_rest_is_read(name, tmp_path):
    write_dataset(labelled_set(), tmp_path / "set", name)
    file, spoil = ENTRIES[name]
    document = json.loads((tmp_path / "set" / file).read_text())
    spoil(document)
    (tmp_path / "set" / file).write_text(json.dumps(document))
    after = read_dataset(tmp_path / "set")
    assert len(after.examples[0].instances) == 3
    assert name == "label_studio" or len(after.notes) == 1


JUNK = (None, [], {}, "x", -1, 1e300, True, [[]], "a" * 400, float("nan"), [1, [2]], {"id": 1})


def places(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for key, below in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(below, (*path, key))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", list(ENTRIES))
def test_wrong_values_anywhere_in_a_json_file_cost_no_more_than_their_entry(name, tmp_path):
    write_dataset(labelled_set(boxes=True), tmp_path / "set", name)
    path = tmp_path / "set" / ENTRIES[name][0]
    whole = json.loads(path.read_text())
    rng = np.random.default_rng(4)
    paths = [p for p in places(whole) if p]
    for _ in range(150):
        document = json.loads(json.dumps(whole))
        spot = paths[rng.integers(len(paths))]
        node = document
        for key in spot[:-1]:
            node = node[key]
        node[spot[-1]] = JUNK[rng.integers(len(JUNK))]
        path.write_text(json.dumps(document))
        if len(spot) == 1 and name == "coco":  # the lists of the whole file
            with suppress(InputError):
                read_dataset(tmp_path / "set", name)
            continue
        after = read_dataset(tmp_path / "set", name)
        assert len(after) >= 2
        single = "annotations" in spot if name == "coco" else len(spot) > 5 or "shapes" in spot[:-1]
        if single:
            assert sum(len(e.instances) for e in after.examples) >= 5


@pytest.mark.parametrize(
    ("name", "file", "old", "new"),
    [
        ("cvat", "annotations.xml", 'rle="', 'rle="7, '),
        ("yolo_seg", "labels/a b.txt", "0 ", "0 x "),
        ("yolo_boxes", "labels/a b.txt", "0 ", "9 "),
    ],
)
def test_one_wrong_line_is_noted_and_the_rest_is_read(name, file, old, new, tmp_path):
    write_dataset(labelled_set(), tmp_path / "set", name)
    path = tmp_path / "set" / file
    path.write_text(path.read_text().replace(old, new, 1))
    after = read_dataset(tmp_path / "set", name)
    assert len(after.examples[0].instances) == 3
    assert len(after.notes) == 1
    assert "skipped" in after.notes[0]


def test_splits_survive(form, tmp_path):
    from dataclasses import replace

    data = labelled_set()
    parts = ("train", "valid", "train")
    data = replace(
        data, examples=tuple(replace(e, split=s) for e, s in zip(data.examples, parts, strict=True))
    )
    write_dataset(data, tmp_path / "set", form.name)
    assert tuple(e.split for e in read_dataset(tmp_path / "set").examples) == parts


def test_names_without_a_format(tmp_path):
    with pytest.raises(UnknownName, match="coco"):
        read_dataset(tmp_path, "cocoo")
    with pytest.raises(UnreadableFile, match="no labels of a known format"):
        read_dataset(tmp_path)
    with pytest.raises(UnreadableFile, match="no such file"):
        read_dataset(tmp_path / "nothing")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4), np.uint8))
    with pytest.raises(UnreadableFile, match="no labels"):
        read_dataset(tmp_path)
