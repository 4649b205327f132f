"""Pixels drawn from densely labelled images, for a forest to learn from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE
from layerscope.core.results import IntArray


def draw_pixels(
    labels: npt.NDArray[np.uint8], number: int, rng: np.random.Generator
) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """Draw labelled pixels of one image, half of them evenly over its classes.

    Parameters
    ----------
    labels : ndarray of uint8, (H, W)
        Pixels that are `IGNORE` are not drawn.
    number : int
        About how many; no pixel is drawn twice.
    rng : Generator

    Returns
    -------
    index : ndarray of int64
        Into the flattened image, ascending.
    weights : ndarray of float64
        Inverse of the chance to be drawn, so that sums over classes estimate those of the image.
    """
    flat = labels.ravel()
    counts = np.bincount(flat, minlength=IGNORE + 1)[:IGNORE]
    present = np.flatnonzero(counts)
    total = int(counts.sum())
    parts: list[IntArray] = []
    weights: list[npt.NDArray[np.float64]] = []
    for value in present.tolist():
        share = 0.5 * counts[value] / total + 0.5 / len(present)
        wanted = min(int(counts[value]), max(1, round(number * share)))
        where = np.flatnonzero(flat == value)
        parts.append(np.sort(rng.choice(where, wanted, replace=False)))
        weights.append(np.full(wanted, counts[value] / wanted))
    if not parts:
        return np.empty(0, np.int64), np.empty(0)
    index = np.concatenate(parts)
    order = np.argsort(index)
    return index[order], np.concatenate(weights)[order]
