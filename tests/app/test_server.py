"""What the page asks of the program, and what it gets."""

import json
import shutil

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient
from label_page import CLASSES, DARK, FEW_TREES, LIGHT, frames_of, halves, stroke

from layerscope.app.painter import Painter
from layerscope.app.server import create_app
from layerscope.app.shares import CHUNK_PX, ShareMap, classified
from layerscope.app.summary import Summary
from layerscope.errors import InputError
from layerscope.io.annotated import read_dataset
from layerscope.labelling.edits import Edit
from layerscope.labelling.thresholds import Thresholds, decide, read_thresholds

WHOLE = {"source": "strokes", "top": 0, "left": 0, "bottom": 72, "right": 96, "level": 0}
TRUTH = np.where(np.arange(96) < 48, 1, 2) * np.ones((72, 1), int)


def paint(client, index=0, *bodies):
    answers = [client.post(f"/api/images/{index}/strokes", json=b) for b in bodies or (DARK, LIGHT)]
    assert [a.status_code for a in answers] == [200] * len(answers)
    return answers[-1].json()


def pixels(client, layer, index=0, shape=(72, 96)):
    content = client.get(f"/api/images/{index}/pixels/{layer}").content
    return np.frombuffer(content, np.uint8).reshape(shape)


def accept(client, index=0, source="strokes"):
    answer = client.post(f"/api/images/{index}/accept", json={"source": source})
    return [json.loads(line) for line in answer.text.splitlines()]


def answered(client, **told):
    body = {**WHOLE, "client": "me", **told}
    return frames_of(client.post("/api/images/0/answer", json=body).content)


def test_a_project_tells_its_images_and_classes(client):
    told = client.get("/api/project").json()
    assert [i["name"] for i in told["images"]] == ["a", "b", "c"]
    assert [(c["name"], c["value"]) for c in told["classes"]] == [
        (n, i + 1) for i, n in enumerate(CLASSES)
    ]
    assert told["sources"] == []
    assert "two classes" in told["missing"]
    image = client.get("/api/images/0").json()
    assert (image["height"], image["width"], image["state"]) == (72, 96, "unlabelled")
    assert image["pixel_size_nm"] is None


def test_tiles_are_the_picture(client):
    content = client.get("/api/images/0/tiles/plain/0/0/0.png").content
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (found == halves(1)).all()
    for place in ("plain/0/1/0", "plain/9/0/0", "plain/0/-1/0", "vivid/0/0/0"):
        assert client.get(f"/api/images/0/tiles/{place}.png").status_code in (400, 422)
    for view in ("stretched", "local"):
        assert client.get(f"/api/images/0/tiles/{view}/0/0/0.png").status_code == 200
    thumbnail = client.get("/api/images/2/thumbnail.jpg")
    assert thumbnail.headers["content-type"] == "image/jpeg"


def test_strokes_are_painted_counted_and_logged_before_they_are_answered(client, project):
    told = paint(client)
    assert told["state"] == "painted"
    assert told["scribbled"] == {
        "dark": told["scribbled"]["dark"],
        "light": told["scribbled"]["light"],
    }
    found = pixels(client, "scribbles")
    assert {v: int((found == v).sum()) for v in (1, 2)} == {
        1: told["scribbled"]["dark"], 2: told["scribbled"]["light"],
    }  # fmt: skip
    lines = (project.folder / "edits.jsonl").read_text().splitlines()
    assert [json.loads(line)["what"] for line in lines] == ["stroke", "stroke"]
    assert json.loads(lines[0])["sha256"] == project.micrograph(0).sha256


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("strokes", {"layer": "scribbles"}),
        ("strokes", {**DARK, "layer": "base"}),
        ("strokes", {**DARK, "points": [0]}),
        ("strokes", {**DARK, "value": 255}),
        ("strokes", {**DARK, "layer": "corrections"}),
        ("strokes", {**DARK, "path": "/etc/passwd"}),
        ("strokes", {**DARK, "diameter": 0}),
        ("undo", {}),
        ("redo", {}),
        ("accept", {"source": "guess"}),
        ("thresholds", {"thresholds": {"dark": 2}}),
        ("thresholds", {"thresholds": {"dark": 0}}),
        ("thresholds", {"thresholds": {"moon": 0.5}}),
        ("clear", {"layer": "base"}),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(client, project, path, body):
    answer = client.post(f"/api/images/0/{path}", json=body)
    assert answer.status_code in (400, 422)
    assert not (project.folder / "edits.jsonl").exists()
    assert client.get("/api/images/0").json()["state"] == "unlabelled"


