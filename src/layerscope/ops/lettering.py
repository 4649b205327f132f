"""Letters in pictures: their shapes, and painting them and the plates under them."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]

WHITE: Colour = (255, 255, 255)
INK: Colour = (20, 20, 24)
_PLATE_OPACITY = 0.62


@lru_cache(maxsize=1)
def _font_path() -> str | None:
    """DejaVu Sans as matplotlib ships it, found without importing matplotlib."""
    spec = find_spec("matplotlib")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return str(path)
    return None


@lru_cache(maxsize=16)
def _font(size: int) -> Any:
    """Font of a size; one opened for each text would draw every letter anew, in twice the time."""
    from PIL import ImageFont

    path = _font_path()
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


@lru_cache(maxsize=2048)
def letters(text: str, size: int) -> Image:
    """Coverage (h, w) of the letters of a line, 0 to 255, `size` px high.

    All lines of one size are equally high. The array is shared: nobody may write to it.
    """
    # OpenCV's own fonts have no µ and no ².
    from PIL import Image as Canvas
    from PIL import ImageDraw

    font = _font(size)
    # One height for all texts, so that lines and plates align.
    canvas = Canvas.new("L", (max(int(np.ceil(font.getlength(text))), 1), round(1.3 * size)))
    ImageDraw.Draw(canvas).text((0, size), text, 255, font, anchor="ls")
    return np.asarray(canvas, np.uint8)


def blend(canvas: Image, coverage: Image, at: tuple[int, int], colour: Colour) -> None:
    """Paint `colour` on `canvas` where `coverage` says; what sticks out is cut off."""
    top, left = at
    view = canvas[top : top + coverage.shape[0], left : left + coverage.shape[1]]
    share = coverage[: view.shape[0], : view.shape[1], None].astype(np.float32) / 255
    view[:] = np.rint(view * (1 - share) + np.array(colour, np.float32) * share).astype(np.uint8)


def plate(canvas: Image, box: Box) -> None:
    """Darken a box of `canvas` in place, so that white letters can be read on it."""
    top, left, bottom, right = box
    view = canvas[top:bottom, left:right]
    if view.size:
        view[:] = cv2.LUT(view, _shades())


@lru_cache(maxsize=1)
def _shades() -> Image:
    """Levels that those of each channel become under a plate, (1, 256, 3)."""
    ink, level = np.array(INK, np.float32), np.arange(256, dtype=np.float32)[None, :, None]
    share = np.float32(round(255 * _PLATE_OPACITY)) / np.float32(255)
    return np.rint(level * (1 - share) + ink * share).astype(np.uint8)
