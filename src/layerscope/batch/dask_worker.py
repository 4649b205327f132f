"""What runs inside a Dask worker: one line of JSON in, one out.

A chunk is worked on by a child of the Dask worker, so that an image that crashes a decoder costs
that image and not the worker with everything that Dask keeps on it.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import signal
import socket
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from layerscope import __version__
from layerscope.batch.ledger import Entry, Stage
from layerscope.batch.work import CALIBRATION, Task
from layerscope.batch.workers import Child, Outcome
from layerscope.errors import CannotWrite, InputError, LayerscopeError

_SHARED: dict[Stage, tuple[str, ...]] = {
    "survey": ("scan.json", "inputs.jsonl"),
    "find": ("scan.json", "inputs.jsonl", "survey.json"),
    "measure": ("scan.json", "inputs.jsonl", "survey.json", CALIBRATION),
}
"""Files that decide what a worker does in a stage; nobody changes them while it lasts."""

_SHARED_TRIES, _SHARED_WAIT_S = 10, 0.5
"""A network file system may show a file seconds after it was written."""


@dataclass(frozen=True)
class Site:
    """Where a worker does its tasks, and how it knows that it is there.

    Attributes
    ----------
    engine : str
        Told apart from every other engine, also of the same run folder.
    stage : {"survey", "find", "measure"}
    folder, cwd : str
        Run folder, and folder that relative names of images start from.
    shared : str
        Hash of plan, survey and calibration as the driver sees them.
    timeout_s : float
        Longest time for one image.
    version : str
        The driver's.
    """

    engine: str
    stage: Stage
    folder: str
    cwd: str
    shared: str
    timeout_s: float
    version: str = __version__

    @classmethod
    def of(cls, engine: str, stage: Stage, folder: Path, timeout_s: float) -> Site:
        """Site of a run folder as this process sees it."""
        shared = _shared_hash(folder, stage)
        return cls(engine, stage, str(folder.absolute()), os.getcwd(), shared, timeout_s)

    def require_shared(self) -> None:
        """Refuse to work where the run folder is another one, or none.

        Raises
        ------
        InputError
            Says what has to be shared or installed.
        """
        if self.version != __version__:
            raise InputError(
                f"layerscope {__version__} is installed here, the driver has {self.version}: "
                "install the same everywhere"
            )
        for _ in range(_SHARED_TRIES):
            if (
                _shared_hash(Path(self.folder), self.stage) == self.shared
                and Path(self.cwd).is_dir()
            ):
                return
            time.sleep(_SHARED_WAIT_S)
        raise InputError(
            f"{self.folder} is not here what it is for the driver: run folder and images must be "
            "on a file system that all machines share, under the same name"
        )


def _shared_hash(folder: Path, stage: Stage) -> str:
    known = hashlib.sha256()
    for name in _SHARED[stage]:
        try:
            known.update((folder / name).read_bytes())
        except OSError:
            known.update(name.encode())
    return known.hexdigest()


class _Bench:
    """Children of this process, one per thread that works; those that wait keep their imports."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._site_of: dict[Child, Site] = {}
        self._idle: list[Child] = []

    def do(self, site: Site, task: Task) -> Outcome:
        child = self._idle_at(site) or self._new(site)
        try:
            return child.do(task)
        finally:
            with self._lock:
                if child in self._site_of:
                    self._idle.append(child)

    def close(self, engine: str | None = None) -> None:
        """End the children of one engine, or all, whatever they are doing."""
        with self._lock:
            ended = [c for c, s in self._site_of.items() if engine in (None, s.engine)]
            for child in ended:
                del self._site_of[child]
            self._idle = [c for c in self._idle if c in self._site_of]
        for child in ended:
            child.close()

    def _idle_at(self, site: Site) -> Child | None:
        """Take an idle child; those of other scans, whose drivers may be dead, are ended."""
        with self._lock:
            own = [c for c in self._idle if self._site_of[c] == site]
            if own:
                self._idle.remove(own[0])
                return own[0]
            strange, self._idle = self._idle, []
            for child in strange:
                del self._site_of[child]
        for child in strange:
            child.close()
        return None

    def _new(self, site: Site) -> Child:
        site.require_shared()
        child = Child(Path(site.folder), site.timeout_s, cwd=Path(site.cwd))
        with self._lock:
            self._site_of[child] = site
        return child


_BENCH = _Bench()
atexit.register(_BENCH.close)


def message(site: Site, task: Task) -> str:
    """Line that `work` takes."""
    return json.dumps({"site": asdict(site), "task": task.as_json()})


def work(line: str) -> str:
    """Do one task; Dask calls this on a worker.

    Parameters
    ----------
    line : str
        As `message` writes it.

    Returns
    -------
    str
        As `outcome_of` reads it.
    """
    asked = json.loads(line)
    try:
        outcome = _BENCH.do(Site(**asked["site"]), Task.from_json(asked["task"]))
    except LayerscopeError as error:
        reply = {"error": f"{socket.gethostname()}: {error}", "kind": type(error).__name__}
        return json.dumps(reply)
    entry = outcome.entry.as_json() if outcome.entry else None
    return json.dumps({"chunk": outcome.chunk, "entry": entry, "set_aside": outcome.set_aside})


def outcome_of(line: str) -> Outcome:
    """Read what `work` returned.

    Raises
    ------
    LayerscopeError
        If the worker could not do its task; names the machine. CannotWrite if that was why.
    """
    reply = json.loads(line)
    if "error" in reply:
        full = reply["kind"] == CannotWrite.__name__
        raise (CannotWrite if full else LayerscopeError)(reply["error"])
    entry = Entry.from_json(reply["entry"]) if reply["entry"] else None
    return Outcome(reply["chunk"], entry, {int(n): s for n, s in reply["set_aside"].items()})


def release(engine: str) -> None:
    """End the children of an engine; Dask calls this on every worker."""
    _BENCH.close(engine)


def dask_setup(worker: Any) -> None:
    """Leave interruptions to the driver: Ctrl-C reaches every process of a terminal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def dask_teardown(worker: Any) -> None:
    """End the children together with their Dask worker."""
    _BENCH.close()
