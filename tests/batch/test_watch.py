"""Images that come while they are waited for, from a microscope that is slow, stops or errs."""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.batch.arrivals import Arrivals
from layerscope.batch.plan import Plan
from layerscope.batch.scan import Interrupted, begin, run_scan
from layerscope.batch.settings import Settings
from layerscope.batch.watch import watch_scan
from layerscope.batch.workers import Workers
from layerscope.errors import InputError
from layerscope.io.sources import name_sources
from layerscope.io.whole import has_end
from layerscope.synth import synth_set

FIRST, ALL = 12, 16
SETTINGS = Settings("graphene", "SiO2(90nm)/Si", pixel_size="0.3844um", tone="linear")


@pytest.fixture(scope="module")
def encoded():
    made = synth_set(5, ALL, shape=(200, 260), n_flakes=3, clutter=0.3)
    return {f"img{k:02d}.jpg": image.encoded for k, image in enumerate(made)}


@pytest.fixture(scope="module")
def calibrated(encoded, tmp_path_factory):
    """Settings with the calibration of an ordinary scan of the same images."""
    folder = tmp_path_factory.mktemp("calibrated")
    write(folder, encoded)
    plan = begin(name_sources([folder]), folder / "run", SETTINGS)
    run_scan(plan, workers, report=False)
    return Settings(
        "graphene", "SiO2(90nm)/Si", pixel_size="0.3844um", tone="linear",
        calibration=str(folder / "run" / "calibration.toml"),
    )  # fmt: skip


def workers(plan, progress):
    return Workers(plan.folder, 2, 60.0, progress.image)


def write(folder, images):
    folder.mkdir(exist_ok=True)
    for name, content in images.items():
        (folder / name).write_bytes(content)


def write_slowly(path, content, pieces=3, pause_s=0.03):
    with path.open("wb") as stream:
        for part in np.array_split(np.frombuffer(content, np.uint8), pieces):
            stream.write(part.tobytes())
            stream.flush()
            time.sleep(pause_s)


def some(images, start, stop=None):
    return dict(list(images.items())[start:stop])


# --- when a file is complete ---------------------------------------------------------------------


def picture(suffix):
    rng = np.random.default_rng(0)
    return cv2.imencode(suffix, rng.integers(90, 130, (40, 50, 3)).astype(np.uint8))[1].tobytes()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp"])
@given(cut=st.floats(0, 0.999))
def test_no_beginning_of_a_file_has_an_end(tmp_path_factory, suffix, cut):
    content, path = picture(suffix), tmp_path_factory.getbasetemp() / f"cut{suffix}"
    path.write_bytes(content[: int(cut * len(content))])
    assert not has_end(path)
    path.write_bytes(content)
    assert has_end(path)


def test_a_trailer_of_the_camera_is_no_lack_of_an_end(tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture(".jpg") + b"\0" * 2000)
    assert has_end(tmp_path / "a.jpg")
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY")
    assert not has_end(tmp_path / "a.npy")
    assert not has_end(tmp_path / "none.jpg")


def names(arrivals):
    return [os.path.basename(a.path) for a in arrivals]


def test_complete_at_the_second_look_and_only_once(tmp_path):
    write(
        tmp_path, {"b.jpg": picture(".jpg"), "a.png": picture(".png"), ".c.jpg": b"", "d.txt": b""}
    )
    os.mkfifo(tmp_path / "e.jpg")
    (tmp_path / "f.jpg").mkdir()
    (tmp_path / "g.jpg").symlink_to(tmp_path / "g.jpg")
    watched = Arrivals([tmp_path])
    assert watched.look(0.0) == []
    assert names(watched.look(0.5)) == ["a.png", "b.jpg"]
    assert watched.look(1.0) == []
    assert watched.pending == 0


def test_growing_files_are_waited_for_and_said_so(tmp_path):
    lines, content = [], picture(".jpg")
    watched = Arrivals([tmp_path], patience_s=2.0, tell=lines.append)
    for k in range(1, 9):
        (tmp_path / "a.jpg").write_bytes(content[: 300 * k])
        assert watched.look(0.5 * k) == []
    assert len(lines) == 1
    assert "still being written" in lines[0]
    (tmp_path / "a.jpg").write_bytes(content)
    assert watched.look(10.0) == []
    (arrival,) = watched.look(10.5)
    assert arrival.since_s == 4.0  # the last look at which it was not whole
    assert arrival.stamp[0] == len(content)


