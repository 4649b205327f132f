"""One driver per run folder."""

import os
import socket
import subprocess
import sys

import pytest

from layerscope.batch.lock import RunLock, sweep
from layerscope.errors import CannotWrite, InputError


def test_held_once_and_free_afterwards(tmp_path):
    lock = RunLock(tmp_path)
    assert not lock.is_held()
    with lock:
        assert RunLock(tmp_path).is_held()
        who = f"process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(InputError, match=f"being worked on by {who}: wait for it, or stop it"):
            RunLock(tmp_path).__enter__()
        with pytest.raises(InputError, match="being worked on"):
            RunLock(tmp_path).require_free()
        with RunLock(tmp_path, "shard-0-of-2"):
            pass
    assert not lock.is_held()
    lock.require_free()


DIE_HOLDING = """
import os, pathlib, sys
from layerscope.batch.lock import RunLock
RunLock(pathlib.Path(sys.argv[1])).__enter__()
os._exit(9)
"""


def test_lock_of_a_dead_process_is_free(tmp_path):
    assert subprocess.run([sys.executable, "-c", DIE_HOLDING, tmp_path]).returncode == 9
    assert (tmp_path / ".driver.json").exists()
    assert not RunLock(tmp_path).is_held()
    with RunLock(tmp_path):
        pass


def test_spoilt_note_of_who_it_is(tmp_path):
    with RunLock(tmp_path):
        (tmp_path / ".driver.json").write_text("[1")
        with pytest.raises(InputError, match="by another process"):
            RunLock(tmp_path).__enter__()


def test_no_folder(tmp_path):
    with pytest.raises(CannotWrite, match=r"cannot write to .*unable to open"):
        RunLock(tmp_path / "none").__enter__()
    assert not RunLock(tmp_path / "none").is_held()


def test_sweep_leaves_files_alone_while_a_shard_writes(tmp_path):
    (tmp_path / "parts").mkdir()
    left = tmp_path / "parts" / ".find-00001.parquet.x1.tmp"
    own = tmp_path / "notes.tmp"
    for path in (left, own):
        path.touch()
    with RunLock(tmp_path, "shard-0-of-2"):
        sweep(tmp_path)
        assert left.exists()
    sweep(tmp_path)
    assert not left.exists()
    assert own.exists()