def test_only_numbers_name_images_and_only_the_page_may_change_things(client, project):
    assert client.get("/api/images/7").status_code == 400
    assert client.get("/api/images/-1").status_code == 400
    assert client.get("/api/images/..%2f..%2fetc%2fpasswd").status_code in (404, 422)
    assert client.get("/static/../server.py").status_code == 404
    assert client.get("/static/%2e%2e/server.py").status_code == 404
    strange = TestClient(client.app, base_url="http://evil.example")
    assert strange.get("/api/project").status_code == 403
    bare = TestClient(client.app)
    assert bare.get("/api/project").status_code == 200
    assert bare.post("/api/images/0/strokes", json=DARK).status_code == 403
    assert "default-src 'self'" in bare.get("/").headers["content-security-policy"]
    assert not (project.folder / "edits.jsonl").exists()


def test_a_page_bound_elsewhere_needs_its_token(project):
    app = create_app(Painter(project, FEW_TREES), token="secret")
    with TestClient(app, base_url="http://lab.example") as outside:
        assert outside.get("/api/project").status_code == 403
        assert outside.get("/?token=wrong").status_code == 403
        assert outside.get("/static/main.js").status_code == 403
        assert "layerscope" in outside.get("/?token=secret").text
        assert outside.get("/api/project").status_code == 200


def test_a_few_strokes_answer_for_the_rest(client):
    assert answered(client) == [({"done": True, "whole": False}, b"")]
    assert client.post("/api/images/0/prepare", json={**WHOLE, "client": "me"}).json() == {}
    paint(client)
    *pieces, (end, _) = answered(client)
    assert end == {"done": True, "whole": True}
    assert [head["coarse"] for head, _ in pieces] == [True, False]
    head, body = pieces[-1]
    shares = np.frombuffer(body, np.uint8).reshape(3, head["height"], head["width"])
    right = shares.argmax(axis=0) + 1 == TRUTH
    assert right[:, np.abs(np.arange(96) - 48) > 4].mean() > 0.99
    assert shares[2].max() == 0
    again = answered(client)
    assert [h["coarse"] for h, _ in again[:-1]] == [False]
    assert again[0][1] == body


def test_another_image_is_answered_from_the_strokes_of_the_first(client):
    paint(client)
    content = client.post("/api/images/1/answer", json={**WHOLE, "client": "me"}).content
    head, body = frames_of(content)[-2]
    shares = np.frombuffer(body, np.uint8).reshape(3, head["height"], head["width"])
    assert (shares.argmax(axis=0) + 1 == TRUTH).mean() > 0.95


def test_what_nobody_waits_for_any_more_is_not_computed(project):
    painter = Painter(project, FEW_TREES)
    for body in (DARK, LIGHT):
        painter.changed(0, project.do(0, "stroke", body).box)
    assert list(painter.answer(0, "strokes", (0, 0, 72, 96), 0, lambda: False)) == []
    pieces = painter.answer(0, "strokes", (0, 0, 72, 96), 0, lambda: True)
    assert next(pieces).coarse
    painter.changed(0, project.do(0, "undo").box)
    assert list(pieces) == []


