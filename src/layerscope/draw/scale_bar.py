"""The scale bar, of a round length."""

from __future__ import annotations

import numpy as np

from layerscope.core.micrograph import PixelSize
from layerscope.draw.picture import check_rgb8, font_size
from layerscope.ops.lettering import WHITE, Box, Image, blend, letters, plate


def draw_scale_bar(image: Image, pixel_size: PixelSize | None) -> Image:
    """Draw a bar of 1, 2 or 5 times a power of ten, near a sixth of the width; lower right."""
    check_rgb8(image)
    return with_scale_bar(image, pixel_size)[0]


def with_scale_bar(
    image: Image, pixel_size: PixelSize | None, font_px: int = 0
) -> tuple[Image, Box]:
    """Scale bar drawn, and the box that it takes; letters as suits the image unless told."""
    canvas, size = image.copy(), font_px or font_size(image)
    length_px, name = 0, "no scale"
    if pixel_size is not None:
        length_nm = round_length_nm(image.shape[1] / 6 * pixel_size.x_nm)
        length_px, name = round(length_nm / pixel_size.x_nm), length_text(length_nm)
    text, pad, thick = letters(name, size), size // 2, max(3, size // 3)
    inner = max(length_px, text.shape[1])
    right, bottom = image.shape[1] - size, image.shape[0] - size
    height = text.shape[0] + 2 * pad + (thick if length_px else 0)
    box = (max(bottom - height, 0), max(right - inner - 2 * pad, 0), bottom, right)
    plate(canvas, box)
    left = box[1] + pad
    blend(canvas, text, (box[0] + pad // 2, left + (inner - text.shape[1]) // 2), WHITE)
    if length_px:
        start = left + (inner - length_px) // 2
        canvas[bottom - pad - thick : bottom - pad, max(start, 0) : start + length_px] = WHITE
    return canvas, box


def round_length_nm(length_nm: float) -> float:
    """Nearest length of 1, 2 or 5 times a power of ten, on a logarithmic scale."""
    decade = np.floor(np.log10(length_nm))
    steps = np.array([1, 2, 5, 10]) * 10.0**decade
    return float(steps[np.argmin(np.abs(np.log(steps / length_nm)))])


def length_text(length_nm: float) -> str:
    """Length with the unit that keeps the number short: nm, µm or mm."""
    for factor, unit in ((1e6, "mm"), (1e3, "µm")):
        if length_nm >= factor:
            return f"{length_nm / factor:g} {unit}"
    return f"{length_nm:g} nm"
