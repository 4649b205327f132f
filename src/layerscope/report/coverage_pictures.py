"""Pictures of a covered surface: values as colours, the film's outline, scale and colour bars."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.classes import class_colour
from layerscope.core.coverage import Coverage, LabelMap, SurfaceResult
from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.results import BoolArray, FloatArray
from layerscope.draw import length_text, round_length_nm
from layerscope.errors import InputError
from layerscope.report.columns import figures_of

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Rgb = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

_PAPER: Colour = (255, 255, 255)
_INK: Colour = (34, 48, 60)
_CASING: Colour = (20, 20, 24)
_UNCOUNTED: Colour = (150, 150, 150)
_COLOUR_MAP = "Blues_r"
"""Lightness rises from 21 to 98 without a turn, and no layer's colour is blue."""
_TAILS = (0.5, 99.5)  # percent of the values that the colours leave out at either end


def layer_numbers(coverage: Coverage) -> npt.NDArray[np.uint8]:
    """Layer number per class of the label map, (K,); 1 is any film where heights are unknown."""
    if not coverage.terraces:
        return np.arange(len(coverage.film.classes), dtype=np.uint8)
    return np.array([t.n_layers for t in coverage.terraces], np.uint8)


def layer_image(coverage: Coverage) -> npt.NDArray[np.uint8]:
    """Layer number per pixel (H, W), 255 where the pixel is counted in nothing."""
    film = coverage.film
    numbers = layer_numbers(coverage)[np.where(film.valid, film.labels, 0)]
    return np.where(film.valid, numbers, np.uint8(255))


def grey_values(micrograph: Micrograph, film: LabelMap) -> npt.NDArray[np.float32]:
    """One value per pixel (H, W): heights above the substrate's median, or grey as stored."""
    data = micrograph.data.astype(np.float32)
    values = data.mean(axis=2) if data.ndim == 3 else data
    bare = film.valid & (film.labels == 0) & np.isfinite(values)
    if micrograph.value_unit == "nm" and bare.any():
        values = values - np.float32(np.median(values[bare]))
    return np.asarray(values)


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """PNG bytes of grey (H, W) or RGB (H, W, 3)."""
    stored = pixels if pixels.ndim == 2 else pixels[..., ::-1]
    done, data = cv2.imencode(".png", stored, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise InputError(f"cannot encode pixels of shape {pixels.shape} as PNG")
    return bytes(data.tobytes())


class _View(NamedTuple):
    """How many pixels of the picture one of the data takes."""

    y: float
    x: float


def draw_surface(
    result: SurfaceResult, *, longest_px: int, outlines: bool = True, title: Sequence[str] = ()
) -> Rgb:
    """Picture of one surface.

    Parameters
    ----------
    result : SurfaceResult
    longest_px : int
        Of the surface itself; titles, colour bar and key are outside of it.
    outlines : bool
        Whether to outline the film in the colours of its layers, with a key.
    title : sequence of str
        Lines above the picture.

    Returns
    -------
    ndarray of uint8, (H', W', 3)
        Heights in colours with their bar, other pictures in grey; not counted pixels are hatched.
    """
    image, film = result.micrograph, result.coverage.film
    view = _view(image, longest_px)
    values = grey_values(image, film)
    low, high = _limits(values, film.valid)
    plain = image.value_unit == "intensity"
    table = _grey_table() if plain else _colour_table()
    panel = _paint(values, film.valid, (low, high), table, view)
    if outlines:
        panel = _outlined(panel, result.coverage, view)
    size = int(np.clip(round(max(panel.shape[:2]) / 42) + 4, 12, 30))
    panel = with_scale_bar(panel, _zoomed(image.pixel_size, view), size)
    bar = None if plain else (table, (low, high), image.value_unit)
    return framed(panel, title, bar, _key(result.coverage) if outlines else [], size)


def _view(image: Micrograph, longest_px: int) -> _View:
    """Zoom that makes pixels as long as they are wide on the specimen."""
    size, (height, width) = image.pixel_size, image.shape
    tall = size.y_nm / size.x_nm if size else 1.0
    zoom = longest_px / max(height * tall, width)
    if abs(tall - 1) < 1e-3 and zoom >= 1:
        zoom = float(max(1, round(zoom)))  # whole pixels stay sharp and equal
    return _View(zoom * tall, zoom)


def _zoomed(size: PixelSize | None, view: _View) -> PixelSize | None:
    if size is None:
        return None
    return PixelSize(size.y_nm / view.y, size.x_nm / view.x, size.source)


def _limits(values: npt.NDArray[np.float32], valid: BoolArray) -> tuple[float, float]:
    known = values[valid & np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(known, _TAILS))
    return low, max(high, low + 1e-6 * max(1.0, abs(low)))


@functools.cache
def _colour_table() -> Rgb:
    import matplotlib as mpl

    colours = np.asarray(mpl.colormaps[_COLOUR_MAP](np.linspace(0, 1, 256)))
    return np.rint(255 * colours[:, :3]).astype(np.uint8)


@functools.cache
def _grey_table() -> Rgb:
    return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)


