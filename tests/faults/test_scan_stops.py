"""Interruptions, poison, slow images, two drivers, a full disk: what is told, and what is kept."""

import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest


def sabotage(**faults):
    """Environment in which workers fail on files of these stems."""
    named = {f"{stem}.jpg": action for stem, action in faults.items()}
    return {"SABOTAGE": json.dumps(named)}


def statuses(scan):
    images = pd.read_parquet(scan.run / "images.parquet")
    return dict(zip(images["image"], images["status"], strict=True))


def processes_of(run):
    """Worker processes of a run folder that are alive, from /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
            zombie = (path.parent / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if b"layerscope.batch.worker" in words and os.fsencode(run) in words and not zombie:
            found.append(int(path.parent.name))
    return found


def wait_until_none(run):
    end = time.monotonic() + 20
    while processes_of(run):
        assert time.monotonic() < end, "workers outlive their driver"
        time.sleep(0.02)


@pytest.mark.thorough
def test_poison_and_slow_images_cost_themselves_only(scan, finished, tmp_path):
    """One aborts its reader always, one hangs, one aborts once: then 'retry' gets two of them."""
    environ = sabotage(field_02="abort", field_05="hang", field_09=str(tmp_path / "once"))
    ended = scan.do("--workers", "2", "--timeout", "8", inline=False, environ=environ)
    assert ended.code == 3, ended.output
    found = statuses(scan)
    assert found.pop("field_02") == "failed_crash"
    assert found.pop("field_05") == "failed_timeout"
    assert set(found.values()) <= {"ok", "ok_empty"}
    assert len(found) == 10
    failures = pd.read_csv(scan.run / "failures.csv")
    assert failures["image"].tolist() == ["field_02", "field_05"]
    assert "killed its worker twice; 'retry'" in failures["reason"][0]
    assert "took longer" in failures["reason"][1]
    wait_until_none(scan.run)
    status = scan.status()
    assert status["failed"] == 2
    assert sum(status["by_status"].values()) == status["images"] == 12

    assert scan.do().code == 3  # nothing is tried again unasked
    assert scan.ask("retry", "--status", "failed_decode").output.startswith("0 images")
    assert scan.ask("retry").output.startswith("2 images")
    assert scan.do().code == 0
    assert set(statuses(scan).values()) <= {"ok", "ok_empty"}
    # The survey of the first session had to do without two images, so numbers may differ a little.
    whole, again = (pd.read_parquet(s.run / "objects.parquet") for s in (finished, scan))
    assert again[["image", "region_id"]].equals(whole[["image", "region_id"]])


def wait_for_one(run):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := processes_of(run):
            return found[:1]
        time.sleep(0.001)
    pytest.fail("no worker")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_one_signal_finishes_what_is_in_hand(number, scan, finished):
    running = scan.start("--workers", "2", own_group=True)
    scan.until(lambda s: len(s.parts()) >= 1)
    os.killpg(running.pid, number)  # as a terminal and a batch system do: to all at once
    ended = running.wait()
    assert ended.code == 130, ended.output
    assert "stopping after the images in hand" in ended.output
    assert ended.last_line.startswith("layerscope: stopped after")
    assert ended.last_line.endswith("the same command goes on")
    assert "Traceback" not in ended.output
    wait_until_none(scan.run)
    status = scan.status()
    assert not status["running"]
    assert not status["finished"]
    assert status["failed"] == 0
    kept = scan.parts()
    assert scan.do().code == 0
    assert scan.tables() == finished.tables()
    assert kept.items() <= scan.parts().items()


def test_two_signals_stop_at_once(scan, finished):
    environ = sabotage(field_06="hang")
    running = scan.start("--workers", "1", "--timeout", "500", environ=environ)
    wait_for_one(scan.run)
    time.sleep(0.5)
    running.kill(signal.SIGINT)
    scan.until(lambda _: "stopping" in running.output)
    running.kill(signal.SIGINT)
    assert running.wait().code == 130
    wait_until_none(scan.run)
    assert scan.do().code == 0
    assert scan.tables() == finished.tables()


def test_second_driver_is_refused_and_a_dead_one_replaced(scan, finished, server):
    from layerscope.batch.lock import RunLock

    assert scan.ask("status").code == 2  # no scan there yet
    running = scan.start(inline=True)
    scan.until(lambda s: len(s.parts()) >= 1)
    os.kill(running.pid, signal.SIGSTOP)
    status = in_process("status", scan.run, "--json")
    assert status[0] == 0
    assert json.loads(status[1])["running"]
    argv = ["scan", scan.images, "-o", scan.run, *scan.options]
    for command in (argv, ["merge", scan.run], ["retry", scan.run]):
        code, output = in_process(*command)
        assert code == 2
        assert f"is being worked on by process {running.pid} on " in output
        assert "wait for it, or stop it" in output
    code, output = in_process(*argv[:1], scan.images, finished.run / "more.jpg", *argv[2:])
    assert code == 2
    assert "is being worked on" in output
    os.kill(running.pid, signal.SIGKILL)
    os.kill(running.pid, signal.SIGCONT)
    assert running.wait().code == -9
    assert not RunLock(scan.run).is_held()
    assert scan.do().code == 0
    assert scan.tables() == finished.tables()


def in_process(*argv):
    """Exit code and output of a command run here."""
    from typer.testing import CliRunner

    from layerscope.cli import app
    from layerscope.errors import InputError

    result = CliRunner().invoke(app, [str(a) for a in argv])
    if isinstance(result.exception, InputError):  # `main` turns these into a line and code 2
        return 2, str(result.exception)
    return result.exit_code, result.output


@pytest.mark.parametrize(
    "at", [1, 20, 50, *(pytest.param(n, marks=pytest.mark.thorough) for n in (9, 30))]
)
def test_full_disk(at, scan, finished):
    fault = {"place": "sync", "at": at, "action": "full"}
    ended = scan.do(fault=fault)
    assert ended.code == 1, ended.output
    told = [line for line in ended.output.splitlines() if line.startswith("layerscope: ")]
    assert len(told) == 1
    assert "cannot write" in told[0]
    assert "No space left on device" in told[0]
    assert "make room" in told[0]
    assert "Traceback" not in ended.output
    assert scan.leftovers() == []
    assert scan.do().code == 0
    assert scan.tables() == finished.tables()


@pytest.mark.parametrize("limit", [4_000, 30_000, 70_000])
def test_file_size_limit(limit, scan, finished):
    """A real limit of the system: parts, the ledger or a table cannot grow."""
    ended = scan.do(max_file_bytes=limit)
    assert ended.code == 1, ended.output
    told = [line for line in ended.output.splitlines() if line.startswith("layerscope: ")]
    assert len(told) == 1
    assert "cannot write" in told[0]
    assert "make room" in told[0]
    assert "Traceback" not in ended.output
    assert "Exception ignored" not in ended.output
    assert scan.leftovers() == []
    assert scan.do().code == 0
    assert scan.tables() == finished.tables()


def test_worker_on_a_full_disk_is_told_by_the_driver(scan, finished):
    ended = scan.do("--workers", "1", inline=False, max_file_bytes=6_000)
    assert ended.code == 1
    assert ended.last_line.startswith("layerscope: cannot write ")
    assert ended.last_line.endswith("File too large; make room there")
    wait_until_none(scan.run)
    assert scan.do().code == 0
    assert scan.tables() == finished.tables()


@contextmanager
def only_readable(folder):
    """Take the right to write from everybody."""
    inside = [folder, *folder.rglob("*")]
    before = {path: path.stat().st_mode for path in inside}
    for path in inside:
        path.chmod(before[path] & ~0o222)
    try:
        yield
    finally:
        for path in inside:
            path.chmod(before[path])


@pytest.mark.skipif(sys.platform != "linux", reason="root has to give up its rights")
def test_run_folder_that_cannot_be_written(copied):
    with only_readable(copied.run):
        ended = copied.do(humble=True)
        assert ended.code == 1, ended.output
        assert ended.last_line.startswith(f"layerscope: cannot write {copied.run}")
        assert ended.last_line.endswith("Permission denied; give another folder")
        # An archive can still be looked at.
        status = json.loads(copied.ask("status", "--json", humble=True).output)
        assert status["looked_at"] == 12
        assert status["finished"]
        assert not status["running"]
        assert copied.ask("verify", humble=True).code == 0
        below = replace(copied, run=copied.run / "deeper").do(humble=True)
        assert below.code == 1
        assert below.last_line.endswith("Permission denied; choose another -o")


def test_shard_without_chunks_does_nothing(scan):
    assert scan.do("--shard", "7/9").code == 0
    assert scan.parts() == {}
