"""How many particles the islands of a model stand for, learned from images it had not seen.

An island of a class need not be one particle: it may be film somewhat like one, a piece of one that
fell apart, or several that grew together; and some particles are no island. On held-out images each
true particle is put to the island that holds most of it. What is learned of an island is whether a
particle is put to it: logistic regression of how sure the model is of its best pixels, and of its
size, with a normal prior and Laplace's approximation (MacKay, Neural Computation 4, 720 (1992)).
Particles beyond the first of an island, and those of no island, come on top as a share of them: a
Poisson rate with Jeffreys' prior, as much more spread than Poisson's as it is between held-out
images (quasi-likelihood: Wedderburn, Biometrika 61, 439 (1974)).

The number of particles of an image is then a sum of probabilities, and its interval holds what is
not known of each island (Poisson-binomial) and of the regression. Both are for images of the kind
that was held out, asked of networks that learned from fewer of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from layerscope.core.particles import DRAWS, CountDraws
from layerscope.core.results import BoolArray, CropMasks, FloatArray
from layerscope.errors import InputError

FEATURES = ("sure_logit", "log_area", "cut")
"""Log-odds of the surest pixels, logarithm of the area in pixels that the network sees, and whether
the picture's border cuts the island."""

_PRIOR_SD = (3.0, 1.5, 1.5, 1.5)
"""Of the intercept and of each standardised feature: a step of one standard deviation hardly
changes the odds by more than e^3."""
_FEWEST, _CLIPPED = 8, 0.005
_NEWTON_STEPS = 50


@dataclass(frozen=True, eq=False)
class Matched:
    """Islands of a held-out image beside its true particles.

    Attributes
    ----------
    features : ndarray, (n, F)
        From `island_features`.
    particle : ndarray of bool, (n,)
        Whether a true particle is put to the island.
    more : int
        True particles beyond the first of an island, and of none.
    """

    features: FloatArray
    particle: BoolArray
    more: int


@dataclass(frozen=True, eq=False)
class IslandModel:
    """What held-out images say of islands.

    Attributes
    ----------
    middle, width : ndarray, (F,)
        Mean and standard deviation of `FEATURES` on held-out islands.
    weights : ndarray, (F + 1,)
        Of the intercept and of the standardised features.
    covariance : ndarray, (F + 1, F + 1)
        Of `weights`.
    first, more : int
        Held-out particles that were the first of an island, and all others.
    spread : float
        Variance of the others of an image over that of Poisson, 1 or more.
    images : int
    """

    middle: FloatArray
    width: FloatArray
    weights: FloatArray
    covariance: FloatArray
    first: int
    more: int
    spread: float
    images: int

    @classmethod
    def fit(cls, images: Sequence[Matched]) -> Self | None:
        """Learn from held-out images; None if they have fewer than eight islands.

        Raises
        ------
        InputError
            If features and islands do not match.
        """
        if sum(len(one.particle) for one in images) < _FEWEST:
            return None
        features = np.concatenate([one.features for one in images])
        particle = np.concatenate([one.particle for one in images])
        if features.shape != (len(particle), len(FEATURES)):
            raise InputError(f"features {features.shape} of {len(particle)} islands")
        middle, width = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-3)
        rows = _rows((features - middle) / width)
        weights, covariance = _laplace(rows, particle.astype(float))
        first, more = int(particle.sum()), sum(one.more for one in images)
        return cls(middle, width, weights, covariance, first, more, _spread(images), len(images))

    def probability(self, features: FloatArray) -> FloatArray:
        """Probability (n,) that an island is a particle."""
        return np.asarray(_logistic(self._standard(features) @ self.weights))

    def count(self, features: FloatArray) -> CountDraws:
        """Particles that the islands of an image stand for."""
        noise = np.random.default_rng(0)
        root = np.linalg.cholesky(self.covariance)
        drawn = self.weights + noise.standard_normal((DRAWS, len(root))) @ root.T
        p = _logistic(self._standard(features) @ drawn.T)
        shape, scale = (self.more + 0.5) / self.spread, self.spread / max(self.first, 1)
        rate, first = noise.gamma(shape, scale, DRAWS), p.sum(axis=0)
        return CountDraws(
            first * (1 + rate), (p * (1 - p)).sum(axis=0) + self.spread * first * rate
        )

    def _standard(self, features: FloatArray) -> FloatArray:
        return _rows((features - self.middle) / self.width)

    def as_metrics(self) -> dict[str, Any]:
        """Return what a model card keeps."""
        return {
            "features": list(FEATURES),
            "middle": _short(self.middle),
            "width": _short(self.width),
            "weights": _short(self.weights),
            "covariance": [_short(row) for row in self.covariance],
            "first": self.first,
            "more": self.more,
            "spread": float(f"{self.spread:.6g}"),
            "images": self.images,
        }

    @classmethod
    def from_metrics(cls, kept: Any) -> Self | None:
        """Read what a card keeps; None if it keeps nothing that can be used."""
        if not isinstance(kept, Mapping) or tuple(kept.get("features", ())) != FEATURES:
            return None
        try:
            middle, width, weights, covariance = (
                np.array(kept[k], float) for k in ("middle", "width", "weights", "covariance")
            )
            first, more, images = (int(kept[k]) for k in ("first", "more", "images"))
            spread = float(kept["spread"])
            np.linalg.cholesky(covariance)
        except (KeyError, TypeError, ValueError, np.linalg.LinAlgError):
            return None
        size = len(FEATURES)
        shapes = (middle.shape, width.shape, weights.shape, covariance.shape)
        whole = shapes == ((size,), (size,), (size + 1,), (size + 1, size + 1))
        usable = whole and all(np.isfinite(a).all() for a in (middle, width, weights, covariance))
        if not usable or (width <= 0).any() or min(first, more) < 0 or not 1 <= spread < np.inf:
            return None
        return cls(middle, width, weights, covariance, first, more, spread, images)


