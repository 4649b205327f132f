"""The edit log and what it is replayed to."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.errors import CannotWrite, InputError, UnreadableFile
from layerscope.labelling.drawing import Drawing, Placed, do_edit, replay
from layerscope.labelling.edits import Edit, EditLog
from layerscope.labelling.scribbles import ERASER
from layerscope.labelling.strokes import CORRECTIONS, SCRIBBLES, Stroke

SHAPE = (23, 31)


def edit(number=0, **changes):
    return Edit(
        **{
            "when": f"2026-01-01T00:00:{number:02d}Z",
            "who": "Anna Ünal",
            "image": "grid",
            "sha256": "ab" * 32,
            "what": "stroke",
            "before": {},
            "after": {"flake": number},
            "detail": {"points": [number, 1]},
            **changes,
        }
    )


def test_edits_are_read_back_as_they_were_written(tmp_path):
    log = EditLog(tmp_path / "edits.jsonl")
    written = [log.append(edit(i)) for i in range(5)]
    again = EditLog(tmp_path / "edits.jsonl")
    assert list(again.edits) == written
    assert again.chain == log.chain
    assert again.notes == ()


@settings(max_examples=20)
@given(cut=st.integers(1, 200))
def test_a_line_cut_short_loses_itself_alone(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "edits.jsonl"
    log = EditLog(path)
    for i in range(3):
        log.append(edit(i))
    content = path.read_bytes()
    last = len(content.splitlines(keepends=True)[-1])
    cut = min(cut, last)
    path.write_bytes(content[:-cut])
    again = EditLog(path)
    whole = 3 if cut == 1 else 2
    assert len(again.edits) == whole
    assert len(again.notes) == (1 if 1 < cut < last else 0)
    again.append(edit(9))
    final = EditLog(path)
    assert [e.after["flake"] for e in final.edits] == [*range(whole), 9]


@pytest.mark.parametrize("harm", ["change", "remove", "swap", "blank"])
def test_a_log_that_was_changed_is_refused_and_says_where(tmp_path, harm):
    path = tmp_path / "edits.jsonl"
    log = EditLog(path)
    for i in range(4):
        log.append(edit(i))
    lines = path.read_bytes().splitlines(keepends=True)
    if harm == "change":
        lines[1] = lines[1].replace(b'"flake":1', b'"flake":7')
    elif harm == "remove":
        del lines[1]
    elif harm == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    else:
        lines[1] = b"\x00" * len(lines[1][:-1]) + b"\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(UnreadableFile, match="line 2"):
        EditLog(path)


def test_a_disk_that_refuses_is_told_and_leaves_the_log_whole(tmp_path, monkeypatch):
    log = EditLog(tmp_path / "edits.jsonl")
    log.append(edit(0))

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("layerscope.labelling.edits.os.fsync", full)
        with pytest.raises(CannotWrite, match="not saved"):
            log.append(edit(1))
    log.append(edit(2))
    assert [e.after["flake"] for e in EditLog(tmp_path / "edits.jsonl").edits] == [0, 2]


def test_an_unknown_kind_of_edit_is_refused():
    with pytest.raises(InputError, match="expected stroke"):
        edit(what="guess")


# --- strokes ---------------------------------------------------------------------------------


def distances(shape, points):
    """Distance in px of every pixel centre from a path; slow and plain."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    centre = np.stack([columns + 0.5, rows + 0.5], axis=-1)
    path = np.array(points, float).reshape(-1, 2) / 4
    best = np.full(shape, np.inf)
    for a, b in zip(path, path[1:] if len(path) > 1 else path, strict=False):
        along = b - a
        t = ((centre - a) @ along) / max(along @ along, 1e-300)
        near = a + np.clip(t, 0, 1)[..., None] * along
        best = np.minimum(best, np.hypot(*np.moveaxis(centre - near, -1, 0)))
    return best


points = st.lists(st.tuples(st.integers(-40, 160), st.integers(-40, 130)), min_size=1, max_size=5)


@given(path=points, diameter=st.integers(4, 60))
def test_a_stroke_paints_the_pixels_whose_centres_are_near(path, diameter):
    flat = [n for p in path for n in p]
    top, left, mask = Stroke(SCRIBBLES, 1, diameter, tuple(flat)).painted(SHAPE)
    found = np.zeros(SHAPE, bool)
    found[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    apart = distances(SHAPE, flat)
    for x, y in path:
        if 0 <= y // 4 < SHAPE[0] and 0 <= x // 4 < SHAPE[1]:
            assert found[y // 4, x // 4]
            apart[y // 4, x // 4] = 0
    assert found[apart < diameter / 8 - 1e-6].all()
    assert not found[apart > diameter / 8 + 1e-6].any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"layer": "base"},
        {"value": -1},
        {"diameter": 3},
        {"points": [1]},
        {"points": []},
        {"points": [1.5, 2]},
        {"points": [True, 2]},
        {"points": [1, 2**40]},
        {"points": None},
        {"diameter": 10**9},
    ],
)
def test_what_is_no_stroke_is_refused(wrong):
    told = {"layer": SCRIBBLES, "value": 1, "diameter": 8, "points": [1, 2], **wrong}
    with pytest.raises(InputError):
        Stroke.from_json(told)


