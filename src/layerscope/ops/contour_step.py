"""The threshold whose contours lie on real steps of the picture.

A histogram does not know where its pixels lie: copper grains, shading and particles make humps as
large as the film's own. A film differs in another way: along its rim the value *steps*, everywhere
by about the same amount, while a contour drawn through a gradient, through noise or through a
texture has next to nothing across it. So every candidate threshold is drawn, the step across its
contour is measured pixel by pixel as the difference of the local means of both sides, and the
threshold wins whose contour has the most step above what texture makes::

    score(t) = sum over the contour of (step - least_step)

On 12 SEM pictures of graphene on copper this makes 0.04 mean absolute error of coverage where
Otsu's threshold makes 0.25 (benchmarks/coverage.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray

Values = npt.NDArray[np.float32]

REACH_PX = 4
"""Half side of the window whose two sides are compared; rims are sharper than that."""
_TILES = 6  # 36 tiles: blocks far larger than any correlation of noise, enough of them to draw
_RESAMPLES = 200
_CANDIDATES = 30
_TAIL = (0.5, 99.98)  # percentiles between which thresholds are tried: 0.02 % of film is enough


@dataclass(frozen=True, eq=False)
class ContourFit:
    """The best threshold and how well it is held.

    Attributes
    ----------
    threshold : float
    step : float
        Median step across its contour, unit of the values.
    score : float
        Sum over the contour; not positive: no contour has a step.
    fractions : ndarray, (n,)
        Share of the valid pixels at or above the best threshold of each resample of the tiles.
    """

    threshold: float
    step: float
    score: float
    fractions: FloatArray


class Rims:
    """Steps across the rims of masks on one picture.

    Sums over the window around each pixel are made once; a mask then adds those of its own side,
    and the other side has the rest.

    Parameters
    ----------
    values : ndarray of float32, (H, W)
        Finite everywhere.
    valid : ndarray of bool, (H, W)
        Pixels that count.
    """

    def __init__(self, values: Values, valid: BoolArray):
        self.values, self.valid = values, valid
        self._counted = valid.astype(np.uint8)
        self._total, self._number = _window_sum(values * self._counted), _window_sum(self._counted)

    def steps(self, high: BoolArray) -> tuple[BoolArray, Values]:
        """Rim of a mask and the step across it.

        Parameters
        ----------
        high : ndarray of bool, (H, W)

        Returns
        -------
        rim : ndarray of bool, (H, W)
            Valid pixels that are not high and touch one that is.
        step : ndarray of float32, (n,)
            At the pixels of the rim: local mean of the high side minus that of the other.
        """
        inside = self._counted & high
        rim = (cv2.dilate(inside, np.ones((3, 3), np.uint8)) & self._counted & ~high).view(bool)
        at = np.flatnonzero(rim)
        number, total = _window_sum(inside).take(at), _window_sum(self.values * inside).take(at)
        # The pixel itself is outside and a neighbour inside: neither side is empty.
        outside = (self._total.take(at) - total) / (self._number.take(at) - number)
        return rim, np.asarray(total / number - outside, np.float32)


def fit_contour(values: Values, valid: BoolArray, least_step: float) -> ContourFit:
    """Find the threshold whose contour has the most step above `least_step`.

    Parameters
    ----------
    values : ndarray of float32, (H, W)
        Finite everywhere; the film is high.
    valid : ndarray of bool, (H, W)
        At least one True.
    least_step : float
        A smaller step is taken for texture or a grain boundary.
    """
    inner = values[valid]
    low, high = np.percentile(inner, _TAIL)
    thresholds = np.linspace(low, high, _CANDIDATES + 2)[1:-1]
    scores, steps = _scores(values, valid, thresholds, least_step)
    total = scores.sum(axis=1)
    best = int(total.argmax())
    share = np.array([np.count_nonzero(inner >= t) for t in thresholds]) / len(inner)
    drawn = np.random.default_rng(0).multinomial(_TILES**2, [_TILES**-2] * _TILES**2, _RESAMPLES)
    resampled = scores @ drawn.T
    chosen = np.where(resampled.max(axis=0) > 0, share[resampled.argmax(axis=0)], 0.0)
    return ContourFit(float(thresholds[best]), steps[best], float(total[best]), chosen)


def refine_locally(
    values: Values, valid: BoolArray, high: BoolArray, step: float, sigma_px: float
) -> BoolArray:
    """Draw the contour again, half a step above the substrate *around each pixel*.

    The substrate's level is a Gaussian average (normalised convolution) over its own pixels, and
    falls back on its median where none is near, as in the middle of a large film.
    """
    for _ in range(3):
        bare = valid & ~high
        if not bare.any():
            break
        weight = cv2.erode(bare.astype(np.float32), np.ones((3, 3), np.uint8))
        around = cv2.GaussianBlur(weight, (0, 0), sigma_px)
        typical = np.float32(np.median(values[bare]))
        summed = cv2.GaussianBlur(values * weight, (0, 0), sigma_px)
        level = (summed + _FAINT * typical) / (around + _FAINT)
        high = valid & (values > level + step / 2)
    return high


_FAINT = np.float32(0.02)  # share of substrate nearby under which its median takes over


def _scores(
    values: Values, valid: BoolArray, thresholds: FloatArray, least_step: float
) -> tuple[FloatArray, list[float]]:
    """Score of each threshold in each tile (n, tiles), and its median step."""
    tile, rims = _tile_index(values.shape), Rims(values, valid)
    scores = np.zeros((len(thresholds), _TILES**2))
    steps: list[float] = []
    for i, threshold in enumerate(thresholds):
        rim, across = rims.steps(values >= threshold)
        scores[i] = np.bincount(tile[rim], across - least_step, _TILES**2)
        steps.append(float(np.median(across)) if len(across) else 0.0)
    return scores, steps


def _tile_index(shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Tile number (H, W) of each pixel, 0 to 35."""
    rows, columns = (np.arange(n) * _TILES // n for n in shape[:2])
    return np.asarray(rows[:, None] * _TILES + columns, np.int64)


def _window_sum(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sum over the window around each pixel, of the same type: 81 ones fit into a byte."""
    size = (2 * REACH_PX + 1, 2 * REACH_PX + 1)
    return cv2.boxFilter(values, -1, size, normalize=False)