def test_a_truncated_file_is_taken_when_patience_ends(tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture(".jpg")[:-50])
    lines = []
    watched = Arrivals([tmp_path], patience_s=2.0, tell=lines.append)
    assert [names(watched.look(t)) for t in (0, 1.0, 1.9, 2.0)] == [[], [], [], ["a.jpg"]]
    assert "unchanged for 2 s" in lines[0]


def test_renamed_into_place_and_replaced(tmp_path):
    watched = Arrivals([tmp_path])
    (tmp_path / "a.tmp").write_bytes(picture(".jpg"))
    assert watched.look(0.0) == watched.look(0.5) == []
    (tmp_path / "a.tmp").rename(tmp_path / "a.jpg")
    assert watched.look(1.0) == []
    assert names(watched.look(1.5)) == ["a.jpg"]
    (tmp_path / "a.jpg").write_bytes(picture(".jpg") + b"\0")
    assert watched.look(2.0) == []
    assert names(watched.look(2.5)) == ["a.jpg"]
    (tmp_path / "b.jpg").write_bytes(picture(".jpg"))
    assert watched.look(3.0) == []
    (tmp_path / "b.jpg").rename(tmp_path / "c.jpg")
    assert watched.look(3.5) == []
    assert names(watched.look(4.0)) == ["c.jpg"]
    assert watched.pending == 0


def test_a_folder_that_vanishes_is_waited_for(tmp_path):
    lines, folder = [], tmp_path / "drive"
    watched = Arrivals([folder], tell=lines.append)
    assert watched.look(0.0) == watched.look(0.5) == []
    write(folder, {"a.jpg": picture(".jpg")})
    watched.look(1.0)
    folder.rename(tmp_path / "away")
    assert watched.look(1.5) == []
    (tmp_path / "away").rename(folder)
    assert names(watched.look(2.0)) == ["a.jpg"]
    assert [line.split(": ")[1] for line in lines] == [
        "No such file or directory; waiting for it", "there again",
    ] * 2  # fmt: skip


def test_folders_in_folders_but_not_the_results(tmp_path):
    for name in ("x", "run"):
        write(tmp_path / name, {"a.jpg": picture(".jpg")})
    watched = Arrivals([tmp_path], deep=True, without=tmp_path / "run")
    watched.look(0.0)
    assert [a.path for a in watched.look(0.5)] == [str(tmp_path / "x" / "a.jpg")]
    with pytest.raises(InputError, match="takes folders"):
        Arrivals([tmp_path / "*.jpg"])


# --- the whole watch -----------------------------------------------------------------------------


@pytest.mark.thorough
def test_latency_and_every_way_to_write(encoded, calibrated, tmp_path):
    folder, lines, printed, written = tmp_path / "in", [], {}, {}
    running = threading.Event()  # the workers have started, the light is settled

    def tell(line):
        lines.append(line)
        printed.setdefault(line.split(":")[0], time.monotonic())
        if f"img{FIRST - 1}" in printed:
            running.set()

    def microscope():
        for k, (name, content) in enumerate(encoded.items()):
            if k == FIRST:
                running.wait(60)
            if k < FIRST or k == ALL - 1:
                (folder / name).write_bytes(content if k < FIRST else content[:-2000])
            elif k == FIRST:
                write_slowly(folder / "x.tmp", content)
                (folder / "x.tmp").rename(folder / name)
            else:
                write_slowly(folder / name, content, pause_s=0.2)
            written[name[:-4]] = time.monotonic()
            time.sleep(0.05 if k < FIRST else 0.4)

    folder.mkdir()
    thread = threading.Thread(target=microscope)
    thread.start()
    result = watch_scan(
        [folder], tmp_path / "run", calibrated, workers,
        idle_s=4.0, patience_s=1.5, tell=tell, report=False,
    )  # fmt: skip
    thread.join()
    assert list(result.images["image"]) == list(written)
    assert dict(result.images["status"].value_counts())["failed_decode"] == 1
    assert result.images["reason"].iloc[-1] != ""
    late = [printed[n] - written[n] for n in list(written)[FIRST:-1]]
    assert 0 < statistics.median(late) < 2
    shown = [line for line in lines if line.startswith("img")]
    assert len(shown) == ALL
    assert "failed_decode" in shown[-1]
    assert any(re.search(r"\d+ layers? \(p 0\.\d+\) \d+\.\d um; after \d\.\d s$", s) for s in shown)
    said = [float(re.search(r"after ([\d.]+) s", s)[1]) for s in shown[FIRST:-1]]
    assert all(s >= t - 0.06 for s, t in zip(said, late, strict=True))  # never understated
    assert "median" in lines[-1]


