"""Rims of what was found, drawn on a picture over a dark line that shows on any colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray
from layerscope.report.panels import CASING, Colour, Rgb

Chain = npt.NDArray[np.int32]
Window = tuple[slice, slice]

FINE = 4
"""Binary digits behind the point of `crop_rims`: 1/16 px."""

_BEYOND = 3  # pixels, more than half a rim's width
_DASH_PX = 6


def rims_of(mask: npt.NDArray[Any]) -> Sequence[Chain]:
    """Rims of a mask, continued beyond the picture, so that none is drawn along its border."""
    padded = np.pad(mask.astype(np.uint8), _BEYOND, mode="edge")
    rims, _ = cv2.findContours(
        padded, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(-_BEYOND, -_BEYOND)
    )
    return rims


def crop_rims(
    crops: Iterable[tuple[Window, BoolArray]], shape: tuple[int, int], panel: Rgb
) -> list[list[Chain]]:
    """Outer rims of each crop of an image of `shape`, where they are on its picture `panel`.

    They are in 1/16 px of the picture; at its border they run outside.
    """
    zoom = np.array(panel.shape[1::-1]) / np.array(shape[::-1])
    return [_rims(crop, where, shape, zoom) for where, crop in crops]


def _rims(
    crop: BoolArray, where: Window, shape: tuple[int, int], zoom: npt.NDArray[np.float64]
) -> list[Chain]:
    (rows, columns), (height, width) = where, shape
    beyond = (
        (_BEYOND * (rows.start == 0), _BEYOND * (rows.stop == height)),
        (_BEYOND * (columns.start == 0), _BEYOND * (columns.stop == width)),
    )
    mask = np.pad(np.pad(crop.astype(np.uint8), beyond, mode="edge"), 1)
    chains, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    corner = np.array([columns.start - beyond[1][0] - 1, rows.start - beyond[0][0] - 1])
    return [
        np.rint(((c + corner + 0.5) * zoom - 0.5) * (1 << FINE)).astype(np.int32) for c in chains
    ]


def draw_crops(
    canvas: Rgb, rims: Sequence[Sequence[Chain]], colours: Sequence[Colour], *, casing_px: int = 3
) -> None:
    """Draw what `crop_rims` gave, each in its colour, over the dark lines of all."""
    for lines in rims:
        cv2.polylines(canvas, lines, True, CASING, casing_px, cv2.LINE_AA, FINE)
    for lines, colour in zip(rims, colours, strict=True):
        cv2.polylines(canvas, lines, True, colour, 2, cv2.LINE_AA, FINE)


def draw_dashed(canvas: Rgb, chains: Iterable[Chain], colour: Colour, digits: int = 0) -> None:
    """Draw rims as dashes; `digits` is `FINE` for those of `crop_rims`."""
    for chain in chains:
        for start in range(0, len(chain), 2 * _DASH_PX):
            dash = [chain[start : start + _DASH_PX]]
            cv2.polylines(canvas, dash, False, CASING, 3, cv2.LINE_AA, digits)
            cv2.polylines(canvas, dash, False, colour, 2, cv2.LINE_AA, digits)
