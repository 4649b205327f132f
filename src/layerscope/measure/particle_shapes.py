"""Size and edge of a particle, beyond what is measured on every region."""

from __future__ import annotations

import numpy as np

from layerscope.core.results import FloatArray
from layerscope.measure.declare import measurement
from layerscope.measure.region import Region

_STRIDES = 7
_LEAST_STEPS = 6


@measurement(unit="um", dimension=1)
def feret_orthogonal(region: Region) -> float:
    """Width across the longest extent, at a right angle to it."""
    return _across(region.hull)


@measurement(unit="um", dimension=1)
def lateral_size(region: Region) -> float:
    """Lateral size as ISO/TS 21356-1 asks: mean of the longest extent and the width across it."""
    return (region.feret[0] + _across(region.hull)) / 2


@measurement(unit="", dimension=0)
def lateral_aspect(region: Region) -> float:
    """Longest extent over the width across it, from 1 up."""
    return region.feret[0] / max(_across(region.hull), 1e-12)


@measurement(unit="", dimension=0)
def edge_roughness(region: Region) -> float:
    """Length of the outline over that of its convex hull: 1 for a convex edge, more for others."""
    hull = region.hull
    around = float(np.hypot(*(np.roll(hull, -1, axis=0) - hull).T).sum())
    return max(region.perimeter / max(around, 1e-12), 1.0)


@measurement(unit="", dimension=0)
def edge_dimension(region: Region) -> float:
    """Fractal dimension of the edge by Richardson's walk: 1 smooth, up to 2 at every scale rough.

    Length of the edge over the length of the stride, on logarithmic axes, from three pixels to a
    sixth of the edge (Mandelbrot, Science 156, 636 (1967)). NaN for particles too small for it.
    """
    outer = region.rings[0]
    if not outer:
        return float("nan")
    chain = max(outer, key=len)[:, 0] * np.array(region.spacing[::-1])
    strides = np.unique(np.geomspace(3, max(len(chain) / _LEAST_STEPS, 3), _STRIDES).astype(int))
    if len(strides) < 4:
        return float("nan")
    steps = [np.hypot(*(np.roll(chain, -s, axis=0) - chain).T) for s in strides.tolist()]
    # Every start of the walk is taken: the mean stride, and the mean length over all starts.
    length = [step.sum() / s for step, s in zip(steps, strides, strict=True)]
    slope = np.polyfit(np.log([step.mean() for step in steps]), np.log(length), 1)[0]
    return float(np.clip(1 - slope, 1, 2))


def _across(hull: FloatArray) -> float:
    """Extent at a right angle to the line between the two corners that are farthest apart."""
    away = hull[:, None] - hull
    far = np.unravel_index(np.argmax((away**2).sum(axis=2)), away.shape[:2])
    along = away[far] / max(float(np.hypot(*away[far])), 1e-12)
    return float(np.ptp(hull @ np.array([-along[1], along[0]])))
