"""Whole pictures: an image with everything that was found on it, and one region by itself."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from layerscope.core.classes import class_colour, layer_numbers
from layerscope.core.micrograph import PixelSize
from layerscope.core.results import UNKNOWN, CropMasks, Detections
from layerscope.draw.labels import draw_labels, label_texts
from layerscope.draw.legend import with_legend
from layerscope.draw.named import Named
from layerscope.draw.outlines import draw_outlines, outline
from layerscope.draw.picture import check_rgb8, font_size
from layerscope.draw.scale_bar import with_scale_bar
from layerscope.errors import InputError
from layerscope.ops.lettering import INK, WHITE, Box, Image, blend, letters


def draw_flakes(
    image: Image,
    detections: Detections,
    *,
    pixel_size: PixelSize | None = None,
    title: str = "",
    labels: Sequence[str] | None = None,
) -> Image:
    """Overlay with everything: outlines, labels, legend, scale bar and title.

    Parameters
    ----------
    image : ndarray of uint8, (H, W, 3)
    detections : Detections
    pixel_size : PixelSize or None
        None draws "no scale" in place of the bar.
    title : str
        Printed on a strip above the image, which makes the result taller; "" for none.
    labels : sequence of str, optional
        One per region, "" for none. Default `label_texts`.

    Returns
    -------
    ndarray of uint8, (H', W, 3)

    Raises
    ------
    InputError
        If the image is not RGB of 8 bits or has another size than the detections.
    """
    check_rgb8(image, detections.masks)
    texts = label_texts(detections, pixel_size) if labels is None else labels
    # Plates are drawn before the labels, which keep clear of them.
    picture, taken = draw_plates(draw_outlines(image, detections), detections, pixel_size)
    picture = draw_labels(picture, detections, texts, keep_clear=taken)
    return draw_title(picture, title) if title else picture


def draw_plates(
    image: Image,
    detections: Detections,
    pixel_size: PixelSize | None,
    named: Named | None = None,
) -> tuple[Image, list[Box]]:
    """Draw scale bar and legend, and say which boxes they take: labels keep clear of them."""
    picture, bar = with_scale_bar(image, pixel_size)
    picture, legend = with_legend(picture, detections, named)
    return picture, [bar, legend]


def draw_title(image: Image, title: str) -> Image:
    """Add a strip with `title` above the image; too long a title is cut with an ellipsis."""
    check_rgb8(image)
    size = font_size(image)
    room = image.shape[1] - 2 * size
    while len(title) > 1 and letters(title, size).shape[1] > room:
        title = title[:-2].rstrip(" …") + "…"
    text = letters(title, size)
    strip = np.full((text.shape[0] + size, image.shape[1], 3), INK, np.uint8)
    blend(strip, text, (size // 2, size), WHITE)
    return np.vstack([strip, image])


_CARD_LETTERS = 18
"""Letters of a card are so small a part of its side: cards are shown some 240 px wide."""


def draw_card(
    image: Image,
    detections: Detections,
    index: int,
    *,
    pixel_size: PixelSize | None = None,
    size_px: int = 360,
    margin: float = 0.35,
) -> Image:
    """One region by itself, magnified: for a report's list of the best flakes.

    Parameters
    ----------
    image : ndarray of uint8, (H, W, 3)
    detections : Detections
    index : int
        Position of the region, from 0.
    pixel_size : PixelSize or None
    size_px : int
        Side of the square picture.
    margin : float
        Space around the region on each side, as a share of its larger side.

    Returns
    -------
    ndarray of uint8, (size_px, size_px, 3)
        The window moves inwards at the image's border; an image smaller than the window is set
        on a dark ground.
    """
    check_rgb8(image, detections.masks)
    if not 0 <= index < len(detections):
        raise InputError(f"no region {index}: there are {len(detections)}, numbered from 0")
    top, left, side = _window(detections.masks, index, margin)
    view = image[top : top + side, left : left + side]
    zoom = size_px / side
    way = cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA
    shown = max(round(view.shape[1] * zoom), 1), max(round(view.shape[0] * zoom), 1)
    canvas = np.full((size_px, size_px, 3), INK, np.uint8)
    canvas[: shown[1], : shown[0]] = cv2.resize(view, shown, interpolation=way)
    number = layer_numbers(detections)[index]
    dashed, colour = number == UNKNOWN, class_colour(number)
    outline(canvas, detections.masks, index, colour, 2, dashed, (top, left), zoom)
    font_px = max(size_px // _CARD_LETTERS, 11)
    if pixel_size is None:
        return with_scale_bar(canvas, None, font_px)[0]
    zoomed = PixelSize(pixel_size.y_nm / zoom, pixel_size.x_nm / zoom, pixel_size.source)
    return with_scale_bar(canvas, zoomed, font_px)[0]


def _window(masks: CropMasks, index: int, margin: float) -> tuple[int, int, int]:
    """Top, left and side of a square around one mask, moved into the image."""
    top, left, bottom, right = masks.boxes[index].tolist()
    larger = max(bottom - top, right - left)
    side = max(round(larger * (1 + 2 * margin)), 24)
    height, width = masks.shape
    y = min(max((top + bottom - side) // 2, 0), max(height - side, 0))
    x = min(max((left + right - side) // 2, 0), max(width - side, 0))
    return y, x, side
