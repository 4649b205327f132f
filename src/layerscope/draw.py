"""Pictures of what was found: outlines, labels, legend and scale bar over the micrograph.

Each function takes an RGB image (H, W, 3) of 8 bits and returns a new one; they compose in any
order. The scientist's colours are never changed: nothing is brightened, balanced or filled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.classes import class_colour, class_name, layer_numbers
from layerscope.core.micrograph import PixelSize
from layerscope.core.results import THICK, UNKNOWN, CropMasks, Detections
from layerscope.errors import InputError
from layerscope.ops.lettering import INK, WHITE, Box, Colour, Image, blend, letters, plate

_MOST_LABELS = 60


def to_rgb8(data: npt.NDArray[Any], white_level: float = 255.0) -> Image:
    """Picture of 8 bits from camera values, scaled by the white level and nothing else.

    Parameters
    ----------
    data : ndarray, (H, W) or (H, W, 3)
    white_level : float
        The value that becomes 255.
    """
    if data.dtype != np.uint8 or white_level != 255.0:
        scaled = np.asarray(data, np.float32) * np.float32(255.0 / white_level)
        data = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    if data.ndim == 2:
        data = np.repeat(data[:, :, None], 3, axis=2)
    return np.array(data)


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
    _check(image, detections.masks)
    texts = label_texts(detections, pixel_size) if labels is None else labels
    # Plates are drawn before the labels, which keep clear of them.
    picture, taken = draw_plates(draw_outlines(image, detections), detections, pixel_size)
    picture = draw_labels(picture, detections, texts, keep_clear=taken)
    return draw_title(picture, title) if title else picture


@dataclass(frozen=True)
class Named:
    """What regions are called, where that is no number of layers.

    Attributes
    ----------
    names : tuple of str
        One per region; ``unknown`` is drawn dashed.
    colours : mapping of str to (red, green, blue)
        Of every name, in the order of the legend.
    """

    names: tuple[str, ...]
    colours: Mapping[str, Colour]


def draw_plates(
    image: Image,
    detections: Detections,
    pixel_size: PixelSize | None,
    named: Named | None = None,
) -> tuple[Image, list[Box]]:
    """Draw scale bar and legend, and say which boxes they take: labels keep clear of them."""
    picture, bar = _with_scale_bar(image, pixel_size)
    picture, legend = _with_legend(picture, detections, named)
    return picture, [bar, legend]


def draw_outlines(image: Image, detections: Detections, named: Named | None = None) -> Image:
    """Outline each region in the colour of its class, just outside its edge; unknown is dashed."""
    _check(image, detections.masks)
    canvas, width = image.copy(), _line_width(image)
    numbers, inks = layer_numbers(detections), _inks(detections, named)
    # Thin layers last: where outlines touch, the flake that people look for stays on top.
    order = sorted(range(len(numbers)), key=lambda i: (numbers[i] > 0, -numbers[i]))
    for i in order:
        colour, dashed = inks[i]
        _outline(canvas, detections.masks, i, colour, width, dashed)
    return canvas


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
    _check(image, detections.masks)
    if len(texts) != len(detections):
        raise InputError(f"{len(detections)} regions but {len(texts)} labels")
    canvas, size = image.copy(), round(0.85 * _font_size(image))
    covered = cv2.integral((detections.masks.labels() > 0).astype(np.uint8))
    taken, inks = np.array([*keep_clear], np.int64).reshape(-1, 4), _inks(detections, named)
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


def draw_legend(image: Image, detections: Detections) -> Image:
    """Name the classes that are present, with their counts, in the lower left corner."""
    _check(image, detections.masks)
    return _with_legend(image, detections)[0]


def draw_scale_bar(image: Image, pixel_size: PixelSize | None) -> Image:
    """Draw a bar of 1, 2 or 5 times a power of ten, near a sixth of the width; lower right."""
    _check(image)
    return _with_scale_bar(image, pixel_size)[0]


def draw_title(image: Image, title: str) -> Image:
    """Add a strip with `title` above the image; too long a title is cut with an ellipsis."""
    _check(image)
    size = _font_size(image)
    room = image.shape[1] - 2 * size
    while len(title) > 1 and letters(title, size).shape[1] > room:
        title = title[:-2].rstrip(" …") + "…"
    text = letters(title, size)
    strip = np.full((text.shape[0] + size, image.shape[1], 3), INK, np.uint8)
    blend(strip, text, (size // 2, size), WHITE)
    return np.vstack([strip, image])


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
    _check(image, detections.masks)
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
    _outline(canvas, detections.masks, index, colour, 2, dashed, (top, left), zoom)
    if pixel_size is None:
        return _with_scale_bar(canvas, None)[0]
    zoomed = PixelSize(pixel_size.y_nm / zoom, pixel_size.x_nm / zoom, pixel_size.source)
    return _with_scale_bar(canvas, zoomed)[0]


def _check(image: Image, masks: CropMasks | None = None) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(
            f"expected an RGB image (H, W, 3) of 8 bits, got {image.dtype} {image.shape}; "
            "convert it with to_rgb8"
        )
    if masks is not None and masks.shape != image.shape[:2]:
        raise InputError(f"masks of {masks.shape} do not fit an image of {image.shape[:2]}")


def _font_size(image: Image) -> int:
    return int(np.clip(round(min(image.shape[:2]) / 52), 11, 64))


def _line_width(image: Image) -> int:
    smaller = min(image.shape[:2])
    return max(2 if smaller >= 400 else 1, round(smaller / 700))


def _percent(probability: float) -> str:
    return ">99 %" if probability > 0.995 else f"{100 * probability:.0f} %"


def _two_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _outline(
    canvas: Image,
    masks: CropMasks,
    index: int,
    colour: Colour,
    width: int,
    dashed: bool,
    origin: tuple[int, int] = (0, 0),
    zoom: float = 1.0,
) -> None:
    """Draw on `canvas` the outline of one mask, seen from `origin` at `zoom`."""
    top, left = masks.boxes[index, :2].tolist()
    # cv2's border takes a tenth of the time of np.pad: half of that of the outline of a small mask.
    crop = cv2.copyMakeBorder(masks.crops[index].view(np.uint8), 2, 2, 2, 2, cv2.BORDER_CONSTANT)
    grown = cv2.dilate(crop, np.ones((3, 3), np.uint8))
    chains, _ = cv2.findContours(grown, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # Positions in 1/16 pixel: a magnified outline lies where it belongs, not on the pixel grid.
    shift = np.array([left - 2 - origin[1], top - 2 - origin[0]])
    if zoom > 1:
        chains = [_smoothed(c) for c in chains]
    lines = [np.rint(((c + shift + 0.5) * zoom - 0.5) * 16).astype(np.int32) for c in chains]
    dash = max(4, round(4 * width * max(1.0, 1 / zoom)))
    pieces = [p for line in lines for p in _dashes(line, dash)] if dashed else lines
    # Smoothing would wash the colour out of a line of one pixel.
    kind = cv2.LINE_AA if width > 1 else cv2.LINE_8
    for ink, thick in ((INK, width + 2), (colour, width)):
        cv2.polylines(canvas, pieces, not dashed, ink, thick, kind, 4)


def _smoothed(chain: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Mean over five neighbours: the magnified outline shows the flake, not the pixel grid."""
    return np.mean([np.roll(chain, k, axis=0) for k in range(-2, 3)], axis=0)


