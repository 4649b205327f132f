"""A driver killed at any moment: asked again, the scan ends as if nothing had happened."""

import os
import random
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest


def rejoined(scan, whole, *, at_most=1, **job):
    """Ask again; the result must be the undisturbed one, with nothing lying about."""
    done = set(scan.entries()) if scan.run.exists() else set()
    before = scan.parts()
    ended = scan.do(**job)
    assert ended.code == 0, ended.output
    assert scan.tables() == whole.tables()
    assert scan.leftovers() == []
    after = scan.parts()
    redone = [n for n in before if after[n] != before[n]]
    # What was in the ledger is never done again; at most the parts in hand were lost.
    assert {f"{s}-{c:05d}.parquet" for s, c in done}.isdisjoint(redone)
    assert len(redone) <= at_most


@pytest.fixture(scope="module")
def one_run_s(finished, tmp_path_factory):
    """How long the undisturbed scan takes now."""
    again = replace(finished, run=tmp_path_factory.mktemp("timed") / "run")
    start = time.monotonic()
    assert again.do().code == 0
    return time.monotonic() - start


@pytest.mark.parametrize(
    "seed",
    [*range(8), *(pytest.param(s, marks=pytest.mark.thorough) for s in range(8, 20))],
)
def test_driver_killed_at_a_random_moment(seed, scan, finished, one_run_s):
    running = scan.start(inline=True)
    time.sleep(random.Random(seed).uniform(0.02, 1) * one_run_s)
    running.kill()
    assert running.wait().code in (-9, 0)
    rejoined(scan, finished)


@pytest.fixture(scope="module")
def few(finished, tmp_path_factory):
    """A finished scan of three images in two chunks, and a function that gives one not begun."""
    images = tmp_path_factory.mktemp("few")
    for path in sorted(finished.images.iterdir())[:3]:
        (images / path.name).hardlink_to(path)
    whole = replace(finished, images=images, run=tmp_path_factory.mktemp("few_whole") / "run")
    assert whole.do().code == 0
    return whole


@pytest.mark.parametrize("place", [pytest.param("rename", marks=pytest.mark.thorough), "commit"])
def test_driver_killed_before_every_rename_and_every_commit(place, few, tmp_path):
    """Between a temporary file and its name, and between a part and its entry in the ledger."""
    fault = {"place": place, "action": "die"}
    counted = replace(few, run=tmp_path / "counted").do(fault=fault | {"at": 1e9})
    calls = int(re.search(r"calls: (\d+)", counted.output)[1])
    assert calls >= {"rename": 18, "commit": 5}[place]
    for at in range(1, calls + 1):
        scan = replace(few, run=tmp_path / f"run-{at}")
        assert scan.do(fault=fault | {"at": at}).code == -9
        rejoined(scan, few)


def children_of(pid):
    """Processes whose parent is `pid`, from /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def gone(pids, patience_s=20):
    end = time.monotonic() + patience_s
    while time.monotonic() < end and not all(map(is_gone, pids)):
        time.sleep(0.02)
    return all(map(is_gone, pids))


has_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")


@has_proc
@pytest.mark.parametrize("seed", range(3))
def test_driver_of_two_workers_killed(seed, scan, finished):
    running = scan.start("--workers", "2")
    parts = random.Random(seed).randint(1, 6)
    scan.until(lambda s: len(s.parts()) >= parts)
    workers = children_of(running.pid)
    running.kill()
    assert running.wait().code == -9
    assert gone(workers)
    rejoined(scan, finished, at_most=2)


@pytest.mark.thorough
@has_proc
def test_workers_killed(scan, finished):
    """All workers die, once while they find and once while they measure; new ones go on."""
    running = scan.start("--workers", "2")
    for stage in ("find", "measure"):
        scan.until(lambda s, stage=stage: any(n.startswith(stage) for n in s.parts()))
        for pid in children_of(running.pid):
            os.kill(pid, 9)
    ended = running.wait()
    assert ended.code == 0, ended.output
    assert ended.output.splitlines()[-1].startswith("results in")
    assert "Traceback" not in ended.output
    assert scan.tables() == finished.tables()
    assert scan.leftovers() == []
    assert scan.status()["failed"] == 0
