"""Answers from the features of a picture: by a linear model, by trees, or by both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from layerscope.core.categories import Questionnaire
from layerscope.core.results import FloatArray, IntArray
from layerscope.ops.picture_features import picture_features
from layerscope.training.category_data import CategoryData
from layerscope.training.category_linear import LinearAnswers, fit_linear
from layerscope.training.category_trees import TreeAnswers, fit_trees
from layerscope.training.category_trial import CategoryCandidate


@dataclass(frozen=True, eq=False)
class FeatureAnswers:
    """One way to answer or several, whose logits are averaged.

    The mean of logits is the geometric mean of probabilities: one member that is sure that an
    answer is wrong suffices.

    Attributes
    ----------
    members : tuple of LinearAnswers or TreeAnswers
    """

    members: tuple[LinearAnswers | TreeAnswers, ...]

    def logits(self, features: FloatArray) -> FloatArray:
        """Logits (n, K) of features (n, F)."""
        return np.asarray(np.mean([m.logits(features) for m in self.members], axis=0))

    @property
    def parameters(self) -> int:
        """Of all members."""
        return sum(m.parameters for m in self.members)


def features_of(data: CategoryData) -> FloatArray:
    """Features (n, F) of every picture."""
    rows = enumerate(data.scales)
    return np.array([picture_features(data.unpadded(i), scale) for i, scale in rows], float)


def fit_features(
    candidate: CategoryCandidate,
    features: FloatArray,
    targets: IntArray,
    asked: Questionnaire,
    seed: int,
) -> FeatureAnswers:
    """Fit what a candidate names.

    Parameters
    ----------
    candidate : CategoryCandidate
        Whose network is ``features``.
    features : ndarray, (n, F)
    targets : ndarray of int, (n, questions)
    asked : Questionnaire
    seed : int
    """
    return FeatureAnswers(
        tuple(
            fit_trees(features, targets, asked, seed)
            if member.trees
            else fit_linear(features, targets, asked, member.looseness)
            for member in candidate.members
        )
    )