def _dashes(line: npt.NDArray[np.int32], length: int) -> list[npt.NDArray[np.int32]]:
    return [line[i : i + length] for i in range(0, len(line), 2 * length)]


def _inks(detections: Detections, named: Named | None) -> list[tuple[Colour, bool]]:
    """Colour of each region, and whether its outline is dashed."""
    if named is not None:
        return [(named.colours[name], name == "unknown") for name in named.names]
    return [(class_colour(n), n == UNKNOWN) for n in layer_numbers(detections)]


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
    after, ahead = (
        places[:, None, :2] >= taken[None, :, 2:],
        taken[None, :, :2] >= places[:, None, 2:],
    )
    apart = np.logical_or(after, ahead).any(axis=2)
    places = places[np.logical_and(inside, np.all(apart, axis=1))]
    if len(places) == 0:
        return None
    y0, x0, y1, x1 = places.T
    hidden = covered[y1, x1] - covered[y0, x1] - covered[y1, x0] + covered[y0, x0]
    best = places[int(np.argmin(hidden))].tolist()
    return best[0], best[1], best[2], best[3]


def _legend_entries(
    detections: Detections, named: Named | None = None
) -> list[tuple[str, Colour, bool]]:
    if named is not None:
        tally = Counter(named.names)
        kept = [(name, colour) for name, colour in named.colours.items() if tally[name]]
        return [(f"{name}: {tally[name]}", colour, name == "unknown") for name, colour in kept]
    numbers = layer_numbers(detections)
    groups = [(f"{k} layer" + "s" * (k > 1), [k]) for k in range(1, 5)]
    many = sorted({n for n in numbers if n > 4})
    if many:
        span = f"{many[0]}–{many[-1]}" if len(many) > 1 else str(many[0])
        groups.append((f"{span} layers", many))
    groups += [("thick", [THICK]), ("unknown", [UNKNOWN])]
    counts = [(name, members, sum(n in members for n in numbers)) for name, members in groups]
    return [
        (f"{name}: {count}", class_colour(members[0]), members == [UNKNOWN])
        for name, members, count in counts
        if count
    ]


def _with_legend(
    image: Image, detections: Detections, named: Named | None = None
) -> tuple[Image, Box]:
    """Legend drawn, and the box that it takes."""
    entries, size, canvas = _legend_entries(detections, named), _font_size(image), image.copy()
    if not entries:
        return canvas, (0, 0, 0, 0)
    texts = [letters(name, size) for name, _, _ in entries]
    pad, swatch, line = size // 2, 2 * size, texts[0].shape[0] + size // 6
    width = 3 * pad + swatch + max(t.shape[1] for t in texts)
    bottom = image.shape[0] - size
    box = (max(bottom - 2 * pad - line * len(texts), 0), size, bottom, size + width)
    plate(canvas, box)
    for k, (text, (_, colour, dashed)) in enumerate(zip(texts, entries, strict=True)):
        y = box[0] + pad + k * line
        middle, x = y + line // 2, box[1] + pad
        for start in (0, 3 * swatch // 5) if dashed else (0,):
            end = x + (start + 2 * swatch // 5 if dashed else swatch)
            cv2.line(canvas, (x + start, middle), (end, middle), colour, max(2, size // 6))
        blend(canvas, text, (y, x + swatch + pad), WHITE)
    return canvas, box


def _with_scale_bar(image: Image, pixel_size: PixelSize | None) -> tuple[Image, Box]:
    """Scale bar drawn, and the box that it takes."""
    canvas, size = image.copy(), _font_size(image)
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


def _window(masks: CropMasks, index: int, margin: float) -> tuple[int, int, int]:
    """Top, left and side of a square around one mask, moved into the image."""
    top, left, bottom, right = masks.boxes[index].tolist()
    larger = max(bottom - top, right - left)
    side = max(round(larger * (1 + 2 * margin)), 24)
    height, width = masks.shape
    y = min(max((top + bottom - side) // 2, 0), max(height - side, 0))
    x = min(max((left + right - side) // 2, 0), max(width - side, 0))
    return y, x, side
