"""Scores of numbers that were estimated, such as coverage."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from layerscope.errors import InputError


class NumberScores(NamedTuple):
    """How far estimates are off, in their own unit.

    Attributes
    ----------
    rmse, mae, bias : float
        Root mean square, mean absolute, and mean signed error (estimate minus truth).
    r2 : float
        Share of the truth's variance that is explained; below 0 it is worse than its mean.
    note : str
        Why `r2` is NaN, else empty.
    """

    rmse: float
    mae: float
    bias: float
    r2: float
    note: str


def score_numbers(
    estimate: npt.ArrayLike, truth: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> NumberScores:
    """Compare estimates with the truth. The order of arguments matters for `r2` and `bias`.

    R2 = 1 - sum (estimate - truth)^2 / sum (truth - mean truth)^2; it is no squared correlation, so
    that an estimate with a wrong scale or offset gains nothing.

    Parameters
    ----------
    estimate, truth : array_like, (n,)
    weights : array_like, (n,), optional
        How often each counts; default once.

    Raises
    ------
    InputError
        If they are not equally many, finite, one-dimensional numbers.
    """
    x, y = np.asarray(estimate, float), np.asarray(truth, float)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, float)
    if x.ndim != 1 or x.shape != y.shape or w.shape != y.shape:
        raise InputError(f"estimates {x.shape}, truth {y.shape}, weights {w.shape}: expected (n,)")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("an estimate or a true value is not finite; leave such images out")
    if not w.sum() > 0:
        none = float("nan")
        return NumberScores(none, none, none, none, "no image to compare")
    error = x - y
    off = [float(np.average(e, weights=w)) for e in (error**2, np.abs(error), error)]
    r2, note = _explained(error, y, w)
    return NumberScores(float(np.sqrt(off[0])), off[1], off[2], r2, note)


def _explained(
    error: npt.NDArray[np.float64], y: npt.NDArray[np.float64], w: npt.NDArray[np.float64]
) -> tuple[float, str]:
    used = y[w > 0]
    if len(used) < 2 or np.ptp(used) <= 1e-12 * np.abs(used).max():
        why = "only one true value" if len(used) < 2 else "the truth is the same everywhere"
        return float("nan"), f"{why}: no variance to explain"
    spread = float((w * (y - np.average(y, weights=w)) ** 2).sum())
    return 1 - float((w * error**2).sum()) / spread, ""
