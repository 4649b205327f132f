"""Counts and what is told of them."""

import json

import pytest

from layerscope.batch import progress
from layerscope.batch.ledger import Entry, ImageEntry
from layerscope.batch.progress import Progress, Snapshot, read_progress


def found(chunk, statuses, regions=3):
    images = tuple(ImageEntry(k, s, 1, 1, "") for k, s in enumerate(statuses))
    return Entry("find", chunk, "key", "sha", images, regions, {"mpix": 4.0})


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_counts_rates_and_time_left(clock):
    seen = []
    counter = Progress(listener=seen.append)
    counter.begin("find", 20, done=4)
    counter.known(found(0, ["ok", "failed_decode"]))
    assert (counter.snapshot().images_done, counter.snapshot().seconds_left) == (4, None)
    clock[0] += 2
    for number in range(4):
        counter.image(number)
    assert counter.snapshot().images_done == 7  # the fourth is under way
    counter.finished(found(1, ["ok", "ok_empty", "failed_crash", "ok"]), 4)
    now = counter.snapshot()
    assert now == Snapshot("find", 20, 8, 6, 2, 2.0, 2.0, 6.0)
    assert seen[-1] == now
    assert str(now) == (
        "find: 8 of 20 images, 2.0 images/s, 2 MPix/s, 0:06 min left, 6 regions, 2 failed"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(59.6, "1:00 min"), (3600, "1 h 00 min"), (5025, "1 h 23 min")]
)
def test_time_left_in_words(seconds, text):
    assert f"{text} left" in str(Snapshot("find", 1, 0, 0, 0, 1.0, 0.0, seconds))


def test_written_at_most_every_two_seconds_and_read_back(clock, tmp_path):
    counter = Progress(tmp_path)
    first = (tmp_path / "progress.json").read_text()
    counter.begin("find", 9)
    assert (tmp_path / "progress.json").read_text() == first
    clock[0] += 3
    counter.image(0)
    assert read_progress(tmp_path).stage == "find"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"stage": "find"}', "\xff"])
def test_spoilt_file_is_no_progress(content, tmp_path):
    (tmp_path / "progress.json").write_text(content, encoding="latin-1")
    assert read_progress(tmp_path) is None
    assert read_progress(tmp_path / "none") is None


def test_a_full_disk_does_not_stop_the_counting(tmp_path):
    counter = Progress(tmp_path / "none")
    counter.begin("find", 1)
    counter.image(0)
    assert counter.snapshot().images == 1
    assert json.dumps(counter.snapshot().__dict__)
