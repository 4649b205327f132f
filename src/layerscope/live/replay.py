"""What was seen before, played again: a video, images one after another, or a pan over images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from layerscope.core.micrograph import PixelSize
from layerscope.errors import InputError, SourceLost, UnreadableFile
from layerscope.io.sources import name_sources
from layerscope.live.clock import Pace
from layerscope.live.folder import opened
from layerscope.live.frame import Picture
from layerscope.live.sources import USUAL_FPS, Playing
from layerscope.ops.lettering import Image

VIDEO_SUFFIXES = (".avi", ".mp4", ".mov", ".mkv", ".webm", ".m4v", ".wmv", ".mjpeg", ".mjpg")

_SLOPE = 0.37
"""Rows moved per column moved: a pan that comes by everything."""


class Replay:
    """Gives pictures at a steady pace.

    Parameters
    ----------
    name : str
    pictures : callable
        Gives an iterator over all pictures, from the first; an entry that is an error is raised.
    playing : Playing
    fps : float
        Used where `playing` names none.
    """

    steady = False

    def __init__(
        self,
        name: str,
        pictures: Callable[[], Iterator[Picture | SourceLost]],
        playing: Playing,
        fps: float = USUAL_FPS,
    ):
        self.name, self._pictures, self._loop = name, pictures, playing.loop
        self._pace = Pace(playing.fps or fps, playing.clock)
        self._rest = pictures()

    def read(self) -> Picture | None:
        """Next picture; None at the end."""
        if not self._pace.tick():
            return None
        found = next(self._rest, None)
        if found is None and self._loop:
            self._rest = self._pictures()
            found = next(self._rest, None)
        if isinstance(found, SourceLost):
            raise found
        return found

    def close(self) -> None:
        """Let go of the file."""
        self._rest = iter(())


def open_replay(detail: str, playing: Playing) -> Replay:
    """Video, image or folder of images at the path `detail`.

    Raises
    ------
    InputError
        If there is nothing that can be played, or nothing that a window can be moved over.
    """
    path = Path(detail)
    if not path.exists():
        raise InputError(f"replay:{detail}: no such file or folder")
    if path.suffix.casefold() in VIDEO_SUFFIXES:
        if playing.pan is not None:
            raise InputError(f"replay:{detail}: a video; --pan is for images")
        fps = _video_fps(path)
        return Replay(f"replay of {path.name}", lambda: _video(path), playing, fps)
    files = [Path(s.path) for s in name_sources([path])]
    if not files:
        raise InputError(f"replay:{detail}: no images there")
    if playing.pan is None:
        shown = Replay(f"replay of {path.name}", lambda: _images(files), playing)
    else:
        window, step_px = playing.pan, playing.pan_step_px
        name = f"pan over {path.name}"
        shown = Replay(name, lambda: _pans(files, window, step_px), playing)
    return shown


def _video_fps(path: Path) -> float:
    capture = _captured(path)
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()
    return fps if 0 < fps <= 1000 else USUAL_FPS


def _captured(path: Path) -> Any:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise UnreadableFile(f"{path}: no video that can be read; try an .avi or .mp4")
    return capture


def _video(path: Path) -> Iterator[Picture | SourceLost]:
    capture = _captured(path)
    try:
        while True:
            there, seen = capture.read()
            if not there:
                return
            yield Picture(np.asarray(cv2.cvtColor(seen, cv2.COLOR_BGR2RGB), np.uint8))
    finally:
        capture.release()


def _images(files: list[Path]) -> Iterator[Picture | SourceLost]:
    for file in files:
        try:
            yield opened(file)
        except SourceLost as error:
            yield error


def _pans(
    files: list[Path], window: tuple[int, int], step_px: float
) -> Iterator[Picture | SourceLost]:
    for image in _images(files):
        if isinstance(image, SourceLost):
            yield image
        else:
            yield from _pan(image, window, step_px, endless=len(files) == 1)


def _pan(
    image: Picture, window: tuple[int, int], step_px: float, *, endless: bool
) -> Iterator[Picture]:
    """Windows on one image, there and back once, or for ever where it is the only one."""
    pixels: Image = image.pixels
    height, width = (min(n, m) for n, m in zip(window, pixels.shape[:2], strict=True))
    room_y, room_x = pixels.shape[0] - height, pixels.shape[1] - width
    last = max(1, round(2 * max(room_x, room_y) / step_px))
    number = 0
    while endless or number < last:
        left = _swing(number * step_px, room_x)
        top = _swing(number * step_px * (_SLOPE if room_x else 1), room_y)
        # A copy: a camera, too, gives pictures that nobody changes behind its back.
        seen = pixels[top : top + height, left : left + width].copy()
        size: PixelSize | None = image.pixel_size
        yield Picture(seen, image.name, size)
        number += 1


def _swing(way_px: float, room_px: int) -> int:
    """Position from 0 to `room_px` and back, after `way_px`."""
    if room_px <= 0:
        return 0
    return round(room_px - abs(way_px % (2 * room_px) - room_px))
