"""A pixel forest on a whole image: features and answers strip by strip, equal to those at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from layerscope.ops.channels import FloatImage
from layerscope.ops.pixel_features import pixel_features, strips

_STRIP_PX = 200_000  # of 162 features each: 130 MB


def ask_forest(
    image: FloatImage,
    ask: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]],
    features: str,
) -> FloatImage:
    """Ask a forest about every pixel.

    Parameters
    ----------
    image : ndarray of float32, (H, W, C)
        Normalised.
    ask : callable
        Probabilities (n, K) of features (n, F).
    features : str
        One of `ops.pixel_features.FEATURE_SETS`.

    Returns
    -------
    ndarray of float32, (H, W, K)
        They add to 1.
    """
    height, width = image.shape[:2]
    parts = []
    for strip in strips((height, width), features, _STRIP_PX // width):
        planes = pixel_features(image[strip.first : strip.last], features)
        inner = planes[:, strip.top - strip.first : strip.bottom - strip.first]
        rows = np.ascontiguousarray(inner.reshape(len(planes), -1).T)
        parts.append(ask(rows).reshape(strip.bottom - strip.top, width, -1))
    return np.concatenate(parts)
