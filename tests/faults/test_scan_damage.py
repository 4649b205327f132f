"""Flipped bytes in everything a run folder holds: noticed and made again, or told in one line."""

import os
import shutil
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest


def flip(path, at):
    with path.open("r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)[0]
        stream.seek(at)
        stream.write(bytes([byte ^ 0x10]))


DOCUMENTS = ("survey.json", "setups.json", "result.json", "scan.json", "inputs.jsonl")
PARTS = ("parts/find-00002.parquet", "parts/measure-00004.parquet")
TABLES = (
    "images.csv", "images.parquet", "objects.csv", "objects.parquet", "sites.csv", "sites.parquet",
    "failures.csv", "stage.json",
)  # fmt: skip


def csv_seldom(*names):
    """Twins of Parquet tables only in the thorough tests."""
    twins = ("images.csv", "objects.csv", "sites.csv")
    return [pytest.param(n, marks=pytest.mark.thorough) if n in twins else n for n in names]


@pytest.mark.parametrize("name", csv_seldom(*PARTS, *TABLES, *DOCUMENTS))
def test_flipped_byte_is_found_by_verify_and_made_again(name, copied, finished):
    before = copied.parts()
    path = copied.run / name
    flip(path, int(0.6 * path.stat().st_size))
    found = copied.ask("verify")
    assert found.code != 0 or name in ("survey.json", "setups.json"), found.output
    assert "Traceback" not in found.output
    if name in (*PARTS, *TABLES):
        assert found.code == 5
        assert found.output.splitlines()[0].startswith(f"{path}: not what was written")
        assert "makes it again" in found.output
    ended = copied.do()
    assert ended.code == 0, ended.output
    assert copied.tables() == finished.tables()
    assert copied.ask("verify").code == 0
    # Only the spoilt part is made again (and what was measured on it has the same key).
    redone = {n for n, inode in copied.parts().items() if before[n] != inode}
    assert redone == ({path.name} if name in PARTS else set())


@pytest.mark.parametrize("name", ["objects.parquet", "sites.parquet", "images.parquet"])
def test_no_number_is_read_from_a_spoilt_table(name, copied):
    from layerscope.batch.tables import load_scan
    from layerscope.errors import InputError

    path = copied.run / name
    for share in (0.2, 0.5, 0.8):
        flip(path, int(share * path.stat().st_size))
        with pytest.raises(InputError, match="not what was written; 'layerscope scan'"):
            load_scan(copied.run)
        flip(path, int(share * path.stat().st_size))
    load_scan(copied.run)


def test_spoilt_copy_of_the_calibration(copied, finished):
    (path,) = (copied.run / "given").iterdir()
    flip(path, path.read_text().index("nm = ") + 5)
    merged = copied.ask("merge", "--no-report")
    assert merged.code != 0
    assert "changed since it was given; give the same 'scan' command again" in merged.output
    assert copied.do().code == 0
    assert copied.tables() == finished.tables()


@pytest.mark.parametrize("name", csv_seldom(*PARTS, *TABLES, *DOCUMENTS, "ledger.sqlite", "given"))
def test_lost_file_is_made_again(name, copied, finished):
    path = copied.run / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = copied.ask("verify")
    assert "Traceback" not in found.output
    if name in (*PARTS, *TABLES, "ledger.sqlite"):
        assert found.code == 5
    assert copied.do().code == 0
    assert copied.tables() == finished.tables()


@pytest.fixture(scope="module")
def broken_off(finished, tmp_path_factory):
    """A small scan that was killed, with a ledger whose WAL holds what it knows."""
    images = tmp_path_factory.mktemp("few")
    for path in sorted(finished.images.iterdir())[:3]:
        (images / path.name).hardlink_to(path)
    few = replace(finished, images=images, run=tmp_path_factory.mktemp("broken") / "run")
    fault = {"place": "commit", "at": 5, "action": "die"}
    assert few.do(fault=fault).code == -9
    assert (few.run / "ledger.sqlite-wal").stat().st_size > 4096
    whole = replace(few, run=tmp_path_factory.mktemp("few_whole") / "run")
    assert whole.do().code == 0
    return few, whole


@pytest.fixture
def quick_folder(tmp_path):
    """A folder in memory where there is one: these tests are all about flushing to the disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        yield Path(name)


@pytest.mark.parametrize("ending", ["", "-wal"])
def test_every_fiftieth_byte_of_the_ledger(ending, broken_off, finished, quick_folder):
    """Whatever a spoilt ledger still says is true, or it says nothing, and it takes new entries."""
    from layerscope.batch.ledger import Entry, all_entries, all_quarantined, open_ledger

    run = finished.run if not ending else broken_off[0].run
    names = [n for n in os.listdir(run) if n.startswith("ledger.sqlite")]
    truth = {place: set(map(repr, e)) for place, e in all_entries(run).items()}
    folder, new = quick_folder, Entry("find", 99, "key", "sha")
    size = (run / f"ledger.sqlite{ending}").stat().st_size
    for at in range(0, size, 50):
        for left in folder.iterdir():
            left.unlink()
        for name in names:
            shutil.copy(run / name, folder / name)
        flip(folder / f"ledger.sqlite{ending}", at)
        for place, entries in all_entries(folder).items():
            assert set(map(repr, entries)) <= truth[place]
        assert all_quarantined(folder) == {}
        ledger = open_ledger(folder)
        ledger.record(new)
        ledger.quarantine(7, "failed_crash")
        known = ledger.entries()
        assert known.pop(("find", 99)) == new
        assert ledger.quarantined() == {7: "failed_crash"}
        assert all(repr(e) in truth[place] for place, e in known.items())
        ledger.close()


@pytest.mark.parametrize("at", [20, 1000, 4096 + 300, 8192 + 100, 12288 + 2000])
def test_scan_goes_on_with_a_spoilt_ledger(at, copied, finished):
    flip(copied.run / "ledger.sqlite", at)
    ended = copied.do()
    assert ended.code == 0, ended.output
    assert copied.tables() == finished.tables()
    assert copied.ask("verify").code == 0


def test_ledger_that_is_something_else(copied, finished):
    (copied.run / "ledger.sqlite").write_bytes(b"<html>" * 1000)
    assert copied.do().code == 0
    assert copied.tables() == finished.tables()
    # The strange file is kept, in case it matters to somebody.
    assert (copied.run / "ledger.damaged").read_bytes().startswith(b"<html>")


def test_quarantine_in_a_row_that_was_changed_is_not_believed(copied, finished):
    base = sqlite3.connect(copied.run / "ledger.sqlite")
    with base:
        base.execute("INSERT INTO quarantine VALUES (3, '', 'failed_crash')")
        base.execute("INSERT INTO parts VALUES ('find', 4.5, X'ff00')")
        base.execute("INSERT INTO parts VALUES (NULL, NULL, NULL)")
    base.close()
    assert copied.do().code == 0
    assert copied.tables() == finished.tables()
