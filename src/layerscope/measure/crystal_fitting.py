"""Outlines of crystals fitted to what a noisy image says, without a mask in between.

With noise of a standard deviation of 1 in each pixel and a film of one unknown contrast, the
likelihood of an outline depends on one number: the sum of the image inside over the root of the
area. The outline of greatest sum is the most probable one, and half of the difference of two such
squares is the logarithm of how much more probable one is than the other. Outlines tried are those
of `measure.crystal_shapes`, of any size, place and direction; sums come from the image in polar
coordinates, added up outwards, so that an outline costs 72 look-ups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.measure.crystal_shapes import templates

Plane = npt.NDArray[np.float32]

_ANGLES = 72
_TAU = 2 * np.pi
_RADIUS_PX = 9.0
"""Crystals are binned to about this radius: an outline is told to a tenth of it."""
_SMALLEST_PX = 20.0
"""Sums over less are compared as if over so much: single pixels are no outline."""

_FARTHEST = 2.6
"""Of a radius: the tip of the longest template."""
_SIZES = np.geomspace(0.55, 1.7, 11)
_CENTRES = 0.3 * np.array(
    [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (0.7, -0.7), (-0.7, 0.7), (-0.7, -0.7)]
)
_TRIED = ((0, 3), (1, 4, 7), (1, 4), (1, 4, 7, 9, 13, 16), (17, 32, 47))
"""Templates of each family that the first search tries."""
_STARS, _STRIPS = 3, 4
_THREE_POINTS = 8
"""Stars before this one have three points, the others six."""
_SKEWS = 5
_AFTER = 20.0, 0.06
"""Families are refined that are less than this behind the best, in squares and their share."""
_GROWN = 1.15
"""From this growth in radius on what was seen was a piece: the search starts again."""
_ROUNDS = 4


@dataclass(frozen=True)
class Fit:
    """One outline.

    Attributes
    ----------
    strength : float
        Sum of the image inside over the root of the area: the crystal's contrast in standard
        errors.
    family : int
        Index into `measure.crystal_shapes.SHAPES`.
    kind : float
        Which template of the family; between two of them it is their mixture.
    turn_deg : float
        Counter-clockwise.
    radius_px : float
        Of the disc of equal area.
    y, x : float
        Centre.
    """

    strength: float
    family: int
    kind: float
    turn_deg: float
    radius_px: float
    y: float
    x: float

    def radii(self) -> FloatArray:
        """Distance of the outline from the centre in 72 directions, counter-clockwise from x."""
        return _template(self.family, self.kind, self.turn_deg) * self.radius_px

    def unbinned(self, bins: int) -> Fit:
        """Return the outline on pixels of which so many a side were one; the first is at 0."""
        y, x = ((v + 0.5) * bins - 0.5 for v in (self.y, self.x))
        return replace(self, radius_px=self.radius_px * bins, y=y, x=x)

    def mask(self, shape: tuple[int, int]) -> BoolArray:
        """Fill the outline on a picture of `shape`."""
        turn, radius = _directions(), self.radii()
        corners = np.stack([self.x + radius * np.cos(turn), self.y - radius * np.sin(turn)], axis=1)
        out = np.zeros(shape, np.uint8)
        cv2.fillPoly(out, [np.rint(corners * 16).astype(np.int32)], 1, shift=4)
        return out > 0


def fit_outlines(image: Plane, counted: BoolArray, start: BoolArray) -> tuple[Fit, ...]:
    """Fit the most probable outline of each family of templates.

    Parameters
    ----------
    image : ndarray of float32, (h, w)
        Contrast to the substrate in standard deviations of a pixel's noise, positive for the
        crystal; three radii around it or up to the image's border.
    counted : ndarray of bool, (h, w)
        False where other crystals are.
    start : ndarray of bool, (h, w)
        Where the crystal is seen, roughly; at least one pixel.

    Returns
    -------
    tuple of Fit
        One per family, in the order of `SHAPES`; those far behind the best are not refined.
    """
    y, x = np.nonzero(start)
    radius = float(np.sqrt(len(y) / np.pi))
    bins = max(1, round(radius / _RADIUS_PX))
    field = _Field.of(np.where(counted, image, 0).astype(np.float32), counted, bins)
    # The centre of the first pixel is at 0 in both grids.
    place = [(float(v.mean()) + 0.5) / bins - 0.5 for v in (y, x)]
    rough = _search(field, place, radius / bins)
    best = _strongest(rough)
    if best.radius_px > _GROWN * radius / bins:
        rough = _search(field, [best.y, best.x], best.radius_px)
    behind, share = _AFTER
    least = (1 - share) * _strongest(rough).strength ** 2 - behind
    found = [_refined(field, fit) if fit.strength**2 > least else fit for fit in rough]
    return tuple(fit.unbinned(bins) for fit in found)


def _strongest(fits: Sequence[Fit]) -> Fit:
    return max(fits, key=lambda fit: fit.strength)


@dataclass(frozen=True, eq=False)
class _Field:
    """Image and the share of each pixel that counts, binned so that noise stays 1."""

    value: Plane
    share: Plane

    @classmethod
    def of(cls, value: Plane, counted: BoolArray, bins: int) -> _Field:
        height, width = (max(1, n // bins) for n in value.shape)
        cut = slice(0, height * bins), slice(0, width * bins)
        planes = [
            cv2.resize(np.ascontiguousarray(p[cut]), (width, height), interpolation=cv2.INTER_AREA)
            for p in (value * np.float32(bins), counted.astype(np.float32))
        ]
        return cls(*(np.asarray(p, np.float32) for p in planes))

    def around(self, y: float, x: float, reach: float) -> _Sums:
        """Add up from a centre outwards."""
        turn, steps = _directions()[:, None], np.arange(int(reach) + 2) + 0.5
        columns = (x + np.cos(turn) * steps).astype(np.float32)
        rows = (y - np.sin(turn) * steps).astype(np.float32)
        ring = (steps * (_TAU / _ANGLES)).astype(np.float32)
        sums = np.zeros((2, _ANGLES, len(steps) + 1), np.float32)
        for k, plane in enumerate((self.value, self.share)):
            polar = cv2.remap(plane, columns, rows, cv2.INTER_LINEAR, borderValue=0)
            np.cumsum(polar * ring, axis=1, out=sums[k, :, 1:])
        return _Sums(sums[0], sums[1])


@dataclass(frozen=True, eq=False)
class _Sums:
    """Of image and counted area within each radius, in 72 directions (72, n)."""

    value: Plane
    area: Plane

    def nearest(self, radii: FloatArray) -> FloatArray:
        """Strength of outlines (..., 72) to the nearest step."""
        place = np.minimum((radii + 0.5).astype(np.int32), self.value.shape[1] - 1)
        place += np.arange(_ANGLES, dtype=np.int32) * self.value.shape[1]
        value, area = (np.take(p.ravel(), place).sum(axis=-1) for p in (self.value, self.area))
        return np.asarray(value / np.sqrt(np.maximum(area, _SMALLEST_PX)))

    def exact(self, radii: FloatArray) -> float:
        """Strength of one outline (72,), between the steps."""
        within = np.clip(radii, 0, self.value.shape[1] - 1.001)
        step = within.astype(np.int32)
        rest, row = within - step, np.arange(_ANGLES)
        value, area = (
            float((p[row, step] * (1 - rest) + p[row, step + 1] * rest).sum())
            for p in (self.value, self.area)
        )
        return value / np.sqrt(max(area, _SMALLEST_PX))


def _search(field: _Field, place: list[float], radius: float) -> list[Fit]:
    """Best of each family over some centres, sizes, directions and templates."""
    tried = _tried()
    best: dict[int, Fit] = {}
    for down, right in _CENTRES * radius:
        y, x = place[0] + down, place[1] + right
        sums = field.around(y, x, _FARTHEST * float(_SIZES[-1]) * radius)
        for size in (_SIZES * radius).tolist():
            strength = sums.nearest(tried.radii * size)
            for family, (first, last) in enumerate(tried.rows):
                k = first + int(strength[first:last].argmax())
                if family not in best or strength[k] > best[family].strength:
                    best[family] = Fit(
                        float(strength[k]), family, float(tried.kind[k]), float(tried.turn_deg[k]),
                        size, y, x,
                    )  # fmt: skip
    return [best[family] for family in sorted(best)]


def _refined(field: _Field, fit: Fit) -> Fit:
    """Climb from an outline in template, direction, size and place, with steps that shrink."""
    strip = fit.family == _STRIPS
    steps = {
        "kind": 1.0, "turn_deg": 6.0, "radius_px": 0.1 * fit.radius_px,
        "y": 0.12 * fit.radius_px, "x": 0.12 * fit.radius_px,
    }  # fmt: skip
    for turn in range(_ROUNDS):
        centred = field.around(fit.y, fit.x, 1.5 * _FARTHEST * fit.radius_px)
        for name, step in steps.items():
            sums = None if name in ("y", "x") else centred
            if strip and name == "kind":
                # Strips are a table of aspects and skews: their mixtures are no strips.
                moves = [1.0, -1.0] + [float(_SKEWS), -float(_SKEWS)] * (turn < 2)
                for move in moves:
                    fit = _better(field, fit, name, move, sums) or fit
                continue
            for way in (step, -step):
                moved = _better(field, fit, name, way, sums)
                if moved is not None:
                    fit = _better(field, moved, name, way, sums) or moved
                    break
            steps[name] = 0.55 * step
    return fit


def _better(field: _Field, fit: Fit, name: str, step: float, sums: _Sums | None) -> Fit | None:
    """Return the outline one step on, where that is more probable; `sums` are of its centre."""
    value = getattr(fit, name) + step
    if name == "kind":
        value = float(np.clip(value, *_range_of(fit)))
    other = replace(fit, **{name: value})
    sums = sums or field.around(other.y, other.x, _FARTHEST * other.radius_px)
    other = replace(other, strength=sums.exact(other.radii()))
    return other if other.strength > fit.strength else None


def _range_of(fit: Fit) -> tuple[float, float]:
    """First and last template that `fit` may become."""
    last = len(templates()[fit.family]) - 1.0
    if fit.family != _STARS:
        return 0.0, last
    return (0.0, _THREE_POINTS - 1.0) if fit.kind < _THREE_POINTS else (_THREE_POINTS, last)


@dataclass(frozen=True, eq=False)
class _Tried:
    """Templates in every direction: radii (n, 72), and the rows of each family."""

    radii: FloatArray
    kind: FloatArray
    turn_deg: FloatArray
    rows: tuple[tuple[int, int], ...]


@cache
def _tried() -> _Tried:
    radii: list[FloatArray] = []
    kinds: list[float] = []
    turns: list[float] = []
    rows: list[tuple[int, int]] = []
    for family, chosen in enumerate(_TRIED):
        first = len(radii)
        for kind in chosen:
            # A star of three points repeats as a triangle does, one of six as a hexagon.
            period = (120, 120, 60, 120 if kind < _THREE_POINTS else 60, 180)[family]
            for turn_deg in np.arange(0, period, 360 / _ANGLES).tolist():
                radii.append(_template(family, kind, turn_deg))
                kinds.append(kind)
                turns.append(turn_deg)
        rows.append((first, len(radii)))
    return _Tried(np.stack(radii), np.array(kinds, float), np.array(turns, float), tuple(rows))


def _template(family: int, kind: float, turn_deg: float) -> FloatArray:
    """Radius (72,) of a turned template; of a kind between two their mixture."""
    table = templates()[family]
    low = min(int(kind), len(table) - 1)
    part = kind - low
    shape = table[low] * (1 - part) + table[min(low + 1, len(table) - 1)] * part
    angle = (np.arange(_ANGLES) / _ANGLES - turn_deg / 360) * len(shape)
    before: IntArray = np.floor(angle).astype(np.int64)
    rest = angle - before
    return np.asarray(
        shape[before % len(shape)] * (1 - rest) + shape[(before + 1) % len(shape)] * rest
    )


def _directions() -> FloatArray:
    return np.asarray(np.arange(_ANGLES) * (_TAU / _ANGLES), float)
