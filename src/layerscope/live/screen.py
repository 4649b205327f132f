"""A region of the screen: whatever program shows the microscope's picture."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np

from layerscope.errors import InputError, MissingExtra, SourceLost
from layerscope.live.clock import Pace
from layerscope.live.frame import Picture
from layerscope.live.sources import USUAL_FPS, Playing

_SMALLEST_PX = 64


class Screen:
    """Grabs a region of the screen at a steady pace.

    Parameters
    ----------
    detail : str
        ``""`` for the first screen, its number, or ``left,top,width,height`` in px.
    playing : Playing
    """

    steady = True

    def __init__(self, detail: str, playing: Playing):
        import mss

        self._pace = Pace(playing.fps or USUAL_FPS, playing.clock)
        try:
            self._grabber: Any = mss.MSS()
            screens = self._grabber.monitors
        except _troubles() as error:
            raise InputError(
                f"no screen to look at ({_said(error)}); log in on the desktop, or set DISPLAY"
            ) from None
        self._region = _region(detail, screens)
        self.name = "screen {width} × {height} at {left}, {top}".format(**self._region)

    def read(self) -> Picture | None:
        """Next picture."""
        if not self._pace.tick():
            return None
        try:
            grabbed = self._grabber.grab(self._region)
        except _troubles() as error:
            raise SourceLost(f"the screen gives no picture ({_said(error)})") from None
        raw = np.frombuffer(grabbed.bgra, np.uint8).reshape(grabbed.height, grabbed.width, 4)
        return Picture(np.asarray(cv2.cvtColor(raw, cv2.COLOR_BGRA2RGB), np.uint8))

    def close(self) -> None:
        """Let go of the screen."""
        self._grabber.close()


def open_screen(detail: str, playing: Playing) -> Screen:
    """Screen or region of it; see `Screen`.

    Raises
    ------
    MissingExtra
        If mss is not installed.
    InputError
        If there is no screen that can be grabbed, or the region is not on it.
    """
    if find_spec("mss") is None:
        raise MissingExtra.of("looking at the screen", "live")
    if is_wayland():
        raise InputError(
            "Wayland lets no program look at the screen: log in with an X11 session, or use "
            "camera:0 or folder:PATH"
        )
    return Screen(detail, playing)


def is_wayland() -> bool:
    """Whether the desktop is one that gives black pictures to whoever grabs it."""
    told = os.environ.get("XDG_SESSION_TYPE", "").casefold()
    return sys.platform == "linux" and (
        told == "wayland" or bool(os.environ.get("WAYLAND_DISPLAY"))
    )


def _region(detail: str, screens: list[dict[str, int]]) -> dict[str, int]:
    whole, single = screens[0], screens[1:] or screens[:1]
    parts = [p.strip() for p in detail.split(",")] if detail else ["1"]
    if not all(p.removeprefix("-").isdigit() for p in parts) or len(parts) not in (1, 4):
        raise InputError(f"screen:{detail}: expected a number or LEFT,TOP,WIDTH,HEIGHT in px")
    numbers = [int(p) for p in parts]
    if len(numbers) == 1:
        if not 1 <= numbers[0] <= len(single):
            raise InputError(f"screen:{detail}: there are {len(single)} screens, numbered from 1")
        chosen = single[numbers[0] - 1]
        return {side: chosen[side] for side in ("left", "top", "width", "height")}
    left, top, width, height = numbers
    fits = left >= whole["left"] and left + width <= whole["left"] + whole["width"]
    fits &= top >= whole["top"] and top + height <= whole["top"] + whole["height"]
    if not fits or min(width, height) < _SMALLEST_PX:
        raise InputError(
            f"screen:{detail}: expected a region of {_SMALLEST_PX} px or more on the screen of "
            "{width} × {height} px at {left}, {top}".format(**whole)
        )
    return {"left": left, "top": top, "width": width, "height": height}


def _troubles() -> tuple[type[Exception], ...]:
    """Whatever mss raises; the libraries of X11 and of Windows have their own."""
    from mss.exception import ScreenShotError

    return (ScreenShotError, OSError, RuntimeError, ValueError)


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__
