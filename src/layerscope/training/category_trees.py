"""Answers by trees on the features of a picture: where a question needs an if, not a sum.

One particle or two is a step in a count; a linear model has no steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from layerscope.core.categories import NOT_ASKED, Questionnaire
from layerscope.core.results import FloatArray, IntArray
from layerscope.models.trees import Trees, trees_of

N_TREES = 100
_LEAST_LEAF = 2
_LOOKED_AT = 0.3  # share of the features, at each node

FLOOR = 0.5 / N_TREES
"""Added to each probability: an answer that no tree votes for is improbable, not impossible."""


@dataclass(frozen=True, eq=False)
class TreeAnswers:
    """``logits = log(FLOOR + sum over the forests of their probabilities)``.

    Attributes
    ----------
    forests : tuple of Trees
        One per question of which there was something to learn; each knows all answers.
    answers : int
        To all questions, K.
    """

    forests: tuple[Trees, ...]
    answers: int

    def logits(self, features: FloatArray) -> FloatArray:
        """Logits (n, K) of features (n, F)."""
        rows = features.astype(np.float32)
        total = np.full((len(rows), self.answers), FLOOR)
        for forest in self.forests:
            total += forest.probabilities(rows)
        return np.asarray(np.log(total))

    @property
    def parameters(self) -> int:
        """A feature and a threshold per node, and the shares of a leaf."""
        return sum(2 * f.splits + int((f.share > 0).sum()) for f in self.forests)


def fit_trees(
    features: FloatArray, targets: IntArray, asked: Questionnaire, seed: int = 0
) -> TreeAnswers:
    """Grow a forest per question, of extremely randomised trees.

    P. Geurts et al., Machine Learning 63, 3 (2006): thresholds are drawn, not sought, which suits
    many features and few examples.

    Parameters
    ----------
    features : ndarray, (n, F)
    targets : ndarray of int, (n, questions)
    asked : Questionnaire
    seed : int
    """
    from sklearn.ensemble import ExtraTreesClassifier

    forests = []
    for q, part in enumerate(asked.slices):
        known = targets[:, q] != NOT_ASKED
        if not known.any():
            continue
        forest = ExtraTreesClassifier(
            N_TREES, min_samples_leaf=_LEAST_LEAF, max_features=_LOOKED_AT, random_state=seed
        )
        forest.fit(features[known].astype(np.float32), part.start + targets[known, q])
        forests.append(trees_of(forest, len(asked.classes)))
    return TreeAnswers(tuple(forests), len(asked.classes))
