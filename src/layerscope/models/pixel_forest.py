"""Large images through a forest over pixel features, window by window, the same as at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from layerscope.ops.channels import FloatImage
from layerscope.ops.pixel_features import REACH_PX, pixel_features
from layerscope.ops.tiles import plan_tiles

_WINDOW_PX = 512  # with its halo 160 features take 400 MB
_STEP = 8  # wide features are computed on every eighth pixel: windows start at one


def forest_maps(
    image: FloatImage, run: Callable[[npt.NDArray[np.float32]], FloatImage], features: str
) -> FloatImage:
    """Probabilities (H, W, K) of a normalised image (H, W, C).

    Parameters
    ----------
    image : ndarray of float32, (H, W, C)
    run : callable
        Probabilities (n, K) of features (n, F).
    features : str
        One of `ops.pixel_features.FEATURE_SETS`.
    """
    halo = -(-REACH_PX[features] // _STEP) * _STEP
    out: FloatImage | None = None
    for tile in plan_tiles(image.shape[:2], _WINDOW_PX, halo):
        seen, core = tile.seen, tile.core
        planes = pixel_features(
            np.ascontiguousarray(image[seen.top : seen.bottom, seen.left : seen.right]), features
        )
        rows = slice(core.top - seen.top, core.bottom - seen.top)
        columns = slice(core.left - seen.left, core.right - seen.left)
        kept = planes[:, rows, columns]
        answer = run(np.ascontiguousarray(kept.reshape(len(kept), -1).T))
        if out is None:
            out = np.empty((*image.shape[:2], answer.shape[1]), np.float32)
        out[core.top : core.bottom, core.left : core.right] = answer.reshape(*kept.shape[1:], -1)
    assert out is not None
    return out
