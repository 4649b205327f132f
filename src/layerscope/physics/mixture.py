"""How likely colours are under a ladder: the statistics shared by calibration and by counting.

Each region's contrast is drawn around the colour of its layer number with a Student-t density
(heavy tails: a few regions are always measured wrong), or it is an outlier. Layer numbers 1..N
are occupied smoothly, with one peak: cleaved flakes come in all thicknesses, so a ladder that
uses only even numbers pays for it, and that is what excludes the doubled ladder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
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
    """How often each thickness occurs: one peak over the layers, thick flakes, outliers.

    Attributes
    ----------
    peak : float
        Most frequent layer number m; pi_n ~ rise^(m - n) below it and fall^(n - m) above.
    rise, fall : float
    thin, thick, outlier : float
        Shares of the three kinds; they add to one.
    """

    peak: float = 1.0
    rise: float = 0.8
    fall: float = 0.8
    thin: float = 0.6
    thick: float = 0.35
    outlier: float = 0.05

    def log_weights(self, max_layers: int, nodes: int) -> FloatArray:
        """Log prior weight (K + 1,) of each node, and of the outlier class."""
        peak, rise, fall = (np.array([v]) for v in (self.peak, self.rise, self.fall))
        layers = np.log(self.thin) + _log_peaked(peak, rise, fall, max_layers)[0]
        share = self.thick / max(nodes - max_layers, 1)
        thick = np.full(nodes - max_layers, np.log(share))
        return np.concatenate([layers, thick, [np.log(self.outlier)]])

    def updated(self, responsibility: FloatArray, max_layers: int) -> Occupancy:
        """Most probable occupancy given responsibilities (n, K + 1), with five regions' prior."""
        count = responsibility.sum(axis=0)
        peak, rise, fall = _shapes(max_layers)
        score = _log_peaked(peak, rise, fall, max_layers) @ count[:max_layers] - 0.3 * peak
        best = int(np.argmax(score))
        totals = np.array([count[:max_layers].sum(), count[max_layers:-1].sum(), count[-1]])
        share = totals + 5 * np.array([0.6, 0.35, 0.05])
        share[2] = min(share[2], 0.15 * share.sum())
        thin, thick, outlier = (float(s) for s in share / share.sum())
        return Occupancy(
            float(peak[best]), float(rise[best]), float(fall[best]), thin, thick, outlier
        )


@cache
def _shapes(max_layers: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Every peak, rise and fall that is tried, each (S,)."""
    grid = np.meshgrid(np.arange(1.0, max_layers + 1), (0.2, 0.5, 0.8), (0.2, 0.4, 0.6, 0.8, 0.95))
    peak, rise, fall = (g.ravel() for g in grid)
    return peak, rise, fall


def _log_peaked(
    peak: FloatArray, rise: FloatArray, fall: FloatArray, max_layers: int
) -> FloatArray:
    """Log share (S, N) of each layer number."""
    above = np.arange(1, max_layers + 1) - peak[:, None]
    log_pi = np.where(above < 0, -above * np.log(rise)[:, None], above * np.log(fall)[:, None])
    return log_pi - np.log(np.exp(log_pi).sum(axis=1, keepdims=True))


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
