"""How far a scan is: counted by its driver, written where `status` finds it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from layerscope.batch.ledger import Entry
from layerscope.core.scan import Status
from layerscope.errors import InputError
from layerscope.io.atomic import write_bytes

PROGRESS = "progress.json"
_WRITE_EVERY_S = 2.0


@dataclass(frozen=True)
class Snapshot:
    """One look at a running scan.

    Attributes
    ----------
    stage : str
        ``survey``, ``find``, ``calibrate``, ``measure``, ``tables``, ``report`` or ``done``.
    images, images_done : int
        Of this stage.
    regions, failed : int
        Found and failed so far, in all sessions.
    images_per_s, megapixels_per_s : float
        In this session; 0 until there is a rate.
    seconds_left : float or None
        For this stage.
    """

    stage: str
    images: int
    images_done: int
    regions: int
    failed: int
    images_per_s: float
    megapixels_per_s: float
    seconds_left: float | None

    def __str__(self) -> str:
        parts = [f"{self.stage}: {self.images_done} of {self.images} images"]
        if self.images_per_s:
            parts.append(f"{self.images_per_s:.1f} images/s")
        if self.megapixels_per_s:
            parts.append(f"{self.megapixels_per_s:.0f} MPix/s")
        if self.seconds_left is not None:
            parts.append(f"{_clock(self.seconds_left)} left")
        parts.append(f"{self.regions} regions")
        return ", ".join([*parts, f"{self.failed} failed"])


Listener = Callable[[Snapshot], None]


class Progress:
    """Counts what happens; thread-safe.

    Parameters
    ----------
    folder : Path or None
        Where to write ``progress.json``.
    listener : callable, optional
        Called with a `Snapshot` after every image and chunk.
    """

    def __init__(self, folder: Path | None = None, listener: Listener | None = None):
        self._folder, self._listener = folder, listener or (lambda _: None)
        self._lock = threading.Lock()
        self._written = 0.0
        self._regions = self._failed = 0
        self._last = -1  # a mosaic is turned to again and again
        self.begin("survey", 0)

    def begin(self, stage: str, images: int, done: int = 0) -> None:
        """Turn to another stage, with so many images of which some are done already."""
        with self._lock:
            self._stage, self._images, self._before = stage, images, done
            self._finished = self._touched = 0
            self._megapixels, self._start = 0.0, time.monotonic()
            if stage == "find":
                self._regions = self._failed = 0
        self._tell()

    def known(self, entry: Entry) -> None:
        """Count an entry of an earlier session."""
        with self._lock:
            self._add(entry)

    def image(self, number: int) -> None:
        """Count an image that a worker turns to."""
        with self._lock:
            self._touched += number != self._last
            self._last = number
        self._tell()

    def finished(self, entry: Entry, images: int) -> None:
        """Count a finished chunk of so many images."""
        with self._lock:
            self._finished += images
            self._touched = max(self._touched, self._finished)
            self._megapixels += entry.cpu_s.get("mpix", 0.0)
            self._add(entry)
        self._tell()

    def snapshot(self) -> Snapshot:
        """How things stand."""
        with self._lock:
            elapsed = time.monotonic() - self._start
            rate = self._finished / elapsed if self._finished else 0.0
            done = min(self._before + max(self._finished, self._touched - 1), self._images)
            left = (self._images - self._before - self._finished) / rate if rate else None
            return Snapshot(
                self._stage,
                self._images,
                max(done, 0),
                self._regions,
                self._failed,
                round(rate, 2),
                round(self._megapixels / elapsed, 1) if self._megapixels else 0.0,
                None if left is None else round(left, 1),
            )

    def _add(self, entry: Entry) -> None:
        if entry.stage == "find":
            self._regions += entry.regions
            self._failed += sum(Status(i.status).failed for i in entry.images)

    def _tell(self) -> None:
        now = self.snapshot()
        self._listener(now)
        if self._folder is None or time.monotonic() - self._written < _WRITE_EVERY_S:
            return
        self._written = time.monotonic()
        try:
            write_bytes(self._folder / PROGRESS, json.dumps(asdict(now)).encode())
        except InputError:  # a full disk stops the scan where it matters, not here
            return


def read_progress(folder: Path) -> Snapshot | None:
    """Read the last snapshot that a driver wrote, if any."""
    try:
        return Snapshot(**json.loads((folder / PROGRESS).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _clock(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{left:02d} min"
