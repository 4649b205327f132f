"""`layerscope train categories`: from a label sheet to one model file that answers questions.

    load -> fold by specimen -> try candidates on what they have not seen -> calibrate
         -> train the best on all -> write

A linear model and trees on features are tried first: they need seconds and no torch, and with some
hundred labels they are hard to beat. What time is left goes to a network.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from layerscope.core.categories import NOT_ASKED
from layerscope.core.evaluation import Figure
from layerscope.core.results import FloatArray, IntArray
from layerscope.errors import InputError, MissingExtra
from layerscope.io.label_sheets import LabelSheet, key_of
from layerscope.measure.scores_categories import category_figures
from layerscope.models.card import ModelCard, TrainingSet
from layerscope.training.category_data import CategoryData
from layerscope.training.category_features import FeatureAnswers, features_of, fit_features
from layerscope.training.category_files import write_features, write_network
from layerscope.training.category_settings import CategorySettings
from layerscope.training.category_trial import (
    FEATURES,
    CategoryCandidate,
    CategoryTrial,
    fit_temperatures,
    held_out_figures,
    majority_scores,
    per_answer,
    trial_table,
)
from layerscope.training.seen import Seen
from layerscope.training.splits import Split, grouped_folds

Tell = Callable[[str], None]

LIGHT = "categories-n"

_ON_FEATURES = (
    CategoryCandidate(FEATURES, 0.3, trees=True),
    CategoryCandidate(FEATURES, trees=True),
    CategoryCandidate(FEATURES, 0.03),
    CategoryCandidate(FEATURES, 0.3),
    CategoryCandidate(FEATURES, 1.0),
)
"""Of equals the first is chosen: trees do not extrapolate to pictures of another kind."""
_FEWEST_FOR_NETWORK = 40  # images; with fewer a network from scratch learns nothing
_TRIAL_SHARE = 0.6  # of the time that is left, for all folds together
_LEAST_TRIAL_MIN = 0.25
_RESERVED_MIN = 0.2  # to write and check the file


@dataclass(frozen=True, eq=False)
class CategoryTraining:
    """A finished training.

    Attributes
    ----------
    card : ModelCard
        As written.
    trials : tuple of CategoryTrial
    figures : tuple of Figure
        Held out, per question.
    """

    card: ModelCard
    trials: tuple[CategoryTrial, ...]
    figures: tuple[Figure, ...]


def train_categories(
    data: CategoryData,
    out: str | os.PathLike[str],
    settings: CategorySettings | None = None,
    *,
    name: str = "",
    tell: Tell = lambda line: None,
    clock: Callable[[], float] = time.monotonic,
) -> CategoryTraining:
    """Train a classifier of pictures and write it as one file.

    Parameters
    ----------
    data : CategoryData
        From `training.category_data.load_categories`.
    out : path
        Ends in ``.onnx``.
    settings : CategorySettings, optional
    name : str
        Of the data, for the card.
    tell : callable
        Given a line about each thing that is decided or done.
    clock : callable
        Seconds.

    Raises
    ------
    InputError
        If the settings cannot be used.
    MissingExtra
        If onnx is not installed, or torch where a network was asked for.
    """
    path = Path(out)
    if path.suffix != ".onnx":
        raise InputError(f"{path.name}: expected a name that ends in .onnx")
    return _Training(data, path, settings or CategorySettings(), name, tell, clock).run()


class _Training:
    """One call of `train_categories`."""

    def __init__(
        self,
        data: CategoryData,
        out: Path,
        settings: CategorySettings,
        name: str,
        tell: Tell,
        clock: Callable[[], float],
    ):
        self.began, self.clock, self.tell = clock(), clock, tell
        self.data, self.out, self.name = data, out, name or out.stem
        self.settings = replace(settings, jobs=settings.jobs or os.cpu_count() or 1)
        self.base = None if settings.start is None else base_of(settings.start)
        self.tried: dict[CategoryCandidate, FloatArray] = {}

    @cached_property
    def features(self) -> FloatArray:
        """Of every picture."""
        return features_of(self.data)

    def run(self) -> CategoryTraining:
        """Try, choose, calibrate, train, write."""
        for line in (*self.data.notes, describe(self.data), *self._start_lines()):
            self.tell(line)
        folds, by = fold_pictures(self.data, self.settings)
        candidates = self._candidates(len(folds))
        asked, targets = self.data.questionnaire, self.data.targets
        trials = [self._try(c, folds) for c in candidates]
        for line in trial_table(trials, asked, targets):
            self.tell(line)
        best = max(trials, key=lambda t: float(np.mean(t.scores(asked, targets))))
        self.tell(f"chosen: {best.candidate}")
        temperatures = fit_temperatures(best.logits, targets, asked)
        calibrated = best.logits / per_answer(temperatures, asked)
        groups = self.data.groups if by == "specimen" else self.data.names
        figures = held_out_figures(
            calibrated, targets, asked, groups, self.settings.unknown_below
        )  # fmt: skip
        metrics = self._metrics(best, figures, by)
        card = self._finish(best.candidate, temperatures, metrics)
        return CategoryTraining(card, tuple(trials), figures)

    def _start_lines(self) -> list[str]:
        """Say what is gone on from, and whether its scores will be too good."""
        if self.base is None:
            return []
        lines = [f"starts from {self.base.name}, {self.base.network}"]
        if self.base.classes != self.data.questionnaire.classes:
            lines.append("its answers are others: the last layer starts anew where they differ")
        met = Seen.of_card(asdict(self.base)).met_again(self.data.seen, self.base.name)
        return [*lines, *([met] if met else [])]

    def _candidates(self, n_folds: int) -> list[CategoryCandidate]:
        chosen = self.settings.network
        if self.base is not None:
            return [CategoryCandidate(self.base.network)]
        if chosen == FEATURES:
            return list(_ON_FEATURES)
        if chosen != "auto":
            if find_spec("torch") is None:
                raise MissingExtra.of(f"training {chosen}", "train")
            return [CategoryCandidate(network_name(chosen))]
        if why := self._no_network(n_folds):
            self.tell(f"no network is tried: {why}")
            return list(_ON_FEATURES)
        return [*_ON_FEATURES, CategoryCandidate(LIGHT)]

    def _no_network(self, n_folds: int) -> str:
        if find_spec("torch") is None:
            return "torch is not installed (layerscope[train])"
        if len(self.data) < _FEWEST_FOR_NETWORK:
            return f"{len(self.data)} images are too few to start from scratch"
        if not self.settings.steps and self._trial_min(n_folds) < _LEAST_TRIAL_MIN:
            return "give more --minutes"
        return ""

    def _left_min(self) -> float:
        return self.settings.minutes - (self.clock() - self.began) / 60 - _RESERVED_MIN

    def _trial_min(self, n_folds: int) -> float:
        return max(_TRIAL_SHARE * self._left_min() / n_folds, 0.02)

    def _try(self, candidate: CategoryCandidate, folds: Sequence[Split]) -> CategoryTrial:
        of_members = [self._held_out(member, folds) for member in candidate.members]
        return CategoryTrial(candidate, np.asarray(np.mean(of_members, axis=0)))

    def _held_out(self, candidate: CategoryCandidate, folds: Sequence[Split]) -> FloatArray:
        """Logits (n, K) for what was not seen; two candidates may share a member."""
        if candidate not in self.tried:
            logits = np.zeros((len(self.data), len(self.data.questionnaire.classes)))
            minutes = self._trial_min(len(folds))
            for train, test in folds:
                logits[test] = self._answers(candidate, train, test, minutes)
            self.tried[candidate] = logits
        return self.tried[candidate]

    def _answers(
        self, candidate: CategoryCandidate, train: IntArray, test: IntArray, minutes: float
    ) -> FloatArray:
        if candidate.network == FEATURES:
            return self._on_features(candidate, train).logits(self.features[test])
        from layerscope.training.category_network import network_logits, train_answers

        how = self._network_settings(candidate, minutes)
        network = train_answers(self.data, train, how, self.clock)
        return network_logits(network, self.data, test, how.normalisation)

    def _on_features(self, candidate: CategoryCandidate, rows: IntArray) -> FeatureAnswers:
        return fit_features(
            candidate, self.features[rows], self.data.targets[rows], self.data.questionnaire,
            self.settings.seed,
        )  # fmt: skip

    def _network_settings(self, candidate: CategoryCandidate, minutes: float) -> Any:
        from layerscope.training.category_network import AnswerNetworkSettings

        asked = self.settings
        return AnswerNetworkSettings(
            candidate.network, self._normalisation(), asked.weights,
            asked.start and asked.start.with_suffix(".safetensors"), asked.steps, minutes,
            batch=asked.batch, threads=asked.jobs, seed=asked.seed,
        )  # fmt: skip

    def _normalisation(self) -> str:
        """Normalise as weights were made with; else each picture by itself."""
        if self.base is not None:
            return self.base.normalisation
        return "imagenet" if self.settings.weights else "standard"

    def _finish(
        self, candidate: CategoryCandidate, temperatures: FloatArray, metrics: dict[str, Any]
    ) -> ModelCard:
        """Train on all pictures and write the file."""
        asked = self.data.questionnaire
        card, rows = self._card(candidate, temperatures, metrics), np.arange(len(self.data))
        each = per_answer(temperatures, asked)
        if candidate.network == FEATURES:
            answers = self._on_features(candidate, rows)
            return write_features(answers, each, card, self.out, self.features[:256])
        from layerscope.training.category_network import train_answers

        how = self._network_settings(candidate, max(self._left_min(), 0.05))
        network = train_answers(self.data, rows, how, self.clock)
        return write_network(network, each, card, self.out)

    def _metrics(self, trial: CategoryTrial, figures: Sequence[Figure], by: str) -> dict[str, Any]:
        asked, targets = self.data.questionnaire, self.data.targets
        accuracy = {f.group: f for f in figures if f.name == "accuracy"}
        return {
            "accuracy": {q: _short(f.value) for q, f in accuracy.items()},
            "accuracy_majority": {q: _short(f.baseline) for q, f in accuracy.items()},
            "macro_f1": _short(float(np.mean(trial.scores(asked, targets)))),
            "macro_f1_majority": _short(float(np.mean(majority_scores(asked, targets)))),
            "held_out_images": len(self.data),
            "held_out_by": by,
            "figures": [_plain(f) for f in figures],
        }

    def _card(
        self, candidate: CategoryCandidate, temperatures: FloatArray, metrics: dict[str, Any]
    ) -> ModelCard:
        data, asked = self.data, self.settings
        described = candidate.network == FEATURES
        source = TrainingSet(self.name, images=len(data), groups=data.specimens, seen=data.seen)
        before = () if self.base is None else self.base.trained_on
        span = data.scale_range
        return ModelCard(
            name=self.out.stem,
            task="categories",
            output="answers",
            classes=data.questionnaire.classes,
            channels=data.channels,
            normalisation="unit" if described else self._normalisation(),
            input="picture_features" if described else "image",
            network=candidate.kind,
            trained_on=tuple(dict.fromkeys((*before, source))),
            metrics=metrics,
            settings={
                "questionnaire": data.questionnaire.as_mapping(),
                "size_px": data.size_px,
                "scale": data.scale_kind,
                "scale_range": None if span is None else list(span),
                "unknown_below": asked.unknown_below,
                "temperatures": [_short(t) for t in temperatures],
                "candidate": str(candidate),
                "weights": asked.weights or "",
                "minutes": asked.minutes,
                "steps": asked.steps,
                "folds": asked.folds,
                "seed": asked.seed,
            },
        )


def network_name(chosen: str) -> str:
    """Name of the classifier that stands on an encoder: ``resnet18`` -> ``categories/resnet18``."""
    from layerscope.training.networks import ENCODERS

    return f"categories/{chosen}" if chosen in tuple(ENCODERS) else chosen


def base_of(path: Path) -> ModelCard:
    """Card of a network that answers questions and can learn further.

    Raises
    ------
    InputError
        If the file holds something else.
    """
    from layerscope.models.file import read_model

    card = read_model(path).card
    if card.output != "answers" or card.input != "image":
        what = (
            f"is {card.network} on features" if card.output == "answers" else f"is for {card.task}"
        )
        raise InputError(f"{path.name} {what}; start from a network of 'train categories'")
    return card


def describe(data: CategoryData) -> str:
    """Say what there is to learn from."""
    answers = int((data.targets != NOT_ASKED).sum())
    return (
        f"{len(data)} images of {data.specimens} specimen{'' if data.specimens == 1 else 's'}, "
        f"{answers} answers to {len(data.questionnaire.questions)} questions, "
        f"scale: {data.scale_kind.replace('_', ' ')}"
    )


def fold_pictures(data: CategoryData, settings: CategorySettings) -> tuple[list[Split], str]:
    """Folds by specimen, or by image where all are of one; and which."""
    by = "specimen" if data.specimens >= 2 else "image"
    groups = data.groups if by == "specimen" else data.names
    number = min(settings.folds, len(set(groups)))
    return grouped_folds(groups, number, settings.seed), by


def agreement(one: LabelSheet, other: LabelSheet) -> tuple[Figure, ...]:
    """How far two labellers agree: the figures of one against the other, question by question.

    Parameters
    ----------
    one, other : LabelSheet
        Of one questionnaire. Images that both answered count; intervals are over the specimens of
        the first sheet, or over images where it names none.
    """
    figures: list[Figure] = []
    asked = one.questionnaire
    for q, question in enumerate(asked.questions):
        pairs = [
            (key, one.answers[key][q], other.answers[key][q])
            for key in sorted(one.answers.keys() & other.answers.keys())
        ]
        both = [p for p in pairs if NOT_ASKED not in p[1:]]
        if both:
            groups = [one.groups.get(key, key_of(key)) for key, _, _ in both]
            first, second = (np.array([p[k] for p in both], np.int64) for k in (1, 2))
            figures += category_figures(question.name, first, second, len(question.answers), groups)
    return tuple(figures)


def _plain(figure: Figure) -> dict[str, Any]:
    """Bring a figure to what JSON can hold."""
    return {
        k: (None if v != v else _short(v)) if isinstance(v, float) else v
        for k, v in asdict(figure).items()
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")
