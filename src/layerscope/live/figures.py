"""What a session has counted: frames seen, shown, analysed and dropped, and how fast it was."""

from __future__ import annotations

import statistics
import threading
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

_SPAN_S = 2.0
_LATENCIES = 31


@dataclass(frozen=True)
class Figures:
    """Counts of a session until now.

    Attributes
    ----------
    seen : int
        Frames that the source gave.
    offered : int
        Those that were to be analysed: neither black nor, while the view was frozen, others than
        the one in view.
    analysed, dropped : int
        Offered and answered; offered, and a newer one came before the analysis was free.
    overtaken : int
        Analysed, but not shown, as the answer to a newer frame was there before.
    shown : int
        Frames drawn.
    shown_fps, analysed_fps : float
        Over the last 2 s.
    latency_ms : float or None
        From when a frame came to when its answer was drawn; median of the last 31.
    """

    seen: int = 0
    offered: int = 0
    analysed: int = 0
    dropped: int = 0
    overtaken: int = 0
    shown: int = 0
    shown_fps: float = 0.0
    analysed_fps: float = 0.0
    latency_ms: float | None = None


class Tally:
    """Counts while several threads work.

    Parameters
    ----------
    begun_s : float
        When the session began, on its clock.
    """

    def __init__(self, begun_s: float):
        self._begun_s, self._lock = begun_s, threading.Lock()
        self._seen, self._overtaken = 0, 0
        self._shown_s, self._analysed_s = _Times(), _Times()
        self._recent_s: deque[float] = deque(maxlen=_LATENCIES)
        self._all_s = array("f")

    def see(self) -> None:
        """Count a frame that came."""
        with self._lock:
            self._seen += 1

    def show(self, now_s: float) -> None:
        """Count a frame that was drawn."""
        with self._lock:
            self._shown_s.add(now_s)

    def analyse(self, now_s: float, *, overtaken: bool = False) -> None:
        """Count an answer."""
        with self._lock:
            self._analysed_s.add(now_s)
            self._overtaken += overtaken

    def delay(self, seconds: float) -> None:
        """Note how long a frame took from the source to its answer on the picture."""
        with self._lock:
            self._recent_s.append(seconds)
            self._all_s.append(seconds)

    def figures(self, now_s: float, offered: int, dropped: int) -> Figures:
        """Return the counts until now; the last two are those of the place of the newest frame."""
        with self._lock:
            recent = statistics.median(self._recent_s) * 1e3 if self._recent_s else None
            return Figures(
                self._seen, offered, self._analysed_s.count, dropped, self._overtaken,
                self._shown_s.count, self._shown_s.rate(now_s), self._analysed_s.rate(now_s),
                recent,
            )  # fmt: skip

    @property
    def delays_s(self) -> tuple[float, ...]:
        """How long each frame took from the source to its answer on the picture, in order."""
        with self._lock:
            return tuple(self._all_s)

    def summary(self, now_s: float, offered: int, dropped: int) -> str:
        """One line about the whole session."""
        found = self.figures(now_s, offered, dropped)
        return summed_up(found, max(now_s - self._begun_s, 1e-9), self.delays_s)


def summed_up(counts: Figures, span_s: float, delays_s: Sequence[float]) -> str:
    """One line about so many seconds, with the median and the 95 % quantile of the delays."""
    line = (
        f"{counts.seen} frames in {span_s:.1f} s: {counts.shown} shown "
        f"({counts.shown / span_s:.1f} /s), {counts.analysed} analysed "
        f"({counts.analysed / span_s:.1f} /s), {counts.dropped} dropped"
    )
    if counts.overtaken:
        line += f", {counts.overtaken} overtaken"
    if not delays_s:
        return line
    late = sorted(delays_s)
    median, p95 = late[len(late) // 2], late[min(len(late) - 1, round(0.95 * len(late)))]
    return f"{line}, latency {1e3 * median:.0f} ms (95 %: {1e3 * p95:.0f} ms)"


class _Times:
    """When something happened, for the rate over the last seconds."""

    def __init__(self) -> None:
        self.count, self._last = 0, deque[float]()

    def add(self, now_s: float) -> None:
        self.count += 1
        self._last.append(now_s)
        self._forget(now_s)

    def rate(self, now_s: float) -> float:
        self._forget(now_s)
        if len(self._last) < 2:
            return 0.0
        return (len(self._last) - 1) / max(self._last[-1] - self._last[0], 1e-9)

    def _forget(self, now_s: float) -> None:
        while self._last and self._last[0] < now_s - _SPAN_S:
            self._last.popleft()
