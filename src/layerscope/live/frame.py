"""One picture of a source, and what every source can do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import cv2

from layerscope.core.micrograph import PixelSize
from layerscope.live.motion import Thumb, thumb_of
from layerscope.ops.lettering import Image

_BLACK = 10
"""Level of 255 below which everything lies in a picture that shows nothing."""

_LOOK_PX = 8


@dataclass(frozen=True, eq=False)
class Picture:
    """What a source gave.

    Attributes
    ----------
    pixels : ndarray of uint8, (H, W, 3)
        RGB, as large as the source has them.
    name : str
        Of the file, where there is one.
    pixel_size : PixelSize or None
        That the file states.
    """

    pixels: Image
    name: str = ""
    pixel_size: PixelSize | None = None


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture, when it came, and what is shown and analysed of it.

    Attributes
    ----------
    number : int
        From 1, in the order in which the source gave them.
    at_s : float
        When it came, on the clock of the session.
    picture : Picture
    shown : ndarray of uint8, (h, w, 3)
        The picture, no wider than the view.
    """

    number: int
    at_s: float
    picture: Picture
    shown: Image

    @property
    def reduction(self) -> float:
        """Pixels of the source per pixel shown."""
        return self.picture.pixels.shape[1] / self.shown.shape[1]

    @cached_property
    def thumb(self) -> Thumb:
        """What shifts are looked for in."""
        return thumb_of(self.shown)

    def pixel_size(self, told: PixelSize | None) -> PixelSize | None:
        """Of the pixels shown; `told` by the user, or what the file states."""
        own = told or self.picture.pixel_size
        if own is None:
            return None
        return replace(own, y_nm=own.y_nm * self.reduction, x_nm=own.x_nm * self.reduction)


class Source(Protocol):
    """Where pictures come from. It is opened, read and closed by one thread."""

    @property
    def name(self) -> str:
        """What the view calls it, e.g. ``camera 0``."""

    @property
    def steady(self) -> bool:
        """Whether it gives pictures all the time, so that none for a second is a fault."""

    def read(self) -> Picture | None:
        """Wait for the next picture; None at the end of what can be replayed, or when stopped.

        Raises
        ------
        SourceLost
            If there is none now and may be one later.
        """

    def close(self) -> None:
        """Give back what the source holds."""


def framed(picture: Picture, number: int, at_s: float, width_px: int) -> Frame:
    """Frame of `picture`, shown no wider than `width_px`."""
    height, width = picture.pixels.shape[:2]
    if width <= width_px:
        return Frame(number, at_s, picture, picture.pixels)
    size = (width_px, max(1, round(height * width_px / width)))
    return Frame(
        number, at_s, picture, cv2.resize(picture.pixels, size, interpolation=cv2.INTER_AREA)
    )


def is_black(pixels: Image) -> bool:
    """Whether a picture (H, W, 3) shows nothing: lamp off, shutter closed, screen saver."""
    return bool(pixels[::_LOOK_PX, ::_LOOK_PX].max() < _BLACK)
