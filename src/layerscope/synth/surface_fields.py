"""Random smooth fields, the raw matter of wandering steps, rough glass and bent island edges."""

from __future__ import annotations

import cv2
import numpy as np

from layerscope.core.results import FloatArray

_COARSEST = 4


def draw_field(
    rng: np.random.Generator, shape: tuple[int, int], correlation_px: tuple[float, float] | float
) -> FloatArray:
    """Gaussian random field (H, W) of mean 0 and standard deviation 1.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
    correlation_px : float or (float, float)
        Distance (along y, along x) at which the correlation ``exp(-(r / T)^2)`` falls to 1/e;
        white noise below half a pixel.
    """
    lengths = np.broadcast_to(np.asarray(correlation_px, float), (2,))
    # A long field is drawn on a coarse grid: a Gaussian kernel of 300 px costs a second.
    coarse = np.maximum(1.0, lengths / 6)
    grid = [max(_COARSEST, int(np.ceil(n / c)) + 2) for n, c in zip(shape, coarse, strict=True)]
    sigma = lengths / coarse / 2  # the correlation of a blurred field is wider by sqrt(2) * sqrt(2)
    white = rng.standard_normal(grid)
    if (sigma > 0.25).any():
        sy, sx = np.maximum(sigma, 1e-3)
        white = cv2.GaussianBlur(white, (0, 0), sigmaX=sx, sigmaY=sy, borderType=cv2.BORDER_REFLECT)
    field = _enlarge(white, shape, (float(coarse[0]), float(coarse[1])))
    spread = float(field.std())
    return (field - field.mean()) / spread if spread > 0 else field


def _enlarge(coarse: FloatArray, shape: tuple[int, int], factor: tuple[float, float]) -> FloatArray:
    if factor == (1.0, 1.0):
        return coarse[: shape[0], : shape[1]]
    size = (max(shape[1], round(coarse.shape[1] * factor[1])),
            max(shape[0], round(coarse.shape[0] * factor[0])))  # fmt: skip
    large = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(large[: shape[0], : shape[1]])
