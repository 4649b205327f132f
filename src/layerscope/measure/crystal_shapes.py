"""Which shape a grown crystal has, by the template that its outline is nearest to.

An outline is its radius in 120 directions around the centroid, over the radius of the disc of equal
area. So are the templates: triangles to hexagons with angles of 120 degrees, stars of three and six
points, strips. The distance to a template is the root mean square of the difference, least over all
rotations; crystals are never mirrored by that, nor scaled.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, CropMasks, FloatArray
from layerscope.errors import InputError

SHAPES = ("triangle", "truncated triangle", "hexagon", "star", "strip", "irregular")
"""What `classify_shapes` answers; a crystal that the frame cuts is ``unknown``."""

UNKNOWN = "unknown"

TRUNCATED = (0.17, 0.68)
"""Short over long facets between which a crystal is a truncated triangle.

The middles, as ratios, between what everybody calls a triangle (below 0.1), a truncated one (0.28
to 0.55) and a hexagon (above 0.82)."""

_ANGLES = 120
_RAY_STEPS = 2
"""Samples of a ray per pixel."""

_NEAR_PX = 3
"""An outline ends at another crystal if that begins within so much."""

_WHOLE = 0.95
"""Share of free directions from which on the centroid is the nucleus."""

_OFFSETS = tuple((x, y) for x in (-0.2, 0.0, 0.2) for y in (-0.2, 0.0, 0.2) if x or y)
"""In radii: a triangle that lost a corner of a third of its height moves its centroid by 0.2."""

_INDEPENDENT = 8
"""Directions of an outline that vary by themselves."""

_ROUGH = 0.035
"""Growth itself: facets of one crystal differ by some per cent in their distance."""

_PIXEL = 0.45
"""Of a pixel: how far an outline is off in one direction because it is made of pixels."""

_IRREGULAR = 0.085
"""Distance to all templates at which a crystal is as well none of them.

