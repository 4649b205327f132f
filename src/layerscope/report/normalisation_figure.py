"""Images beside their normalisations: pictures, and histograms of the values below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.draw import length_text, round_length_nm
from layerscope.errors import InputError
from layerscope.io.annotated.images import unit_pixels
from layerscope.ops.channels import FloatImage
from layerscope.ops.normalisation import NORMALISATIONS, as_unit, normalise
from layerscope.report.figures import ACCENT, GREY, INK, styled, to_png
from layerscope.report.pictures import Rgb

DEFAULT = ("unit", "minmax", "percentile", "clahe", "stretched_clahe", "nlm")
MOST_IMAGES = 6
_SIDE_PX = 420
_COLUMN_IN, _TEXT_IN, _BARS_IN = 2.15, 0.3, 1.0
_BINS = 96


def compare_normalisations(images: Sequence[Micrograph], names: Sequence[str] = DEFAULT) -> bytes:
    """PNG with two rows per image: it under each normalisation, and histograms of the values.

    Parameters
    ----------
    images : sequence of Micrograph
        1 to 6. The whole image is normalised; its middle is shown, 420 px a side, pixel by pixel.
    names : sequence of str
        Of `NORMALISATIONS`, in this order.

    Returns
    -------
    bytes

    Raises
    ------
    UnknownName
        If there is no such normalisation.
    InputError
        If there are no or too many images, or one has too few channels for a normalisation.
    """
    if not 1 <= len(images) <= MOST_IMAGES:
        raise InputError(f"{len(images)} images; expected 1 to {MOST_IMAGES} in one figure")
    for name in names:
        NORMALISATIONS[name]
    return to_png(_figure(images, names))


@styled
def _figure(images: Sequence[Micrograph], names: Sequence[str]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    heights = [h for i in images for h in (_picture_in(i) + _TEXT_IN, _BARS_IN)]
    size = (_COLUMN_IN * len(names), sum(heights) + 0.25 * len(images))
    layout = ConstrainedLayoutEngine(h_pad=0.06)
    figure = Figure(figsize=size, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2 * len(images), len(names), squeeze=False, height_ratios=heights)
    for row, image in enumerate(images):
        pixels = as_unit(unit_pixels(image))
        for column, name in enumerate(names):
            values = normalise(name, pixels)
            _draw_picture(grid[2 * row][column], values, image, name, first=column == 0)
            _draw_bars(grid[2 * row + 1][column], values, first=column == 0)
    return figure


def _picture_in(image: Micrograph) -> float:
    height, width = (min(n, _SIDE_PX) for n in image.shape)
    return _COLUMN_IN * 0.92 * height / width


def _draw_picture(
    ax: Any, values: FloatImage, image: Micrograph, name: str, *, first: bool
) -> None:
    picture = _picture(values)
    ax.imshow(picture, interpolation="nearest")
    if image.pixel_size is not None:
        _draw_bar(ax, picture, image.pixel_size)
    ax.set(xticks=[], yticks=[], title="as stored (unit)" if name == "unit" else name)
    ax.spines[:].set_visible(False)
    if first:
        ax.set_ylabel(image.name if len(image.name) <= 24 else image.name[:23] + "…", color=INK)


def _draw_bar(ax: Any, picture: Rgb, pixel_size: PixelSize) -> None:
    """Scale bar on a dark plate, lower right, in letters that can be read at this size."""
    height, width = picture.shape[:2]
    length_nm = round_length_nm(width / 5 * pixel_size.x_nm)
    length, middle = length_nm / pixel_size.x_nm, width * 0.84
    ax.axhspan(height * 0.83, height - 0.5, xmin=0.69, xmax=0.99, color=INK, alpha=0.75, lw=0)
    ends = [middle - length / 2, middle + length / 2]
    ax.plot(ends, [height * 0.955] * 2, color="white", linewidth=2.2, solid_capstyle="butt")
    ax.text(
        middle, height * 0.93, length_text(length_nm), color="white", fontsize=8, ha="center",
        va="bottom",
    )  # fmt: skip


def _picture(values: FloatImage) -> Rgb:
    """Middle of the image in 8 bits: 0 to 1, or the 1st to 99th percentile of wider values."""
    low, high = 0.0, 1.0
    if values.min() < 0 or values.max() > 1:
        low, high = (float(v) for v in np.percentile(values, [1, 99]))
    top, left = (max(0, (n - _SIDE_PX) // 2) for n in values.shape[:2])
    middle = values[top : top + _SIDE_PX, left : left + _SIDE_PX]
    shown = np.clip((middle - low) / max(high - low, 1e-6), 0, 1)
    grey = shown if shown.shape[2] == 3 else np.repeat(shown[..., :1], 3, axis=2)
    return np.rint(grey * 255).astype(np.uint8)


def _draw_bars(ax: Any, values: FloatImage, *, first: bool) -> None:
    """Share of the pixels at each value, and where the middle 98 % lie."""
    low, high = min(0.0, float(values.min())), max(1.0, float(values.max()))
    counts, edges = np.histogram(values, _BINS, (low, high))
    share = 100 * counts / max(counts.sum(), 1)
    ax.stairs(share, edges, fill=True, color=ACCENT)
    for value in np.percentile(values, [1, 99]):
        ax.axvline(value, color=INK, linewidth=0.9, linestyle=(0, (3, 2)))
    ax.set_yscale("symlog", linthresh=0.1)
    ax.set(xlim=(low, high), ylim=(0, 100), yticks=[0, 0.1, 1, 10, 100], xlabel="value")
    ax.set_yticklabels(["0", "0.1", "1", "10", "100"] if first else [])
    ax.tick_params(labelsize=8, color=GREY)
    ax.minorticks_off()
    if first:
        ax.set_ylabel("pixels, %")
