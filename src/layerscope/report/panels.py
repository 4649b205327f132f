"""A micrograph on paper: as a picture, with its scale bar, a title, a colour bar and a key."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.results import BoolArray
from layerscope.draw import length_text, round_length_nm, to_rgb8
from layerscope.errors import InputError

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Rgb = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Key = Sequence[tuple[str, Colour | None]]
"""Names and colours of what is there; no colour: what is not counted."""

PAPER: Colour = (255, 255, 255)
CASING: Colour = (20, 20, 24)
"""Below a thin line, so that it shows on any colour."""
UNCOUNTED: Colour = (150, 150, 150)
_INK: Colour = (34, 48, 60)


def draw_image(
    image: Micrograph,
    longest_px: int,
    title: Sequence[str] = (),
    mark: Callable[[Rgb], Rgb] | None = None,
    key: Key = (),
) -> Rgb:
    """Picture of a micrograph with its scale bar.

    Parameters
    ----------
    image : Micrograph
    longest_px : int
        Of the micrograph itself, which is enlarged by whole pixels; title and key are outside.
    title : sequence of str
        Lines above the picture.
    mark : callable, optional
        Draws what was found on the picture.
    key : sequence of (str, colour)

    Returns
    -------
    ndarray of uint8, (H', W', 3)
    """
    zoom = longest_px / max(image.shape)
    zoom = float(max(1, round(zoom))) if zoom >= 1 else zoom
    panel = resized(picture_of(image), zoom)
    panel = mark(panel) if mark else panel
    size = font_px(panel)
    return framed(
        with_scale_bar(panel, zoomed(image.pixel_size, zoom), size), title, None, key, size
    )


def picture_of(image: Micrograph) -> Rgb:
    """Picture of 8 bits; values without a white level are spread over their middle 99 %."""
    if image.value_unit == "intensity":
        return to_rgb8(np.nan_to_num(image.data), image.white_level)
    low, high = np.nanpercentile(image.data, (0.5, 99.5))
    share = (np.nan_to_num(image.data, nan=low) - low) / max(high - low, 1e-30)
    return to_rgb8(np.clip(share, 0, 1).astype(np.float32), 1.0)


def resized(picture: Rgb, zoom: float) -> Rgb:
    """Enlarge by repeating pixels, or reduce by averaging them."""
    if zoom == 1:
        return picture
    size = (max(1, round(picture.shape[1] * zoom)), max(1, round(picture.shape[0] * zoom)))
    way = cv2.INTER_NEAREST if zoom > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, size, interpolation=way), np.uint8)


def zoomed(size: PixelSize | None, y: float, x: float | None = None) -> PixelSize | None:
    """Pixel size of a picture with `y` times the rows and `x` times the columns; default `y`."""
    if size is None:
        return None
    return PixelSize(size.y_nm / y, size.x_nm / (x or y), size.source)


def font_px(panel: Rgb) -> int:
    """Size of letters that suits the size of a picture."""
    return int(np.clip(round(max(panel.shape[:2]) / 42) + 4, 12, 30))


@functools.cache
def shades(name: str) -> Rgb:
    """Colours (256, 3) of a colour map of matplotlib."""
    import matplotlib as mpl

    colours = np.asarray(mpl.colormaps[name](np.linspace(0, 1, 256)))
    return np.rint(255 * colours[:, :3]).astype(np.uint8)


def as_large(mask: BoolArray, panel: Rgb) -> BoolArray:
    """Bring a mask to the size of a picture."""
    size = panel.shape[1::-1]
    small = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(small > 0)


def hatch(canvas: Rgb, hidden: BoolArray) -> None:
    """Draw white diagonals over what is not counted."""
    rows, columns = np.nonzero(hidden)
    striped = (rows + columns) % 8 < 2
    canvas[rows[striped], columns[striped]] = PAPER


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """PNG bytes of grey (H, W) or RGB (H, W, 3)."""
    stored = pixels if pixels.ndim == 2 else pixels[..., ::-1]
    # Half the time of level 3; photographs grow by a tenth, maps not at all.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # from OpenCV 4.12 on
        options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    done, data = cv2.imencode(".png", stored, options)
    if not done:
        raise InputError(f"cannot encode pixels of shape {pixels.shape} as PNG")
    return bytes(data.tobytes())


_Bar = tuple[Rgb, tuple[float, float], str]
"""Colours (256, 3), values of the first and the last, and their unit."""


def framed(
    panel: Rgb,
    title: Sequence[str],
    bar: _Bar | None,
    key: Key,
    size: int,
) -> Rgb:
    """Set `panel` on paper with the title above, the colour bar at its right and the key below."""
    from PIL import Image, ImageDraw

    line, (height, width) = round(1.5 * size), panel.shape[:2]
    rows = _key_rows(key, width, size)
    head, foot = line * len(title) + size // 2 * bool(title), line * len(rows)
    side = round(6.5 * size) if bar else 0
    canvas = np.full((head + height + foot, width + side, 3), PAPER, np.uint8)
    canvas[head : head + height, :width] = panel
    if bar:
        _fill_bar(canvas, bar[0], (head, width + size, height), size)
    page = Image.fromarray(canvas)
    pen = ImageDraw.Draw(page)
    for k, text in enumerate(title):
        pen.text((2, k * line), _cut(text, width + side - 4, size), _INK, _font(size))
    if bar:
        _write_bar(pen, bar, (head, width + size, height), size)
    for k, row in enumerate(rows):
        _write_key(pen, row, head + height + k * line, size)
    return np.array(page)


def with_scale_bar(panel: Rgb, size: PixelSize | None, font: int) -> Rgb:
    """Scale bar on a dark plate, lower right; says so where there is no scale."""
    from PIL import Image, ImageDraw

    name, long = "no scale", 0
    if size is not None:
        length_nm = round_length_nm(panel.shape[1] / 6 * size.x_nm)
        name, long = length_text(length_nm), round(length_nm / size.x_nm)
    page, wide = Image.fromarray(panel), round(_font(font).getlength(name))
    pen, pad, inner = ImageDraw.Draw(page), font // 2, max(long, wide)
    right, bottom = panel.shape[1] - font // 2, panel.shape[0] - font // 2
    tall = round(1.3 * font) + (font // 2 if long else 0)
    pen.rectangle((right - inner - 2 * pad, bottom - tall - pad, right, bottom), CASING)
    middle = right - pad - inner / 2
    pen.text((middle, bottom - tall - pad // 2), name, PAPER, _font(font), anchor="ma")
    if long:
        left = round(middle - long / 2)
        pen.rectangle(
            (left, bottom - pad - max(3, font // 4), left + long - 1, bottom - pad), PAPER
        )
    return np.array(page)


@functools.lru_cache(maxsize=16)
def _font(size: int) -> FreeTypeFont:
    # OpenCV's own fonts have no µ, and PIL's no letters beyond Latin.
    import matplotlib as mpl
    from PIL import ImageFont

    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def _cut(text: str, room: int, size: int) -> str:
    while len(text) > 1 and _font(size).getlength(text) > room:
        text = text[:-2].rstrip(" …") + "…"
    return text


def _fill_bar(canvas: Rgb, table: Rgb, place: tuple[int, int, int], size: int) -> None:
    top, left, height = place
    shades = table[np.linspace(255, 0, height - 2 * size).round().astype(int)]
    canvas[top + size : top + height - size, left : left + size] = shades[:, None]


def _write_bar(pen: Any, bar: _Bar, place: tuple[int, int, int], size: int) -> None:
    (low, high), (top, left, height) = bar[1], place
    room = height - 2 * size - 1
    for value in _ticks(low, high):
        y = top + size + round(room * (high - value) / (high - low))
        pen.line([(left + size, y), (left + size + size // 4, y)], _INK)
        text = "0" if value == 0 else f"{value:g}".replace("-", "−")
        pen.text((left + round(1.5 * size), y), text, _INK, _font(size), anchor="lm")
    pen.text((left, top), bar[2], _INK, _font(size), anchor="lt")


def _ticks(low: float, high: float) -> list[float]:
    """Four to nine round numbers from `low` to `high`."""
    raw = (high - low) / 5
    decade = 10.0 ** np.floor(np.log10(raw))
    step = next((s * decade for s in (1, 2, 5) if s * decade >= raw), 10 * decade)
    first, last = int(np.ceil(low / step)), int(np.floor(high / step))
    return [float(f"{k * step:.6g}") for k in range(first, last + 1)]


def _key_rows(key: Key, width: int, size: int) -> list[list[tuple[int, str, Colour | None]]]:
    """Entries with their left ends, as many per line as fit."""
    rows: list[list[tuple[int, str, Colour | None]]] = []
    x = width + 1
    for name, colour in key:
        long = round(_font(size).getlength(name)) + 4 * size
        if x + long > width or not rows:
            rows.append([])
            x = 2
        rows[-1].append((x, name, colour))
        x += long
    return rows


def _write_key(
    pen: Any, row: Sequence[tuple[int, str, Colour | None]], top: int, size: int
) -> None:
    middle = top + round(0.8 * size)
    for left, name, colour in row:
        box = (left, middle - size // 4, left + 2 * size, middle + size // 4)
        pen.rectangle(box, colour or UNCOUNTED, CASING)
        pen.text((left + round(2.5 * size), middle), name, _INK, _font(size), anchor="lm")
