"""Thresholds per class: a grid over the whole range, then finer ones around the best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE
from layerscope.errors import InputError, UnknownName

FloatArray = npt.NDArray[np.float64]

_BINS = 1000

SCORES: dict[str, Callable[[FloatArray, FloatArray, FloatArray], FloatArray]] = {
    "iou": lambda both, more, less: both / np.maximum(both + more + less, 1),
    "dice": lambda both, more, less: 2 * both / np.maximum(2 * both + more + less, 1),
}
"""By pixels that are right, wrongly of the class, and missed."""


def search_threshold(
    score: Callable[[float], float], *, low: float = 0.05, high: float = 0.95, steps: int = 10,
    rounds: int = 2,
) -> tuple[float, float]:  # fmt: skip
    """Find the threshold of the highest score.

    Parameters
    ----------
    score : callable
        Score of a threshold; may be slow: it is asked ``steps + 1`` times, then 5 a round.
    low, high : float
        Ends of the grid.
    steps : int
        Of the grid, 2 or more.
    rounds : int
        Each looks within a step on either side of the best, at a third of the distance.

    Returns
    -------
    threshold, score : float
        Of equal scores the threshold nearest to the middle of the range.

    Raises
    ------
    InputError
        If the range is empty.
    """
    if not 0 <= low < high <= 1 or steps < 2 or rounds < 0:
        raise InputError(f"thresholds {low} to {high} in {steps}: expected 0 to 1 in 2 or more")
    known: dict[float, float] = {}
    step, centre = (high - low) / steps, (low + high) / 2
    wanted = [low + i * step for i in range(steps + 1)]
    for _ in range(rounds + 1):
        for value in (round(float(np.clip(w, low, high)), 6) for w in wanted):
            if value not in known:
                known[value] = score(value)
        best = max(known, key=lambda t: (known[t], -abs(t - centre)))
        step /= 3
        wanted = [best + i * step for i in (-2, -1, 0, 1, 2)]
    return best, known[best]


def class_thresholds(
    pairs: Iterable[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]],
    classes: tuple[str, ...],
    *,
    score: str = "iou",
) -> Mapping[str, float]:
    """Threshold of each class that gives the best masks over all images.

    Parameters
    ----------
    pairs : iterable
        Probabilities (H, W, K) and truth: classes (H, W), K of them, or maps (H, W, K) of 0 and 1.
        Pixels that are `IGNORE` do not count. Best held-out ones.
    classes : tuple of str
        K names.
    score : str
        One of `SCORES`.

    Returns
    -------
    mapping of str to float
        0.5 for a class that is nowhere. Found on a grid of a tenth, refined to a hundredth.

    Raises
    ------
    InputError
        If shapes do not match; `UnknownName` for another score.
    """
    if score not in SCORES:
        raise UnknownName.of("score", score, SCORES)
    inside, outside = (np.zeros((len(classes), _BINS)) for _ in range(2))
    for maps, truth in pairs:
        _count(maps, truth, inside, outside)
    found = {}
    for name, own, other in zip(classes, inside, outside, strict=True):
        both, more = (np.cumsum(n[::-1])[::-1] for n in (own, other))
        reached = SCORES[score](both, more, own.sum() - both)
        chosen, _ = search_threshold(partial(_at, reached))
        found[name] = round(chosen, 3) if own.any() else 0.5
    return found


def _at(reached: FloatArray, threshold: float) -> float:
    return float(reached[min(int(threshold * _BINS), _BINS - 1)])


def _count(
    maps: npt.NDArray[np.float32], truth: npt.NDArray[np.uint8], inside: FloatArray,
    outside: FloatArray,
) -> None:  # fmt: skip
    """Add one image to histograms of the probability, within each class and out of it."""
    count = len(inside)
    if maps.shape[:2] != truth.shape[:2] or maps.shape[2] != count:
        raise InputError(f"maps {maps.shape} beside truth {truth.shape} of {count} classes")
    bins = np.minimum((maps * _BINS).astype(np.int64), _BINS - 1)
    for k in range(count):
        own = truth[..., k] if truth.ndim == 3 else np.where(truth == IGNORE, IGNORE, truth == k)
        known = own != IGNORE
        inside[k] += np.bincount(bins[..., k][known & (own > 0)], minlength=_BINS)
        outside[k] += np.bincount(bins[..., k][known & (own == 0)], minlength=_BINS)
