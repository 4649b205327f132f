"""The threads that give the newest frame to whoever answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from layerscope.core.micrograph import PixelSize
from layerscope.live.analysis import Answer
from layerscope.live.frame import Frame
from layerscope.live.newest import Newest
from layerscope.ops.lettering import Image


class Answerer(Protocol):
    """What answers frames: `processes.Processes`."""

    @property
    def at_once(self) -> int:
        """How many threads may ask at the same time."""

    def answer(self, number: int, pixels: Image, pixel_size: PixelSize | None) -> Answer:
        """Say what is on a frame."""

    def close(self) -> None:
        """End."""


class Analysts:
    """The threads that give the newest frame to whoever answers, as many as it answers at once.

    Parameters
    ----------
    frames : Newest of Frame
    answerer : Answerer
    pixel_size : PixelSize or None
        Of the source's pixels, as the user told.
    on_answer : callable
        Takes each frame with its answer; a later frame may come before an earlier one.
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
        self._threads = [
            threading.Thread(target=self._run, name=f"analyst {n}", daemon=True)
            for n in range(answerer.at_once)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for the threads, whose frames were closed."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _run(self) -> None:
        while (frame := self._frames.take()) is not None:
            begun_s = time.perf_counter()
            answer = self._answerer.answer(frame.number, frame.shown, frame.pixel_size(self._size))
            self._on_answer(frame, replace(answer, analysis_s=time.perf_counter() - begun_s))
