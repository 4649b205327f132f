"""Can the probabilities be believed? Reliability diagram and proper scores.

A probability of 0.9 is calibrated when nine of ten such answers are right (Guo et al., ICML 2017,
arXiv 1706.04599). All functions take one row of probabilities per region and the column that was
true, and give the same numbers whatever the order of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from layerscope.core.results import THICK, UNKNOWN, FloatArray, IntArray
from layerscope.errors import InputError

Binning = Literal["mass", "width"]

_Z95 = 1.959963984540054
_FLOOR = 1e-12  # keeps a probability of exactly zero from making every mean infinite


@dataclass(frozen=True)
class ReliabilityDiagram:
    """Answers grouped by confidence; only bins that hold an answer, least sure first.

    Attributes
    ----------
    confidence : ndarray, (b,)
        Mean probability of the answers in the bin.
    accuracy : ndarray, (b,)
        Share of them that was right.
    accuracy_low, accuracy_high : ndarray, (b,)
        Its 95 % interval (Wilson, J. Am. Stat. Assoc. 22, 209 (1927)).
    count : ndarray of int, (b,)
        Answers in the bin.
    """

    confidence: FloatArray
    accuracy: FloatArray
    accuracy_low: FloatArray
    accuracy_high: FloatArray
    count: IntArray

    @property
    def calibration_error(self) -> float:
        """Mean over answers of |accuracy - confidence| of their bin; NaN without answers."""
        if not len(self.count):
            return float("nan")
        return float(np.average(np.abs(self.accuracy - self.confidence), weights=self.count))


def layer_columns(n_layers: npt.ArrayLike, max_layers: int) -> IntArray:
    """Column of `LayerPosterior.probability` that stands for each layer number.

    Parameters
    ----------
    n_layers : array_like of int, (n,)
        1, 2, ..., `THICK` or `UNKNOWN`; numbers above `max_layers` count as thick.
    max_layers : int
        N, the longest ladder step with a column of its own.

    Returns
    -------
    ndarray of int, (n,)
        0..N-1 for 1..N layers, N for thick, N + 1 for unknown.

    Raises
    ------
    InputError
        If a number is below `UNKNOWN`.
    """
    number = np.asarray(n_layers, np.int64)
    if np.any(number < UNKNOWN):
        raise InputError(f"layer number {number.min()}: expected 1, 2, ..., THICK or UNKNOWN")
    thick = (number == THICK) | (number > max_layers)
    return np.where(number == UNKNOWN, max_layers + 1, np.where(thick, max_layers, number - 1))


def reliability_diagram(
    probability: npt.ArrayLike, truth: npt.ArrayLike, *, n_bins: int = 10, binning: Binning = "mass"
) -> ReliabilityDiagram:
    """Accuracy of the most probable answer against its probability.

    Parameters
    ----------
    probability : array_like, (n, K)
        Rows add to one.
    truth : array_like of int, (n,)
        True column, 0 to K - 1.
    n_bins : int, optional
        Bins at most; fewer where many answers share one probability, since equal
        probabilities are never split.
    binning : {"mass", "width"}, optional
        About equally many answers per bin, or bins of equal width in probability.

    Raises
    ------
    InputError
        If shapes, values or `n_bins` are not as above.
    """
    probability, truth = _checked(probability, truth)
    if n_bins < 1:
        raise InputError(f"n_bins is {n_bins}: expected 1 or more")
    top = probability.max(axis=1) if len(truth) else np.zeros(0)
    right = (probability.argmax(axis=1) == truth) if len(truth) else np.zeros(0, bool)
    return _diagram(top, right, n_bins, binning)


def score_diagram(
    score: npt.ArrayLike, right: npt.ArrayLike, *, n_bins: int = 10, binning: Binning = "mass"
) -> ReliabilityDiagram:
    """Share of right answers against the score that each was given.

    Parameters
    ----------
    score : array_like, (n,)
        0 to 1.
    right : array_like of bool, (n,)
    n_bins, binning : optional
        As in `reliability_diagram`.

    Raises
    ------
    InputError
        If shapes, values or `n_bins` are not as above.
    """
    given, hit = np.asarray(score, float), np.asarray(right, bool)
    if given.ndim != 1 or hit.shape != given.shape:
        raise InputError(f"score {given.shape} and right {hit.shape}: expected (n,) both")
    if n_bins < 1 or not np.all((given >= 0) & (given <= 1)):
        raise InputError("expected scores from 0 to 1 and one bin or more")
    return _diagram(given, hit, n_bins, binning)


def _diagram(
    top: FloatArray, right: npt.NDArray[np.bool_], n_bins: int, binning: Binning
) -> ReliabilityDiagram:
    bins = np.searchsorted(_inner_edges(top, n_bins, binning), top, side="left")
    count = np.bincount(bins, minlength=n_bins)
    used = np.flatnonzero(count)
    count = count[used]
    # Summed in sorted order, so that the last digit does not depend on the order of the rows.
    rising = np.lexsort((right, top))
    confidence = np.bincount(bins[rising], top[rising], minlength=n_bins)[used] / count
    hits = np.bincount(bins, right, minlength=n_bins)[used]
    low, high = wilson_interval(hits, count)
    return ReliabilityDiagram(confidence, hits / count, low, high, count.astype(np.int64))


def expected_calibration_error(
    probability: npt.ArrayLike, truth: npt.ArrayLike, *, n_bins: int = 10, binning: Binning = "mass"
) -> float:
    """Return the expected calibration error of the most probable answer, 0 (honest) to 1.

    Parameters are those of `reliability_diagram`; NaN without rows. Naeini et al., AAAI 2015.
    """
    diagram = reliability_diagram(probability, truth, n_bins=n_bins, binning=binning)
    return diagram.calibration_error


def brier_score(probability: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Mean squared distance between probabilities and truth, summed over columns; 0 to 2.

    Brier, Mon. Weather Rev. 78, 1 (1950), eq. 2. NaN without rows.
    """
    probability, truth = _checked(probability, truth)
    if not len(truth):
        return float("nan")
    hit = probability[np.arange(len(truth)), truth]
    return float(np.sort((probability**2).sum(axis=1) - 2 * hit + 1).mean())


