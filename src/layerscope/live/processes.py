"""The processes that analyse frames.

Processes of their own: in threads, the small steps of the analysis and those of the drawing would
wait for each other. Two of them: one answers a crowded field of 1280 x 720 in 30 to 50 ms, and a
camera gives the next after 33.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import TYPE_CHECKING

import numpy as np

from layerscope.core.micrograph import PixelSize
from layerscope.core.results import Detections
from layerscope.errors import LayerscopeError
from layerscope.live.analysis import Analysis, Answer, Asked, Learned
from layerscope.ops.lettering import Image
from layerscope.ops.memory import keep_freed_memory

if TYPE_CHECKING:
    from layerscope.live.crystal_analysis import CrystalAnalysis

_LOOK_EVERY_S = 0.2
_PATIENCE_S = 3.0
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Processes:
    """Analyses in processes of their own, each begun again where it dies.

    The first learns: of the light, its calibration, and the bar in the picture. The others are
    told, before their first frame and whenever it has changed, so that all answer alike.

    Parameters
    ----------
    asked : Asked
    count : int
        Frames analysed at once.
    """

    def __init__(self, asked: Asked, count: int = 2):
        self.at_once = count
        self._processes = [AnalysisProcess(asked) for _ in range(count)]
        self._free, self._freed = set(range(count)), threading.Condition()
        self._learned: Learned | None = None

    def start(self) -> None:
        """Begin, and wait until all are ready.

        Raises
        ------
        LayerscopeError
            If what is asked for cannot be done.
        """
        for process in self._processes:
            process.begin()
        for process in self._processes:
            process.wait_until_ready()

    def answer(self, number: int, pixels: Image, pixel_size: PixelSize | None) -> Answer:
        """Say what is on a frame, in the first process that is free; see `Analysis.answer`."""
        place = self._taken(pixels.shape, pixel_size)
        process = self._processes[place]
        try:
            if place:
                return process.answer(number, pixels, pixel_size, self._learned)
            answer = process.answer(number, pixels, pixel_size)
            self._learned = process.learned
            return answer
        finally:
            with self._freed:
                self._free.add(place)
                self._freed.notify_all()

    def close(self) -> None:
        """End all, once the answers that are waited for were given up."""
        for process in self._processes:
            process.close()

    def _taken(self, shape: tuple[int, ...], pixel_size: PixelSize | None) -> int:
        """Wait for a process that may answer a frame of this shape, and take it."""

        def free() -> list[int]:
            told = self._learned is not None and self._learned.suffices(shape, pixel_size)
            return sorted(self._free if told else self._free & {0})

        with self._freed:
            self._freed.wait_for(free)
            place = free()[0]
            self._free.remove(place)
            return place


class Lost(Exception):
    """The process is gone."""


class AnalysisProcess:
    """An analysis in a process of its own, begun again where it dies.

    Parameters
    ----------
    asked : Asked

    Attributes
    ----------
    learned : Learned or None
        What it knows, by its last answer.
    """

    def __init__(self, asked: Asked):
        self._asked, self._stop, self._lock = asked, threading.Event(), threading.Lock()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._memory: SharedMemory | None = None
        self.learned: Learned | None = None

    def begin(self) -> None:
        """Start it."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, self._asked), name="analysis")
        with _one_thread():
            self._process.start()
        theirs.close()

    def wait_until_ready(self) -> None:
        """Wait until it can answer.

        Raises
        ------
        LayerscopeError
            If what is asked for cannot be done.
        """
        said = self._received()
        if isinstance(said, LayerscopeError):
            self._end()
            raise said

    def answer(
        self,
        number: int,
        pixels: Image,
        pixel_size: PixelSize | None,
        told: Learned | None = None,
    ) -> Answer:
        """Say what is on a frame; see `Analysis.answer`.

        Parameters
        ----------
        number, pixels, pixel_size
        told : Learned, optional
            What another has learned, to go on with.
        """
        nothing = Detections.empty(pixels.shape[:2])
        with self._lock:
            if self._stop.is_set():
                return Answer(number, nothing)
            try:
                if self._process is None:
                    self.begin()
                    self.wait_until_ready()
                return self._asked_for(number, pixels, pixel_size, told)
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

    def _asked_for(
        self, number: int, pixels: Image, pixel_size: PixelSize | None, told: Learned | None
    ) -> Answer:
        memory = self._room_for(pixels.nbytes)
        np.ndarray(pixels.shape, np.uint8, memory.buf)[:] = pixels
        if self._pipe is None:
            raise Lost
        news = None if told is self.learned else told
        self._pipe.send((number, pixels.shape, pixel_size, memory.name, news))
        said = self._received()
        if not isinstance(said, tuple):
            raise Lost
        answer, learned = said
        self.learned = learned or news or self.learned
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
        self.learned = None


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
    known: Learned | None = None
    with suppress(EOFError, OSError):
        while (request := pipe.recv()) is not None:
            number, shape, pixel_size, name, told = request
            if memory is None or memory.name != name:
                memory = SharedMemory(name)
            if told is not None:
                analysis.follow(told)
                known = analysis.learned
            # No copy: nobody writes there before the answer is sent, and no answer holds pixels.
            pixels = np.ndarray(shape, np.uint8, memory.buf)
            answer, learned = analysis.answer(number, pixels, pixel_size), analysis.learned
            del pixels
            pipe.send((answer, None if learned == known else learned))
            known = learned
    analysis.close()


def analysis_of(asked: Asked) -> Analysis | CrystalAnalysis:
    """Return what answers the task that is asked for."""
    if asked.task == "crystals":
        from layerscope.live.crystal_analysis import CrystalAnalysis

        return CrystalAnalysis(asked)
    return Analysis(asked)
