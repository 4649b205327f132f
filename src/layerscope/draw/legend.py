"""The legend: which classes are present, and how often."""

from __future__ import annotations

from collections import Counter

import cv2

from layerscope.core.classes import class_colour, layer_numbers
from layerscope.core.results import THICK, UNKNOWN, Detections
from layerscope.draw.named import Named
from layerscope.draw.picture import font_size
from layerscope.ops.lettering import WHITE, Box, Colour, Image, blend, letters, plate


def with_legend(
    image: Image, detections: Detections, named: Named | None = None
) -> tuple[Image, Box]:
    """Legend drawn, and the box that it takes."""
    entries, size, canvas = legend_entries(detections, named), font_size(image), image.copy()
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


def legend_entries(
    detections: Detections, named: Named | None = None
) -> list[tuple[str, Colour, bool]]:
    """Text, colour and whether it is dashed, of each class that is there."""
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
