"""Dask workers give the bytes of one worker here, whatever happens to them on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from layerscope.batch import cluster, dask_worker, slurm
from layerscope.batch.cluster import Cluster
from layerscope.batch.dask_worker import Site, message, outcome_of, work
from layerscope.batch.scan import Interrupted, begin, run_scan
from layerscope.batch.settings import Settings
from layerscope.batch.work import Task
from layerscope.batch.workers import Workers
from layerscope.cli import main
from layerscope.errors import CannotWrite, InputError, LayerscopeError, MissingExtra
from layerscope.io.sources import name_sources
from layerscope.synth import synth_set

distributed = pytest.importorskip("distributed")
pytest.importorskip("dask_jobqueue")

CHUNKS, CHUNK_IMAGES = 12, 2
SETTINGS = Settings("graphene", "SiO2(90nm)/Si", pixel_size="0.3844um", tone="linear")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    made = synth_set(3, CHUNKS * CHUNK_IMAGES, shape=(200, 260), n_flakes=3, clutter=0.3)
    for image in made:
        (folder / f"{image.micrograph.name}.jpg").write_bytes(image.encoded)
    return folder


@pytest.fixture
def plan(images, tmp_path):
    return begin(name_sources([images]), tmp_path / "run", SETTINGS, chunk_images=CHUNK_IMAGES)


def documents(folder):
    """Everything that a scan leaves, but for where the time went."""
    own = ("ledger", "progress.json", ".")
    paths = [p for p in Path(folder).rglob("*") if p.is_file() and not p.name.startswith(own)]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


@pytest.fixture(scope="module")
def expected(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serial") / "run"
    plan = begin(name_sources([images]), folder, SETTINGS, chunk_images=CHUNK_IMAGES)
    run_scan(plan, lambda p, g: Workers(p.folder, 1, 60.0), report=False)
    return documents(folder)


@pytest.fixture(scope="module")
def two():
    with closing(Cluster("local", 2)) as started:
        yield started


class Meddled:
    """An engine; things happen after so many ``find`` outcomes, and its tasks are counted."""

    def __init__(self, engine, happenings, ahead):
        self.engine, self.happenings, self.ahead, self.drawn = engine, happenings, ahead, 0
        self.stop, self.close = engine.stop, engine.close

    def run(self, tasks):
        found = 0
        for done, outcome in enumerate(self.engine.run(self.counted(tasks))):
            self.ahead.append(self.drawn - done)
            yield outcome
            found += outcome.entry.stage == "find"
            if outcome.entry.stage == "find" and found in self.happenings:
                self.happenings[found](self)

    def counted(self, tasks):
        for task in tasks:
            self.drawn += 1
            yield task


def scan(plan, own, happenings, ahead=None):
    def make(plan, progress):
        return Meddled(own.engine(plan.folder, 60.0), happenings, [] if ahead is None else ahead)

    return run_scan(plan, make, report=False)


def family(pid):
    out = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in task.read_text().split():
                out += [int(child), *family(int(child))]
    return out


def commands(pids):
    out = []
    for pid in pids:
        with suppress(OSError):
            out.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
    return out


def dask_pids(own):
    return sorted(own._client.run(os.getpid).values())


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def children(own):
    found = [c for pid in dask_pids(own) for c in family(pid)]
    return [c for c in found if any("layerscope.batch.worker" in t for t in commands([c]))]


@pytest.mark.thorough
def test_same_bytes_as_one_worker(plan, two, expected):
    seen, ahead = [], []
    result = scan(plan, two, {2: lambda _: seen.extend(children(two))}, ahead)
    assert set(result.images["status"]) == {"ok", "ok_empty"}
    assert len(result.objects) > CHUNKS
    found = documents(plan.folder)
    assert sorted(found) == sorted(expected)
    assert [n for n in found if found[n] != expected[n]] == []
    assert seen
    assert children(two) == []
    assert len(ahead) == 1 + 2 * CHUNKS
    assert max(ahead) <= 4


@pytest.mark.thorough
def test_same_bytes_whatever_dies_on_the_way(plan, two, expected, command):
    killed = []

    def kill_children(_):
        for child in children(two):
            with suppress(OSError):
                os.kill(child, signal.SIGKILL)
                killed.append(child)

    def kill_worker(_):
        killed.append(dask_pids(two)[0])
        os.kill(killed[-1], signal.SIGKILL)

    before = dask_pids(two)
    with pytest.raises(Interrupted):
        scan(plan, two, {1: kill_children, 3: kill_worker, 5: lambda engine: engine.stop()})
    assert len(killed) >= 2
    assert killed[-1] == before[0]
    until(lambda: len(dask_pids(two)) == 2)
    assert before[1] in dask_pids(two)
    assert 5 <= len(list((plan.folder / "parts").rglob("find*.parquet"))) < CHUNKS
    assert command(two, plan.folder) == 0
    assert documents(plan.folder) == expected


@pytest.fixture
def command(images, tmp_path, monkeypatch, capsys):
    """The command line, given the file of a scheduler that is not its own."""
    file = tmp_path / "scheduler.json"
    asked = ["-m", "graphene", "-s", "SiO2(90nm)/Si", "--pixel-size", "0.3844um", "--tone"]
    asked += ["linear", "--chunk", str(CHUNK_IMAGES), "--no-report", "-q"]

    def run(own, out):
        file.write_text(json.dumps({"address": own._own.scheduler_address}))
        more = ["-o", str(out), "--scheduler", str(file)]
        monkeypatch.setattr(sys, "argv", ["layerscope", "scan", str(images), *asked, *more])
        with pytest.raises(SystemExit) as end:
            main()
        assert capsys.readouterr().err == ""
        return end.value.code or 0

    return run


def test_nothing_is_open_to_other_machines(two):
    pids = {os.getpid(), *family(os.getpid())}
    addresses = [a for pid in pids for a in listening(pid)]
    assert addresses
    assert {a for a in addresses if a not in ("0100007F", "LOOPBACK6")} == set()


def listening(pid):
    """Local addresses, in hexadecimal, that a process listens on."""
    own = set()
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                own.add(os.readlink(link))
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                yield fields[1].split(":")[0]


@pytest.fixture
def elsewhere(tmp_path):
    """A scheduler that this process did not start, its file, and a way to start workers."""
    file, processes = tmp_path / "s.json", []

    def start(what, *arguments):
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments]
        processes.append(
            subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=tmp_path, text=True)
        )
        return processes[-1]

    scheduler = start(
        "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
        "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(file),
    )  # fmt: skip
    until(file.exists)
    worker = ["--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    yield file, scheduler, lambda: start("worker", *worker)
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.thorough
def test_workers_come_later_and_the_scheduler_goes(plan, elsewhere, monkeypatch):
    monkeypatch.setattr(cluster, "_ALONE_S", 1.0)
    file, scheduler, start_worker = elsewhere
    told = []

    def tell(line):
        told.append(line)
        start_worker()

    def lose(_):
        scheduler.kill()

    with (
        closing(Cluster(str(file), 1, tell=tell)) as own,
        pytest.raises(LayerscopeError, match="the same command goes on"),
    ):
        scan(plan, own, {1: lose})
    assert told == ["waiting for workers: none is connected to the scheduler"]
    assert len(list((plan.folder / "parts").rglob("*.parquet"))) >= 1


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 1.0)
    start = time.monotonic()
    with pytest.raises(InputError, match=r"127\.0\.0\.1:1 within 1 s"):
        Cluster("tcp://127.0.0.1:1", 1)
    assert time.monotonic() - start < 8


@pytest.mark.parametrize("content", ["", "[]", "{}", "no JSON"])
def test_a_file_of_no_scheduler_is_refused(tmp_path, content):
    path = tmp_path / "s.json"
    path.write_text(content)
    with pytest.raises(InputError, match="dask scheduler --scheduler-file"):
        Cluster(str(path), 1)


@pytest.mark.parametrize(
    ("scheduler", "workers", "options", "words"),
    [
        ("slrum", 1, [], "local, slurm, tcp"),
        ("http://10.0.0.5:8786", 1, [], "local, slurm, tcp"),
        ("local", 0, [], "expected 1 or more"),
        ("local", 1, ["partition=short"], "only 'slurm' takes it"),
    ],
)
def test_wrong_words_are_refused(scheduler, workers, options, words):
    with pytest.raises(InputError, match=words):
        Cluster(scheduler, workers, slurm_options=options)


@pytest.mark.parametrize("scheduler", ["local", "tcp://127.0.0.1:1"])
def test_without_dask_the_extra_is_named(monkeypatch, scheduler):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtra, match=r"layerscope\[cluster\]"):
        Cluster(scheduler, 1)


def test_a_worker_that_sees_another_folder_refuses(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_worker, "_SHARED_WAIT_S", 0.0)
    site = Site.of("engine", "measure", plan.folder, 60.0)
    plan.folder.rename(tmp_path / "elsewhere")
    with pytest.raises(LayerscopeError, match="file system that all machines share"):
        outcome_of(work(message(site, Task("find", 0, "k"))))


def test_a_worker_with_an_old_calibration_refuses(plan, monkeypatch):
    monkeypatch.setattr(dask_worker, "_SHARED_WAIT_S", 0.0)
    (plan.folder / "calibration.toml").write_text("new")
    site = Site.of("engine", "measure", plan.folder, 60.0)
    (plan.folder / "calibration.toml").write_text("old")
    with pytest.raises(LayerscopeError, match="not here what it is for the driver"):
        site.require_shared()


def test_a_worker_of_another_version_refuses(plan):
    site = Site.of("engine", "measure", plan.folder, 60.0)
    other = Site(site.engine, site.stage, site.folder, site.cwd, site.shared, 60.0, "0.0.1")
    with pytest.raises(LayerscopeError, match=r"the driver has 0\.0\.1"):
        outcome_of(work(message(other, Task("find", 0, "k"))))


def test_a_full_disk_stays_one():
    reply = json.dumps({"error": "node7: no space left", "kind": "CannotWrite"})
    with pytest.raises(CannotWrite, match="node7"):
        outcome_of(reply)


def script(*options):
    with closing(slurm.make_cluster(options)) as made:
        return made.job_script()


def test_interruptions_stay_ours():
    """Importing jobqueue sets a handler of its own."""
    code = (
        "import signal; from layerscope.batch import slurm; slurm.make_cluster([]).close();"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_the_job_is_what_was_asked():
    text = script(
        "partition=short", "time=02:00:00", "account=lab7", "mem=3G", "qos=low", "exclusive",
        "log-directory=.", "cpus-per-task=2", "python=/opt/python",
    )  # fmt: skip
    lines = text.splitlines()
    for line in (
        "-p short", "-t 02:00:00", "-A lab7", "--mem=3G", "--qos=low", "--exclusive",
        "--cpus-per-task=2",
    ):  # fmt: skip
        assert f"#SBATCH {line}" in lines
    assert "/opt/python -m distributed.cli.dask_worker tcp://" in text
    assert "--nthreads 1 " in text


def test_jobs_follow_the_configuration_file():
    import dask

    own = {
        "jobqueue.slurm.queue": "gpu", "jobqueue.slurm.cores": 4, "jobqueue.slurm.memory": "9GiB",
        "jobqueue.slurm.job-extra-directives": ["--nice"],
    }  # fmt: skip
    with dask.config.set(own):
        lines = script("time=00:05:00", "qos=low").splitlines()
    for line in ("-p gpu", "--cpus-per-task=4", "--mem=9G", "--nice", "--qos=low", "-t 00:05:00"):
        assert f"#SBATCH {line}" in lines


@pytest.mark.parametrize("option", ["partition", "=short", "", "cores=many", "cores=0", "mem="])
def test_slurm_options_are_checked(option):
    with pytest.raises(InputError, match="expected"):
        slurm.make_cluster([option])


def test_slurm_says_no(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="login node"):
        slurm.start(1, [])
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\necho 'invalid partition specified: short' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    with pytest.raises(InputError, match="refuses the job: invalid partition"):
        slurm.start(1, ["partition=short"])