def test_accepting_keeps_the_prediction_and_what_was_painted(client, project):
    paint(client)
    wrong = stroke(3, (30, 30), diameter_px=4)
    paint(client, 0, wrong)
    last = accept(client)[-1]["done"]
    assert last["state"] == "accepted"
    labels, scribbles = pixels(client, "labels"), pixels(client, "scribbles")
    assert (labels[scribbles > 0] == scribbles[scribbles > 0]).all()
    right = labels[:, 60:]
    assert (right == 0).mean() < 0.2  # eight trees are seldom of one mind beside the third class
    assert (right[right > 0] == 2).mean() > 0.95
    project.save()
    written = cv2.imread(str(project.folder / "labels" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert (written == labels).all()
    assert last["labelled"] == {
        name: int((labels == value).sum()) for value, name in enumerate(CLASSES, 1)
    }
    back = client.post("/api/images/0/undo").json()
    assert back["state"] == "painted"
    project.save()
    assert not (project.folder / "labels" / "a.png").exists()


def test_thresholds_leave_doubtful_pixels_without_a_class():
    shares = np.array([[[200, 55], [130, 125], [0, 255]]], np.uint8)
    assert classified(shares, [0.01, 0.01]).tolist() == [[1, 1, 2]]
    assert classified(shares, [0.7, 0.7]).tolist() == [[1, 0, 2]]
    assert classified(shares, [0.7, 0.01]).tolist() == [[1, 2, 2]]
    assert classified(shares, [0.9, 1.0]).tolist() == [[0, 0, 2]]


def test_the_page_and_classify_decide_alike():
    """Of all votes of 100 trees for three classes, at all thresholds in hundredths."""
    first, second = (n.ravel() for n in np.mgrid[:101, :101])
    votes = np.stack([first, second, 100 - first - second], axis=1)
    votes = votes[votes[:, 2] >= 0][None]
    probabilities = (votes / 100).astype(np.float32)
    shares = np.rint(probabilities * 255).astype(np.uint8)
    for n in range(1, 101):
        least = {"a": n / 100, "b": (100 - n) / 100 or 1, "c": 0.7}
        told = decide(probabilities, tuple(least), Thresholds(of_class=least), "x")
        np.testing.assert_array_equal(classified(shares, list(least.values())), told)


def test_thresholds_are_of_an_image_or_of_all_and_are_those_of_classify(client, project):
    beside = project.folder / "model.thresholds.json"
    assert read_thresholds(beside) == Thresholds()
    assert client.get("/api/images/0").json()["thresholds"] == dict.fromkeys(CLASSES, 0.7)
    client.post("/api/images/0/thresholds", json={"thresholds": {"dark": 0.9}})
    assert read_thresholds(beside).of("A", "dark") == 0.9
    assert read_thresholds(beside).of("b", "dark") == 0.7
    client.post("/api/thresholds", json={"thresholds": {"dark": 0.5, "light": 0.6}})
    for index in (0, 1):
        assert project.thresholds(index) == {"dark": 0.5, "light": 0.6, "other": 0.7}
    client.post("/api/images/1/thresholds", json={"thresholds": {"dark": 0.8}})
    assert [project.thresholds(i)["dark"] for i in range(3)] == [0.5, 0.8, 0.5]
    assert read_thresholds(beside).of("b", "dark") == 0.8


def test_corrections_change_the_label_picture_and_not_the_classifier(client):
    revision = paint(client)["revision"]
    accept(client)
    told = paint(client, 0, stroke(3, (10, 10), layer="corrections"))
    assert told["revision"] == revision
    assert pixels(client, "labels")[10, 10] == 3
    paint(client, 0, stroke(255, (10, 10), layer="corrections"))
    assert pixels(client, "labels")[10, 10] == 0
    paint(client, 0, stroke(0, (10, 10), layer="corrections"))
    assert pixels(client, "labels")[10, 10] == 1


def test_an_opened_project_is_as_it_was_left(client, project, opening, tmp_path):
    paint(client)
    client.post("/api/images/0/thresholds", json={"thresholds": {"dark": 0.6, "light": 0.7}})
    accept(client)
    paint(client, 0, stroke(3, (10, 10), layer="corrections"))
    client.post("/api/classes", json={"names": ["hole", "light", "other"], "colours": []})
    client.post("/api/images/1/strokes", json=DARK)
    client.post("/api/images/1/undo")
    # The process is killed here: nothing is closed, the pictures may not be written yet.
    shutil.copytree(project.folder, tmp_path / "copy", ignore=shutil.ignore_patterns(".*"))
    again = opening(tmp_path / "copy", (), classes=())
    assert [c.name for c in again.classes] == ["hole", "light", "other"]
    for i in range(3):
        assert again.state(i) == project.state(i)
        for layer in ("scribbles", "labels"):
            assert np.array_equal(
                getattr(again.drawing(i), layer), getattr(project.drawing(i), layer)
            )
    assert again.thresholds(0) == {"hole": 0.6, "light": 0.7, "other": 0.7}
    assert read_thresholds(again.folder / "model.thresholds.json").of("a", "hole") == 0.6
    assert again.drawing(0).can_undo
    assert again.drawing(1).can_redo


def test_one_project_is_open_once_and_keeps_its_classes(project, opening):
    with pytest.raises(InputError):
        opening()
    project.close()
    with pytest.raises(InputError, match="added at the end"):
        opening(classes=["light"])
    more = opening(classes=[*CLASSES, "dirt"])
    assert more.classes[3].value == 4
    with pytest.raises(InputError, match="taken away"):
        more.set_classes(["dark"], [])


def test_a_replaced_image_is_told(client, project, opening, images):
    paint(client)
    project.close()
    cv2.imwrite(str(images / "a.png"), halves(9))
    again = opening()
    assert again.was_replaced(0)
    assert not again.was_replaced(1)


def test_exports_are_read_back_as_they_were_accepted(client):
    answer = client.post("/api/export", json={"kind": "label_pictures", "ground": "light"})
    assert answer.status_code == 400
    assert "accept one" in answer.json()["error"]
    paint(client)
    accept(client)
    paint(client, 0, stroke(255, (10, 10), layer="corrections"))
    labels = pixels(client, "labels")
    told = client.post("/api/export", json={"kind": "label_pictures", "ground": "light"}).json()
    data = read_dataset(told["path"])
    assert data.classes == ("light", "dark", "other")
    expected = np.array([255, 1, 0, 2], np.uint8)[labels]
    assert (data.examples[0].label_map() == expected).all()
    assert (data.examples[0].read_image()[..., 0] == halves(1)).all()
    coco = client.post("/api/export", json={"kind": "coco", "ground": "light"}).json()
    assert read_dataset(coco["path"]).classes == ("background", "dark", "other")


def test_the_next_image_is_an_uncertain_one_that_looks_different(client):
    paint(client)
    accept(client)
    ranked = client.get("/api/suggestions").json()
    assert [r["id"] for r in ranked] == [2, 1]
    assert ranked[0]["distance"] == 1


def test_large_images_are_answered_in_chunks_from_the_middle_at_any_level():
    shape = (3 * CHUNK_PX + 10, 2 * CHUNK_PX)
    kept = ShareMap(shape, 2)
    chunks = kept.chunks((0, 0, *shape))
    assert sum(c.size_px for c in chunks) == shape[0] * shape[1]
    middle = [abs((c.top + c.bottom) / 2 - shape[0] / 2) for c in chunks]
    assert middle[0] == min(middle)
    for chunk in chunks:
        rows, columns = np.mgrid[chunk.top : chunk.bottom, chunk.left : chunk.right]
        share = ((rows + columns) % 3 / 2).astype(np.float32)
        kept.put(chunk, np.stack([share, 1 - share], axis=-1), 5)
    assert all(kept.is_fresh(c, 5) for c in chunks)
    assert not any(kept.is_fresh(c, 6) for c in chunks)
    last = max(chunks)
    piece = kept.piece(last, 2, coarse=False)
    assert piece.shares.shape == (3, 64, 2)
    assert (piece.top, piece.left) == (3 * CHUNK_PX // 4, CHUNK_PX // 4)
    exact = kept.shares[last.top : last.top + 8, last.left :].reshape(2, 4, 64, 4, 2)
    assert np.abs(piece.shares[:2] - exact.mean(axis=(1, 3))).max() <= 0.5


def test_a_threshold_of_nothing_in_an_older_log_is_still_read():
    summary = Summary()
    told = {"thresholds": {"dark": 0.0, "light": 0.6}, "state": "painted"}
    summary.note(Edit("2025-01-01T00:00:00Z", "anna", "A", "", "thresholds", detail=told))
    assert summary.thresholds.of("a", "dark") == 0.01
    assert summary.states["A"].labelled is None
