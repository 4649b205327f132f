"""The process that analyses frames, and the thread that always gives it the newest.

A process of its own: in a thread, the small steps of the analysis and those of the drawing would
wait for each other.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Protocol

import numpy as np

from layerscope.core.micrograph import PixelSize
from layerscope.core.results import Detections
from layerscope.errors import LayerscopeError
from layerscope.live.analysis import Analysis, Answer, Asked
from layerscope.live.frame import Frame
from layerscope.live.newest import Newest
from layerscope.ops.lettering import Image
from layerscope.ops.memory import keep_freed_memory

_LOOK_EVERY_S = 0.2
_PATIENCE_S = 3.0
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Answerer(Protocol):
    """What answers a frame: an `Analysis`, or a process that has one."""

    def answer(self, number: int, pixels: Image, pixel_size: PixelSize | None) -> Answer:
        """Say what is on a frame."""

    def close(self) -> None:
        """End."""


class Lost(Exception):
    """The process is gone."""


class AnalysisProcess:
    """An `Analysis` in a process of its own, begun again where it dies.

    Parameters
    ----------
    asked : Asked
    """

    def __init__(self, asked: Asked):
        self._asked, self._stop, self._lock = asked, threading.Event(), threading.Lock()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._memory: SharedMemory | None = None

    def start(self) -> None:
        """Begin, and wait until it is ready.

        Raises
        ------
        LayerscopeError
            If what is asked for cannot be done.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, self._asked), name="analysis")
        with _one_thread():
            self._process.start()
        theirs.close()
        said = self._received()
        if isinstance(said, LayerscopeError):
            self._end()
            raise said

    def answer(self, number: int, pixels: Image, pixel_size: PixelSize | None) -> Answer:
        """Say what is on a frame; see `Analysis.answer`."""
        nothing = Detections.empty(pixels.shape[:2])
        with self._lock:
            if self._stop.is_set():
                return Answer(number, nothing)
            try:
                if self._process is None:
                    self.start()
                return self._asked_for(number, pixels, pixel_size)
            except (Lost, OSError, EOFError):
                self._end()
                return Answer(number, nothing, error="the analysis broke off and is begun again")

    def close(self) -> None:
        """End the process, once an answer that is waited for was given up."""
        self._stop.set()
        with self._lock:
            if self._pipe is not None:
                with suppress(OSError):
                    self._pipe.send(None)
            self._end(_PATIENCE_S)

    def _asked_for(self, number: int, pixels: Image, pixel_size: PixelSize | None) -> Answer:
        memory = self._room_for(pixels.nbytes)
        np.ndarray(pixels.shape, np.uint8, memory.buf)[:] = pixels
        if self._pipe is None:
            raise Lost
        self._pipe.send((number, pixels.shape, pixel_size, memory.name))
        answer = self._received()
        if not isinstance(answer, Answer):
            raise Lost
        return answer

    def _received(self) -> object:
        while self._pipe is not None and not self._stop.is_set():
            if self._pipe.poll(_LOOK_EVERY_S):
                return self._pipe.recv()
            if self._process is None or not self._process.is_alive():
                break
        raise Lost

    def _room_for(self, size: int) -> SharedMemory:
        if self._memory is None or self._memory.size < size:
            self._forget_memory()
            self._memory = SharedMemory(create=True, size=size)
        return self._memory

    def _forget_memory(self) -> None:
        if self._memory is not None:
            self._memory.close()
            self._memory.unlink()
            self._memory = None

    def _end(self, patience_s: float = 0.0) -> None:
        if self._process is not None:
            self._process.join(patience_s)
            self._process.kill()
            self._process.join()
            self._process = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        self._forget_memory()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let a process that is started here leave the other cores to the picture."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def serve(pipe: Connection, asked: Asked) -> None:
    """Answer frames until told to stop, or until nobody asks any more."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    import cv2

    cv2.setNumThreads(1)
    keep_freed_memory()
    try:
        analysis = analysis_of(asked)
    except LayerscopeError as error:
        pipe.send(error)
        return
    pipe.send(None)
    memory: SharedMemory | None = None
    with suppress(EOFError, OSError):
        while (request := pipe.recv()) is not None:
            number, shape, pixel_size, name = request
            if memory is None or memory.name != name:
                memory = SharedMemory(name)
            pixels = np.ndarray(shape, np.uint8, memory.buf).copy()
            pipe.send(analysis.answer(number, pixels, pixel_size))
    analysis.close()


def analysis_of(asked: Asked) -> Answerer:
    """Return what answers the task that is asked for."""
    if asked.task == "crystals":
        from layerscope.live.crystal_analysis import CrystalAnalysis

        return CrystalAnalysis(asked)
    return Analysis(asked)


class Analyst:
    """The thread that gives the newest frame to whoever answers.

    Parameters
    ----------
    frames : Newest of Frame
    answerer : Answerer
    pixel_size : PixelSize or None
        Of the source's pixels, as the user told.
    on_answer : callable
        Takes each frame with its answer.
    """

    def __init__(
        self,
        frames: Newest[Frame],
        answerer: Answerer,
        pixel_size: PixelSize | None,
        on_answer: Callable[[Frame, Answer], None],
    ):
        self._frames, self._answerer, self._size = frames, answerer, pixel_size
        self._on_answer = on_answer
        self._thread = threading.Thread(target=self._run, name="analyst", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread, whose frames were closed."""
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while (frame := self._frames.take()) is not None:
            begun_s = time.perf_counter()
            answer = self._answerer.answer(frame.number, frame.shown, frame.pixel_size(self._size))
            self._on_answer(frame, replace(answer, analysis_s=time.perf_counter() - begun_s))
