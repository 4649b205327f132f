"""The time of a session, and waiting that ends when the session does."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from layerscope.errors import InputError


class Clock(Protocol):
    """Tells the time and waits; tests bring one that does not really wait."""

    def now_s(self) -> float:
        """Seconds on a clock that only goes forward."""

    def wait(self, seconds: float) -> bool:
        """Wait; False if the session is to stop."""


class RealClock:
    """The clock of the computer.

    Parameters
    ----------
    stop : threading.Event
        Ends every wait.
    """

    def __init__(self, stop: threading.Event):
        self._stop = stop

    def now_s(self) -> float:
        """Seconds since some time before the program began."""
        return time.monotonic()

    def wait(self, seconds: float) -> bool:
        """Wait; False if the session is to stop."""
        return not self._stop.wait(max(0.0, seconds))


class Pace:
    """Ticks of a source that has no pace of its own.

    Parameters
    ----------
    fps : float
        Ticks per second.
    clock : Clock
    """

    def __init__(self, fps: float, clock: Clock):
        if not 0 < fps <= 1000:
            raise InputError(f"{fps:g} frames per second: expected more than 0, at most 1000")
        self._period_s, self._clock = 1 / fps, clock
        self._next_s: float | None = None

    def tick(self) -> bool:
        """Wait for the next tick; False if the session is to stop. Missed ticks are left out."""
        now_s = self._clock.now_s()
        due_s = now_s if self._next_s is None else self._next_s
        if now_s - due_s > self._period_s:
            due_s = now_s
        self._next_s = due_s + self._period_s
        return self._clock.wait(due_s - now_s)
