"""A camera by its number, as OpenCV counts them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from layerscope.errors import InputError, SourceLost
from layerscope.live.frame import Picture
from layerscope.live.sources import Playing


class Camera:
    """Takes what the camera gives, at its own pace or the one asked for.

    Parameters
    ----------
    number : int
    playing : Playing
    """

    steady = True

    def __init__(self, number: int, playing: Playing):
        self.name, self._clock = f"camera {number}", playing.clock
        self._capture: Any = _quietly_opened(number)
        if not self._capture.isOpened():
            raise SourceLost(f"no camera {number}: is it plugged in, and closed in other programs?")
        # What lies in the driver's buffer is old.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if playing.fps is not None:
            self._capture.set(cv2.CAP_PROP_FPS, playing.fps)

    def read(self) -> Picture | None:
        """Next picture."""
        if not self._clock.wait(0):
            return None
        there, seen = self._capture.read()
        if not there or seen is None or seen.ndim not in (2, 3):
            raise SourceLost(f"{self.name} gives no picture")
        way = cv2.COLOR_GRAY2RGB if seen.ndim == 2 else cv2.COLOR_BGR2RGB
        return Picture(np.asarray(cv2.cvtColor(seen, way), np.uint8))

    def close(self) -> None:
        """Let go of the camera."""
        self._capture.release()


def open_camera(detail: str, playing: Playing) -> Camera:
    """Camera of the number `detail`.

    Raises
    ------
    InputError
        If that is no number.
    SourceLost
        If there is no such camera now.
    """
    if not detail.isdigit():
        raise InputError(f"camera:{detail}: expected its number, 0 for the first")
    return Camera(int(detail), playing)


def _quietly_opened(number: int) -> Any:
    """Open it without what OpenCV and its libraries write to the terminal."""
    logs = cv2.utils.logging
    before = logs.getLogLevel()
    logs.setLogLevel(logs.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(number)
    finally:
        logs.setLogLevel(before)
