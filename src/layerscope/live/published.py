"""The newest drawing, for everybody who shows, sends or records it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from layerscope.ops.lettering import Image

_JPEG_QUALITY = 88


@dataclass(frozen=True, eq=False)
class Drawing:
    """One drawing.

    Attributes
    ----------
    number : int
        From 1; each drawing has its own.
    at_s : float
        When it was drawn, on the clock of the session.
    picture : ndarray of uint8, (H, W, 3)
    """

    number: int
    at_s: float
    picture: Image

    @cached_property
    def jpeg(self) -> bytes:
        """The picture as JPEG, encoded once for all who want it."""
        import simplejpeg

        encoded: bytes = simplejpeg.encode_jpeg(
            np.ascontiguousarray(self.picture), quality=_JPEG_QUALITY
        )
        return encoded


class Published:
    """Where the newest drawing is; nobody who is slow holds up the others."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._newest: Drawing | None = None
        self._closed = False

    @property
    def newest(self) -> Drawing | None:
        """The newest drawing; None before the first."""
        return self._newest

    @property
    def closed(self) -> bool:
        """Whether there will be no newer one."""
        return self._closed

    def put(self, picture: Image, at_s: float) -> None:
        """Publish a picture."""
        with self._changed:
            number = 1 if self._newest is None else self._newest.number + 1
            self._newest = Drawing(number, at_s, picture)
            self._changed.notify_all()

    def newer_than(self, number: int, timeout_s: float | None = None) -> Drawing | None:
        """Wait for a drawing newer than `number`; None when closed or after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or (self._newest is not None and self._newest.number > number),
                timeout_s,
            )
            newest = self._newest
            return newest if newest is not None and newest.number > number else None

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
