"""Runs command lines of layerscope in processes that may be sabotaged. Run by `conftest.py`.

Imports cost more than a small scan, so they are done once and each command runs in a fork. Faults
are put in from outside of the package: into the interpreter here, and into worker processes by
`sabotage/sitecustomize.py`.
"""

import ctypes
import io
import json
import os
import resource
import signal
import sys
import tempfile
import warnings
from contextlib import redirect_stdout, suppress

import cv2
import numpy as np

from layerscope import cli
from layerscope.batch import ledger, progress, workers
from layerscope.batch.work import Desk
from layerscope.batch.workers import Outcome

cv2.setNumThreads(1)
cli.commands()  # built once, not in each child


class Inline:
    """The engine without processes: what is under test is the driver."""

    def __init__(self, folder, number, timeout_s, on_image=None):
        self._folder, self._on_image, self._stopped = folder, on_image, False

    def run(self, tasks):
        desk = Desk(self._folder)
        for task in tasks:
            if self._stopped:
                return
            yield Outcome(task.chunk, desk.do(task, self._on_image), {})

    def stop(self):
        self._stopped = True

    def close(self):
        self.stop()


class Fault:
    """Strikes from the n-th call of a function on, before it does anything; counts the calls."""

    def __init__(self, place, at, action):
        owner, name = PLACES[place]
        self._real, self.calls = getattr(owner, name), 0
        self._at, self._action = at, ACTIONS[action]
        setattr(owner, name, lambda *a, **k: self._called(*a, **k))

    def _called(self, *args, **options):
        # The progress file is written by the clock: counting it, no run would be like the next.
        by_clock = any(str(x).endswith(progress.PROGRESS) for x in args)
        self.calls += not by_clock
        if self.calls >= self._at and not by_clock:
            self._action()
        return self._real(*args, **options)


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def _disk_is_full():
    raise OSError(28, "No space left on device")


PLACES = {
    "rename": (os, "replace"),
    "sync": (os, "fsync"),
    "commit": (ledger.SqliteLedger, "_write"),
}
ACTIONS = {"die": _die, "full": _disk_is_full}


def _give_up_rights():
    """Root may write everywhere, unless it gives up its capabilities (Linux)."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    if os.geteuid() == 0 and ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError("cannot give up the rights of root")


def _sabotaged(job):
    """Put in the faults that are asked for; returns the one that counts calls."""
    if job.get("inline"):
        workers.Workers = Inline
    if "max_file_bytes" in job:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["max_file_bytes"],) * 2)
    for name, value in job.get("constants", {}).items():
        module, _, constant = name.rpartition(".")
        setattr(sys.modules[module], constant, value)
    if job.get("humble"):
        _give_up_rights()
    fault = job.get("fault")
    if fault:
        return Fault(**fault)
    return None


def _run(job):
    """Be the command; never returns."""
    out = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(job.get("cwd", "."))
    os.environ.update(job.get("environ", {}))
    if job.get("own_group"):
        os.setsid()
    sys.argv = ["layerscope", *job["argv"]]
    fault, code = _sabotaged(job), 1
    try:
        cli.main()
    except SystemExit as leaving:
        code = leaving.code or 0
    finally:
        if sys.exc_info()[0] not in (None, SystemExit):
            sys.excepthook(*sys.exc_info())
        if fault is not None:
            sys.stdout.write(f"calls: {fault.calls}\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _answer(**document):
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _warm_up():
    """Do a scan of one image here: the imports and tables that forks then have are half of it."""
    real, workers.Workers = workers.Workers, Inline
    picture = np.random.default_rng(0).normal(150, 2, (96, 96, 3))
    picture[30:60, 30:60] -= 20
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        name = f"{folder}/a.jpg"
        cv2.imwrite(name, picture)
        run = ("-o", f"{folder}/run", "-m", "graphene", "-s", "SiO2(90nm)/Si", "--tone", "linear")
        told = ["scan", name, *run, "--no-report", "-q"]
        with suppress(SystemExit):
            cli.commands()(told, standalone_mode=False)
    workers.Workers = real


def main():
    warnings.simplefilter("error")
    _warm_up()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _run(json.loads(line))
        _answer(pid=pid)
        _, status = os.waitpid(pid, 0)
        _answer(rc=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
