"""95 % intervals of scores: whole specimens are drawn again, not images.

Images of one specimen resemble each other; drawing images would make intervals too short.
Percentile bootstrap: Efron and Tibshirani, An Introduction to the Bootstrap (1993), ch. 13.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from layerscope.core.results import FloatArray
from layerscope.errors import InputError

LEAST_GROUPS = 5
"""Below it the percentiles of resampled groups say nothing: four groups make 35 resamples."""

_LEAST_KNOWN = 0.9  # of the resamples; else the interval would be of the lucky ones


def group_weights(groups: Sequence[str], *, n_resamples: int = 500, seed: int = 0) -> FloatArray:
    """How often each image counts in every resample of its groups.

    Parameters
    ----------
    groups : sequence of str, (n,)
        Specimen of each image.
    n_resamples : int
    seed : int

    Returns
    -------
    ndarray, (n_resamples, n)
        The same for the same groups, in whatever order the images are.
    """
    if n_resamples < 1:
        raise InputError(f"n_resamples is {n_resamples}: expected 1 or more")
    if not groups:
        return np.zeros((n_resamples, 0))
    names, place = np.unique(np.asarray(groups, str), return_inverse=True)
    share = np.full(len(names), 1 / len(names))
    drawn = np.random.default_rng(seed).multinomial(len(names), share, size=n_resamples)
    return np.asarray(drawn[:, place], float)


def why_no_interval(groups: Sequence[str]) -> str:
    """Why no interval can be given for these groups, or empty."""
    n = len(set(groups))
    if n >= LEAST_GROUPS:
        return ""
    return f"no interval: {n} specimen{'' if n == 1 else 's'}, at least {LEAST_GROUPS} are needed"


def interval_of(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """95 % percentile interval of resampled figures.

    Parameters
    ----------
    values : ndarray, (b, k)
        One row per row of `group_weights`.

    Returns
    -------
    low, high : ndarray, (k,)
        NaN where a tenth of the resamples or more left the figure undefined.
    """
    known = np.isfinite(values).mean(axis=0) > _LEAST_KNOWN
    low, high = np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    if known.any():
        low[known], high[known] = np.nanpercentile(values[:, known], [2.5, 97.5], axis=0)
    return low, high
