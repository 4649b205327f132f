"""How unsure a classifier is of a pixel, from the probabilities of its classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from layerscope.errors import UnknownName
from layerscope.ops.channels import FloatImage

Map = npt.NDArray[np.float32]


def margin(probabilities: FloatImage) -> Map:
    """1 - (largest - second largest): 1 where two classes are equally likely.

    Parameters
    ----------
    probabilities : ndarray of float32, (..., K)

    Returns
    -------
    ndarray of float32, (...)
    """
    if probabilities.shape[-1] < 2:
        return np.zeros(probabilities.shape[:-1], np.float32)
    first, second = probabilities[..., 0], probabilities[..., 1]
    high, low = np.maximum(first, second), np.minimum(first, second)
    for k in range(2, probabilities.shape[-1]):
        low = np.maximum(low, np.minimum(high, probabilities[..., k]))
        high = np.maximum(high, probabilities[..., k])
    return np.asarray(1 - (high - low), np.float32)


def entropy(probabilities: FloatImage) -> Map:
    """Shannon entropy as a share of the largest possible one, log K; see `margin`."""
    classes = max(probabilities.shape[-1], 2)
    p = np.maximum(probabilities, np.float32(1e-12))
    return np.asarray(-(probabilities * np.log(p)).sum(axis=-1) / np.log(classes), np.float32)


def disagreement(probabilities: FloatImage) -> Map:
    """Chance that two trees, drawn from the forest, name different classes: 1 - sum p^2.

    A pixel's probability is the share of the trees that vote for a class, so this holds exactly
    for trees with pure leaves, drawn with replacement; see `margin`.
    """
    return np.asarray(1 - (probabilities * probabilities).sum(axis=-1), np.float32)


DOUBTS: dict[str, Callable[[FloatImage], Map]] = {
    "margin": margin,
    "entropy": entropy,
    "disagreement": disagreement,
}


def doubt(probabilities: FloatImage, kind: str = "margin") -> Map:
    """Uncertainty of every pixel, one of `DOUBTS`.

    Parameters
    ----------
    probabilities : ndarray of float32, (..., K)
    kind : {"margin", "entropy", "disagreement"}

    Raises
    ------
    UnknownName
        For another kind.
    """
    if kind not in DOUBTS:
        raise UnknownName.of("uncertainty", kind, tuple(DOUBTS))
    return DOUBTS[kind](probabilities)
