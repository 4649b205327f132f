"""One live view: its source, its analysis, its drawing, and what a person does with it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from layerscope.core.calibration import Calibration
from layerscope.core.micrograph import PixelSize
from layerscope.errors import LayerscopeError
from layerscope.live.analysis import Answer, Asked
from layerscope.live.analyst import Analysts, Answerer
from layerscope.live.clock import Clock
from layerscope.live.figures import Figures, Tally
from layerscope.live.frame import Frame, Source, is_black
from layerscope.live.motion import Shift, shift_between
from layerscope.live.newest import Newest
from layerscope.live.overlay import Scene, draw_scene
from layerscope.live.published import Drawing, Published
from layerscope.live.reader import Condition, Reader, SourceState
from layerscope.live.recording import Recorder
from layerscope.live.snapshot import write_snapshot

_REDRAW_S = 0.25
_SAID_S = 6.0
_FIGURES_S = 0.3
_PATIENCE_S = 3.0
_STILL = Shift(0.0, 0.0)


@dataclass(frozen=True)
class SessionSettings:
    """What a session is told.

    Attributes
    ----------
    subject : str
        What is looked for, as the drawing says it.
    asked : Asked
    out : Path
        Folder for snapshots and recordings.
    pixel_size : PixelSize or None
        Of the source's pixels.
    width_px : int
        Of the drawing, at most.
    """

    subject: str
    asked: Asked
    out: Path
    pixel_size: PixelSize | None = None
    width_px: int = 1280


class Session:
    """Reads, analyses and draws, each in a thread of its own, until it is closed.

    Parameters
    ----------
    open_source : callable
        Opens the source.
    answerer : Answerer
        Ready to answer; the session closes it.
    settings : SessionSettings
    clock : Clock
    tell : callable, optional
        Takes each line for the user.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        answerer: Answerer,
        settings: SessionSettings,
        clock: Clock,
        tell: Callable[[str], None] = lambda _: None,
    ):
        self._settings, self._clock, self._tell, self._answerer = settings, clock, tell, answerer
        self.drawings, self._frames = Published(), Newest[Frame]()
        self.tally = Tally(clock.now_s())
        self._reader = Reader(
            open_source, clock, self._take_frame, self._take_state, settings.width_px
        )
        self._analysts = Analysts(self._frames, answerer, settings.pixel_size, self._take_answer)
        self._artist = threading.Thread(target=self._draw, name="artist", daemon=True)
        self._recorder: Recorder | None = None
        self._snapshots: list[threading.Thread] = []
        self._lock, self._changed = threading.Lock(), threading.Event()
        self._frame: Frame | None = None
        self._answer: Answer | None = None
        self._answered: Frame | None = None
        self._frozen, self._closed, self._summary = False, False, ""
        self._said: deque[tuple[float, str]] = deque(maxlen=2)
        self._figures, self._figures_s = Figures(), -1.0
        self._late: Frame | None = None
        self.ended = threading.Event()

    def start(self) -> None:
        """Open the source and begin.

        Raises
        ------
        LayerscopeError
            If the source cannot be opened.
        """
        self._reader.start()
        self._analysts.start()
        self._artist.start()

    def close(self) -> None:
        """End everything; what is being written is finished."""
        if self._closed:
            return
        self._summary, self._closed = self.summary(), True
        self._frames.close()
        self._changed.set()
        self._reader.join(_PATIENCE_S)
        self._answerer.close()
        for thread in (self._artist, *self._snapshots):
            if thread.is_alive():
                thread.join()
        self._analysts.join()
        self.drawings.close()
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None

    @property
    def frozen(self) -> bool:
        """Whether the view stands still."""
        return self._frozen

    @property
    def recording(self) -> bool:
        """Whether what is seen is written to disk."""
        return self._recorder is not None

    @property
    def state(self) -> SourceState:
        """How the source is."""
        return self._reader.state

    def figures(self) -> Figures:
        """Return the counts until now."""
        return self.tally.figures(self._clock.now_s(), *self._counts())

    def summary(self) -> str:
        """One line about the whole session, until it was closed."""
        if self._summary:
            return self._summary
        return self.tally.summary(self._clock.now_s(), *self._counts())

    def _counts(self) -> tuple[int, int]:
        """Frames that were to be analysed, and those of them that were dropped."""
        return self._frames.put_count, self._frames.dropped

    def freeze(self) -> None:
        """Hold the picture, and have exactly this one analysed; or go on."""
        with self._lock:
            self._frozen = not self._frozen
            if self._frozen and self._frame is not None and not is_black(self._frame.shown):
                self._frames.put(self._frame)
        self._changed.set()

    def snapshot(self) -> None:
        """Write the frame in view to a run folder, in the background."""
        with self._lock:
            frame, answer = self._frame, self._answer
        drawing = self.drawings.newest
        if frame is None or drawing is None:
            self.say("no picture yet, so no snapshot")
            return
        known = answer is not None and answer.detections.layers is not None
        calibration = answer.calibration if answer is not None and known else None
        task = threading.Thread(
            target=self._write_snapshot, args=(frame, drawing, calibration), daemon=True
        )
        self._snapshots = [t for t in self._snapshots if t.is_alive()] + [task]
        task.start()

    def record(self) -> None:
        """Begin to record what is seen, or end it."""
        with self._lock:
            recorder, self._recorder = self._recorder, None
        try:
            if recorder is not None:
                recorder.close()
                self.say(f"recorded {recorder.seconds:.0f} s in {recorder.folder}")
            else:
                self._recorder = Recorder(self.drawings, self._settings.out, self._clock)
                self.say(f"recording to {self._recorder.folder}")
        except LayerscopeError as error:
            self.say(str(error))
        self._changed.set()

    @property
    def last_said(self) -> str:
        """The last line for the user, or ""."""
        return self._said[-1][1] if self._said else ""

    def say(self, line: str) -> None:
        """Tell the user a line, on the picture and where the session was started."""
        self._said.append((self._clock.now_s(), line))
        self._tell(line)
        self._changed.set()

    def _take_frame(self, frame: Frame, black: bool) -> None:
        self.tally.see()
        with self._lock:
            if not self._frozen:
                self._frame = frame
                if not black:
                    self._frames.put(frame)
        self._changed.set()

    def _take_state(self, state: SourceState) -> None:
        if state.reason:
            self._tell(state.reason)
        self._changed.set()

    def _take_answer(self, frame: Frame, answer: Answer) -> None:
        with self._lock:
            overtaken = self._answered is not None and frame.number < self._answered.number
            if not overtaken:
                self._answer, self._answered, self._late = answer, frame, frame
            recorder = self._recorder
        self.tally.analyse(self._clock.now_s(), overtaken=overtaken)
        if recorder is not None:
            recorder.log(frame, answer)
        self._changed.set()

    def _draw(self) -> None:
        drawn = 0
        while not self._closed:
            self._changed.wait(_REDRAW_S)
            self._changed.clear()
            with self._lock:
                late, self._late = self._late, None
                broken = self._recorder is not None and self._recorder.broken
            if broken:
                self.record()
            scene = self._scene()
            picture = draw_scene(scene)
            now_s = self._clock.now_s()
            self.drawings.put(picture, now_s)
            if scene.frame is not None and scene.frame.number != drawn:
                drawn = scene.frame.number
                self.tally.show(now_s)
            if late is not None:
                self.tally.delay(now_s - late.at_s)
            if scene.state.condition == Condition.ENDED and not self._is_behind():
                self.ended.set()

    def _is_behind(self) -> bool:
        """Whether a frame or an answer has come that is not drawn yet."""
        figures = self.figures()
        with self._lock:
            late = self._late is not None
        unseen = figures.seen > 0 and figures.shown == 0
        return late or unseen or figures.analysed + figures.dropped < figures.offered

    def _scene(self) -> Scene:
        with self._lock:
            frame, answer, answered = self._frame, self._answer, self._answered
            recording = self._recorder is not None
        now_s = self._clock.now_s()
        if now_s - self._figures_s >= _FIGURES_S:
            self._figures, self._figures_s = self.figures(), now_s
        notes = [line for at_s, line in self._said if now_s - at_s < _SAID_S]
        if answer is not None:
            notes += [answer.error] if answer.error else answer.notes
        return Scene(
            self._settings.subject, self._reader.name, self._reader.state, self._figures, frame,
            answer, _shift(frame, answered), self._frozen, recording, tuple(notes),
        )  # fmt: skip

    def _write_snapshot(
        self, frame: Frame, drawing: Drawing, calibration: Calibration | None
    ) -> None:
        told = self._settings
        try:
            folder, found = write_snapshot(
                told.out, frame, drawing, told.asked, told.pixel_size, calibration
            )
        except LayerscopeError as error:
            self.say(f"no snapshot: {error}")
        else:
            self.say(f"{found}: {folder}")


def _shift(frame: Frame | None, answered: Frame | None) -> Shift | None:
    """How far the field has moved since the frame of the answer; None where it is another."""
    if frame is None or answered is None:
        return None
    if frame is answered:
        return _STILL
    if frame.shown.shape != answered.shown.shape:
        return None
    return shift_between(answered.thumb, frame.thumb, frame.shown.shape[1])
