"""The smallest hexagon with angles of 120 degrees around an outline."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from layerscope.core.results import BoolArray, FloatArray

INSET = 0.57
"""Of a pixel: how far a straight edge lies inside the tangent to its pixels' corners.

Measured on triangles and hexagons of 20 to 120 px at any angle: between 0.52 and 0.61. Without it
the area ratios of 20 px are 0.84 and 0.89 instead of 1."""
_FACETTED, _SMALLEST_PX = 0.8, 100
SYMMETRIC = 0.8
"""Short over long facets from which on a hexagon looks the same after a sixth of a turn."""
_STEP_DEG = 0.5


class Hexagon(NamedTuple):
    """The smallest hexagon with angles of 120 degrees around a region.

    `normal_deg` is the direction of the normal of a long facet, counter-clockwise from x; `facets`
    are the summed lengths of the three long and of the three short facets.
    """

    area: float
    normal_deg: float
    facets: tuple[float, float]

    @property
    def symmetric(self) -> bool:
        """Whether long and short facets are hardly told apart."""
        long, short = self.facets
        return short > SYMMETRIC * long


def corner_hull(chains: list[FloatArray]) -> FloatArray:
    """Convex hull (n, 2) of the corners of pixels whose centres are chains (m, 1, 2) of x, y."""
    inner = cv2.convexHull(chains[0] if len(chains) == 1 else np.concatenate(chains))
    corners = (inner + np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.int32)).reshape(-1, 2)
    return np.asarray(cv2.convexHull(corners.astype(np.int32)).reshape(-1, 2), float)


def hexagon_of(mask: BoolArray) -> Hexagon | None:
    """`hexagon_around` the largest piece of a mask, in pixels; None if it is hardly facetted.

    What fills less than `_FACETTED` of its hexagon has no direction of facets to speak of, and
    neither has what is smaller than `_SMALLEST_PX`.
    """
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not found:
        return None
    largest = max(found, key=cv2.contourArea)
    around = hexagon_around(corner_hull([np.asarray(largest)]), (1.0, 1.0))
    area = float(cv2.contourArea(largest))
    return around if area >= max(_SMALLEST_PX, _FACETTED * around.area) else None


def twist_between(lower: Hexagon, upper: Hexagon) -> float:
    """Angle from the facets of one crystal to those of one on it, degrees, counter-clockwise.

    Between two triangles it is told modulo 120: 0 is parallel (3R), 60 antiparallel (2H); from -60,
    not included, to 60. Where one is a hexagon it is modulo 60: from -30 to 30.
    """
    period = 60.0 if lower.symmetric or upper.symmetric else 120.0
    turn = (upper.normal_deg - lower.normal_deg) % period
    return float(turn - period if turn > period / 2 else turn)


def hexagon_around(hull: FloatArray, spacing: tuple[float, float]) -> Hexagon:
    """Find the smallest equiangular hexagon around a hull (n, 2) of x, y, over all directions.

    `spacing` is the height and width of a pixel.

    Distances of the six tangents h0..h5 from a point inside give the facets
    ``(2 / sqrt(3)) (h[k-1] + h[k+1] - h[k])`` and the area ``sum(h * facets) / 2``. Where a facet
    would be negative the tangents beside it meet first: it has no length, and its tangent moves in.
    """
    corners = hull - hull.mean(axis=0)
    turns = np.radians(np.arange(0, 60, _STEP_DEG))
    area, facets = _around(corners, turns, spacing)
    fine = turns[_least(area, facets)] + np.radians(np.linspace(-_STEP_DEG, _STEP_DEG, 21))
    area, facets = _around(corners, fine, spacing)
    best = _least(area, facets)
    even, odd = float(facets[best, ::2].sum()), float(facets[best, 1::2].sum())
    turn = float(np.degrees(fine[best])) + (0 if even >= odd else 60)
    return Hexagon(float(area[best]), turn % 120, (max(even, odd), min(even, odd)))


def _least(area: FloatArray, facets: FloatArray) -> int:
    """Return which hexagon is smallest; of equal ones the one with the least even facets.

    Symmetrical regions have equal ones, and rounding would choose another for a mirrored region.
    """
    uneven = np.abs(facets[:, ::2].sum(axis=1) - facets[:, 1::2].sum(axis=1))
    return int(np.argmax(np.where(area <= area.min() * (1 + 1e-9), uneven, -1.0)))


def _around(
    corners: FloatArray, turns: FloatArray, spacing: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    """Area (t,) and facets (t, 6) of the hexagons around at each of `turns` in radians."""
    angles = turns[:, None] + np.arange(6) * np.pi / 3
    # y points down, angles run counter-clockwise as seen.
    along = np.stack([np.cos(angles), -np.sin(angles)], axis=-1)
    inset = INSET * np.hypot(along[..., 0] * spacing[1], along[..., 1] * spacing[0])
    tangent = (along @ corners.T).max(axis=-1)
    h = np.maximum(tangent - inset, tangent / 2)
    reach = np.roll(h, 1, axis=1) + np.roll(h, -1, axis=1)
    h = np.minimum(h, reach)
    facets = 2 / np.sqrt(3) * (np.roll(h, 1, axis=1) + np.roll(h, -1, axis=1) - h)
    return (h * facets).sum(axis=1) / 2, np.maximum(facets, 0.0)
