"""How likely colours are under a ladder: the statistics shared by calibration and by counting.

Each region's contrast is drawn around the colour of its layer number with a Student-t density
(heavy tails: a few regions are always measured wrong), or it is an outlier. Layer numbers 1..N
are occupied smoothly, pi_n ~ r^n: cleaved flakes come in all thicknesses, so a ladder that uses
only even numbers pays for it, and that is what excludes the doubled ladder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import lgamma, log, pi

import numpy as np

from layerscope.core.results import BoolArray, FloatArray, IntArray, RegionSignal

SATURATION_LEVEL = 0.98
"""Level, as a fraction of white, from which a channel only gives a lower bound."""

_NU = 4.0
_LOG_T = lgamma((_NU + 3) / 2) - lgamma(_NU / 2) - 1.5 * log(_NU * pi)
_SYSTEMATIC = np.array([0.010, 0.010, 0.018])  # R, G, B; measured class scatter, 5x the noise
_RELATIVE = 0.05
_OUTLIER_DENSITY = 1.0  # per unit contrast cubed
_DECAY = np.array([0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


@dataclass(frozen=True, eq=False)
class Colours:
    """Contrasts of regions on the file's scale, ready for the fit; one row per region.

    Attributes
    ----------
    contrast, variance : ndarray, (n, 3)
        level / background - 1, and the square of its standard error.
    saturated : ndarray of bool, (n, 3)
        The true contrast is at least `contrast`.
    """

    contrast: FloatArray
    variance: FloatArray
    saturated: BoolArray

    @classmethod
    def of(cls, signal: RegionSignal) -> Colours:
        """Colours of the regions of `signal`."""
        bare = np.maximum(signal.background, 1e-4)
        ratio = signal.level / bare
        variance = (signal.level_se**2 + (ratio * signal.background_se) ** 2) / bare**2
        return cls(ratio - 1, variance, signal.level >= SATURATION_LEVEL)

    def __len__(self) -> int:
        return len(self.contrast)

    def take(self, index: IntArray) -> Colours:
        """Rows at the integer positions `index`."""
        return Colours(self.contrast[index], self.variance[index], self.saturated[index])


@dataclass(frozen=True, eq=False)
class Rungs:
    """Colours of the K thickness nodes, and the spread between neighbours.

    Attributes
    ----------
    contrast : ndarray, (K, 3)
        Node colours on the file's scale; the first `max_layers` are layers.
    max_layers : int
    noise : float
        Scale of the systematic scatter, 1 for the published sets.
    """

    contrast: FloatArray
    max_layers: int
    noise: float

    @cached_property
    def variance(self) -> FloatArray:
        """Systematic variance per node (K, 3); thick nodes also cover the gap to the next."""
        v = (self.noise * _SYSTEMATIC) ** 2 + (self.noise * _RELATIVE * self.contrast) ** 2
        thick = self.contrast[self.max_layers :]
        if len(thick) > 1:
            v[self.max_layers :] += np.gradient(thick, axis=0) ** 2 / 12
        return v

    def residual(self, colours: Colours) -> FloatArray:
        """Observed minus predicted, (n, K, 3); zero where a saturated channel allows it."""
        r = colours.contrast[:, None, :] - self.contrast
        return np.where(colours.saturated[:, None, :] & (r < 0), 0.0, r)

    def log_likelihood(self, colours: Colours) -> FloatArray:
        """Log density (n, K) of each colour under each node."""
        v = self.variance + colours.variance[:, None, :]
        z2 = np.sum(self.residual(colours) ** 2 / v, axis=2)
        return _LOG_T - 0.5 * np.sum(np.log(v), axis=2) - (_NU + 3) / 2 * np.log1p(z2 / _NU)

    def t_weight(self, colours: Colours) -> FloatArray:
        """Weight (n, K, 3) of each residual in a least-squares step of the Student-t fit."""
        v = self.variance + colours.variance[:, None, :]
        z2 = np.sum(self.residual(colours) ** 2 / v, axis=2, keepdims=True)
        return (_NU + 3) / (_NU + z2) / v


@dataclass(frozen=True)
class Occupancy:
    """How often each thickness occurs: r^n over layers, then thick flakes, then outliers."""

    decay: float = 0.8
    thin: float = 0.6
    thick: float = 0.35
    outlier: float = 0.05

    def log_weights(self, max_layers: int, nodes: int) -> FloatArray:
        """Log prior weight (K + 1,) of each node, and of the outlier class."""
        n = np.arange(1, max_layers + 1)
        layers = self.decay**n
        thick = np.full(nodes - max_layers, self.thick / max(nodes - max_layers, 1))
        weights = np.concatenate([self.thin * layers / layers.sum(), thick, [self.outlier]])
        return np.log(weights)

    def updated(self, responsibility: FloatArray, max_layers: int) -> Occupancy:
        """Most probable occupancy given responsibilities (n, K + 1), with five regions' prior."""
        count = responsibility.sum(axis=0)
        layers = count[:max_layers]
        n = np.arange(1, max_layers + 1)
        score = [
            np.sum(layers * (n * np.log(r) - np.log(np.sum(r**n)))) - (r - 0.8) ** 2 / 0.08
            for r in _DECAY
        ]
        totals = np.array([layers.sum(), count[max_layers:-1].sum(), count[-1]])
        share = (totals + 5 * np.array([0.6, 0.35, 0.05])) / (totals.sum() + 5)
        thin, thick, outlier = (float(s) for s in share)
        return Occupancy(float(_DECAY[int(np.argmax(score))]), thin, thick, min(outlier, 0.15))


def joint_log_density(colours: Colours, rungs: Rungs, occupancy: Occupancy) -> FloatArray:
    """Log of prior weight times density, (n, K + 1); the last column is the outlier class."""
    nodes = len(rungs.contrast)
    log_weight = occupancy.log_weights(rungs.max_layers, nodes)
    out = np.full((len(colours), nodes + 1), np.log(_OUTLIER_DENSITY))
    out[:, :-1] = rungs.log_likelihood(colours)
    return out + log_weight


def log_sum(log_density: FloatArray) -> FloatArray:
    """Log of the sum of exponentials over the last axis, without overflow."""
    top = log_density.max(axis=-1, keepdims=True)
    return top[..., 0] + np.log(np.sum(np.exp(log_density - top), axis=-1))
