"""Outlines of grown crystals: triangles, truncated triangles, hexagons, stars, strips and others.

An outline is a polygon that is seen whole from its nucleus, with the size that its growth reaches
at time 1; at time t it is t times as large. So the time at which a crystal reaches a point is the
ratio of the point's distance and the outline's in that direction (`arrival`): facets advance at
constant speeds, the kinetic Wulff construction (Wang et al., Chem. Mater. 26, 6371 (2014)).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray
from layerscope.errors import InputError

SHAPES = ("triangle", "truncated triangle", "hexagon", "star", "strip", "irregular")
"""What one crystal can be; ``film`` is what is left when many have met."""

HEXAGONALITY = {"triangle": (0.0, 0.06), "truncated triangle": (0.28, 0.55), "hexagon": (0.82, 1.0)}
"""Short over long facets of the crystals that are drawn.

Between the ranges no person could say which of two names is right, so nothing is drawn there."""

FloatMap = npt.NDArray[np.float32]
_Draw = Callable[[np.random.Generator, float], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True, eq=False)
class Outline:
    """Corners of one crystal around its nucleus.

    Attributes
    ----------
    corners : ndarray, (n, 2)
        y and x in px at time 1, sorted by angle.
    shape : str
        One of `SHAPES`.
    lattice_deg : float
        Direction of a facet's normal modulo 60 degrees, counter-clockwise from x with y upwards;
        NaN where the shape has none.
    """

    corners: FloatArray
    shape: str
    lattice_deg: float

    @property
    def reach_px(self) -> float:
        """Distance of the furthest corner."""
        return float(np.hypot(*self.corners.T).max())


def draw_outline(
    rng: np.random.Generator,
    shape: str,
    size_px: float,
    turn_deg: float,
    *,
    irregularity: float = 0.02,
) -> Outline:
    """Outline of a crystal as large as a disc of diameter `size_px`.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : str
        One of `SHAPES`.
    size_px : float
        Diameter of the disc of equal area.
    turn_deg : float
        Direction of a long facet's normal (of a strip: of its long side's), counter-clockwise.
    irregularity : float
        Relative spread of the facets' distances.

    Raises
    ------
    InputError
        If the shape is not known or a number is out of range.
    """
    if shape not in SHAPES or not size_px > 0 or not 0 <= irregularity < 0.2:
        raise InputError(
            f"shape {shape!r}, size {size_px} px, irregularity {irregularity}: expected one of"
            f" {', '.join(SHAPES)}, a positive size and 0 to 0.2"
        )
    x, y = _DRAW[shape](rng, irregularity)
    turn = np.radians(turn_deg)
    x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    area = 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
    scale = size_px * np.sqrt(np.pi / 4 / area)
    corners = np.stack([-y, x], axis=1) * scale
    order = np.argsort(np.arctan2(corners[:, 0], corners[:, 1]), kind="stable")
    facetted = shape not in ("irregular", "strip")
    return Outline(corners[order], shape, turn_deg % 60 if facetted else float("nan"))


def _facets(
    rng: np.random.Generator, hexagonality: float, irregularity: float
) -> tuple[FloatArray, FloatArray]:
    """Corners of a hexagon with angles of 120 degrees, long facets towards 0, 120 and 240 degrees.

    With long facets at distance 1 and short ones at distance d their lengths are proportional to
    ``2 d - 1`` and ``2 - d``.
    """
    far = (2 + hexagonality) / (1 + 2 * hexagonality)
    distance = np.array([1.0, far] * 3) * (1 + irregularity * rng.standard_normal(6))
    if hexagonality < 0.02:
        distance[1::2] = 4.0  # the fast facets have grown out: only three are left
    return _cut_by(np.radians(np.arange(0, 360, 60)), distance)


def _cut_by(normal: FloatArray, distance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Corners of the polygon that half planes leave, by cutting a large square."""
    polygon = np.array([[9.0, 9.0], [-9.0, 9.0], [-9.0, -9.0], [9.0, -9.0]])
    for angle, d in zip(normal, distance, strict=True):
        side = polygon @ np.array([np.cos(angle), np.sin(angle)]) - d
        kept = []
        for i in range(len(polygon)):
            j = (i + 1) % len(polygon)
            if side[i] <= 0:
                kept.append(polygon[i])
            if side[i] * side[j] < 0:
                share = side[i] / (side[i] - side[j])
                kept.append(polygon[i] + share * (polygon[j] - polygon[i]))
        polygon = np.array(kept)
    return polygon[:, 0], polygon[:, 1]


def _kind(shape: str) -> _Draw:
    def draw(rng: np.random.Generator, irregularity: float) -> tuple[FloatArray, FloatArray]:
        return _facets(rng, float(rng.uniform(*HEXAGONALITY[shape])), irregularity)

    return draw


def _star(rng: np.random.Generator, irregularity: float) -> tuple[FloatArray, FloatArray]:
    """Three or six points: a triangle whose edges lag behind, or two twins through each other."""
    points = 3 if rng.random() < 0.5 else 6
    # The middle of a triangle's edge lies at 0.5, that of a hexagon's at 0.87.
    inner = rng.uniform(0.2, 0.34) if points == 3 else rng.uniform(0.42, 0.6)
    angle = np.arange(2 * points) * np.pi / points + (0.0 if points == 3 else np.pi / 6)
    radius = np.where(np.arange(2 * points) % 2, 1.0, inner)
    radius = radius * (1 + irregularity * rng.standard_normal(2 * points))
    return radius * np.cos(angle), radius * np.sin(angle)


def _strip(rng: np.random.Generator, irregularity: float) -> tuple[FloatArray, FloatArray]:
    length, skew = rng.uniform(4.5, 9.0), rng.uniform(-0.5, 0.5)
    x = np.array([1.0, 1.0, -1.0, -1.0]) * (1 + irregularity * rng.standard_normal(4))
    y = np.array([length, -length, -length, length]) + skew * np.array([1.0, 1.0, -1.0, -1.0])
    return x, y


def _irregular(rng: np.random.Generator, irregularity: float) -> tuple[FloatArray, FloatArray]:
    """No facets: a wavy outline of 40 corners."""
    angle = np.arange(40) * np.pi / 20
    radius = np.ones(40)
    for wave in range(2, 7):
        radius += rng.uniform(0.10, 0.22) / wave**0.5 * np.cos(wave * angle + rng.uniform(0, 6.3))
    radius = np.maximum(radius, 0.3) * (1 + irregularity * rng.standard_normal(40))
    return radius * np.cos(angle), radius * np.sin(angle)


_DRAW: dict[str, _Draw] = {
    **{name: _kind(name) for name in HEXAGONALITY},
    "star": _star,
    "strip": _strip,
    "irregular": _irregular,
}


def arrival(outline: Outline, y: FloatMap, x: FloatMap) -> FloatMap:
    """Time at which the crystal reaches points at `y`, `x` px from its nucleus.

    Parameters
    ----------
    outline : Outline
    y, x : ndarray of float32, (h, w)

    Returns
    -------
    ndarray of float32, (h, w)
        1 on the outline, below it inside.
    """
    corners = outline.corners
    angle = np.arctan2(corners[:, 0], corners[:, 1])
    after = np.searchsorted(angle, np.arctan2(y, x), side="right")
    first, second = corners[after - 1], corners[after % len(corners)]
    edge_y, edge_x = second[..., 0] - first[..., 0], second[..., 1] - first[..., 1]
    reach = first[..., 0] * edge_x - first[..., 1] * edge_y
    return np.asarray((y * edge_x - x * edge_y) / reach, np.float32)