def _paint(
    values: npt.NDArray[np.float32],
    valid: BoolArray,
    limits: tuple[float, float],
    table: Rgb,
    view: _View,
) -> Rgb:
    low, high = limits
    share = np.nan_to_num((values - low) / (high - low))
    index = np.clip(np.rint(share * 255), 0, 255).astype(np.uint8)
    shape = max(1, round(values.shape[1] * view.x)), max(1, round(values.shape[0] * view.y))
    way = cv2.INTER_NEAREST if min(view) >= 1 else cv2.INTER_AREA
    panel = table[cv2.resize(index, shape, interpolation=way)]
    hidden = cv2.resize((~valid).astype(np.uint8), shape, interpolation=cv2.INTER_NEAREST) > 0
    rows, columns = np.indices(hidden.shape, sparse=True)
    panel[hidden] = _UNCOUNTED
    panel[hidden & ((rows + columns) % 8 < 2)] = _PAPER
    return panel


_LARGE_PX = 800  # below, the dark line would drown the colour


def _outlined(panel: Rgb, coverage: Coverage, view: _View) -> Rgb:
    """Draw the rim of each level, the lowest first, over a dark line that shows on any colour."""
    canvas, width = panel.copy(), 2
    labels, numbers = coverage.film.labels, layer_numbers(coverage)
    film = np.where(coverage.film.valid, labels, 0)
    for k in range(1, len(numbers)):
        lines = _rims(film >= k, view)
        for ink, thick in (
            (_CASING, width + (2 if max(panel.shape[:2]) > _LARGE_PX else 1)),
            (class_colour(int(numbers[k])), width),
        ):
            cv2.polylines(canvas, lines, True, ink, thick, cv2.LINE_AA, 4)
    return canvas


def _rims(mask: BoolArray, view: _View) -> list[npt.NDArray[np.int32]]:
    """Rims as closed lines in 1/16 pixel of the picture; at its border they run outside.

    Chains run through the centres of the film's outermost pixels, half a pixel inside of the rim:
    where a pixel can be seen, its quarters are followed instead.
    """
    fine = 2 if min(view) >= 1 else 1
    pixels = np.pad(mask.astype(np.uint8), 2, mode="edge").repeat(fine, 0).repeat(fine, 1)
    chains, _ = cv2.findContours(np.pad(pixels, 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    zoom = np.array([view.x, view.y])
    lines = [(((_smooth(c, fine) - 0.5) / fine - 2) * zoom - 0.5) * 16 for c in chains]
    return [np.rint(line).astype(np.int32) for line in lines]


def _smooth(chain: npt.NDArray[Any], fine: int) -> FloatArray:
    """Mean over neighbours: a magnified rim shows the film, not the pixel grid."""
    if len(chain) < 8 * fine:
        return np.asarray(chain, float)
    near = range(-fine, fine + 1)
    return np.asarray(np.mean([np.roll(chain, k, axis=0) for k in near], axis=0))


def _key(coverage: Coverage) -> list[tuple[str, Colour | None]]:
    """Names and colours of the classes that are there; no colour: what is not counted."""
    film, numbers = coverage.film, layer_numbers(coverage)
    there = np.bincount(film.labels[film.valid], minlength=len(numbers)) > 0
    key: list[tuple[str, Colour | None]] = [
        (film.classes[k], class_colour(int(numbers[k]))) for k in range(1, len(numbers)) if there[k]
    ]
    return [*key, ("not counted", None)] if not film.valid.all() else key


_Bar = tuple[Rgb, tuple[float, float], str]
"""Colours (256, 3), values of the first and the last, and their unit."""


def framed(
    panel: Rgb,
    title: Sequence[str],
    bar: _Bar | None,
    key: Sequence[tuple[str, Colour | None]],
    size: int,
) -> Rgb:
    """Set `panel` on paper with the title above, the colour bar at its right and the key below."""
    from PIL import Image, ImageDraw

    line, (height, width) = round(1.5 * size), panel.shape[:2]
    rows = _key_rows(key, width, size)
    head, foot = line * len(title) + size // 2 * bool(title), line * len(rows)
    side = round(6.5 * size) if bar else 0
    canvas = np.full((head + height + foot, width + side, 3), _PAPER, np.uint8)
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
    pen.rectangle((right - inner - 2 * pad, bottom - tall - pad, right, bottom), _CASING)
    middle = right - pad - inner / 2
    pen.text((middle, bottom - tall - pad // 2), name, _PAPER, _font(font), anchor="ma")
    if long:
        left = round(middle - long / 2)
        pen.rectangle(
            (left, bottom - pad - max(3, font // 4), left + long - 1, bottom - pad), _PAPER
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


def _key_rows(
    key: Sequence[tuple[str, Colour | None]], width: int, size: int
) -> list[list[tuple[int, str, Colour | None]]]:
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
        pen.rectangle(box, colour or _UNCOUNTED, _CASING)
        pen.text((left + round(2.5 * size), middle), name, _INK, _font(size), anchor="lm")


def percent_text(value: float, low: float, high: float) -> str:
    """Coverage with its interval: ``40.0 % [39.3–40.4]``."""
    if not np.isfinite(value):
        return "unknown"
    return f"{100 * value:.1f} % [{100 * low:.1f}–{100 * high:.1f}]"


def value_text(value: float, low: float, high: float) -> str:
    """Return a figure with its interval: ``0.66 [0.64–0.68]``; – where it was not measured."""
    if not np.isfinite(value):
        return "–"
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"{figures_of(value)} (no interval)"
    return f"{figures_of(value)} [{figures_of(low)}–{figures_of(high)}]"