A disc is 0.036 from the hexagon; an ellipse of 1 to 1.5 is 0.13 from the nearest template."""


@dataclass(frozen=True, eq=False)
class Shapes:
    """Shape of each crystal.

    Attributes
    ----------
    names : tuple of str
        Most probable of `SHAPES`, or ``unknown``.
    scores : ndarray, (n,)
        Its probability; NaN for ``unknown``.
    probabilities : ndarray, (n, 6)
        Of all `SHAPES`; rows add to one.
    """

    names: tuple[str, ...]
    scores: FloatArray
    probabilities: FloatArray


@dataclass(frozen=True, eq=False)
class Outline:
    """Radius of an object by direction, counter-clockwise from x.

    Attributes
    ----------
    radius : ndarray, (120,)
        Over `radius_px`.
    free : ndarray of bool, (120,)
        False where another object begins.
    radius_px : float
        Of the disc of equal area.
    """

    radius: FloatArray
    free: BoolArray
    radius_px: float


def classify_shapes(masks: CropMasks, cut: BoolArray) -> Shapes:
    """Give every crystal the shape that its outline is nearest to.

    Where a crystal meets another its outline is not its own: those directions count nothing.

    Parameters
    ----------
    masks : CropMasks
        Crystals that meet must touch and not overlap.
    cut : ndarray of bool, (n,)
        Crystals of which a part is not seen: ``unknown``.

    Returns
    -------
    Shapes

    Raises
    ------
    InputError
        If there is not one of `cut` per mask.
    """
    if len(cut) != len(masks):
        raise InputError(f"{len(masks)} masks but {len(cut)} times cut or not")
    names, table = [], np.zeros((len(masks), len(SHAPES)))
    number = np.pad(masks.labels(), _NEAR_PX)
    for i, (where, crop) in enumerate(masks):
        wide = tuple(slice(s.start, s.stop + 2 * _NEAR_PX) for s in where)
        around = number[wide]
        table[i] = _probabilities(np.pad(crop, _NEAR_PX), (around > 0) & (around != i + 1))
        names.append(UNKNOWN if cut[i] else SHAPES[int(table[i].argmax())])
    scores = np.where(cut, np.nan, table.max(axis=1, initial=0.0))
    return Shapes(tuple(names), scores, table)


def shape_distance(mask: BoolArray, others: BoolArray | None = None) -> float:
    """Distance of an outline to the nearest template of any shape; 0 is one of them.

    Parameters
    ----------
    mask, others : ndarray of bool, (h, w)
        As in `radial_outline`.
    """
    outline = radial_outline(mask, others)
    return min(_distance(outline, family) for family in templates())


def radial_outline(
    mask: BoolArray,
    others: BoolArray | None = None,
    offset: tuple[float, float] = (0.0, 0.0),
) -> Outline:
    """Radius of a mask in 120 directions around its centroid.

    Parameters
    ----------
    mask : ndarray of bool, (h, w)
        One object; of what is not seen from the centroid the length along the ray counts.
    others : ndarray of bool, (h, w), optional
        Other objects.
    offset : tuple of float
        Of the centre from the centroid, x and y, in radii of the disc of equal area.
    """
    y, x = np.nonzero(mask)
    radius_px = float(np.sqrt(len(y) / np.pi))
    right, down = (radius_px * o for o in offset)
    centre = (float(x.mean()) + 1 + right, float(y.mean()) + 1 + down)
    radius = _rays(mask, centre).sum(axis=1, dtype=float) / _RAY_STEPS
    free = np.ones(_ANGLES, bool)
    if others is not None and others.any():
        rays = _rays(others, centre) > 0.5
        first = np.where(rays.any(axis=1), rays.argmax(axis=1) / _RAY_STEPS, np.inf)
        free = first > radius + _NEAR_PX
    return Outline(radius / radius_px, free, radius_px)


def _rays(mask: BoolArray, centre: tuple[float, float]) -> npt.NDArray[np.float32]:
    """`mask` along rays from `centre` (x, y of the mask with a rim of 1), counter-clockwise."""
    reach = int(np.ceil(np.hypot(*mask.shape))) + 2
    how = cv2.WARP_POLAR_LINEAR | cv2.INTER_LINEAR | cv2.WARP_FILL_OUTLIERS
    size = (_RAY_STEPS * reach, _ANGLES)
    rays = cv2.warpPolar(np.pad(mask.astype(np.float32), 1), size, centre, reach, how)
    # Rows of warpPolar run clockwise, as y points down.
    return np.asarray(np.roll(rays[::-1], 1, axis=0))


def _probabilities(mask: BoolArray, others: BoolArray) -> FloatArray:
    distance, outline = _distances(mask, others)
    noise = np.hypot(_ROUGH, _PIXEL / max(outline.radius_px, 1.0))
    weight = np.exp(-0.5 * _INDEPENDENT * (distance**2 - distance.min() ** 2) / noise**2)
    known = weight / weight.sum()
    none = 1 / (1 + np.exp(-(distance.min() - np.hypot(_IRREGULAR, noise)) / (0.2 * _IRREGULAR)))
    return np.append(known * (1 - none), none)


def _distances(mask: BoolArray, others: BoolArray) -> tuple[FloatArray, Outline]:
    """Distance to each family of templates, and the outline around the centroid.

    What a neighbour has taken moves the centroid: then other centres are tried too.
    """
    outline = radial_outline(mask, others)
    tried = [outline]
    if outline.free.mean() < _WHOLE:
        tried += [radial_outline(mask, others, o) for o in _OFFSETS]
    table = [[_distance(o, family) for family in templates()] for o in tried]
    return np.min(table, axis=0), outline


def _distance(outline: Outline, family: FloatArray) -> float:
    """Least distance to any template of a family (t, angles), over all rotations and sizes.

    With weights w, outline r and turned template t it is the least of ``sum w (r - s t)^2`` over s:
    ``sum w r^2 - (sum w r t)^2 / sum w t^2``.
    """
    w = outline.free.astype(float)
    if not w.any():
        return 1.0
    along = np.maximum(_turned(family, w * outline.radius), 0.0)
    power = np.maximum(_turned(family**2, w), 1e-9)
    left = (w * outline.radius**2).sum() - (along**2 / power).max()
    return float(np.sqrt(max(left, 0.0) / w.sum()))


def _turned(family: FloatArray, values: FloatArray) -> FloatArray:
    """Sum of `values` times each template (t, angles), at every rotation (t, angles)."""
    spectrum = np.fft.rfft(values).conj()
    return np.asarray(np.fft.irfft(np.fft.rfft(family, axis=1) * spectrum, _ANGLES, axis=1))


@cache
def templates() -> tuple[FloatArray, ...]:
    """Outlines of each of `SHAPES` but the last, (t, angles); radii of unit area."""
    low, high = TRUNCATED
    ranges = (
        np.linspace(0, low, 5),
        np.linspace(low, high, 9),
        np.linspace(high, 1, 6),
    )
    facetted = [np.stack([_facets(q) for q in r]) for r in ranges]
    stars = [_star(3, inner) for inner in np.linspace(0.15, 0.4, 8)]
    stars += [_star(6, inner) for inner in np.linspace(0.35, 0.75, 10)]
    strips = [
        _strip(a, skew) for a in np.geomspace(3, 12, 12) for skew in (-0.6, -0.3, 0, 0.3, 0.6)
    ]
    return (*facetted, np.stack(stars), np.stack(strips))


def _facets(hexagonality: float) -> FloatArray:
    """Hexagon of 120 degrees: short facets lie further out by (2 + q) / (1 + 2 q)."""
    far = (2 + hexagonality) / (1 + 2 * hexagonality)
    angle = np.radians(np.arange(0, 360, 60))
    distance = np.array([1.0, far] * 3)
    toward = np.cos(_directions()[:, None] - angle)
    return _of_unit_area(np.min(distance / np.maximum(toward, 1e-9), axis=1))


def _star(points: int, inner: float) -> FloatArray:
    """Polygon of tips at 1 and notches at `inner` in turn."""
    half = np.pi / points
    phase = np.abs((_directions() + half) % (2 * half) - half)  # from the next tip
    # Edge from (1, 0) to `inner` in the direction `half`.
    ends = inner * np.sin(half)
    past = (1 - inner * np.cos(half)) * np.sin(phase)
    return _of_unit_area(ends / (ends * np.cos(phase) + past))


def _strip(aspect: float, skew: float) -> FloatArray:
    """Parallelogram along x whose ends lean by `skew` of its width."""
    x, y = np.cos(_directions()), np.sin(_directions())
    ends = np.abs(x - skew * y) / aspect
    return _of_unit_area(1 / np.maximum(np.maximum(ends, np.abs(y)), 1e-9))


def _directions() -> npt.NDArray[np.float64]:
    return np.asarray(np.arange(_ANGLES) * (2 * np.pi / _ANGLES), float)


def _of_unit_area(radius: FloatArray) -> FloatArray:
    return np.asarray(radius / np.sqrt((radius**2).mean()), float)
