"""Pictures of answers: a micrograph under what was answered, and many of them on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from layerscope.core.categories import UNKNOWN, Answered, CategoryResult
from layerscope.report.panels import Rgb, framed, picture_of, resized, with_scale_bar, zoomed

_GAP_PX = 14
_FONT_PX = 13
_COLUMNS = 4


def answer_text(answered: Answered) -> str:
    """Write an answer for a picture: ``morphology 0.93: thin, flat``; the end may be cut off."""
    if not answered.probabilities:
        return f"{answered.question}: {answered.answer}, not visible"
    best, probability = max(answered.probabilities, key=lambda pair: pair[1])
    told = f"unknown ({best}?)" if answered.answer == UNKNOWN else answered.answer
    return f"{answered.question} {probability:.2f}: {told}"


def draw_answers(result: CategoryResult, *, longest_px: int, told: bool = True) -> Rgb:
    """Picture of one image with its scale bar, under its name and what was answered.

    Parameters
    ----------
    result : CategoryResult
    longest_px : int
        Of the micrograph itself.
    told : bool
        Whether to write name and answers above it.

    Returns
    -------
    ndarray of uint8, (H', W', 3)
    """
    image = result.micrograph
    zoom = longest_px / max(image.shape)
    panel = resized(picture_of(image), zoom)
    panel = with_scale_bar(panel, zoomed(image.pixel_size, zoom), _FONT_PX)
    lines = [result.name, *(answer_text(a) for a in result.answers)] if told else []
    return framed(panel, lines, None, [], _FONT_PX)


def contact_sheet(panels: Sequence[Rgb]) -> Rgb:
    """Pictures side by side on white, four in a row, each at the top of its place."""
    columns = min(_COLUMNS, max(1, len(panels)))
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    wide = max(p.shape[1] for p in panels) + _GAP_PX
    tall = [max(p.shape[0] for p in row) + _GAP_PX for row in rows]
    sheet = np.full((sum(tall) + _GAP_PX, columns * wide + _GAP_PX, 3), 255, np.uint8)
    top = _GAP_PX
    for row, height in zip(rows, tall, strict=True):
        for k, panel in enumerate(row):
            left = _GAP_PX + k * wide
            sheet[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
        top += height
    return sheet
