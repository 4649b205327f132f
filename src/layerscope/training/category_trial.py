"""Candidates that answer questions, tried on images that they have not seen; calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from layerscope.core.categories import NOT_ASKED, Questionnaire
from layerscope.core.evaluation import Figure
from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.measure.scores_bootstrap import group_weights, interval_of, why_no_interval
from layerscope.measure.scores_categories import answer_tables, category_figures, category_scores
from layerscope.measure.scores_pixels import majority_table
from layerscope.models.answers import softmax

FEATURES = "features"
MAJORITY = "most frequent answer"

_MACRO_F1 = 2  # column of `category_scores`
_TEMPERATURES = (0.2, 10.0)


@dataclass(frozen=True)
class CategoryCandidate:
    """A way to answer.

    Attributes
    ----------
    network : str
        ``features``, or a name in `training.networks.NETWORKS`.
    looseness : float
        Of a linear model on features; 0: without one.
    trees : bool
        With a forest on features.
    """

    network: str
    looseness: float = 0.0
    trees: bool = False

    @property
    def members(self) -> tuple[CategoryCandidate, ...]:
        """Ways to answer that are fitted apart, and whose logits are averaged."""
        if self.looseness and self.trees:
            return replace(self, trees=False), replace(self, looseness=0.0)
        return (self,)

    @property
    def kind(self) -> str:
        """What a model card names it."""
        if self.network != FEATURES:
            return self.network
        told = ["logistic regression"] * (self.looseness > 0) + ["trees"] * self.trees
        return " and ".join(told)

    def __str__(self) -> str:
        if self.network != FEATURES:
            return self.network
        return f"features, {self.kind}" + f", C = {self.looseness:g}" * (self.looseness > 0)


@dataclass(frozen=True, eq=False)
class CategoryTrial:
    """A candidate and what it said of images that it had not seen.

    Attributes
    ----------
    candidate : CategoryCandidate
    logits : ndarray, (n, K)
    """

    candidate: CategoryCandidate
    logits: FloatArray

    def given(self, asked: Questionnaire) -> IntArray:
        """Position of the most probable answer, (n, questions)."""
        return np.stack([self.logits[:, part].argmax(axis=1) for part in asked.slices], axis=1)

    def scores(self, asked: Questionnaire, targets: IntArray) -> FloatArray:
        """Macro-F1 of each question, (questions,)."""
        return macro_f1(asked, targets, self.given(asked))


def macro_f1(asked: Questionnaire, targets: IntArray, given: IntArray) -> FloatArray:
    """Macro-F1 of each question over the images that have an answer, (questions,)."""
    return np.array([category_scores(t)[_MACRO_F1] for t in tables(asked, targets, given)])


def tables(asked: Questionnaire, targets: IntArray, given: IntArray) -> list[FloatArray]:
    """Count images by true and given answer, a table per question."""
    out = []
    for q, question in enumerate(asked.questions):
        known = targets[:, q] != NOT_ASKED
        out.append(answer_tables(targets[known, q], given[known, q], len(question.answers)))
    return out


def trial_table(
    trials: Sequence[CategoryTrial], asked: Questionnaire, targets: IntArray
) -> list[str]:
    """Lines with the macro-F1 of each candidate and question, and of the majority answer."""
    rows = [(MAJORITY, majority_scores(asked, targets))]
    rows += [(str(t.candidate), t.scores(asked, targets)) for t in trials]
    names = [q.name for q in asked.questions]
    width = max(len(name) for name, _ in rows)
    lines = [f"{'held-out macro-F1':{width}s}  {'  '.join(names)}  mean"]
    for name, scores in rows:
        cells = [f"{s:{len(n)}.3f}" for n, s in zip(names, scores, strict=True)]
        lines.append(f"{name:{width}s}  {'  '.join(cells)}  {np.mean(scores):.3f}")
    return lines


def majority_scores(asked: Questionnaire, targets: IntArray) -> FloatArray:
    """Macro-F1 of always giving the most frequent answer, (questions,)."""
    counts = [majority_table(t) for t in tables(asked, targets, np.maximum(targets, 0))]
    return np.array([category_scores(t)[_MACRO_F1] for t in counts])


def fit_temperatures(logits: FloatArray, targets: IntArray, asked: Questionnaire) -> FloatArray:
    """Temperature of each question that makes held-out probabilities right.

    Guo et al., ICML 2017 (arXiv:1706.04599): one number divides all logits, which changes no answer
    and minimises the mean negative logarithm of the probability of what was true.

    Parameters
    ----------
    logits : ndarray, (n, K)
        Of images that were held out.
    targets : ndarray of int, (n, questions)
    asked : Questionnaire

    Returns
    -------
    ndarray, (questions,)
        0.2 to 10; 1 where nothing was held out.
    """
    out = np.ones(len(asked.questions))
    for q, part in enumerate(asked.slices):
        known = targets[:, q] != NOT_ASKED
        if known.any():
            out[q] = _temperature(logits[known, part], targets[known, q])
    return out


def _temperature(logits: FloatArray, target: IntArray) -> float:
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(target))

    def loss(log_t: float) -> float:
        probability = softmax(logits / np.exp(log_t))[rows, target]
        return -float(np.log(np.maximum(probability, 1e-300)).mean())

    low, high = np.log(_TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def per_answer(temperatures: FloatArray, asked: Questionnaire) -> FloatArray:
    """Temperature of each class of `asked`, (K,)."""
    return np.repeat(temperatures, [len(q.answers) for q in asked.questions])


def held_out_figures(
    logits: FloatArray,
    targets: IntArray,
    asked: Questionnaire,
    groups: Sequence[str],
    unknown_below: float,
) -> tuple[Figure, ...]:
    """Scores of each question with intervals and baseline, and of what is sure enough.

    Parameters
    ----------
    logits : ndarray, (n, K)
        Held out and calibrated.
    targets : ndarray of int, (n, questions)
    asked : Questionnaire
    groups : sequence of str, (n,)
    unknown_below : float
        Less probable answers are unknown: ``answered`` is the share of the others, and
        ``accuracy_answered`` how many of those are right.
    """
    figures: list[Figure] = []
    for q, part in enumerate(asked.slices):
        known = np.flatnonzero(targets[:, q] != NOT_ASKED)
        probability = softmax(logits[known, part])
        given, truth = probability.argmax(axis=1), targets[known, q]
        of = [groups[i] for i in known.tolist()]
        name = asked.questions[q].name
        figures += category_figures(name, truth, given, part.stop - part.start, of)
        sure = probability.max(axis=1, initial=0) >= unknown_below
        figures += _sure_figures(name, sure, given == truth, of)
    return tuple(figures)


def _sure_figures(
    name: str, sure: BoolArray, right: BoolArray, groups: Sequence[str]
) -> list[Figure]:
    weights = np.concatenate([np.ones((1, len(sure))), group_weights(groups)])
    counts = np.stack([weights @ sure, weights @ (sure & right), weights.sum(axis=1)])
    with np.errstate(invalid="ignore"):
        values = np.stack([counts[0] / counts[2], counts[1] / counts[0]], axis=1)
    note = why_no_interval(groups)
    low, high = interval_of(values[1:])
    if note:
        low = high = np.full(2, np.nan)
    return [
        Figure(n, name, float(values[0, i]), float(low[i]), float(high[i]), note=note)
        for i, n in enumerate(("answered", "accuracy_answered"))
    ]
