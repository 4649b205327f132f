"""Which images share a setup: exposure, lamp and substrate.

And what the set knows that one image does not: which of its colours is the bare substrate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.ops.channels import farthest
from layerscope.ops.optical import Background, log_level

_SETUP_BANDWIDTH = 0.06
"""Log distance between backgrounds of one setup (exposure drift and lamp warm-up stay below)."""

_MANY = 500
"""More images than this are grouped by cells of their colour: mean shift costs their square."""

_CELL = 0.01


@dataclass(frozen=True, eq=False)
class Substrates:
    """Colours of bare substrate in a set of images, and how much of the set each one holds.

    Attributes
    ----------
    log_level : ndarray, (m, 3)
        Modes of the background, heaviest first, as `log_level` of fractions of white.
    support : ndarray, (m,)
        Images within reach of each mode; an image that is not sure of its own counts a fifth.
    """

    log_level: FloatArray
    support: FloatArray

    @classmethod
    def of(cls, backgrounds: Sequence[Background]) -> Substrates:
        """Modes of the backgrounds of a set, or of a sample of it."""
        own = log_level([b.level for b in backgrounds]).reshape(-1, 3)
        return cls(*_modes(own, np.array([_weight(b) for b in backgrounds])))

    def credible(self, background: Background, *, member: bool = False) -> FloatArray | None:
        """Level (3,) to analyse an image with instead of its own; None if its own is credible.

        Parameters
        ----------
        background : Background
        member : bool
            Whether the image is one of those that the modes were made of: it cannot be its own
            witness.
        """
        if background.confident or not len(self.support):
            return None
        own = log_level(background.level)
        witness = _weight(background) * _is_near(own, self.log_level) if member else 0.0
        return _credible(background, own, self.log_level, self.support - witness)


def group_setups(
    backgrounds: Sequence[Background],
) -> tuple[IntArray, tuple[FloatArray | None, ...]]:
    """Group images by the colour of their substrate, and let the set correct single images.

    A colour that is the substrate of many images is more credible than one that merely covers most
    of one field. Confident images define the setups (modes of the background in log space, joined
    within 0.06 in every channel); every image then takes, among its own candidates, the one
    whose setup holds most of the set.

    Parameters
    ----------
    backgrounds : sequence of Background

    Returns
    -------
    setup : ndarray of int, (n,)
        As `number_setups`.
    revised : tuple of (ndarray (3,) or None)
        Level to analyse the image again with, where the set disagrees with its own choice.
    """
    if not backgrounds:
        return np.zeros(0, np.int64), ()
    substrates = Substrates.of(backgrounds)
    revised = tuple(substrates.credible(b, member=True) for b in backgrounds)
    chosen = [b.level if r is None else r for b, r in zip(backgrounds, revised, strict=True)]
    return number_setups(np.array(chosen)), revised


def number_setups(levels: FloatArray) -> IntArray:
    """Group images into setups by the level of its bare substrate.

    Parameters
    ----------
    levels : ndarray, (n, 3)
        Fractions of white.

    Returns
    -------
    ndarray of int, (n,)
        Numbered from 0 by falling number of images; independent of their order (ties by level).
    """
    points = log_level(levels).reshape(-1, 3)
    if len(points) == 0:
        return np.zeros(0, np.int64)
    if len(points) <= _MANY:
        return _numbered(points, _setup_levels(points, np.ones(len(points))))
    cells, count = np.unique(np.round(points / _CELL), axis=0, return_counts=True)
    return _numbered(points, _setup_levels(cells * _CELL, count.astype(float)))


def _weight(background: Background) -> float:
    return 1.0 if background.confident else 0.2


def _is_near(log_level: FloatArray, modes: FloatArray) -> BoolArray:
    return np.asarray(farthest(modes - log_level) <= 2 * _SETUP_BANDWIDTH)


def _modes(points: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean-shift modes (m, 3) and the weight within reach of each, heaviest first."""
    shifted = points.copy()
    for _ in range(30):
        apart = farthest(shifted[:, None] - points[None])
        kernel = np.exp(-0.5 * (apart / _SETUP_BANDWIDTH) ** 2) * weight
        # Sorted sums: the same modes to the last bit whatever the order of the images.
        order = np.lexsort(points.T)
        total = kernel[:, order].sum(axis=1)
        shifted = (kernel[:, order] @ points[order]) / total[:, None]
    centres: list[FloatArray] = []
    for point in shifted[np.lexsort((*points.T, -total.round(9)))]:
        if all(np.abs(point - c).max() > 2 * _SETUP_BANDWIDTH for c in centres):
            centres.append(point)
    modes = np.array(centres)
    support = np.array([weight[_is_near_points(points, m)].sum() for m in modes])
    return modes, support


def _is_near_points(points: FloatArray, mode: FloatArray) -> BoolArray:
    return np.asarray(farthest(points - mode) <= 2 * _SETUP_BANDWIDTH)


def _setup_levels(points: FloatArray, weight: FloatArray) -> FloatArray:
    """Modes (m, 3) such that every point is within three bandwidths of one.

    A drifting exposure makes one long chain of points, which mean shift alone gathers in a single
    mode however far apart its ends are.
    """
    modes = np.zeros((0, 3))
    left = np.ones(len(points), bool)
    while left.any():
        modes = np.concatenate([modes, _modes(points[left], weight[left])[0]])
        nearest = farthest(points[:, None] - modes[None]).min(axis=1)
        rest = nearest > 3 * _SETUP_BANDWIDTH
        # A mode between two far groups serves neither: then the points are modes themselves.
        if rest.sum() == left.sum():
            return np.vstack([modes, points[rest]])
        left = rest
    return modes


def _credible(
    background: Background, own: FloatArray, modes: FloatArray, support: FloatArray
) -> FloatArray | None:
    """Return the candidate that the rest of the set supports, if that is not the present one."""
    options = [c for c in background.candidates if c.share >= 0.04]
    votes = [float((support * _is_near(log_level(c.level), modes)).sum()) for c in options]
    present = float((support * _is_near(own, modes)).sum())
    best = max(range(len(options)), key=lambda k: (votes[k], options[k].score), default=None)
    if best is None or votes[best] < 1.0 or votes[best] <= 1.5 * present:
        return None
    return options[best].level


def _numbered(points: FloatArray, modes: FloatArray) -> IntArray:
    nearest = farthest(points[:, None] - modes[None]).argmin(axis=1)
    count = np.bincount(nearest, minlength=len(modes))
    order = np.lexsort((*modes.T, -count))
    rank = np.empty(len(modes), np.int64)
    rank[order] = np.arange(len(modes))
    return rank[nearest]