@pytest.fixture(scope="module")
def uninterrupted(encoded, calibrated, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return watched_with_calibration(folder, encoded, calibrated, idle_s=1.5)


def watched_with_calibration(folder, images, settings, **options):
    write(folder / "in", some(images, 0, FIRST))
    thread = threading.Timer(3.0, write, (folder / "in", some(images, FIRST)))
    thread.start()
    watch_scan([folder / "in"], folder / "run", settings, workers, report=False, idle_s=5.0)
    thread.join()
    return folder / "run"


def tables(run):
    """The tables, without the column that names the folder."""
    images = [line.split(",") for line in (run / "images.csv").read_text().splitlines()]
    return (
        (run / "objects.csv").read_bytes(),
        (run / "sites.csv").read_bytes(),
        [[*row[:1], *row[2:]] for row in images],
    )


class Terminal:
    """A watch started as a user does, and its lines as they come."""

    def __init__(self, folder, run, calibration):
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "layerscope", "scan", "--watch", str(folder),
                "-m", "graphene", "-s", "SiO2(90nm)/Si", "--pixel-size", "0.3844um",
                "--tone", "linear", "--calibration", calibration, "-o", str(run), "--no-report",
            ],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def wait_for(self, images):
        seen = 0
        for line in self.process.stdout:
            seen += line.startswith("img")
            if seen == images:
                return
        raise AssertionError("the watch ended by itself")

    def end(self, number):
        self.process.send_signal(number)
        with self.process.stdout as stream:
            rest = stream.read()
        return self.process.wait(), rest


@pytest.mark.thorough
def test_killed_and_stopped_it_ends_as_if_it_had_never_been(
    encoded, calibrated, uninterrupted, tmp_path
):
    folder, run = tmp_path / "in", tmp_path / "run"
    write(folder, some(encoded, 0, FIRST))
    first = Terminal(folder, run, calibrated.calibration)
    first.wait_for(2)
    assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL
    second = Terminal(folder, run, calibrated.calibration)
    write(folder, some(encoded, FIRST))
    second.wait_for(ALL - FIRST)
    code, rest = second.end(signal.SIGINT)
    assert code == 0
    assert "16 images, all analysed" in rest
    assert tables(run) == tables(uninterrupted)
    assert [i.number for i in Plan.load(run).inputs] == list(range(ALL))


def test_a_scan_goes_on_with_a_watched_folder_and_finds_nothing_to_do(uninterrupted, calibrated):
    before = tables(uninterrupted)
    sources = name_sources([uninterrupted.parent / "in"])
    plan = begin(sources, uninterrupted, calibrated)

    def nothing(plan, progress):
        raise AssertionError("there is work")

    run_scan(plan, nothing, report=False)
    assert tables(uninterrupted) == before


def test_a_replaced_image_is_analysed_again(uninterrupted, encoded, calibrated):
    folder, lines = uninterrupted.parent / "in", []
    content = encoded["img03.jpg"]
    (folder / "img02.jpg").write_bytes(content)
    result = watch_scan(
        [folder], uninterrupted, calibrated, workers, report=False, idle_s=0.6, tell=lines.append
    )
    (folder / "img02.jpg").write_bytes(encoded["img02.jpg"])
    own = {n: f.drop(columns=["image"]) for n, f in result.objects.groupby("image")}
    assert own["img02"].reset_index(drop=True).equals(own["img03"].reset_index(drop=True))
    assert len(result.images) == ALL


@pytest.mark.thorough
def test_few_images_without_a_calibration(encoded, tmp_path):
    folder, lines = tmp_path / "in", []
    write(folder, some(encoded, 0, 4))
    stop = threading.Event()

    def tell(line):
        lines.append(line)
        if sum(s.startswith("img") for s in lines) == 8:
            stop.set()

    result = watch_scan(
        [folder], tmp_path / "run", SETTINGS, workers,
        patience_s=0.6, stop=stop, tell=tell, report=False,
    )  # fmt: skip
    images = [line for line in lines if line.startswith("img")]
    assert len(images) == 8
    assert all("not counted yet" in line for line in images[:4])
    assert not any("not counted yet" in line for line in images[4:])
    assert len(result.images) == 4
    assert result.calibration is not None


def test_nothing_came(tmp_path):
    with pytest.raises(Interrupted, match="no image came"):
        watch_scan([tmp_path / "none"], tmp_path / "run", SETTINGS, workers, idle_s=0.1)