def island_features(
    masks: CropMasks,
    probability: npt.NDArray[Any],
    least_px: int,
    *,
    coarser: float = 1.0,
) -> FloatArray:
    """`FEATURES` of islands, (n, F).

    Parameters
    ----------
    masks : CropMasks
    probability : ndarray, (H, W)
        Of the class.
    least_px : int
        Area of the smallest particle.
    coarser : float
        Side of a pixel over that of a pixel that the network sees.
    """
    sure = np.clip(sure_levels(masks, probability, least_px), _CLIPPED, 1 - _CLIPPED)
    boxes, (height, width) = masks.boxes, masks.shape
    cut = (boxes[:, :2] <= 0).any(axis=1) | (boxes[:, 2] >= height) | (boxes[:, 3] >= width)
    area = np.log(np.maximum(masks.area_px * coarser**2, 1))
    return np.column_stack([np.log(sure / (1 - sure)), area, cut.astype(float)])


def sure_levels(masks: CropMasks, probability: npt.NDArray[Any], least_px: int) -> FloatArray:
    """Level (n,) that `least_px` pixels of each island, or half of a small one, reach."""
    levels = np.zeros(len(masks))
    for i, (where, crop) in enumerate(masks):
        inside = probability[where][crop]
        wanted = int(np.ceil(min(least_px, len(inside) / 2)))
        levels[i] = np.partition(inside, len(inside) - wanted)[len(inside) - wanted]
    return levels


def _rows(features: FloatArray) -> FloatArray:
    return np.column_stack([np.ones(len(features)), features])


def _logistic(odds: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -60, 60))))


def _spread(images: Sequence[Matched]) -> float:
    """Pearson's statistic of the particles beyond the first ones, per degree of freedom."""
    first = np.array([one.particle.sum() for one in images], float)
    more = np.array([one.more for one in images], float)
    if len(images) < 2 or not more.sum():
        return 1.0
    # Half a particle each: an image without a first one may have others.
    expected = (first + 0.5) * more.sum() / (first + 0.5).sum()
    return max(1.0, float(((more - expected) ** 2 / expected).sum()) / (len(images) - 1))


def _laplace(rows: FloatArray, particle: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Most probable weights, by Newton's method, and the inverse curvature there."""
    precision = np.diag(np.array(_PRIOR_SD) ** -2.0)
    weights = np.zeros(rows.shape[1])
    for _ in range(_NEWTON_STEPS):
        p = _logistic(rows @ weights)
        curvature = (rows.T * (p * (1 - p))) @ rows + precision
        step = np.linalg.solve(curvature, rows.T @ (particle - p) - precision @ weights)
        weights = weights + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-10:
            break
    return weights, np.asarray(np.linalg.inv(curvature), float)


def _short(values: FloatArray) -> list[float]:
    return [float(f"{v:.6g}") for v in values]
