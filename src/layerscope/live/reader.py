"""The thread that reads the source, and gets it back when it is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from layerscope.errors import LayerscopeError, SourceLost
from layerscope.live.clock import Clock
from layerscope.live.frame import Frame, Source, framed, is_black

_TRY_EVERY_S = 1.0
_SILENT_S = 2.0


class Condition(StrEnum):
    """How the source is."""

    OPENING = "opening"
    LIVE = "live"
    BLACK = "black"
    LOST = "lost"
    ENDED = "ended"


@dataclass(frozen=True)
class SourceState:
    """How the source is, and why, in one line."""

    condition: Condition
    reason: str = ""


class Reader:
    """Reads a source in a thread of its own and hands on every frame.

    Parameters
    ----------
    open_source : callable
        Opens the source; called in the thread, again after every loss.
    clock : Clock
    on_frame : callable
        Takes each frame and whether it is black.
    on_state : callable
        Takes each new state.
    width_px : int
        Frames are shown no wider than this.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        clock: Clock,
        on_frame: Callable[[Frame, bool], None],
        on_state: Callable[[SourceState], None],
        width_px: int,
    ):
        self._open, self._clock = open_source, clock
        self._on_frame, self._on_state, self._width_px = on_frame, on_state, width_px
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._opened = threading.Event()
        self._refusal: LayerscopeError | None = None
        self._source: Source | None = None
        self._state = SourceState(Condition.OPENING)
        self._newest_s: float | None = None
        self.name, self.count = "", 0

    def start(self) -> None:
        """Open the source and begin.

        Raises
        ------
        LayerscopeError
            If it cannot be opened the first time.
        """
        self._thread.start()
        self._opened.wait()
        if self._refusal is not None:
            raise self._refusal

    def join(self, timeout_s: float) -> None:
        """Wait for the thread, whose clock was told to stop; a driver may hold it for ever."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def state(self) -> SourceState:
        """How the source is; a driver that hangs is lost, too."""
        state, steady = self._state, self._source is not None and self._source.steady
        if state.condition != Condition.LIVE or not steady or self._newest_s is None:
            return state
        silent_s = self._clock.now_s() - self._newest_s
        if silent_s < _SILENT_S:
            return state
        return SourceState(Condition.LOST, f"{self.name} has given nothing for {silent_s:.0f} s")

    def _run(self) -> None:
        try:
            self._source = self._open()
        except LayerscopeError as error:
            self._refusal = error
            return
        finally:
            if self._refusal is None and self._source is not None:
                self.name = self._source.name
            self._opened.set()
        while self._step():
            pass
        self._let_go()

    def _step(self) -> bool:
        """Read one picture, or try to get the source back; False at the end."""
        try:
            if self._source is None:
                self._source = self._open()
                self.name = self._source.name
            picture = self._source.read()
        except LayerscopeError as error:  # one that could be opened once is only lost
            self._say(SourceState(Condition.LOST, str(error)))
            self._let_go_if_steady(error)
            return self._clock.wait(_TRY_EVERY_S)
        if picture is None:
            if self._clock.wait(0):
                self._say(SourceState(Condition.ENDED, "the replay is over"))
            return False
        self.count += 1
        self._newest_s = self._clock.now_s()
        black = is_black(picture.pixels)
        reason = f"{self.name} gives a black picture: lamp, shutter, exposure?"
        self._say(SourceState(Condition.BLACK, reason) if black else SourceState(Condition.LIVE))
        self._on_frame(framed(picture, self.count, self._newest_s, self._width_px), black)
        return True

    def _say(self, state: SourceState) -> None:
        if state != self._state:
            self._state = state
            self._on_state(state)

    def _let_go_if_steady(self, error: LayerscopeError) -> None:
        """Open a camera or screen again; a folder goes on where it was."""
        if self._source is not None and self._source.steady and isinstance(error, SourceLost):
            self._let_go()

    def _let_go(self) -> None:
        if self._source is not None:
            with suppress(LayerscopeError, OSError, RuntimeError):
                self._source.close()
            self._source = None
