"""However the work is cut and handed out, the tables have the same bytes; and nothing leaks."""

import os
import random
import re
from dataclasses import replace

import pandas as pd
import pytest

from layerscope.io.tables import TableWriter


def options_without_calibration(options):
    at = options.index("--calibration")
    return (*options[:at], *options[at + 2 :])


@pytest.fixture(scope="module")
def calibrated_by_itself(finished, tmp_path_factory):
    """The scan that also fits its own calibration: here whatever depends on order would show."""
    own = options_without_calibration(finished.options)
    scan = replace(finished, options=own, run=tmp_path_factory.mktemp("serial") / "run")
    assert scan.do().code == 0
    return scan


def test_two_worker_processes(calibrated_by_itself, tmp_path):
    scan = replace(calibrated_by_itself, run=tmp_path / "run")
    ended = scan.do("--workers", "2", inline=False)
    assert ended.code == 0, ended.output
    assert scan.tables() == calibrated_by_itself.tables()


@pytest.mark.thorough
def test_four_shards_merged(calibrated_by_itself, tmp_path):
    scan = replace(calibrated_by_itself, run=tmp_path / "run")
    for k in (2, 0, 3, 1):
        ended = scan.do("--shard", f"{k}/4")
        assert ended.code == 0
        assert ended.last_line.startswith(f"shard {k}/4 done; 'layerscope merge ")
        assert not (scan.run / "result.json").exists()
    before = scan.parts()
    ended = scan.ask("merge", "--no-report")
    assert ended.code == 0, ended.output
    assert scan.tables() == calibrated_by_itself.tables()
    assert before.items() <= scan.parts().items()  # nothing was found a second time
    assert scan.status()["finished"]
    assert scan.ask("verify").code == 0


def test_merge_does_what_a_lost_shard_has_not(finished, tmp_path):
    scan = replace(finished, run=tmp_path / "run")
    for k in (0, 2):
        assert scan.do("--shard", f"{k}/3").code == 0
    assert scan.ask("merge", "--no-report").code == 0
    assert scan.tables() == finished.tables()


def test_shuffled_inputs(finished, tmp_path):
    names = random.Random(4).sample(sorted(finished.images.iterdir()), 12)
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(map(str, names)))
    scan = replace(finished, images=listed, run=tmp_path / "run")
    assert scan.do().code == 0
    assert scan.tables() == finished.tables()


@pytest.mark.parametrize("images", ["1", "5", "64"])
def test_other_chunks(images, finished, calibrated_by_itself, tmp_path):
    whole = calibrated_by_itself if images == "5" else finished
    scan = replace(whole, run=tmp_path / "run")
    assert scan.do("--chunk", images).code == 0
    assert scan.tables() == whole.tables()


@pytest.mark.parametrize("pieces", [[7], [3, 4], [1] * 7, [0, 5, 0, 2]])
def test_parquet_does_not_show_its_pieces(pieces, tmp_path, monkeypatch):
    monkeypatch.setattr("layerscope.io.tables._GROUP_ROWS", 3)
    frame = pd.DataFrame({"a": range(7), "b": list("xyxxyzz"), "c": [0.5, None] * 3 + [1.0]})
    start = 0
    with TableWriter(tmp_path / "t.parquet", units={"c": "um"}) as table:
        for n in pieces:
            table.append(frame.iloc[start : start + n])
            start += n
    with TableWriter(tmp_path / "whole.parquet", units={"c": "um"}) as table:
        table.append(frame)
    assert (tmp_path / "t.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), frame)


MEASURE = """
import os, resource, sys
from layerscope.batch.work import Desk, Task
def held():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * resource.getpagesize() // 1024, len(os.listdir("/proc/self/fd"))
desk = Desk(sys.argv[1])
desk.do(Task("survey", 0, ""))
for chunk in range(desk.plan.n_chunks):
    desk.do(Task("find", chunk, ""))
    sys.stdout.write("%d %d\\n" % held())
"""


@pytest.mark.thorough
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="reads /proc")
def test_memory_and_open_files_stay_flat(own_scan, tmp_path):
    """2,400 images through one worker: not a kilobyte per image stays, and no file open."""
    import subprocess
    import sys

    import numpy as np

    from layerscope.batch.scan import begin
    from layerscope.batch.settings import Settings
    from layerscope.io import read
    from layerscope.io.sources import name_sources

    data = read(own_scan.images / "field_00.jpg").data[:48, :64]
    for path in own_scan.images.iterdir():
        path.unlink()
    np.save(own_scan.images / "image.npy", data)
    for k in range(1500):
        os.link(own_scan.images / "image.npy", own_scan.images / f"{k:04d}.npy")
    settings = Settings("graphene", "SiO2(90nm)/Si", pixel_size="0.3844um", tone="linear")
    begin(name_sources([own_scan.images]), own_scan.run, settings, chunk_images=100)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, own_scan.run], capture_output=True, text=True, check=True
    )
    kilobytes, files = np.array([re.findall(r"\d+", x) for x in done.stdout.splitlines()], int).T
    slope = np.polyfit(np.arange(len(kilobytes) - 8) * 100, kilobytes[8:], 1)[0]
    assert slope < 1, kilobytes
    assert len(set(files)) == 1
