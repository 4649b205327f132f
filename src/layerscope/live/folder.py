"""The newest image in a folder that the program of a microscope writes to."""

from __future__ import annotations

from pathlib import Path

from layerscope.batch.arrivals import Arrivals
from layerscope.draw import to_rgb8
from layerscope.errors import InputError, SourceLost, UnreadableFile
from layerscope.io import read
from layerscope.live.frame import Picture
from layerscope.live.sources import Playing

_LOOK_EVERY_S = 0.1


class Folder:
    """Gives each image once it is complete; of several that came at once, the newest.

    Parameters
    ----------
    path : Path
    playing : Playing
    """

    steady = False

    def __init__(self, path: Path, playing: Playing):
        self.name, self._path, self._clock = f"folder {path}", path, playing.clock
        self._arrivals = Arrivals([path])

    def read(self) -> Picture | None:
        """Wait for an image that is new."""
        while True:
            if not self._path.is_dir():
                raise SourceLost(f"{self._path}: the folder is not there")
            came = self._arrivals.look(self._clock.now_s())
            if came:
                return opened(Path(max(came, key=lambda a: (a.stamp[1], a.path)).path))
            if not self._clock.wait(_LOOK_EVERY_S):
                return None

    def close(self) -> None:
        """Nothing is held."""


def open_folder(detail: str, playing: Playing) -> Folder:
    """Folder at the path `detail`.

    Raises
    ------
    InputError
        If there is no such folder.
    """
    path = Path(detail)
    if not path.is_dir():
        raise InputError(f"folder:{detail}: no such folder")
    return Folder(path, playing)


def opened(path: Path) -> Picture:
    """Read an image file of any format that `layerscope` reads, in 8 bits.

    Raises
    ------
    SourceLost
        If it cannot be read: the next one may.
    """
    try:
        image = read(path)
    except UnreadableFile as error:
        raise SourceLost(str(error)) from None
    return Picture(to_rgb8(image.data, image.white_level), path.name, image.pixel_size)
