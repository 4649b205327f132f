"""The light of a picture, found without being told what in it is background."""

from __future__ import annotations

import cv2
import numpy as np

from layerscope.core.results import FloatArray
from layerscope.ops.channels import FloatImage

_BANDS = (0.02, 0.012, 0.008)
"""Widths around the most common level, narrower from fit to fit; 0.008 is half of what the faintest
sheets that anybody sees take away."""

_COARSE = 4  # the fit needs every sixteenth pixel
_APART = 2  # coarse pixels between two that are compared
_ROUNDS, _OUTLIER = 12, 2.5
_STIFF = 1e-3  # pull towards even light, where few pixels say otherwise
_FEWEST = 60


def even_light(log: FloatImage) -> FloatImage:
    """Logarithm of the light on the most common level of a picture: usually that of the support.

    Parameters
    ----------
    log : ndarray of float32, (H, W)
        Logarithm of the grey values.

    Returns
    -------
    ndarray of float32, (H, W)
        A quadratic surface. Its slopes are those of most pixels, whatever level they are on: steps
        at the edges of holes and flakes are outliers. Then it is fitted to the pixels within a band
        around the most common level of what it leaves.
    """
    size = (max(log.shape[1] // _COARSE, 1), max(log.shape[0] // _COARSE, 1))
    values = cv2.resize(log, size, interpolation=cv2.INTER_AREA).astype(float)
    terms = _terms((size[1], size[0]))
    bent = _slopes(terms, values)
    level = float(np.median(values - terms @ bent))
    for width in _BANDS:
        left = values - terms @ bent
        level = _mode(left, width)
        near = np.abs(left - level) < 2 * width
        if np.count_nonzero(near) < _FEWEST:
            break
        level, bent = _fit(terms[near], values[near])
    return np.asarray(level + _terms((log.shape[0], log.shape[1])) @ bent, np.float32)


def _slopes(terms: FloatArray, values: FloatArray) -> FloatArray:
    """Coefficients that explain the differences of near pixels, by Tukey's biweight."""
    design = np.concatenate([d.reshape(-1, terms.shape[-1]) for d in _differences(terms)])
    steps = np.concatenate([d.ravel() for d in _differences(values)])
    found = np.zeros(terms.shape[-1])
    if len(steps) < _FEWEST:
        return found
    pull = _STIFF * design.T @ design + 1e-12 * np.eye(len(found))
    for _ in range(_ROUNDS):
        left = steps - design @ found
        spread = max(1.4826 * float(np.median(np.abs(left))), 1e-6)
        weight = np.clip(1 - (left / (2 * _OUTLIER * spread)) ** 2, 0, None) ** 2
        weighted = design * weight[:, None]
        found = np.linalg.solve(weighted.T @ design + pull, weighted.T @ steps)
    return np.asarray(found)


def _differences(field: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Differences down and to the right of a field (H, W) or (H, W, K)."""
    return field[_APART:] - field[:-_APART], field[:, _APART:] - field[:, :-_APART]


def _terms(shape: tuple[int, int]) -> FloatArray:
    """Linear and quadratic terms (H, W, 5) of the place, which is -1 to 1 across the picture."""
    y, x = ((2 * np.arange(n) + 1) / n - 1 for n in shape)
    down, right = np.meshgrid(y, x, indexing="ij")
    return np.stack([down, right, down * down, down * right, right * right], axis=-1)


def _mode(values: FloatArray, width: float) -> float:
    """Most common value, of a density smoothed by about `width`."""
    step = width / 4
    edges = np.arange(values.min() - width, values.max() + 2 * width, step)
    counts, _ = np.histogram(values, edges)
    density = np.convolve(counts, np.exp(-0.5 * (np.arange(-8, 9) / 4) ** 2), "same")
    return float(edges[density.argmax()] + step / 2)


def _fit(slopes: FloatArray, values: FloatArray) -> tuple[float, FloatArray]:
    design = np.column_stack([np.ones(len(values)), slopes])
    pull = np.diag([0.0, *[_STIFF] * slopes.shape[1]]) * len(values)
    found = np.linalg.solve(design.T @ design + pull, design.T @ values)
    return float(found[0]), found[1:]
