"""How many particles the islands of a model stand for, learned from images it had not seen.

An island of a class need not be one particle: it may be film somewhat like one, a piece of one that
fell apart, or several that grew together; and some particles are no island. On held-out images each
true particle is put to the island that holds most of it. What is learned of an island is whether a
particle is put to it: logistic regression of how sure the model is of its best pixels, and of how
small it is beside others, by Laplace's approximation (MacKay, Neural Computation 4, 720 (1992)).
Particles beyond the first of an island, and those of no island, come on top as a share of them: a
rate with a gamma prior, as much more spread than Poisson's as it is between held-out images
(quasi-likelihood: Wedderburn, Biometrika 61, 439 (1974)). A handful of images says little, so that
both begin with what held for networks of other, synthetic laboratories.

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

SURE = 0.85
"""Probability from which the pixels of an island are sure. On 24 unseen images with 108 particles,
a small network that had learned from seven images finds 168 islands, and 81 that are sure: off by
1.9 an image instead of 3.2. On ten others, by which it was chosen, the number hardly changed from
0.8 to 0.9."""

FEATURES = ("sure", "small")
"""Log-odds of the island's surest pixels over those of `SURE`, and logarithm of its area over the
median of the image's sure islands, at most 0: a piece of film or of a flake is smaller than what is
sure beside it. On 111 islands of 24 images, learned from 24 others, the area by itself tells as
much, and misses every flake of a field of small ones."""

_PRIOR, _PRIOR_SD = (-0.2, 0.7, 1.3), (1.0, 0.4, 0.6)
"""Of the intercept and of each feature: mean and spread of what four networks, three on from
synthetic weights, did on 24 images each of two synthetic laboratories (`em_set`, seeds 112 and 115)
that they had not seen."""
_MORE, _SPREAD = (5.0, 24.0), (1.8, 10.0)
"""Particles beyond the first of so many islands, and their spread on so many images; of the four
networks 9 beyond 57, 13 beyond 60, 18 beyond 48 and 20 beyond 46."""
_CLIPPED = 0.005
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
    weights : ndarray, (F + 1,)
        Of 1 and of `FEATURES`.
    covariance : ndarray, (F + 1, F + 1)
        Of `weights`.
    first, more : int
        Held-out particles that were the first of an island, and all others.
    spread : float
        Variance of the others of an image over that of Poisson, 1 or more.
    images : int
    """

    weights: FloatArray
    covariance: FloatArray
    first: int
    more: int
    spread: float
    images: int

    @classmethod
    def fit(cls, images: Sequence[Matched]) -> Self:
        """Learn from held-out images; without any it is what is known before.

        Raises
        ------
        InputError
            If features and islands do not match.
        """
        features = np.concatenate([np.zeros((0, len(FEATURES))), *(i.features for i in images)])
        particle = np.concatenate([np.zeros(0, bool), *(i.particle for i in images)])
        if len(features) != len(particle):
            raise InputError(f"features of {len(features)} islands, {len(particle)} islands")
        weights, covariance = _laplace(_rows(features), particle.astype(float))
        first, more = int(particle.sum()), sum(one.more for one in images)
        return cls(weights, covariance, first, more, _spread(images), len(images))

    def probability(self, features: FloatArray) -> FloatArray:
        """Probability (n,) that an island is a particle."""
        return np.asarray(_logistic(_rows(features) @ self.weights))

    def count(self, features: FloatArray) -> CountDraws:
        """Particles that the islands of an image stand for."""
        noise = np.random.default_rng(0)
        root = np.linalg.cholesky(self.covariance)
        drawn = self.weights + noise.standard_normal((DRAWS, len(root))) @ root.T
        p = _logistic(_rows(features) @ drawn.T)
        shape, scale = (self.more + _MORE[0]) / self.spread, self.spread / (self.first + _MORE[1])
        rate, first = noise.gamma(shape, scale, DRAWS), p.sum(axis=0)
        return CountDraws(
            first * (1 + rate), (p * (1 - p)).sum(axis=0) + self.spread * first * rate
        )

    def as_metrics(self) -> dict[str, Any]:
        """Return what a model card keeps."""
        return {
            "features": list(FEATURES),
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
        if not isinstance(kept, Mapping) or kept.get("features") != list(FEATURES):
            return None
        try:
            weights, covariance = (np.array(kept[k], float) for k in ("weights", "covariance"))
            first, more, images = (int(kept[k]) for k in ("first", "more", "images"))
            spread, size = float(kept["spread"]), len(FEATURES) + 1
            np.linalg.cholesky(covariance)
        except (KeyError, TypeError, ValueError, np.linalg.LinAlgError):
            return None
        usable = weights.shape == (size,) and covariance.shape == (size, size)
        usable = usable and bool(np.isfinite(weights).all() and np.isfinite(covariance).all())
        if not usable or min(first, more) < 0 or not 1 <= spread < np.inf:
            return None
        return cls(weights, covariance, first, more, spread, images)


def island_features(masks: CropMasks, probability: npt.NDArray[Any], least_px: int) -> FloatArray:
    """`FEATURES` of the islands of an image, (n, F).

    Parameters
    ----------
    masks : CropMasks
    probability : ndarray, (H, W)
        Of the class.
    least_px : int
        Area of the smallest particle.
    """
    level = np.clip(sure_levels(masks, probability, least_px), _CLIPPED, 1 - _CLIPPED)
    odds, area = np.log(level / (1 - level) * (1 - SURE) / SURE), np.log(masks.area_px)
    sure = odds >= 0
    usual = np.median(area[sure]) if sure.any() else area.max(initial=0)
    return np.column_stack([odds, np.minimum(area - usual, 0)])


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
    # Half a particle each: an image without a first one may have others.
    expected = (first + 0.5) * more.sum() / max((first + 0.5).sum(), 1)
    off = float(((more - expected) ** 2 / np.maximum(expected, 1e-9)).sum())
    value, weight = _SPREAD
    freedom = max(len(images) - 1, 0) if more.any() else 0
    return max(1.0, (off + value * weight) / (freedom + weight))


def _laplace(rows: FloatArray, particle: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Most probable weights, by Newton's method, and the inverse curvature there."""
    before, precision = np.array(_PRIOR), np.diag(np.array(_PRIOR_SD) ** -2.0)
    weights = before
    for _ in range(_NEWTON_STEPS):
        p = _logistic(rows @ weights)
        curvature = (rows.T * (p * (1 - p))) @ rows + precision
        step = np.linalg.solve(curvature, rows.T @ (particle - p) - precision @ (weights - before))
        weights = weights + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-10:
            break
    return weights, np.asarray(np.linalg.inv(curvature), float)


def _short(values: FloatArray) -> list[float]:
    return [float(f"{v:.6g}") for v in values]
