"""Pictures of a covered surface: values as colours, the film's outline, scale and colour bars."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.classes import class_colour
from layerscope.core.coverage import Coverage, LabelMap, SurfaceResult
from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.report.panels import (
    CASING,
    UNCOUNTED,
    Colour,
    Rgb,
    as_large,
    font_px,
    framed,
    hatch,
    shades,
    with_scale_bar,
    zoomed,
)

_COLOUR_MAP = "Blues_r"
"""Lightness rises from 21 to 98 without a turn, and no layer's colour is blue."""
_TAILS = (0.5, 99.5)  # percent of the values that the colours leave out at either end


def layer_numbers(coverage: Coverage) -> IntArray:
    """Layer number per class of the label map, (K,); 1 is any film where heights are unknown."""
    if not coverage.terraces:
        return np.arange(len(coverage.film.classes))
    return np.array([t.n_layers for t in coverage.terraces], np.int64)


def layer_image(coverage: Coverage) -> npt.NDArray[np.uint8]:
    """Layer number per pixel (H, W), at most 254; 255 where the pixel is counted in nothing."""
    film = coverage.film
    numbers = layer_numbers(coverage)[np.where(film.valid, film.labels, 0)]
    return np.where(film.valid, np.minimum(numbers, 254), 255).astype(np.uint8)


def grey_values(micrograph: Micrograph, film: LabelMap) -> npt.NDArray[np.float32]:
    """One value per pixel (H, W): heights above the substrate's median, or grey as stored."""
    data = micrograph.data.astype(np.float32)
    values = data.mean(axis=2) if data.ndim == 3 else data
    bare = film.valid & (film.labels == 0) & np.isfinite(values)
    if micrograph.value_unit == "nm" and bare.any():
        values = values - np.float32(np.median(values[bare]))
    return np.asarray(values)


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
    return _finished(result, _painted(result, longest_px), outlines=outlines, title=title)


def draw_plain_and_outlined(result: SurfaceResult, *, longest_px: int) -> tuple[Rgb, Rgb]:
    """Picture of one surface without and with outlines, as `draw_surface`; painted once."""
    painted = _painted(result, longest_px)
    return _finished(result, painted, outlines=False), _finished(result, painted, outlines=True)


class _Painted(NamedTuple):
    """Values as colours, with what the colour bar needs."""

    panel: Rgb
    view: _View
    table: Rgb
    limits: tuple[float, float]


def _painted(result: SurfaceResult, longest_px: int) -> _Painted:
    image, film = result.micrograph, result.coverage.film
    view, values = _view(image, longest_px), grey_values(image, film)
    limits = _limits(values, film.valid)
    table = _greys() if image.value_unit == "intensity" else shades(_COLOUR_MAP)
    return _Painted(_paint(values, film.valid, limits, table, view), view, table, limits)


def _finished(
    result: SurfaceResult, painted: _Painted, *, outlines: bool, title: Sequence[str] = ()
) -> Rgb:
    """Add outlines, if wanted, scale bar, colour bar, key and title."""
    image, (panel, view, table, limits) = result.micrograph, painted
    if outlines:
        panel = _outlined(panel, result.coverage, view)
    size = font_px(panel)
    panel = with_scale_bar(panel, zoomed(image.pixel_size, view.y, view.x), size)
    bar = None if image.value_unit == "intensity" else (table, limits, image.value_unit)
    return framed(panel, title, bar, _key(result.coverage) if outlines else [], size)


def _view(image: Micrograph, longest_px: int) -> _View:
    """Zoom that makes pixels as long as they are wide on the specimen."""
    size, (height, width) = image.pixel_size, image.shape
    tall = size.y_nm / size.x_nm if size else 1.0
    zoom = longest_px / max(height * tall, width)
    if abs(tall - 1) < 1e-3 and zoom >= 1:
        zoom = float(max(1, round(zoom)))  # whole pixels stay sharp and equal
    return _View(zoom * tall, zoom)


def _limits(values: npt.NDArray[np.float32], valid: BoolArray) -> tuple[float, float]:
    known = values[valid & np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(known, _TAILS))
    return low, max(high, low + 1e-6 * max(1.0, abs(low)))


@functools.cache
def _greys() -> Rgb:
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
    large = cv2.resize(index, shape, interpolation=way)
    panel = np.asarray(cv2.applyColorMap(large, table[:, None]))
    hidden = as_large(~valid, panel)
    if hidden.any():
        panel[hidden] = UNCOUNTED
        hatch(panel, hidden)
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
            (CASING, width + (2 if max(panel.shape[:2]) > _LARGE_PX else 1)),
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
    # Every second point: the lines look the same, drawn in half the time.
    return [np.rint(line[::2] if len(line) > 16 else line).astype(np.int32) for line in lines]


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
