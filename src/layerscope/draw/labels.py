"""Labels beside regions, none over another."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.classes import class_name, layer_numbers
from layerscope.core.micrograph import PixelSize
from layerscope.core.results import UNKNOWN, Detections
from layerscope.draw.named import Named, inks_of
from layerscope.draw.picture import check_rgb8, font_size
from layerscope.errors import InputError
from layerscope.ops.lettering import WHITE, Box, Image, blend, letters, plate

_MOST_LABELS = 60


def label_texts(detections: Detections, pixel_size: PixelSize | None) -> list[str]:
    """Label per region such as ``1L 98 %, 12 µm²``: class, probability, area where known."""
    texts = []
    known = detections.layers is not None
    confidence = detections.layers.confidence if detections.layers is not None else detections.score
    for i, number in enumerate(layer_numbers(detections)):
        words = [class_name(number)]
        if known and number != UNKNOWN:
            words.append(_percent(float(confidence[i])))
        if pixel_size is not None:
            area_um2 = float(detections.masks.area_px[i]) * pixel_size.y_nm * pixel_size.x_nm * 1e-6
            words.append(f"{_two_digits(area_um2)} µm²")
        texts.append(" ".join(words[:2]) + (f", {words[2]}" if len(words) > 2 else ""))
    return texts


def draw_labels(
    image: Image,
    detections: Detections,
    texts: Sequence[str],
    *,
    keep_clear: Sequence[Box] = (),
    named: Named | None = None,
) -> Image:
    """Print a text beside each region, none over another; what finds no room is left out.

    Parameters
    ----------
    image : ndarray of uint8, (H, W, 3)
    detections : Detections
    texts : sequence of str
        One per region, "" for none.
    keep_clear : sequence of (top, left, bottom, right)
        Where no label may go.
    named : Named, optional
        Default: layers.
    """
    check_rgb8(image, detections.masks)
    if len(texts) != len(detections):
        raise InputError(f"{len(detections)} regions but {len(texts)} labels")
    canvas, size = image.copy(), round(0.85 * font_size(image))
    under = np.zeros(image.shape[:2], np.uint8)
    for where, crop in detections.masks:
        under[where] |= crop
    covered = cv2.integral(under)
    taken, inks = np.array([*keep_clear], np.int64).reshape(-1, 4), inks_of(detections, named)
    for i in _label_order(detections)[:_MOST_LABELS]:
        if not texts[i]:
            continue
        text, pad = letters(texts[i], size), size // 3
        shape = text.shape[0], text.shape[1] + 2 * pad + size // 5
        place = _label_place(detections.masks.boxes[i], shape, covered, taken, size)
        if place is not None:
            taken = np.vstack([taken, np.array(place)])
            plate(canvas, place)
            top, left, bottom, _ = place
            canvas[top:bottom, left : left + max(2, size // 5)] = inks[i][0]
            blend(canvas, text, (top, left + pad + size // 5), WHITE)
    return canvas


def _percent(probability: float) -> str:
    return ">99 %" if probability > 0.995 else f"{100 * probability:.0f} %"


def _two_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _label_order(detections: Detections) -> list[int]:
    """One to four layers first, then other numbers, then the rest; the large before the small."""
    numbers, area = layer_numbers(detections), detections.masks.area_px.tolist()
    return sorted(range(len(numbers)), key=lambda i: (numbers[i] <= 0, numbers[i] > 4, -area[i]))


def _label_place(
    box: npt.NDArray[np.int64],
    shape: tuple[int, int],
    covered: npt.NDArray[np.int32],
    taken: npt.NDArray[np.int64],
    size: int,
) -> Box | None:
    """Free place beside a region that hides least of any region, or None."""
    top, left, bottom, right = box.tolist()
    (h, w), gap = shape, max(4, size // 3)
    middle, centre = (top + bottom - h) // 2, (left + right - w) // 2
    below, beside = bottom + gap, right + gap
    above, before = top - gap - h, left - gap - w
    corners = [(middle, beside), (middle, before), (above, centre), (below, centre)]
    corners += [(above, right), (below, right), (above, left - w), (below, left - w)]
    places = np.array([(y, x, y + h, x + w) for y, x in corners], np.int64)
    height, width = covered.shape[0] - 1, covered.shape[1] - 1
    inside = places[:, :2].min(axis=1) >= 0
    inside &= (places[:, 2] <= height) & (places[:, 3] <= width)
    after = places[:, None, :2] >= taken[None, :, 2:]
    ahead = taken[None, :, :2] >= places[:, None, 2:]
    places = places[inside & np.all(np.any(after | ahead, axis=2), axis=1)]
    if len(places) == 0:
        return None
    y0, x0, y1, x1 = places.T
    hidden = covered[y1, x1] - covered[y0, x1] - covered[y1, x0] + covered[y0, x0]
    best = places[int(np.argmin(hidden))].tolist()
    return best[0], best[1], best[2], best[3]
