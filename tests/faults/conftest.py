"""A small scan to break: images, a calibration, its tables when nothing goes wrong, a driver."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

TABLES = (
    "images.csv", "images.parquet", "objects.csv", "objects.parquet", "sites.csv", "sites.parquet",
)  # fmt: skip
PATIENCE_S = 120


@dataclass(frozen=True)
class Ended:
    """What a command left: exit code, negative for a signal, and its output."""

    code: int
    output: str

    @property
    def last_line(self):
        return self.output.strip().splitlines()[-1]


class Command:
    """A running command."""

    def __init__(self, server, job):
        self._server, self._output = server, Path(job["output"])
        self.pid = server.ask(job)["pid"]

    def kill(self, number=signal.SIGKILL):
        """Send a signal; it may have ended by itself."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return

    @property
    def output(self):
        return self._output.read_text() if self._output.exists() else ""

    def wait(self):
        code = self._server.answer()["rc"]
        return Ended(code, self.output)


class Server:
    """One process that runs a command at a time; see `fork_server.py`."""

    def __init__(self, folder):
        self._folder, self._n = folder, 0
        here = Path(__file__).parent
        self._process = subprocess.Popen(
            [sys.executable, str(here / "fork_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(here / "sabotage")},
        )

    def start(self, *argv, **job):
        self._n += 1
        output = str(self._folder / f"output-{self._n}.txt")
        return Command(self, {"argv": [str(a) for a in argv], "output": output, **job})

    def ask(self, job):
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        self._child = self.answer()
        return self._child

    def answer(self):
        """Next answer of the server; a command that never ends is a failure, not a hang."""
        watch = threading.Timer(PATIENCE_S, self._too_long)
        watch.start()
        line = self._process.stdout.readline()
        watch.cancel()
        if not line:
            pytest.fail("the server of commands has died")
        return json.loads(line)

    def _too_long(self):
        os.kill(self._child["pid"], signal.SIGKILL)

    def close(self):
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("outputs"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def micrographs(tmp_path_factory):
    """Twelve small micrographs of graphene, as JPEG files."""
    from layerscope.synth import synth_set

    folder = tmp_path_factory.mktemp("micrographs")
    options = {"shape": (200, 260), "n_flakes": 4, "clutter": 0.2, "thick_share": 0.2}
    for k, image in enumerate(synth_set(21, 12, **options)):
        (folder / f"field_{k:02d}.jpg").write_bytes(image.encoded)
    return folder


@pytest.fixture(scope="session")
def calibration(synthetic_run, tmp_path_factory):
    """Path of a calibration, so that the scans need not fit one each."""
    from layerscope.io.calibration import write_calibration

    path = tmp_path_factory.mktemp("calibration") / "calibration.toml"
    write_calibration(path, synthetic_run.calibration)
    return path


@dataclass(frozen=True)
class Scan:
    """Commands on one run folder."""

    server: Server
    images: Path
    run: Path
    options: tuple

    def start(self, *more, **job):
        argv = ("scan", self.images, "-o", self.run, *self.options, *more)
        return self.server.start(*argv, **job)

    def do(self, *more, inline=True, **job):
        return self.start(*more, inline=inline, **job).wait()

    def ask(self, command, *more, **job):
        """Another command on the run folder, e.g. ``verify``."""
        return self.server.start(command, self.run, *more, inline=True, **job).wait()

    def status(self):
        return json.loads(self.ask("status", "--json").output)

    def tables(self):
        return {name: (self.run / name).read_bytes() for name in TABLES}

    def entries(self):
        from layerscope.batch.ledger import all_entries

        return all_entries(self.run)

    def parts(self):
        """Inode by name: a part that was made again has another."""
        return {p.name: p.stat().st_ino for p in (self.run / "parts").glob("*.parquet")}

    def leftovers(self):
        return list(self.run.rglob("*.tmp"))

    def until(self, condition):
        """Wait until something shows in the run folder."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if condition(self):
                return
            time.sleep(0.005)
        pytest.fail("it never came to that")


@pytest.fixture(scope="session")
def options(calibration):
    return (
        "-m", "graphene", "-s", "SiO2(90nm)/Si", "--pixel-size", "0.3844um", "--tone", "linear",
        "--calibration", calibration, "--chunk", "2", "--no-report", "-q",
    )  # fmt: skip


@pytest.fixture
def scan(server, micrographs, options, tmp_path):
    """A scan of `micrographs` that has not begun."""
    return Scan(server, micrographs, tmp_path / "run", options)


@pytest.fixture
def own_scan(scan, tmp_path):
    """The same with images of its own, to be spoilt."""
    images = tmp_path / "images"
    shutil.copytree(scan.images, images)
    return Scan(scan.server, images, scan.run, scan.options)


@pytest.fixture(scope="session")
def finished(server, micrographs, options, tmp_path_factory):
    """The scan of `micrographs` when nothing goes wrong; not to be changed."""
    whole = Scan(server, micrographs, tmp_path_factory.mktemp("whole") / "run", options)
    ended = whole.do()
    assert ended.code == 0, ended.output
    return whole


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished scan, to be spoilt."""
    run = tmp_path / "run"
    shutil.copytree(finished.run, run)
    return Scan(finished.server, finished.images, run, finished.options)
