"""Shape of crystals that grow as triangles, truncated triangles and hexagons.

All three are hexagons with angles of 120 degrees whose facets have two lengths in turn: a triangle
has lost every second facet. So each outline is compared with the smallest hexagon around it that
has such angles, turned any way.
"""

from __future__ import annotations

import numpy as np

from layerscope.core.results import FloatArray
from layerscope.measure.declare import measurement
from layerscope.measure.hexagon import INSET
from layerscope.measure.region import Region

_HALVINGS = 10
"""Of the range in which a triangle's height is sought: its area ends 0.1 % above the least."""


@measurement(unit="", dimension=0)
def triangularity(region: Region) -> float:
    """Area over that of the smallest triangle around: 1 for a triangle, 0.67 for a hexagon.

    A disc has 0.60, a square 0.50. The ratio as in Rosin, Mach. Vis. Appl. 14, 172 (2003).
    """
    base, height = _triangles_around(region.hull)
    if not len(base):
        return float("nan")
    around = base * height / 2
    outline = base + np.hypot(base, 2 * height)
    inset = INSET * np.sqrt(region.spacing[0] * region.spacing[1])
    # All three sides move in: the triangle shrinks by that part of its inscribed circle.
    shrunk = np.maximum(1 - inset * outline / (2 * around), 0.5)
    return _share(region.area + region.hole_area, float((around * shrunk**2).min()))


@measurement(unit="", dimension=0)
def facetting(region: Region) -> float:
    """Area over that of the smallest hexagon with angles of 120 degrees around, facets of any size.

    1 for triangles, truncated triangles and hexagons with straight edges, 0.91 for a disc.
    """
    return _share(region.area + region.hole_area, region.hexagon.area)


@measurement(unit="", dimension=0)
def hexagonality(region: Region) -> float:
    """Short over long facets of that hexagon, each sum of three: 0 for a triangle, 1 for a hexagon.

    The lengths follow the growth rates of the two kinds of edge (Wang et al., Chem. Mater. 26, 6371
    (2014)). Rounded corners count as short facets.
    """
    long, short = region.hexagon.facets
    return short / long if long > 0 else 1.0


@measurement(unit="deg", dimension=0, rotation_invariant=False)
def facet_direction_mod60(region: Region) -> float:
    """Direction of the facets' normals modulo 60 degrees, counter-clockwise from x: the lattice."""
    return region.hexagon.normal_deg % 60


@measurement(unit="deg", dimension=0, rotation_invariant=False)
def facet_direction_mod120(region: Region) -> float:
    """Direction of the long facets' normals modulo 120 degrees; empty for hexagonality above 0.8.

    Two crystals that differ by 60 degrees here are twins: a mirror boundary where they meet.
    """
    return float("nan") if region.hexagon.symmetric else region.hexagon.normal_deg


def _triangles_around(hull: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Find the smallest triangle with a side on each edge of `hull` (n, 2): bases and heights (n,).

    The smallest of all has a side on an edge, and touches the hull at the middle of the two other
    sides (Klee and Laskowski, J. Algorithms 6, 359 (1985)). So, where the hull is w(t) wide at
    height t above the edge, its height is 2t and its base 2w at the t that makes t w(t) largest.
    """
    edge = np.roll(hull, -1, axis=0) - hull
    hull, edge = (x[np.hypot(*edge.T) > 0] for x in (hull, edge))
    if len(hull) < 3:
        return np.zeros(0), np.zeros(0)
    along = edge / np.hypot(*edge.T)[:, None]
    x, y = along @ hull.T, np.abs(_cross(along, hull) - _cross(along, hull).diagonal()[:, None])
    low, high = np.zeros(len(hull)), y.max(axis=1)
    for _ in range(_HALVINGS):
        t = (low + high) / 2
        width, slope = _width_at(t, x, y)
        rises = width + t * slope > 0
        low, high = np.where(rises, t, low), np.where(rises, high, t)
    return 2 * width, 2 * t


def _cross(along: FloatArray, hull: FloatArray) -> FloatArray:
    return np.outer(along[:, 0], hull[:, 1]) - np.outer(along[:, 1], hull[:, 0])


def _width_at(t: FloatArray, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Width (n,) of a hull at heights `t`, and how it grows with them; its corners in n frames."""
    x_next, y_next = np.roll(x, -1, axis=1), np.roll(y, -1, axis=1)
    below, next_below = y <= t[:, None], y_next <= t[:, None]
    each, sides = np.arange(len(t)), []
    for crosses in (below & ~next_below, next_below & ~below):
        k = each, crosses.argmax(axis=1)
        slope = (x_next[k] - x[k]) / (y_next[k] - y[k])
        sides.append((x[k] + (t - y[k]) * slope, slope))
    (right, opens), (left, closes) = sides
    turn = np.sign(right - left)
    return np.abs(right - left), turn * (opens - closes)


def _share(area: float, around: float) -> float:
    return float(min(area / around, 1.0)) if around > 0 else 1.0
