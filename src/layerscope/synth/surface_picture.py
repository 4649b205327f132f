"""Exported pictures of scans, as the software of instruments makes them: bars, text, themes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.results import FloatArray
from layerscope.errors import InputError, UnknownName

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

Bytes = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]

_ANCHORS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "grey": ((0, 0, 0), (255, 255, 255)),
    "gold": ((0, 0, 0), (90, 37, 9), (168, 92, 20), (232, 170, 70), (255, 226, 160), (255,) * 3),
    "hot": ((0, 0, 0), (128, 0, 0), (255, 128, 0), (255, 255, 128), (255, 255, 255)),
    "viridis": (
        (68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142),
        (31, 158, 137), (53, 183, 121), (109, 205, 89), (180, 222, 44), (253, 231, 37),
    ),
}  # fmt: skip
COLOUR_MAPS = tuple(_ANCHORS)

_THEMES = {"dark": ((0, 0, 0), (255, 255, 255)), "light": ((255, 255, 255), (0, 0, 0))}
_NICE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)


@dataclass(frozen=True, eq=False)
class AnnotatedPicture:
    """An exported picture and where everything on it is; boxes are top, left, bottom, right.

    Attributes
    ----------
    rgb : ndarray of uint8, (H, W, 3)
    crop : Box
        The micrograph itself, one pixel of the picture per pixel of the scan.
    colour_bar, scale_bar : Box
        Of the bar alone, without text and frame.
    low_nm, high_nm : float
        Heights of the two ends of the colour map: value v of 0..255 is ``low + v (high-low)/255``.
    ticks_nm : tuple of float
        Written beside the colour bar.
    scale_bar_nm : float
        Length that is written at the scale bar.
    lookup : ndarray of uint8, (256, 3)
        The colour map.
    pixel_size : PixelSize
    colour_map, theme : str
    """

    rgb: Bytes
    crop: Box
    colour_bar: Box
    scale_bar: Box
    low_nm: float
    high_nm: float
    ticks_nm: tuple[float, ...]
    scale_bar_nm: float
    lookup: Bytes
    pixel_size: PixelSize
    colour_map: str
    theme: str


def colour_lookup(name: str) -> Bytes:
    """Colours (256, 3) of a colour map, dark to bright.

    Raises
    ------
    UnknownName
        If it is none of `COLOUR_MAPS`.
    """
    if name not in _ANCHORS:
        raise UnknownName.of("colour map", name, COLOUR_MAPS)
    anchors = np.array(_ANCHORS[name], float)
    at = np.linspace(0, 1, len(anchors))
    wanted = np.linspace(0, 1, 256)
    channels = [np.interp(wanted, at, anchors[:, c]) for c in range(3)]
    return np.round(np.stack(channels, axis=1)).astype(np.uint8)


def annotated_picture(
    micrograph: Micrograph,
    *,
    colour_map: str = "gold",
    theme: str = "dark",
    range_nm: tuple[float, float] | None = None,
    title: str | None = None,
    bar_inside: bool = False,
) -> AnnotatedPicture:
    """Draw a levelled scan with colour bar, scale bar and text, 8 bit.

    Parameters
    ----------
    micrograph : Micrograph
        Heights in nm with a pixel size: `SynthSurface.micrograph` after levelling, as whoever
        exports a picture has levelled it.
    colour_map : str
        One of `COLOUR_MAPS`.
    theme : str
        ``dark`` or ``light``: what surrounds the micrograph.
    range_nm : (float, float), optional
        Ends of the colour map; by default the 0.5 and 99.5 % quantiles.
    title : str, optional
        Text above; the name of the micrograph by default.
    bar_inside : bool
        Scale bar on the micrograph instead of below it: it then hides pixels.

    Raises
    ------
    InputError
        If theme or range cannot be used, or the micrograph has no heights; ScaleUnknown without
        pixel size.
    """
    size = micrograph.require_scale()
    if theme not in _THEMES:
        raise InputError(f"theme {theme!r}: expected one of {', '.join(_THEMES)}")
    low, high = range_nm or _usual_range(micrograph)
    if not low < high:
        raise InputError(f"range {low} to {high} nm: expected a low and a higher height")
    lookup = colour_lookup(colour_map)
    return _compose(micrograph, size, lookup, (low, high), (colour_map, theme),
                    micrograph.name if title is None else title, bar_inside)  # fmt: skip


def _usual_range(micrograph: Micrograph) -> tuple[float, float]:
    known = micrograph.data[np.isfinite(micrograph.data)]
    if micrograph.data.ndim != 2 or known.size == 0:
        raise InputError(f"{micrograph.name}: expected heights, (H, W), some of them known")
    low, high = (float(v) for v in np.percentile(known, (0.5, 99.5)))
    return low, max(high, low + 1e-3)


def _compose(
    micrograph: Micrograph,
    size: PixelSize,
    lookup: Bytes,
    ends: tuple[float, float],
    style: tuple[str, str],
    title: str,
    bar_inside: bool,
) -> AnnotatedPicture:
    from PIL import Image, ImageDraw, ImageFont

    back, ink = _THEMES[style[1]]
    height, width = micrograph.shape
    letter = int(np.clip(height // 24, 11, 40))
    font = ImageFont.load_default(letter)
    crop = (2 * letter, letter, 2 * letter + height, letter + width)
    picture = Image.new("RGB", (width + 8 * letter, height + 5 * letter), back)
    picture.paste(_paint(micrograph.data, lookup, ends), (crop[1], crop[0]))
    pen = ImageDraw.Draw(picture)
    pen.text((crop[1], letter // 3), title, fill=ink, font=font)
    colour_bar = _draw_colour_bar(picture, pen, crop, letter, lookup)
    ticks = _draw_ticks(pen, font, colour_bar, ends, ink)
    bar, bar_nm = _draw_scale_bar(pen, font, crop, letter, size, ink, bar_inside)
    return AnnotatedPicture(
        rgb=np.asarray(picture, np.uint8), crop=crop, colour_bar=colour_bar, scale_bar=bar,
        low_nm=ends[0], high_nm=ends[1], ticks_nm=ticks, scale_bar_nm=bar_nm, lookup=lookup,
        pixel_size=size, colour_map=style[0], theme=style[1],
    )  # fmt: skip


def _paint(data: FloatArray, lookup: Bytes, ends: tuple[float, float]) -> Image:
    from PIL import Image

    share = np.nan_to_num((data - ends[0]) / (ends[1] - ends[0]), nan=0.0)
    return Image.fromarray(lookup[np.round(np.clip(share, 0, 1) * 255).astype(np.uint8)])


def _draw_colour_bar(picture: Image, pen: ImageDraw, crop: Box, letter: int, lookup: Bytes) -> Box:
    from PIL import Image

    height = crop[2] - crop[0]
    left = crop[3] + letter
    at = np.round(np.linspace(255, 0, height)).astype(int)
    stripe = np.repeat(lookup[at][:, None], letter, axis=1)
    picture.paste(Image.fromarray(stripe), (left, crop[0]))
    pen.rectangle((left - 1, crop[0] - 1, left + letter, crop[2]), outline=(128, 128, 128))
    return crop[0], left, crop[2], left + letter


def _draw_ticks(
    pen: ImageDraw,
    font: FreeTypeFont | ImageFont,
    bar: Box,
    ends: tuple[float, float],
    ink: tuple[int, int, int],
) -> tuple[float, ...]:
    """Round heights, at most six, and the unit over the bar."""
    step = next(s for s in _round_steps() if (ends[1] - ends[0]) / s <= 5)
    first = np.ceil(ends[0] / step)
    ticks = [round(float(k * step), 6) for k in np.arange(first, np.floor(ends[1] / step) + 1)]
    decimals = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    for tick in ticks:
        share = (tick - ends[0]) / (ends[1] - ends[0])
        row = bar[2] - 0.5 - share * (bar[2] - bar[0] - 1)
        pen.line((bar[3] + 1, row, bar[3] + 4, row), fill=ink)
        pen.text((bar[3] + 8, row), f"{tick + 0.0:.{decimals}f}", fill=ink, font=font, anchor="lm")
    pen.text((bar[1], bar[0] - 5), "nm", fill=ink, font=font, anchor="ls")
    return tuple(ticks)


def _round_steps() -> list[float]:
    return [m * 10.0**e for e in range(-4, 7) for m in (1, 2, 5)]


def _draw_scale_bar(
    pen: ImageDraw,
    font: FreeTypeFont | ImageFont,
    crop: Box,
    letter: int,
    size: PixelSize,
    ink: tuple[int, int, int],
    inside: bool,
) -> tuple[Box, float]:
    """Longest round length under 40 % of the width."""
    width = crop[3] - crop[1]
    length_nm = float(max((n for n in _NICE if n / size.x_nm <= 0.4 * width), default=_NICE[0]))
    n_columns = max(1, round(length_nm / size.x_nm))
    thick = max(3, letter // 4)
    top = crop[2] - 2 * letter if inside else crop[2] + letter // 2
    left = crop[1] + letter if inside else crop[1]
    colour = (255, 255, 255) if inside else ink
    if inside:
        pen.rectangle((left - 1, top - 1, left + n_columns, top + thick), fill=(0, 0, 0))
    pen.rectangle((left, top, left + n_columns - 1, top + thick - 1), fill=colour)
    text = f"{length_nm / 1000:g} um" if length_nm >= 1000 else f"{length_nm:g} nm"
    place = (left, top - 3) if inside else (left, top + thick + 3)
    halo = 2 if inside else 0
    anchor = "ls" if inside else "la"
    pen.text(place, text, fill=colour, font=font, anchor=anchor, stroke_width=halo,
             stroke_fill=(0, 0, 0))  # fmt: skip
    return (top, left, top + thick, left + n_columns), length_nm