def negative_log_likelihood(probability: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Mean of -ln(probability of the truth), nats; zero probabilities count as 1e-12.

    NaN without rows.
    """
    probability, truth = _checked(probability, truth)
    if not len(truth):
        return float("nan")
    hit = np.sort(probability[np.arange(len(truth)), truth])
    return float(-np.log(np.maximum(hit, _FLOOR)).mean())


def wilson_interval(hits: npt.ArrayLike, count: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """95 % score interval of a share; (0, 1) where nothing was counted.

    Parameters
    ----------
    hits, count : array_like, (b,)

    Returns
    -------
    low, high : ndarray, (b,)
        Wilson (1927), as written by Brown, Cai and DasGupta, Stat. Sci. 16, 101 (2001), eq. 4.
    """
    hits, count = np.asarray(hits, float), np.asarray(count, float)
    n = np.maximum(count, 1)
    share = hits / n
    middle = (share + _Z95**2 / (2 * n)) / (1 + _Z95**2 / n)
    half = _Z95 / (1 + _Z95**2 / n) * np.sqrt(share * (1 - share) / n + _Z95**2 / (4 * n**2))
    empty = count == 0
    low, high = np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)
    return np.where(empty, 0.0, low), np.where(empty, 1.0, high)


def _inner_edges(top: FloatArray, n_bins: int, binning: Binning) -> FloatArray:
    """Upper, inclusive edges of all bins but the last."""
    if binning == "width":
        return np.arange(1, n_bins) / n_bins
    if binning != "mass":
        raise InputError(f"binning {binning!r}: expected 'mass' or 'width'")
    if not len(top):
        return np.zeros(0)
    last = np.ceil(np.arange(1, n_bins) * len(top) / n_bins).astype(int) - 1
    return np.asarray(np.sort(top)[last], float)


def _checked(probability: npt.ArrayLike, truth: npt.ArrayLike) -> tuple[FloatArray, IntArray]:
    p, t = np.asarray(probability, float), np.asarray(truth)
    if p.ndim != 2 or t.shape != p.shape[:1] or p.shape[1] == 0:
        raise InputError(f"probability {p.shape} and truth {t.shape}: expected (n, K) and (n,)")
    if t.size and (not np.issubdtype(t.dtype, np.integer) or t.min() < 0 or t.max() >= p.shape[1]):
        raise InputError(f"truth must hold column numbers from 0 to {p.shape[1] - 1}")
    if not np.all(np.isfinite(p)) or np.any(p < -1e-9) or np.any(np.abs(p.sum(1) - 1) > 1e-6):
        raise InputError("probability: expected finite rows, none negative, each adding to one")
    return p, t.astype(np.int64)
