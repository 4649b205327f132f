"""Workers that die, hang or talk nonsense, played by a script instead of the real one."""

import stat
import sys

import pytest

from layerscope.batch import workers
from layerscope.batch.ledger import Entry
from layerscope.batch.work import Task
from layerscope.batch.workers import Child, Workers
from layerscope.errors import CannotWrite, InputError, LayerscopeError

SCRIPT = """#!{python} -S
import json, os, sys, time
for line in sys.stdin:
    task = json.loads(line)
    def say(**document):
        sys.stdout.write(json.dumps(document) + "\\n")
        sys.stdout.flush()
    for image in range(task["chunk"] * 10, task["chunk"] * 10 + 3):
        if str(image) not in task["skip"]:
            say(image=image)
            {fault}
    say(entry={entry!r})
"""


@pytest.fixture
def play(tmp_path, monkeypatch):
    """Have workers played by a script with a fault; gives what a `Child` is made of."""

    def make(fault, stage="find"):
        path = tmp_path / "worker"
        entry = Entry(stage, 0, "key", "sha").as_json()
        path.write_text(SCRIPT.format(python=sys.executable, fault=fault, entry=entry))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(workers.sys, "executable", str(path))
        return Child(tmp_path, 0.5)

    return make


def done(child, stage="find"):
    try:
        return child.do(Task(stage, 0, "key"))
    finally:
        child.close()


def test_all_well(play):
    outcome = done(play("pass"))
    assert (outcome.chunk, outcome.entry, outcome.set_aside) == (
        0, Entry("find", 0, "key", "sha"), {},
    )  # fmt: skip


def test_image_that_kills_twice_is_set_aside(play):
    assert done(play("if image == 1: os.abort()")).set_aside == {1: "failed_crash"}


def test_image_that_kills_once_is_not(play, tmp_path):
    marker = str(tmp_path / "struck")
    fault = f"if image == 1 and not os.path.exists({marker!r}): open({marker!r}, 'w'); os.abort()"
    assert done(play(fault)).set_aside == {}


def test_slow_image_is_set_aside_at_once(play):
    outcome = done(play("if image == 2: time.sleep(60)"))
    assert outcome.set_aside == {2: "failed_timeout"}
    assert outcome.entry is not None


def test_every_image_kills(play):
    outcome = done(play("os.abort()"))
    assert outcome.set_aside == dict.fromkeys(range(3), "failed_crash")
    assert outcome.entry is not None


def test_image_that_kills_whoever_measures_it_is_reported_without_an_entry(play):
    outcome = done(play("if image == 1: os.abort()", "measure"), "measure")
    assert (outcome.entry, outcome.set_aside) == (None, {1: "failed_crash"})


def test_half_a_line_and_nonsense_are_passed_over(play):
    outcome = done(play("sys.stdout.write('{\"image\": 1\\n')"))
    assert outcome.entry is not None


def test_death_before_any_image_ends_the_scan_in_one_line(play, tmp_path):
    child, path = play("pass"), tmp_path / "worker"
    path.write_text(path.read_text().replace("import json", "raise SystemExit(1)\nimport json", 1))
    with pytest.raises(LayerscopeError, match=r"died 3 times before it looked at an image.*--work"):
        done(child)


@pytest.mark.parametrize(
    ("kind", "raised"), [("CannotWrite", CannotWrite), ("UnreadableFile", LayerscopeError)]
)
def test_error_of_a_worker_is_raised_here(kind, raised, play):
    with pytest.raises(raised, match="no room"):
        done(play(f"say(error='no room', kind={kind!r})"))


def test_several_workers_do_every_task_once_and_stop_when_told(play, tmp_path):
    play("pass")
    engine = Workers(tmp_path, 3, 5.0)
    tasks = [Task("find", 0, str(k)) for k in range(12)]
    assert len(list(engine.run(tasks))) == 12
    engine.stop()
    assert list(engine.run(tasks)) == []
    engine.close()


def test_no_workers():
    with pytest.raises(InputError, match="workers 0: expected 1 or more"):
        Workers(None, 0, 1.0)
