"""Teach the ranker of outlines which of them are particles, from pictures with marked particles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerscope.core.results import BoolArray, CropMasks, FloatArray
from layerscope.errors import InputError
from layerscope.measure.scores_overlap import mask_iou
from layerscope.models.particle_ranker import Ranker
from layerscope.models.trees import regression_trees
from layerscope.ops.outline_features import outline_features
from layerscope.ops.outlines import Grey, Outlines, find_outlines

_GOOD, _GOOD_WEIGHT = 0.5, 10.0


@dataclass(frozen=True, eq=False)
class RankedPicture:
    """Outlines of one picture, what they look like, and how well each fits a marked particle.

    Attributes
    ----------
    outlines : Outlines
    features : ndarray, (n, F)
    overlap : ndarray, (n,)
        Largest intersection over union with a marked particle.
    """

    outlines: Outlines
    features: FloatArray
    overlap: FloatArray


@dataclass(frozen=True)
class RankerSettings:
    """How the forest is grown.

    Attributes
    ----------
    trees, least_leaf, most_leaves : int
        Few leaves: some fifty papers are all the pictures that there are.
    seed : int
    """

    trees: int = 40
    least_leaf: int = 10
    most_leaves: int = 160
    seed: int = 0


def rank_picture(
    grey: Grey, counted: BoolArray, marked: CropMasks, *, smallest_px: float
) -> RankedPicture:
    """Find the outlines of one picture and compare each with the marked particles."""
    outlines = find_outlines(grey, counted, smallest_px=smallest_px)
    features = outline_features(grey, counted, outlines)
    overlap = np.zeros(len(outlines))
    if len(outlines) and len(marked):
        overlap = mask_iou(outlines.masks(marked.shape), marked).max(axis=1)
    return RankedPicture(outlines, features, overlap)


def grow_ranker(
    pictures: Sequence[RankedPicture],
    settings: RankerSettings | None = None,
    about: Mapping[str, Any] | None = None,
) -> Ranker:
    """Grow a forest that predicts the overlap; every picture counts alike.

    Parameters
    ----------
    pictures : sequence of RankedPicture
    settings : RankerSettings, optional
    about : mapping, optional
        Goes into the file: sources, licences, figures.

    Raises
    ------
    InputError
        If no picture has an outline on a particle.
    """
    from sklearn.ensemble import RandomForestRegressor

    settings = settings or RankerSettings()
    used = [p for p in pictures if len(p.outlines)]
    overlap = np.concatenate([np.zeros(0), *(p.overlap for p in used)])
    if not (overlap > _GOOD).any():
        raise InputError("no outline fits a marked particle: nothing can be learned")
    # Particles are one outline in fifty: weighted, the forest tells them apart first.
    weight = np.concatenate([np.full(len(p.overlap), 1 / len(p.overlap)) for p in used])
    weight *= np.where(overlap > _GOOD, _GOOD_WEIGHT, 1)
    forest = RandomForestRegressor(
        settings.trees, min_samples_leaf=settings.least_leaf, max_features=0.33,
        max_leaf_nodes=settings.most_leaves, random_state=settings.seed, n_jobs=1,
    )  # fmt: skip
    features = np.concatenate([p.features for p in used])
    forest.fit(features.astype(np.float32), overlap, sample_weight=weight)
    return Ranker(regression_trees(forest), dict(about or {}))
