"""Answers by a linear model on the features of a picture: seconds, no torch, a few dozen labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from layerscope.core.categories import NOT_ASKED, Questionnaire
from layerscope.core.results import FloatArray, IntArray

UNSEEN = -8.0
"""Logit of an answer without an example: a probability of 0.0003, so that one surprise on held-out
images does not decide the calibration of all."""

_MOST_STEPS = 2000


@dataclass(frozen=True, eq=False)
class LinearAnswers:
    """``logits = (features - mean) / spread @ weights.T + bias``.

    Attributes
    ----------
    mean, spread : ndarray, (F,)
    weights : ndarray, (K, F)
    bias : ndarray, (K,)
    """

    mean: FloatArray
    spread: FloatArray
    weights: FloatArray
    bias: FloatArray

    def logits(self, features: FloatArray) -> FloatArray:
        """Logits (n, K) of features (n, F)."""
        return np.asarray((features - self.mean) / self.spread @ self.weights.T + self.bias)

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights.size + self.bias.size


def fit_linear(
    features: FloatArray, targets: IntArray, asked: Questionnaire, looseness: float
) -> LinearAnswers:
    """Fit one multinomial logistic regression per question.

    Parameters
    ----------
    features : ndarray, (n, F)
    targets : ndarray of int, (n, questions)
    asked : Questionnaire
    looseness : float
        Inverse of the penalty on the squared weights.
    """
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    scaled = (features - mean) / spread
    weights = np.zeros((len(asked.classes), features.shape[1]))
    bias = np.full(len(asked.classes), UNSEEN)
    for q, part in enumerate(asked.slices):
        known = targets[:, q] != NOT_ASKED
        if known.any():
            weights[part], bias[part] = _fit(
                scaled[known], targets[known, q], part.stop - part.start, looseness
            )
    return LinearAnswers(mean, spread, weights, bias)


def _fit(
    scaled: FloatArray, target: IntArray, n_answers: int, looseness: float
) -> tuple[FloatArray, FloatArray]:
    from sklearn.linear_model import LogisticRegression

    weights, bias = np.zeros((n_answers, scaled.shape[1])), np.full(n_answers, UNSEEN)
    there = np.unique(target)
    if len(there) == 1:
        bias[there] = 0.0
        return weights, bias
    model = LogisticRegression(C=looseness, max_iter=_MOST_STEPS).fit(scaled, target)
    if len(there) == 2:  # scikit-learn then keeps the second answer's alone
        weights[there] = np.concatenate([-model.coef_, model.coef_]) / 2
        bias[there] = np.concatenate([-model.intercept_, model.intercept_]) / 2
    else:
        weights[there], bias[there] = model.coef_, model.intercept_
    return weights, bias