# --- drawings --------------------------------------------------------------------------------

strokes = st.builds(
    lambda layer, value, diameter, path: (
        "stroke",
        {
            "layer": layer,
            "value": value,
            "diameter": diameter,
            "points": [n for p in path for n in p],
        },
    ),
    st.sampled_from([SCRIBBLES, CORRECTIONS]),
    st.sampled_from([0, 1, 2, 3]),
    st.integers(4, 60),
    points,
)
others = st.sampled_from(
    [
        ("undo", {}), ("undo", {}), ("redo", {}), ("clear", {"layer": SCRIBBLES}), ("withdraw", {}),
        ("accept", {"picture": "one"}), ("import", {"picture": "two"}), ("thresholds", {}),
    ]
)  # fmt: skip
PICTURES = {
    "one": np.full(SHAPE, 2, np.uint8),
    "two": (np.indices(SHAPE).sum(axis=0) % 4).astype(np.uint8),
}


def done_as_possible(drawing, actions):
    """Do what can be done, and return it."""
    done = []
    for what, detail in actions:
        try:
            do_edit(drawing, what, detail, PICTURES.__getitem__)
        except InputError:
            continue
        done.append((what, detail))
    return done


def content(drawing):
    labels = drawing.labels
    return (
        drawing.scribbles.tobytes(), None if labels is None else labels.tobytes(), drawing.state,
        drawing.counts(SCRIBBLES), drawing.counts("labels"),
    )  # fmt: skip


@settings(max_examples=20)
@given(actions=st.lists(strokes | others, max_size=12))
def test_a_log_replays_to_the_same_drawing(actions):
    drawing = Drawing(SHAPE)
    done = done_as_possible(drawing, actions)
    edits = [
        edit(i % 60, what=w, detail=json.loads(json.dumps(d))) for i, (w, d) in enumerate(done)
    ]
    assert content(replay(edits, SHAPE, PICTURES.__getitem__)) == content(drawing)


@settings(max_examples=20)
@given(actions=st.lists(strokes | others, max_size=12))
def test_counts_are_those_of_the_pixels(actions):
    drawing = Drawing(SHAPE)
    done_as_possible(drawing, actions)
    for layer, pixels in (("labels", drawing.labels), (SCRIBBLES, drawing.scribbles)):
        values, counts = np.unique(
            np.zeros(0, np.uint8) if pixels is None else pixels, return_counts=True
        )
        expected = {int(v): int(n) for v, n in zip(values, counts, strict=True) if v}
        assert drawing.counts(layer) == expected


@settings(max_examples=20)
@given(
    actions=st.lists(strokes | others.filter(lambda o: o[0] not in ("undo", "redo")), max_size=8)
)
def test_undo_walks_back_and_redo_forth(actions):
    drawing = Drawing(SHAPE)
    seen = [content(drawing)]
    for action in actions:
        if done_as_possible(drawing, [action]) and action[0] != "thresholds":
            seen.append(content(drawing))
    for before in seen[-2::-1]:
        drawing.undo()
        assert content(drawing) == before
    assert not drawing.can_undo
    for after in seen[1:]:
        drawing.redo()
        assert content(drawing) == after
    assert not drawing.can_redo


def test_corrections_lie_on_top_of_what_is_accepted_again():
    drawing = Drawing((4, 4))
    drawing.place(Placed(np.full((4, 4), 1, np.uint8), accepted=True))
    drawing.paint(Stroke(CORRECTIONS, 3, 4, (2, 2)))
    drawing.paint(Stroke(CORRECTIONS, ERASER, 4, (6, 2)))
    drawing.place(Placed(np.full((4, 4), 2, np.uint8), accepted=True))
    assert drawing.labels[0].tolist() == [3, 0, 2, 2]
    drawing.paint(Stroke(CORRECTIONS, 0, 40, (2, 2)))
    assert (drawing.labels == 2).all()


def test_there_is_nothing_to_correct_before_something_is_accepted():
    with pytest.raises(InputError, match="accept one first"):
        Drawing((4, 4)).paint(Stroke(CORRECTIONS, 1, 4, (2, 2)))


def test_views_of_a_drawing_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        Drawing((4, 4)).scribbles[0, 0] = 1
