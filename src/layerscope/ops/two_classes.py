"""Two Gaussian classes in a histogram, and how well the threshold between them is held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray

_BINS = 256
_ROUNDS = 60
_TILES = 6
_RESAMPLES = 60
_TAIL = (0.1, 99.9)


@dataclass(frozen=True, eq=False)
class TwoClasses:
    """Mixture of two Gaussians.

    Attributes
    ----------
    threshold : float
        Where both classes are equally probable, between their means.
    mean, sd, weight : ndarray, (2,)
        Lower class first.
    resampled : ndarray, (n,)
        Threshold of each resample of the tiles of the picture.
    """

    threshold: float
    mean: FloatArray
    sd: FloatArray
    weight: FloatArray
    resampled: FloatArray

    @property
    def separation(self) -> float:
        """Ashman's D: over 2 where the mixture has two humps [1]_.

        References
        ----------
        .. [1] K. A. Ashman et al., Astron. J. 108, 2348 (1994).
        """
        return float(np.sqrt(2) * np.ptp(self.mean) / np.sqrt((self.sd**2).sum()))


def fit_two_classes(values: npt.NDArray[np.float32], valid: BoolArray) -> TwoClasses:
    """Fit by expectation and maximisation, from the classes that Otsu's threshold makes.

    Parameters
    ----------
    values : ndarray of float32, (H, W)
    valid : ndarray of bool, (H, W)
        At least one True.
    """
    inner = values[valid]
    low, high = np.percentile(inner, _TAIL)
    if not high > low:
        nothing = np.zeros(2)
        return TwoClasses(float(low), nothing + low, nothing + 1e-6, nothing + 0.5, np.array([low]))
    bins = np.clip((inner - low) / (high - low) * _BINS, 0, _BINS - 1).astype(np.intp)
    n = _TILES**2
    row, column = (np.arange(side) * _TILES // side for side in values.shape)
    first = (_BINS * (row[:, None] * _TILES + column))[valid]
    counts = np.bincount(first + bins, minlength=n * _BINS).reshape(n, _BINS)
    drawn = np.random.default_rng(0).multinomial(n, [1 / n] * n, _RESAMPLES)
    each = np.concatenate([np.ones((1, n)), drawn]) @ counts
    centres = low + (high - low) * (np.arange(_BINS) + 0.5) / _BINS
    mean, sd, weight = _maximise(each[each.sum(axis=1) > 0], centres)
    cut = _crossing(mean, sd, weight, centres)
    return TwoClasses(float(cut[0]), mean[0], sd[0], weight[0], cut)


def _maximise(counts: FloatArray, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean, sd and weight (R, 2) of the two classes in each histogram (R, B)."""
    share = counts / counts.sum(axis=1, keepdims=True)
    upper = (x > _otsu(share, x)[:, None]).astype(float)
    belongs = np.stack([1 - upper, upper], axis=1)
    least = (x[1] - x[0]) ** 2
    for _ in range(_ROUNDS):
        mass = belongs * share[:, None]
        weight = np.maximum(mass.sum(axis=2), 1e-6)
        mean = (mass @ x) / weight
        variance = (mass * (x - mean[..., None]) ** 2).sum(axis=2) / weight + least
        log = -0.5 * (x - mean[..., None]) ** 2 / variance[..., None]
        log += np.log(weight / np.sqrt(variance))[..., None]
        odds = np.exp(np.clip(log[:, 0] - log[:, 1], -500, 500))
        belongs = np.stack([odds / (1 + odds), 1 / (1 + odds)], axis=1)
    return mean, np.sqrt(variance), weight


def _otsu(share: FloatArray, x: FloatArray) -> FloatArray:
    """Threshold (R,) of largest variance between classes."""
    below, moment = np.cumsum(share, axis=1), np.cumsum(share * x, axis=1)
    spread = below * (1 - below)
    gain = (moment[:, -1:] * below - moment) ** 2 / np.maximum(spread, 1e-9)
    return np.asarray(x[gain[:, :-1].argmax(axis=1)])


def _crossing(mean: FloatArray, sd: FloatArray, weight: FloatArray, x: FloatArray) -> FloatArray:
    """First value (R,) from the lower mean on at which the upper class is the more probable."""
    z = (x - mean[..., None]) / sd[..., None]
    log = np.log(weight / sd)[..., None] - 0.5 * z**2
    middle = mean.mean(axis=1)
    between = (x >= mean[:, :1]) & (x <= mean[:, 1:])
    upper = between & (log[:, 1] > log[:, 0])
    return np.where(upper.any(axis=1), x[upper.argmax(axis=1)], middle)
