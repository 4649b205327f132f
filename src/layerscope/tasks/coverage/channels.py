"""What `robust` is shown of a picture: grey, rank, and the odds of being film.

A network that looks at a part of a picture cannot know whether the grey around it is film or
substrate; the histogram of the whole picture nearly does. Rank and odds bring it to every pixel,
and hardly change with the contrast at which somebody exported the picture.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray
from layerscope.ops.channels import FloatImage
from layerscope.ops.two_classes import TwoClasses, fit_two_classes

FILM_CHANNELS = 3
_ENDS = (0.5, 99.5)
_LEVELS = 512


def film_channels(picture: FloatImage, known: BoolArray) -> FloatImage:
    """Make the channels of a whole picture.

    Parameters
    ----------
    picture : ndarray of float32, (H, W, C)
        0 to 1; colour counts by its mean.
    known : ndarray of bool, (H, W)
        Pixels that count; the others are taken for typical.

    Returns
    -------
    ndarray of float32, (H, W, 3)
        Grey between the 0.5th and 99.5th percentile, share of pixels that are darker, and
        probability of the brighter of two classes; 0 to 1.
    """
    grey = picture.mean(axis=2, dtype=np.float32)
    inner = grey[known] if known.any() else grey.ravel()
    low, high = np.percentile(inner, _ENDS)
    filled = np.where(known, grey, np.float32(np.median(inner)))
    shown = np.clip((filled - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)
    calm = np.asarray(cv2.medianBlur(shown, 3))
    return np.stack([shown, _rank(calm, known), _odds(calm, known)], axis=2)


def _rank(calm: npt.NDArray[np.float32], known: BoolArray) -> npt.NDArray[np.float32]:
    """Share of the known pixels with lower values, ties halved."""
    level = np.clip(calm * _LEVELS, 0, _LEVELS - 1).astype(np.intp)
    count = np.bincount(level[known], minlength=_LEVELS).astype(float)
    below = (np.cumsum(count) - count / 2) / max(count.sum(), 1.0)
    return below.astype(np.float32)[level]


def _odds(calm: npt.NDArray[np.float32], known: BoolArray) -> npt.NDArray[np.float32]:
    """Probability of the brighter class, 1/2 everywhere in a picture of one value."""
    if not known.any():
        return np.full(calm.shape, 0.5, np.float32)
    fit = fit_two_classes(calm, known)
    if fit.mean[1] <= fit.mean[0]:
        return np.full(calm.shape, 0.5, np.float32)
    # Beyond its mean a narrow class would lose to the wide one: no pixel is too bright for film.
    within = np.clip(calm, *fit.mean)
    log = _log_density(within, fit, 1) - _log_density(within, fit, 0)
    return (1 / (1 + np.exp(-np.clip(log, -30, 30)))).astype(np.float32)


def _log_density(values: npt.NDArray[np.float32], fit: TwoClasses, k: int) -> npt.NDArray[Any]:
    z = (values - fit.mean[k]) / fit.sd[k]
    return np.asarray(np.log(fit.weight[k] / fit.sd[k]) - 0.5 * z**2)
