"""`layerscope train phases`: from labelled images to one model file.

    load -> fold by specimen -> try candidates on what they have not seen -> train the best on all

Forests are tried first: they need seconds, no torch, and a handful of images. What time is left
goes to a network. The held-out figures of the winner go into its card, and with them how far the
shares of its classes may be off.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from layerscope.core.examples import DataSet
from layerscope.errors import InputError, MissingExtra
from layerscope.models.card import ModelCard, TrainingSet
from layerscope.models.forest import ForestSettings, write_forest
from layerscope.training.choice import (
    Candidate,
    Trial,
    best_trial,
    held_out_metrics,
    majority_trial,
    score_model,
    trial_lines,
)
from layerscope.training.forest_smoothing import try_smoothing
from layerscope.training.forest_trial import (
    ForestData,
    grow_final,
    grow_folds,
    sample_images,
    try_forest,
)
from layerscope.training.labelled import load_labelled, take_few
from layerscope.training.phase_settings import (
    FOREST,
    PhaseSettings,
    PhaseTraining,
    describe,
    fold_images,
)
from layerscope.training.seen import Seen, fingerprint, fingerprints
from layerscope.training.splits import Split

__all__ = ["PhaseSettings", "PhaseTraining", "train_phases"]

Tell = Callable[[str], None]

_FEW_IMAGES = 12  # up to here several normalisations are tried; more images say it by themselves
_PIXELS_PER_MINUTE, _FEWEST_PIXELS, _MOST_PIXELS = 12_000, 12_000, 60_000
_FOREST_SHARE = 0.4  # of the minutes; once it is spent no further forest is tried
_TRIAL_SHARE = 0.35  # of the time that is left for a network
_LEAST_TRIAL_MIN = 0.25  # a network that trained for less says nothing
_WANTED_TRIAL_MIN = 1.2
_MOST_TESTED = 24
_TUNING_RATE = 1e-3  # of published weights: a third of what random ones need
_RESERVED_MIN = 0.25  # to write and check the file


def train_phases(
    data: DataSet,
    out: str | os.PathLike[str],
    settings: PhaseSettings | None = None,
    *,
    name: str = "",
    tell: Tell = lambda line: None,
    clock: Callable[[], float] = time.monotonic,
) -> PhaseTraining:
    """Train a classifier of pixels and write it as one file.

    Parameters
    ----------
    data : DataSet
        With label maps, or objects of several classes.
    out : path
        Ends in ``.onnx``.
    settings : PhaseSettings, optional
    name : str
        Of the data, for the card.
    tell : callable
        Given a line about each thing that is decided or done.
    clock : callable
        Seconds.

    Raises
    ------
    InputError
        If the labels cannot be learned from.
    MissingExtra
        If onnx is not installed, or torch where a network was asked for.
    """
    asked = settings or PhaseSettings()
    if asked.overlapping:
        from layerscope.training.overlapping import train_overlapping

        return train_overlapping(data, checked_path(Path(out)), asked, name, tell, clock)
    return _Training(data, Path(out), asked, name, tell, clock).run()


class _Training:
    """One call of `train_phases`."""

    def __init__(
        self,
        data: DataSet,
        out: Path,
        settings: PhaseSettings,
        name: str,
        tell: Tell,
        clock: Callable[[], float],
    ):
        self.began, self.clock, self.tell = clock(), clock, tell
        self.out, self.name = checked_path(out), name or out.stem
        self.settings = replace(settings, jobs=settings.jobs or os.cpu_count() or 1)
        whole = load_labelled(data)
        self.data, self.rest = whole, whole.take(())
        if settings.few is not None:
            few, rest = take_few(whole, settings.few, settings.seed)
            self.data, self.rest = whole.take(few), whole.take(rest)
        self.base = None if settings.start is None else _base_of(settings.start)
        self.drawn: dict[Candidate, ForestData] = {}
        self.grown: dict[Candidate, dict[int, Any]] = {}
        self.state: dict[str, Any] = {}
        self.origin = self._origin()

    def run(self) -> PhaseTraining:
        """Try, choose, train, write."""
        about = (
            *self.data.notes,
            describe(self.data, self.settings),
            self.origin,
            self._met_again(),
        )
        for line in about:
            if line:
                self.tell(line)
        folds, why = fold_images(self.data, self.settings)
        if why:
            self.tell(why)
        trials = self._try(folds) if folds else []
        candidate = best_trial(trials).candidate if trials else self._first_candidate()
        majority = None
        if trials:
            majority = majority_trial(trials[0], self.data.counts().astype(float))
            for line in trial_lines([majority, *trials], len(folds)):
                self.tell(line)
        self.tell(f"chosen: {candidate}")
        chosen = next((t for t in trials if t.candidate == candidate), None)
        card = self._card(candidate, chosen, majority)
        written = self._finish(candidate, card)
        tested = score_model(self.out, self.rest.take(range(len(self.rest))[:_MOST_TESTED]))
        return PhaseTraining(written, tuple(trials), majority, self.rest.names, tested)

    def _try(self, folds: Sequence[Split]) -> list[Trial]:
        trials: list[Trial] = []
        for candidate in self._forests():
            if trials and self._forests_are_late():
                self.tell(f"no time to try {candidate}")
                continue
            trials.append(self._try_forest(candidate, folds))
        trials = self._smoothed([t for t in trials if t.answers], folds)
        network = self._network()
        if network is None:
            return trials
        minutes, numbers, why = self._trial_time(folds)
        if why and (trials or self.settings.network == "auto"):
            self.tell(f"no network was tried: {why}")
            return trials
        return [*trials, self._try_network(network, folds, numbers, minutes)]

    def _smoothed(self, trials: list[Trial], folds: Sequence[Split]) -> list[Trial]:
        """Put the best forest's smoothed answer in the place of its own, where that is better."""
        if not trials or self._forests_are_late():
            return trials
        best = best_trial(trials)
        grown = self.grown[best.candidate]
        found = try_smoothing(self.data, best.candidate, folds, grown, self.settings.seed)
        return trials if found is None else [found if t is best else t for t in trials]

    def _forests_are_late(self) -> bool:
        # With forests alone the clock has no say, so that the same input gives the same bytes.
        left = (1 - _FOREST_SHARE) * self.settings.minutes
        return self.settings.network == "auto" and self._left_min() < left

    def _forests(self) -> list[Candidate]:
        if self.settings.network not in ("auto", FOREST) or self.base is not None:
            return []
        names = ["standard"]
        if len(self.data) <= _FEW_IMAGES:
            names += ["unit", *(["contrast"] if self.data.channels == 3 else [])]
        return [Candidate(FOREST, name, "wide") for name in names]

    def _network(self) -> Candidate | None:
        """Return the network to try, or None."""
        chosen = self.settings.network
        members = self.settings.members
        if self.base is not None:
            members = members if members > 1 else int(self.base.settings.get("members", 1))
            return Candidate(self.base.network, self.base.normalisation, members=members)
        if chosen == FOREST:
            return None
        if find_spec("torch") is None:
            if chosen != "auto":
                raise MissingExtra.of(f"training {chosen}", "train")
            self.tell("no network is tried: torch is not installed (layerscope[train])")
            return None
        name = _light_network() if chosen == "auto" else chosen
        # Weights are used as they were made: on images as ImageNet's were normalised.
        normalisation = "standard" if self.settings.weights is None else "imagenet"
        return Candidate(name, normalisation, members=members)

    def _first_candidate(self) -> Candidate:
        """Return what is trained where nothing can be held out."""
        forests = self._forests()
        found = forests[0] if forests else self._network()
        assert found is not None
        return found

    def _try_forest(self, candidate: Candidate, folds: Sequence[Split]) -> Trial:
        drawn, settings = self._drawn(candidate), self._forest_settings()
        self.grown[candidate] = grow_folds(drawn, folds, settings)
        return try_forest(drawn, folds, settings, self.grown[candidate])

    def _drawn(self, candidate: Candidate) -> ForestData:
        if candidate not in self.drawn:
            pixels = int(
                np.clip(_PIXELS_PER_MINUTE * self.settings.minutes, _FEWEST_PIXELS, _MOST_PIXELS)
            )
            self.drawn[candidate] = sample_images(
                self.data, candidate, pixels, seed=self.settings.seed, jobs=self.settings.jobs
            )
        return self.drawn[candidate]

    def _forest_settings(self) -> ForestSettings:
        return ForestSettings(self.settings.trees, seed=self.settings.seed, jobs=self.settings.jobs)

    def _left_min(self) -> float:
        return self.settings.minutes - (self.clock() - self.began) / 60 - _RESERVED_MIN

    def _trial_time(self, folds: Sequence[Split]) -> tuple[float, list[int], str]:
        """Minutes per fold, which folds, and why not."""
        if self.settings.steps:
            return 0.0, list(range(len(folds))), ""
        total = max(_TRIAL_SHARE * self._left_min(), 0.05)
        # Who asks for one network wants its score; else few folds, so that each says something.
        wanted = _WANTED_TRIAL_MIN if self.settings.network == "auto" else _LEAST_TRIAL_MIN
        number = int(np.clip(total / wanted, 1, len(folds)))
        why = ""
        if total / number < _LEAST_TRIAL_MIN:
            why = f"{60 * total:.0f} s are too little; give more --minutes"
        return total / number, list(range(number)), why

    def _try_network(
        self, candidate: Candidate, folds: Sequence[Split], numbers: list[int], minutes: float
    ) -> Trial:
        from layerscope.training.network_trial import try_network

        self.tell(
            f"trying {candidate} on {len(numbers)} of {len(folds)} folds"
            + (f", {minutes:.1f} min each" if minutes else f", {self.settings.steps} steps each")
        )
        trial, self.state = try_network(
            self.data,
            candidate,
            folds,
            numbers,
            minutes,
            self._network_settings(),
            start=self._start(),
            clock=self.clock,
        )
        return trial

    def _network_settings(self) -> Any:
        from layerscope.training.network_trial import NetworkSettings

        found = NetworkSettings(threads=self.settings.jobs, seed=self.settings.seed)
        smallest = min(min(m.shape) for m in self.data.labels)
        size = int(np.clip(smallest // 32 * 32, 64, found.size_px))
        found = replace(found, size_px=size)
        if self.settings.weights is not None:
            found = replace(found, weights=self.settings.weights, learning_rate=_TUNING_RATE)
        return replace(found, steps=self.settings.steps) if self.settings.steps else found

    def _met_again(self) -> str:
        if self.base is None:
            return ""
        seen = Seen.of_card(asdict(self.base))
        return seen.met_again(map(fingerprint, self.data.images), self.base.name)

    def _origin(self) -> str:
        """Say how the weights that were asked for fit the network; empty without any."""
        if self.settings.weights is None:
            return ""
        if find_spec("torch") is None:
            raise MissingExtra.of(f"training {self.settings.network}", "train")
        from layerscope.training.networks import build

        return build(
            self.settings.network, channels=self.data.channels, outputs=len(self.data.classes),
            weights=self.settings.weights,
        ).origin  # fmt: skip

    def _start(self) -> Any:
        if self.settings.start is None:
            return None
        from layerscope.training.weights import read_state

        return read_state(self.settings.start.with_suffix(".safetensors"))

    def _finish(self, candidate: Candidate, card: ModelCard) -> ModelCard:
        if candidate.network == FOREST:
            drawn = self._drawn(replace(candidate, smoothing_px=0))
            forest = grow_final(drawn, self._forest_settings())
            return write_forest(forest, card, self.out, drawn.checked[0].features[:2000])
        from layerscope.training.export import export_model
        from layerscope.training.network_trial import train_members

        minutes = 0.0 if self.settings.steps else max(self._left_min(), 0.1)
        known = self.state or self._start()
        network = train_members(
            self.data,
            candidate,
            minutes,
            self._network_settings(),
            start=known,
            clock=self.clock,
        )
        return export_model(network, card, self.out)

    def _card(
        self, candidate: Candidate, chosen: Trial | None, majority: Trial | None
    ) -> ModelCard:
        data, metrics = self.data, {}
        if chosen is not None and majority is not None:
            alone = data.specimens < 2
            groups = data.names if alone else data.groups
            metrics = dict(held_out_metrics(chosen, majority, data.classes, groups))
            metrics["held_out_by"] = "image" if alone else "specimen"
        source = TrainingSet(
            self.name, images=len(data), groups=data.specimens, seen=fingerprints(data.images)
        )
        before = () if self.base is None else self.base.trained_on
        asked = {name: getattr(self.settings, name) for name in ("minutes", "seed", "folds")}
        if candidate.members > 1:
            asked["members"] = candidate.members
        if self.origin and candidate.network != FOREST:
            asked["weights"] = self.origin
        return ModelCard(
            name=self.out.stem,
            task="phases",
            output="classes",
            classes=data.classes,
            channels=data.channels,
            normalisation=candidate.normalisation,
            input="pixel_features" if candidate.features else "image",
            features=candidate.features or "scales",
            smoothing_px=candidate.smoothing_px,
            pixel_size_nm=data.pixel_size_nm,
            network=candidate.network,
            trained_on=tuple(dict.fromkeys((*before, source))),
            metrics=metrics,
            settings=asked,
        )


def _light_network() -> str:
    import torch

    return "light-m" if torch.cuda.is_available() else "light-n"


def checked_path(out: Path) -> Path:
    """Return `out` if a model file can be written there."""
    if out.suffix != ".onnx":
        raise InputError(f"{out.name}: expected a name that ends in .onnx")
    if find_spec("onnx") is None:
        raise MissingExtra.of("writing a model", "train")
    return out


def _base_of(path: Path) -> ModelCard:
    from layerscope.models.file import read_model

    card = read_model(path).card
    if card.input != "image":
        raise InputError(
            f"{path.name} is a forest, which cannot learn further; train on all images together"
        )
    return card
