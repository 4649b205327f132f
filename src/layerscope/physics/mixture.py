"""How likely colours are under a ladder: the statistics shared by calibration and by counting.

Each region's contrast is drawn around the colour of its layer number with a Student-t density
(heavy tails: a few regions are always measured wrong), or it is an outlier. Layer numbers 1..N
are occupied smoothly, with one peak: cleaved flakes come in all thicknesses, so a ladder that
uses only even numbers pays for it, and that is what excludes the doubled ladder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from math import exp, lgamma, log, pi
from typing import Any

import numpy as np

from layerscope.core.results import BoolArray, FloatArray, IntArray, RegionSignal

SATURATION_LEVEL = 0.92
"""Level, as a fraction of white, from which a channel only gives a lower bound: flat-field
corrected images were found clipped at 241 of 255, and JPEG noise spreads that."""

_NU = 4.0
_LOG_T = lgamma((_NU + 3) / 2) - lgamma(_NU / 2) - 1.5 * log(_NU * pi)
_SYSTEMATIC = np.array([0.010, 0.010, 0.018])  # R, G, B; measured class scatter, 5x the noise
_RELATIVE = 0.05
# Colours of thick flakes and of residue are known worse than those of layers; a tight curve there
# bent the camera to fit graphite and glue at the cost of the layers.
_CURVE_SD, _CURVE_RELATIVE = 0.02, 0.12
_OUTLIER_SCALE = 0.5  # contrast above the substrate over which outliers thin out
_MAX_OUTLIERS = 0.3
_BULK_CONTRAST = 0.15
_LABEL_NATS = 30.0  # what contradicting a person costs


@dataclass(frozen=True, eq=False)
class Colours:
    """Contrasts of regions on the file's scale, ready for the fit; one row per region.

    Attributes
    ----------
    contrast, variance : ndarray, (n, 3)
        level / background - 1, and the square of its standard error.
    saturated : ndarray of bool, (n, 3)
        The true contrast is at least `contrast`.
    known : ndarray of int, (n,)
        Layer number that a person gave; 0 where none.
    """

    contrast: FloatArray
    variance: FloatArray
    saturated: BoolArray
    known: IntArray

    @classmethod
    def of(cls, signal: RegionSignal, known: IntArray | None = None) -> Colours:
        """Colours of the regions of `signal`, with what a person said of them."""
        bare = np.maximum(signal.background, 1e-4)
        ratio = signal.level / bare
        variance = (signal.level_se**2 + (ratio * signal.background_se) ** 2) / bare**2
        layers = np.zeros(len(signal), np.int64) if known is None else known
        return cls(ratio - 1, variance, signal.level >= SATURATION_LEVEL, layers)

    def __len__(self) -> int:
        return len(self.contrast)

    def take(self, index: IntArray) -> Colours:
        """Rows at the integer positions `index`."""
        return Colours(*(column[index] for column in self._columns))

    @property
    def _columns(self) -> tuple[Any, ...]:
        return self.contrast, self.variance, self.saturated, self.known


def is_bulk(colours: Colours) -> BoolArray:
    """Brighter than the substrate in every channel, (n,): on a chip, a thick mirror."""
    return np.asarray((colours.contrast > _BULK_CONTRAST).all(axis=1))


@dataclass(frozen=True)
class Nodes:
    """How many nodes of each kind there are, in this order."""

    layers: int
    thick: int
    residue: int

    @property
    def count(self) -> int:
        """All nodes."""
        return self.layers + self.thick + self.residue

    @property
    def kinds(self) -> tuple[slice, slice, slice]:
        """Where the layers, the thick flakes and the residue are."""
        end = self.layers + self.thick
        return slice(0, self.layers), slice(self.layers, end), slice(end, end + self.residue)


@dataclass(frozen=True, eq=False)
class Rungs:
    """Colours of the K nodes, and the spread between neighbours.

    Attributes
    ----------
    contrast : ndarray, (K, 3)
        Node colours on the file's scale.
    nodes : Nodes
    noise : float
        Scale of the systematic scatter, 1 for the published sets.
    """

    contrast: FloatArray
    nodes: Nodes
    noise: float

    @cached_property
    def variance(self) -> FloatArray:
        """Systematic variance per node (K, 3); nodes on a curve also cover the gap to the next."""
        v = (self.noise * _SYSTEMATIC) ** 2 + (self.noise * _RELATIVE * self.contrast) ** 2
        for curve in self.nodes.kinds[1:]:
            if curve.stop - curve.start > 1:
                v[curve] += np.gradient(self.contrast[curve], axis=0) ** 2 / 12
                v[curve] += _CURVE_SD**2 + (_CURVE_RELATIVE * self.contrast[curve]) ** 2
        return v

    def residual(self, colours: Colours) -> FloatArray:
        """Observed minus predicted, (3, n, K); zero where a saturated channel allows it."""
        r = colours.contrast.T[:, :, None] - self.contrast.T[:, None, :]
        if colours.saturated.any():
            r[colours.saturated.T[:, :, None] & (r < 0)] = 0.0
        return r

    def _total_variance(self, colours: Colours) -> FloatArray:
        return self.variance.T[:, None, :] + colours.variance.T[:, :, None]

    def distance2(self, colours: Colours) -> FloatArray:
        """Squared distance (n, K) of each colour from each node, in standard deviations."""
        # Channels first, and summed by hand: a reduction over a last axis of 3 took half the fit.
        r, v = self.residual(colours), self._total_variance(colours)
        return r[0] ** 2 / v[0] + r[1] ** 2 / v[1] + r[2] ** 2 / v[2]

    def log_likelihood(self, colours: Colours) -> FloatArray:
        """Log density (n, K) of each colour under each node."""
        v = self._total_variance(colours)
        volume = np.log(v[0] * v[1] * v[2])
        z2 = self.distance2(colours)
        return _LOG_T - 0.5 * volume - (_NU + 3) / 2 * np.log1p(z2 / _NU)

    def density(self, colours: Colours) -> tuple[FloatArray, FloatArray]:
        """Density and squared distance (n, K) of each colour under each node.

        `log_likelihood` without a logarithm, as the sum over draws needs it: 4 times faster.
        """
        distance2 = np.zeros((len(colours), len(self.contrast)))
        volume = np.ones_like(distance2)
        for c in range(3):
            r = colours.contrast[:, c, None] - self.contrast[:, c]
            np.maximum(r, 0, out=r, where=colours.saturated[:, c, None])
            r *= r
            v = colours.variance[:, c, None] + self.variance[:, c]
            volume *= v
            r /= v
            distance2 += r
        tail = distance2 / _NU
        tail += 1
        volume *= tail
        tail *= tail
        volume *= tail
        tail *= tail
        volume *= tail  # the volume times 1 + z2 / nu to the power nu + 3 = 7
        np.sqrt(volume, out=volume)
        return np.divide(exp(_LOG_T), volume, out=volume), distance2

    def t_weight(self, colours: Colours) -> FloatArray:
        """Weight (3, n, K) of each residual in a least-squares step of the Student-t fit."""
        return (_NU + 3) / (_NU + self.distance2(colours)) / self._total_variance(colours)


@dataclass(frozen=True)
class Occupancy:
    """How often each thickness occurs: one peak over the layers, then the other kinds.

    Attributes
    ----------
    peak : float
        Most frequent layer number m; pi_n ~ rise^(m - n) below it and fall^(n - m) above.
    rise, fall : float
    thin, thick, residue, outlier : float
        Shares of the four kinds; they add to one.
    """

    peak: float = 1.0
    rise: float = 0.8
    fall: float = 0.8
    thin: float = 0.6
    thick: float = 0.25
    residue: float = 0.1
    outlier: float = 0.05

    def log_weights(self, nodes: Nodes) -> FloatArray:
        """Log prior weight (K + 1,) of each node, and of the outlier class."""
        peak, rise, fall = (np.array([v]) for v in (self.peak, self.rise, self.fall))
        layers = np.log(self.thin) + _log_peaked(peak, rise, fall, nodes.layers)[0]
        thick = np.full(nodes.thick, np.log(self.thick / max(nodes.thick, 1)))
        residue = np.full(nodes.residue, np.log(self.residue / max(nodes.residue, 1)))
        return np.concatenate([layers, thick, residue, [np.log(self.outlier)]])

    def updated(self, responsibility: FloatArray, nodes: Nodes) -> Occupancy:
        """Most probable occupancy given responsibilities (n, K + 1), with five regions' prior."""
        count = responsibility.sum(axis=0)
        layers, thick, residue = (count[kind] for kind in nodes.kinds)
        peak, rise, fall = _shapes(nodes.layers)
        score = _log_peaked(peak, rise, fall, nodes.layers) @ layers - 0.3 * peak
        best = int(np.argmax(score))
        prior = Occupancy()
        share = np.array([layers.sum(), thick.sum(), residue.sum(), count[-1]])
        share += 5 * np.array([prior.thin, prior.thick, prior.residue, prior.outlier])
        share[3] = min(share[3], _MAX_OUTLIERS * share.sum())
        shares = (float(v) for v in share / share.sum())
        return Occupancy(float(peak[best]), float(rise[best]), float(fall[best]), *shares)


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
    nodes = rungs.nodes
    log_weight = occupancy.log_weights(nodes)
    out = np.empty((len(colours), nodes.count + 1))
    out[:, :-1] = rungs.log_likelihood(colours)
    out[:, -1] = np.log(outlier_density(colours))
    labelled = np.flatnonzero(colours.known > 0)
    if len(labelled):
        step = np.minimum(colours.known[labelled], nodes.layers + 1)[:, None] - 1
        number = np.minimum(np.arange(nodes.count), nodes.layers)  # thick nodes are one kind
        number[nodes.kinds[2]] = -1
        own = number == step
        out[labelled, :-1] = np.where(own, out[labelled, :-1], -_LABEL_NATS)
    return out + log_weight


def outlier_density(colours: Colours) -> FloatArray:
    """Density (n,) of colours that nothing explains, per unit contrast cubed.

    Even from black to the substrate (1 there, as in the published recipe), and falling beyond:
    without that, the vivid colours of thick hBN were all outliers.
    """
    r, g, b = 1 + np.maximum(colours.contrast.T, 0) / _OUTLIER_SCALE
    return np.asarray((r * g * b) ** -2)


def log_sum(log_density: FloatArray) -> FloatArray:
    """Log of the sum of exponentials over the last axis, without overflow."""
    top = log_density.max(axis=-1, keepdims=True)
    return top[..., 0] + np.log(np.sum(np.exp(log_density - top), axis=-1))
