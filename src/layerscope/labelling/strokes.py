"""What a brush paints: a pixel is painted if its centre is within the brush's radius of its path.

Points and sizes are whole numbers of quarters of a pixel. `app/static/strokes.js` computes the same
in the browser, to the pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray
from layerscope.errors import InputError

QUARTERS = 4
"""Of a pixel: the unit of points and diameters."""

SCRIBBLES, CORRECTIONS = "scribbles", "corrections"
"""Layers: what teaches the classifier, and what is changed in a label picture by hand."""

MOST_POINTS = 20_000
MOST_DIAMETER = 2048 * QUARTERS
_FURTHEST = 2**20  # quarters; squares of products stay exact enough to be equal in the browser


@dataclass(frozen=True)
class Stroke:
    """One movement of the brush.

    Attributes
    ----------
    layer : str
        `SCRIBBLES` or `CORRECTIONS`.
    value : int
        Class from 1; 0 erases; `scribbles.ERASER` on corrections: nobody knows.
    diameter : int
        Quarters of a pixel, from 1 pixel.
    points : tuple of int
        x0, y0, x1, y1 ... in quarters of a pixel from the top left corner of the image.
    """

    layer: str
    value: int
    diameter: int
    points: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.layer not in (SCRIBBLES, CORRECTIONS):
            raise InputError(f"layer {self.layer!r}; expected {SCRIBBLES} or {CORRECTIONS}")
        if not 0 <= self.value <= 255 or not QUARTERS <= self.diameter <= MOST_DIAMETER:
            raise InputError(
                f"value {self.value}, diameter {self.diameter}: expected 0 to 255, and "
                f"{QUARTERS} to {MOST_DIAMETER} quarters of a pixel"
            )
        if not 2 <= len(self.points) <= 2 * MOST_POINTS or len(self.points) % 2:
            raise InputError(f"{len(self.points)} numbers: expected pairs, 1 to {MOST_POINTS}")
        if max(map(abs, self.points)) > _FURTHEST:
            raise InputError("a point is too far outside of the image")

    def as_json(self) -> dict[str, Any]:
        """Everything needed to paint it again."""
        return {
            "layer": self.layer,
            "value": self.value,
            "diameter": self.diameter,
            "points": list(self.points),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Stroke of what `as_json` gave.

        Raises
        ------
        InputError
            If it is none.
        """
        try:
            points = tuple(document["points"])
            value, diameter = document["value"], document["diameter"]
            layer = str(document["layer"])
        except (KeyError, TypeError):
            raise InputError("a stroke has layer, value, diameter and points") from None
        if not all(type(n) is int for n in (*points, value, diameter)):
            raise InputError("a stroke is told in whole numbers")
        return cls(layer, value, diameter, points)

    def painted(self, shape: tuple[int, int]) -> tuple[int, int, BoolArray]:
        """Return which pixels of an image it covers.

        Parameters
        ----------
        shape : tuple of int
            Height and width of the image, px.

        Returns
        -------
        top, left : int
        mask : ndarray of bool, (h, w)
            May be empty, where the stroke is outside of the image.
        """
        path = np.array(self.points, np.int64).reshape(-1, 2)
        top, left, bottom, right = _box(path, self.diameter, shape)
        mask = np.zeros((max(bottom - top, 0), max(right - left, 0)), bool)
        if mask.size == 0:
            return top, left, mask
        for start, end in pairwise(path):
            _paint_segment(mask, (top, left), start, end, self.diameter)
        if len(path) == 1:
            _paint_segment(mask, (top, left), path[0], path[0], self.diameter)
        columns, rows = (path // QUARTERS - (left, top)).T
        inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
        mask[rows[inside], columns[inside]] = True
        return top, left, mask


def _box(
    path: npt.NDArray[np.int64], diameter: int, shape: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of the pixels that may be painted, inside of the image."""
    reach = diameter // 2 + QUARTERS
    low = (path.min(axis=0) - reach) // QUARTERS
    high = (path.max(axis=0) + reach) // QUARTERS + 1
    top, left = max(int(low[1]), 0), max(int(low[0]), 0)
    return top, left, min(int(high[1]), shape[0]), min(int(high[0]), shape[1])


def _paint_segment(
    mask: BoolArray,
    origin: tuple[int, int],
    start: npt.NDArray[np.int64],
    end: npt.NDArray[np.int64],
    diameter: int,
) -> None:
    """Set on `mask` the pixels whose centre is within half a diameter of a segment."""
    shape = (mask.shape[0] + origin[0], mask.shape[1] + origin[1])
    top, left, bottom, right = _box(np.stack([start, end]), diameter, shape)
    top, left = max(top, origin[0]), max(left, origin[1])
    if top >= bottom or left >= right:
        return
    half = QUARTERS // 2
    y = (np.arange(top, bottom) * QUARTERS + half - start[1]).astype(np.float64)[:, None]
    x = (np.arange(left, right) * QUARTERS + half - start[0]).astype(np.float64)[None, :]
    along = (end - start).astype(np.float64)
    length2, radius2 = float(along @ along), diameter * diameter / 4
    dot = x * along[0] + y * along[1]
    cross = x * along[1] - y * along[0]
    near_start = (dot <= 0) & (x * x + y * y <= radius2)
    x1, y1 = x - along[0], y - along[1]
    near_end = (dot >= length2) & (x1 * x1 + y1 * y1 <= radius2)
    beside = (dot > 0) & (dot < length2) & (cross * cross <= radius2 * length2)
    where = mask[top - origin[0] : bottom - origin[0], left - origin[1] : right - origin[1]]
    where |= near_start | near_end | beside
