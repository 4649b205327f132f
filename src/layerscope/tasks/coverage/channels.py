"""What `robust` is shown of a picture: grey, rank, and two guesses from the histogram.

A network that looks at a part of a picture cannot know whether the grey around it is film or
substrate; the histogram of the whole picture nearly does. It is brought to every pixel, as
quantities that hardly change with the contrast at which somebody exported the picture. On 200
synthetic films of one to four layers the cut between two classes alone has an error of 0.23 (RMSE
of coverage; it may part one layer from two), the first valley 0.11, the best cut of each 0.01.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray
from layerscope.ops.channels import FloatImage
from layerscope.ops.two_classes import TwoClasses, fit_two_classes

FILM_CHANNELS = 4
_ENDS = (0.5, 99.5)
_LEVELS = 512
_TAIL = (0.1, 99.9)
_SMOOTH = 3.0  # noise of a pixel: the histogram is smoothed so much, and the cut is as soft
_LEAST_SMOOTH = 3.0  # levels
_DEPTH = 0.6  # of the lower of the two humps beside a valley
_LEAST_SHARE = 0.01  # of the pixels below a valley, and half of it above: dust and scars are fewer


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
    ndarray of float32, (H, W, 4)
        Grey between the 0.5th and 99.5th percentile, share of pixels that are darker, probability
        of the brighter of two classes, and how surely a pixel is beyond the first valley of the
        histogram; 0 to 1.
    """
    grey = picture.mean(axis=2, dtype=np.float32)
    if not known.any():
        known = np.ones(known.shape, bool)
    low, high = np.percentile(grey[known], _ENDS)
    filled = np.where(known, grey, np.float32(np.median(grey[known])))
    shown = np.clip((filled - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)
    calm = np.asarray(cv2.medianBlur(shown, 3))
    fit = fit_two_classes(calm, known)
    beyond = _beyond_valley(np.asarray(cv2.medianBlur(shown, 5)), known, fit.threshold)
    return np.stack([shown, _rank(calm, known), _odds(calm, fit), beyond], axis=2)


def _rank(calm: npt.NDArray[np.float32], known: BoolArray) -> npt.NDArray[np.float32]:
    """Share of the known pixels with lower values, ties halved."""
    level = np.clip(calm * _LEVELS, 0, _LEVELS - 1).astype(np.intp)
    count = np.bincount(level[known], minlength=_LEVELS).astype(float)
    below = (np.cumsum(count) - count / 2) / count.sum()
    return below.astype(np.float32)[level]


def _odds(calm: npt.NDArray[np.float32], fit: TwoClasses) -> npt.NDArray[np.float32]:
    """Probability of the brighter class, 1/2 everywhere in a picture of one value."""
    if fit.mean[1] <= fit.mean[0]:
        return np.full(calm.shape, 0.5, np.float32)
    # Beyond its mean a narrow class would lose to the wide one: no pixel is too bright for film.
    within = np.clip(calm, *fit.mean)
    log = _log_density(within, fit, 1) - _log_density(within, fit, 0)
    return _sigmoid(log)


def _log_density(values: npt.NDArray[np.float32], fit: TwoClasses, k: int) -> npt.NDArray[Any]:
    z = (values - fit.mean[k]) / fit.sd[k]
    return np.asarray(np.log(fit.weight[k] / fit.sd[k]) - 0.5 * z**2)


def _sigmoid(log: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-np.clip(log, -30, 30))), np.float32)


def _beyond_valley(
    calm: npt.NDArray[np.float32], known: BoolArray, otherwise: float
) -> npt.NDArray[np.float32]:
    """Sigmoid around the first valley, as wide as the histogram was smoothed."""
    low, high = np.percentile(calm[known], _TAIL)
    span = max(float(high - low), 1e-6)
    level = np.clip((calm[known] - low) / span, 0, 1) * (_LEVELS - 1)
    count = np.bincount(level.astype(np.intp), minlength=_LEVELS) / level.size
    smooth = max(_SMOOTH * _noise(calm) / span * _LEVELS, _LEAST_SMOOTH)
    valley = _first_valley(count, smooth)
    cut = otherwise if valley is None else low + (valley + 0.5) / _LEVELS * span
    return _sigmoid((calm - cut) / (smooth / _LEVELS * span))


def _noise(calm: npt.NDArray[np.float32]) -> float:
    """Noise (standard deviation) of a pixel, from second differences along rows."""
    bend = calm[:, 2:] - 2 * calm[:, 1:-1] + calm[:, :-2]
    return float(1.4826 * np.median(np.abs(bend)) / np.sqrt(6))


def _first_valley(count: FloatArray, smooth: float) -> int | None:
    """Level of the lowest valley between two humps that both hold something; None without."""
    line = cv2.GaussianBlur(count[None], (0, 0), smooth, borderType=cv2.BORDER_CONSTANT)[0]
    inner = (line[1:-1] > line[:-2]) & (line[1:-1] >= line[2:])
    humps = 1 + np.flatnonzero(inner)
    below = np.cumsum(count)
    for left, right in pairwise(humps.tolist()):
        valley = int(left + np.argmin(line[left : right + 1]))
        lower = min(line[: valley + 1].max(), line[valley:].max())
        holds = _LEAST_SHARE < below[valley] < 1 - _LEAST_SHARE / 2
        if line[valley] < _DEPTH * lower and holds:
            return valley
    return None
