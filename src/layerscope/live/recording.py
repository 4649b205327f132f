"""What was seen, as a video, and every answer, as a line of a log."""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from layerscope.core.classes import class_name, layer_numbers
from layerscope.errors import CannotWrite, UnreadableFile
from layerscope.live.analysis import Answer
from layerscope.live.avi import AviWriter
from layerscope.live.clock import Clock
from layerscope.live.frame import Frame
from layerscope.live.published import Drawing, Published
from layerscope.live.snapshot import numbered_folder

FPS = 30.0
LOG = "answers.jsonl"
_SAVE_EVERY_S = 1.0
_WAIT_S = 0.1


class Recorder:
    """Writes every drawing at a steady rate, and every answer, in a thread of its own.

    In the folder are ``seen-0001.avi`` (more where the picture changes its size or the file gets
    large) and ``answers.jsonl``. What is older than a second lasts through a power cut.

    Parameters
    ----------
    drawings : Published
    out : Path
        The recording gets the next free folder of ``out/recordings``.
    clock : Clock

    Raises
    ------
    CannotWrite
    """

    def __init__(self, drawings: Published, out: Path, clock: Clock):
        self.folder = numbered_folder(out / "recordings")
        self._drawings, self._clock, self._begun_s = drawings, clock, clock.now_s()
        self._answers: queue.SimpleQueue[tuple[Frame, Answer]] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._refusal: CannotWrite | None = None
        try:
            self._log: TextIO = (self.folder / LOG).open("x", encoding="utf-8")
        except OSError as error:
            raise CannotWrite(f"cannot write to {self.folder}: {error.strerror}") from None
        self._video: AviWriter | None = None
        self._size, self._parts, self._number = (0, 0), 0, 0
        self._ticks, self._saved_s = 0, self._begun_s
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        """Length of the video."""
        return self._ticks / FPS

    @property
    def broken(self) -> bool:
        """Whether the disk takes no more; `close` says why."""
        return self._refusal is not None

    def log(self, frame: Frame, answer: Answer) -> None:
        """Note an answer; it is written soon."""
        self._answers.put((frame, answer))

    def close(self) -> None:
        """Write what is left.

        Raises
        ------
        CannotWrite
            If the disk did not take it all.
        """
        self._stop.set()
        self._thread.join()
        if self._refusal is not None:
            raise self._refusal

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and not self._drawings.closed:
                drawing = self._drawings.newer_than(self._number, _WAIT_S)
                if drawing is not None:
                    self._number = drawing.number
                    self._add(drawing)
                self._write_answers()
                self._save_now_and_then()
            last = self._drawings.newest
            if last is not None and last.number > self._number:
                self._add(last)
            self._write_answers()
            self._end_part()
        except CannotWrite as error:
            self._refusal = error
        except OSError as error:
            self._refusal = CannotWrite(f"cannot write to {self.folder}: {error.strerror}")
        finally:
            with suppress(CannotWrite):  # on a full disk, what is there can be played
                self._end_part()
            with suppress(OSError):
                self._log.close()

    def _add(self, drawing: Drawing) -> None:
        """Put a drawing at its tick of time; ticks without one repeat the last."""
        due = round((drawing.at_s - self._begun_s) * FPS) + 1
        # One that comes a little early is put a tick later; more of them would stretch the time.
        due += due == self._ticks
        if due <= self._ticks:
            return
        size = drawing.picture.shape[0], drawing.picture.shape[1]
        if self._video is None or size != self._size or self._video.is_full:
            self._begin_part(size)
        if self._video is None:
            return
        if self._video.ticks:
            for _ in range(due - self._ticks - 1):
                self._video.add(b"")
        self._video.add(drawing.jpeg)
        self._ticks = due

    def _begin_part(self, size: tuple[int, int]) -> None:
        self._end_part()
        self._parts += 1
        self._size = size
        self._video = AviWriter(self.folder / f"seen-{self._parts:04d}.avi", size, FPS)

    def _end_part(self) -> None:
        video, self._video = self._video, None
        if video is not None:
            video.close()

    def _write_answers(self) -> None:
        while not self._answers.empty():
            frame, answer = self._answers.get()
            line = answer_line(frame, answer, frame.at_s - self._begun_s)
            self._log.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _save_now_and_then(self) -> None:
        now_s = self._clock.now_s()
        if now_s - self._saved_s < _SAVE_EVERY_S:
            return
        self._saved_s = now_s
        self._log.flush()
        os.fsync(self._log.fileno())
        if self._video is not None:
            self._video.save()


def answer_line(frame: Frame, answer: Answer, seconds: float) -> dict[str, Any]:
    """One answer as the log has it.

    Parameters
    ----------
    frame : Frame
    answer : Answer
    seconds : float
        Since the recording began.
    """
    found, size = answer.detections, answer.pixel_size
    um2 = None if size is None else size.y_nm * size.x_nm * 1e-6
    confidence = found.score if found.layers is None else found.layers.confidence
    layers = [class_name(n) for n in layer_numbers(found)]
    what, names = ("layers", layers) if answer.named is None else ("class", answer.named.names)
    made_of = [{"made_of": text} for text in answer.made_of] or [{}] * len(found)
    columns = zip(
        names, confidence.tolist(), found.masks.boxes.tolist(), found.masks.area_px.tolist(),
        made_of, strict=True,
    )  # fmt: skip
    return {
        "seconds": round(seconds, 3),
        "frame": frame.number,
        "name": frame.picture.name,
        "analysis_ms": round(1e3 * answer.analysis_s, 1),
        "error": answer.error,
        "regions": [
            {
                what: name, "probability": round(probability, 4), "box_px": box,
                "area_px": area, "area_um2": None if um2 is None else float(f"{area * um2:.5g}"),
                **made,
            }
            for name, probability, box, area, made in columns
        ],
    }  # fmt: skip


def read_answers(path: str | Path) -> Iterator[dict[str, Any]]:
    """Answers of a recording, as they came; a last line that a power cut left torn is left out.

    Parameters
    ----------
    path : path
        Folder of the recording, or its log.

    Raises
    ------
    UnreadableFile
        If there is none, or a line that is not the last is damaged.
    """
    file = Path(path) / LOG if Path(path).is_dir() else Path(path)
    try:
        lines = file.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise UnreadableFile(f"{file}: {error.strerror}") from None
    for number, line in enumerate(lines, 1):
        try:
            yield json.loads(line)
        except ValueError:
            if number == len(lines) and not line.endswith(b"\n"):
                return
            raise UnreadableFile(f"{file}: line {number} is damaged") from None
