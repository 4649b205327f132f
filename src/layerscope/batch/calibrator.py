"""A process that calibrates on what has been found so far, while the workers go on.

    python -m layerscope.batch.calibrator RUN

A calibration takes some seconds per setup, however few the images; nobody at a microscope waits so
long for a picture. What it writes lies apart until the driver takes it over between two tasks.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from layerscope.batch.conclusions import Setups, load_setups, settle_setups
from layerscope.batch.ledger import Entry, all_entries
from layerscope.batch.plan import Plan
from layerscope.batch.work import CALIBRATION
from layerscope.batch.workers import ONE_THREAD
from layerscope.io.atomic import write_bytes

_APART = "provisional"


class Calibrator:
    """Starts the process, and takes over what it has made.

    Parameters
    ----------
    folder : Path
        The run folder.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def busy(self) -> bool:
        """Whether it was started and its result not taken over yet."""
        return self._process is not None

    def start(self) -> None:
        """Calibrate on all images whose entries are in the ledger now."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "layerscope.batch.calibrator", str(self._folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **dict.fromkeys(ONE_THREAD, "1")},
        )

    def take(self) -> Setups | None:
        """Put the new calibration where the workers look for it; None if there is none yet.

        Not while a worker is at work: it would count with another calibration than it was told.
        """
        if self._process is None or self._process.poll() is None:
            return None
        code, self._process = self._process.returncode, None
        setups = load_setups(self._folder / _APART) if code == 0 else None
        if setups is not None:
            write_bytes(
                self._folder / CALIBRATION, (self._folder / _APART / CALIBRATION).read_bytes()
            )
        return setups

    def close(self) -> None:
        """End the process, whatever it is doing, and remove what it has left."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        shutil.rmtree(self._folder / _APART, ignore_errors=True)


def main(folder: str) -> None:
    """Calibrate once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with suppress(AttributeError, OSError):  # not on Windows
        os.nice(10)  # the images come first
    plan = Plan.load(folder)
    apart = plan.folder / _APART
    apart.mkdir(exist_ok=True)
    settle_setups(plan, _whole_chunks(plan), into=apart)


def _whole_chunks(plan: Plan) -> dict[int, Entry]:
    """Found parts with all images of their chunk; the last one may be behind the plan."""
    entries = all_entries(plan.folder)
    found = {c: own[0] for (stage, c), own in entries.items() if stage == "find"}
    return {
        c: e for c, e in found.items() if c < plan.n_chunks and len(e.images) == len(plan.chunk(c))
    }


if __name__ == "__main__":
    main(sys.argv[1])
