"""Workers on this machine: processes that are watched, replaced when they die, and stopped.

One thread per process hands it tasks and waits for its answers. An image that was being looked at
when its worker died is tried once more, and then set aside as the cause; one that takes too long is
set aside at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from layerscope.batch.ledger import Entry
from layerscope.batch.work import Task
from layerscope.core.scan import Status
from layerscope.errors import CannotWrite, InputError, LayerscopeError

STRIKES = 2
"""Deaths of a worker on one image before the image is set aside: one may be bad luck."""

_IDLE_DEATHS = 3
_START_S = 120.0
"""Longest time for a process to start: Python on a slow network disk takes a minute."""

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Outcome:
    """A task that was worked on.

    Attributes
    ----------
    chunk : int
    entry : Entry or None
        None: an image that had been found on could not be measured; find without it first.
    set_aside : dict of int to str
        Images that turned out to kill their workers or to take too long, with their status.
    """

    chunk: int
    entry: Entry | None
    set_aside: dict[int, str]


class Engine(Protocol):
    """Whatever does tasks: processes here, or a cluster."""

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Yield outcomes as they come, in any order; after `stop`, only those under way."""

    def stop(self) -> None:
        """Hand out no more tasks."""

    def close(self) -> None:
        """End every process at once."""


class Child:
    """One worker process.

    Parameters
    ----------
    folder : Path
        The run folder.
    timeout_s : float
        Longest time for one image, or for anything else the worker does.
    on_image : callable, optional
        Called with an image's number when its worker turns to it.
    cwd : Path, optional
        Where relative names of images start from, if not here.
    """

    def __init__(
        self,
        folder: Path,
        timeout_s: float,
        on_image: Callable[[int], None] | None = None,
        *,
        cwd: Path | None = None,
    ):
        self._folder, self._timeout_s, self._cwd = folder, timeout_s, cwd
        self._on_image = on_image or (lambda _: None)
        self._process: subprocess.Popen[str] | None = None
        self._closed = False

    def do(self, task: Task) -> Outcome:
        """Have one task done, through as many processes as it takes.

        Raises
        ------
        LayerscopeError
            If the worker says that it cannot go on, or dies again and again without an image.
        """
        strikes: Counter[int | None] = Counter()
        set_aside: dict[int, str] = {}
        while True:
            reply, image, late = self._attempt(replace(task, skip=task.skip | set_aside))
            if isinstance(reply, Entry):
                return Outcome(task.chunk, reply, set_aside)
            self._end()
            strikes[image] += 1
            if self._closed:
                raise InputError("interrupted")
            if image is not None and (late or strikes[image] >= STRIKES):
                set_aside[image] = str(Status.TIMEOUT if late else Status.CRASHED)
                if task.stage == "measure":
                    return Outcome(task.chunk, None, set_aside)
            elif image is None and strikes[None] >= _IDLE_DEATHS:
                raise LayerscopeError(
                    f"a worker process died {_IDLE_DEATHS} times before it looked at an image: "
                    "is there enough memory? Try --workers 1; the same command goes on"
                )

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._closed = True
        self._end()

    def _attempt(self, task: Task) -> tuple[Entry | None, int | None, bool]:
        """Entry, or None with the image that was being looked at and whether time ran out."""
        watch = _Watch(self._started(), max(self._timeout_s, _START_S))
        image: int | None = None
        for message in self._messages(task):
            watch.rewind(self._timeout_s)
            if "entry" in message:
                watch.cancel()
                return Entry.from_json(message["entry"]), None, False
            if "error" in message:
                watch.cancel()
                full = message.get("kind") == CannotWrite.__name__
                raise (CannotWrite if full else LayerscopeError)(message["error"])
            image = int(message["image"])
            self._on_image(image)
        return None, image, watch.cancel()

    def _messages(self, task: Task) -> Iterator[dict[str, Any]]:
        process = self._started()
        if process.stdin is None or process.stdout is None:  # both are pipes
            return
        try:
            process.stdin.write(task.as_json() + "\n")
            process.stdin.flush()
        except OSError:
            return
        for line in process.stdout:
            with contextlib.suppress(ValueError):  # a line cut by the death of its writer
                yield json.loads(line)

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "layerscope.batch.worker", str(self._folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                cwd=self._cwd,
                env={**os.environ, **dict.fromkeys(ONE_THREAD, "1")},
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()


class _Watch:
    """Kills a process that has been silent for too long."""

    def __init__(self, process: subprocess.Popen[str], timeout_s: float):
        self._process, self._timeout_s = process, timeout_s
        self._alive, self._late, self._heard = threading.Event(), False, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def rewind(self, timeout_s: float) -> None:
        """Start counting again, up to another limit."""
        self._timeout_s = timeout_s
        self._heard.set()

    def cancel(self) -> bool:
        """Stop watching; returns whether time had run out."""
        self._alive.set()
        self._heard.set()
        self._thread.join()
        return self._late

    def _look(self) -> None:
        while not self._alive.is_set():
            if not self._heard.wait(self._timeout_s):
                self._late = True
                with contextlib.suppress(OSError):
                    self._process.kill()
                return
            self._heard.clear()


class Workers:
    """Several worker processes on this machine; see `Engine`.

    Parameters
    ----------
    folder : Path
    number : int
        Processes; 1 gives the same result as many.
    timeout_s : float
        Longest time for one image.
    on_image : callable, optional
        Called from several threads with an image's number.
    """

    def __init__(
        self,
        folder: Path,
        number: int,
        timeout_s: float,
        on_image: Callable[[int], None] | None = None,
    ):
        if number < 1:
            raise InputError(f"workers {number}: expected 1 or more")
        self._children = [Child(folder, timeout_s, on_image) for _ in range(number)]
        self._stopped = threading.Event()

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Yield outcomes as they come.

        Raises
        ------
        LayerscopeError
            The first that a worker meets; the others finish what they have in hand.
        """
        waiting, outcomes = iter(tasks), queue.SimpleQueue[_Answer]()
        desks = [queue.SimpleQueue[Task | None]() for _ in self._children]
        for child, desk in zip(self._children, desks, strict=True):
            threading.Thread(target=_serve, args=(child, desk, outcomes), daemon=True).start()
        busy, failure = 0, None
        try:
            for desk in desks:
                busy += self._hand_out(waiting, desk)
            while busy:
                desk, answer = outcomes.get()
                if isinstance(answer, Exception):
                    failure = failure or answer
                    self.stop()
                else:
                    # Before its worker has another task: a kill loses only what is in hand.
                    yield answer
                busy -= not self._hand_out(waiting, desk)
        finally:
            for desk in desks:
                desk.put(None)
        if failure is not None:
            raise failure

    def _hand_out(self, waiting: Iterator[Task], desk: queue.SimpleQueue[Task | None]) -> bool:
        task = None if self._stopped.is_set() else next(waiting, None)
        if task is not None:
            desk.put(task)
        return task is not None

    def stop(self) -> None:
        """Hand out no more tasks; those in hand are finished."""
        self._stopped.set()

    def close(self) -> None:
        """End every process at once."""
        self.stop()
        for child in self._children:
            child.close()


_Answer = tuple["queue.SimpleQueue[Task | None]", Outcome | Exception]


def _serve(
    child: Child,
    desk: queue.SimpleQueue[Task | None],
    outcomes: queue.SimpleQueue[_Answer],
) -> None:
    while (task := desk.get()) is not None:
        try:
            outcomes.put((desk, child.do(task)))
        except Exception as error:  # the driver must hear of it, or it would wait for ever
            outcomes.put((desk, error))
