"""`layerscope train phases --overlapping`: a mask per class, which may overlap.

    load -> fold by specimen -> train on each fold -> thresholds from what was held out
         -> train on all -> one file

A hole under a flake is both, so that each class has a probability and a threshold of its own. The
thresholds are those of the best masks of held-out images, and their figures go into the card.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE, DataSet
from layerscope.errors import InputError
from layerscope.measure.scores_masks import MaskCounts, mean_figure
from layerscope.models.card import ModelCard, TrainingSet
from layerscope.models.file import read_model
from layerscope.ops.normalisation import normalise
from layerscope.tasks.phases import cut_masks, unsure_share
from layerscope.tasks.shares import ShareErrors
from layerscope.training.choice import Candidate
from layerscope.training.held_out_islands import HeldOutImage, learn_islands
from layerscope.training.labelled import LabelledImages, load_labelled, take_few
from layerscope.training.phase_settings import (
    FOREST,
    PhaseSettings,
    PhaseTraining,
    describe,
    fold_images,
)
from layerscope.training.resampled import resample
from layerscope.training.splits import Split
from layerscope.training.thresholds import class_thresholds

if TYPE_CHECKING:
    from layerscope.training.network_trial import NetworkSettings

Tell = Callable[[str], None]
Clock = Callable[[], float]

PRETRAINED, SCRATCH = "phases-tem", "plain-n"
_RATE, _TUNING_RATE = 3e-3, 1e-3
_RESERVED_MIN = 0.25  # to write and check the file
_FOLDS_SHARE = 0.5  # of the time; the training on all images takes the rest
_MOST_TESTED = 24
_HEAD = re.compile(r"(^|\.)head\.")  # of a network, and of each in an ensemble
_MOST_CLASSES = 7  # their combinations fit a byte, and as many colours are told apart


@dataclass(frozen=True, eq=False)
class HeldOutMasks:
    """What a network said of an image that it had not seen.

    Attributes
    ----------
    image, fold : int
        Position of the image, number of the fold.
    probability : ndarray of float16, (H, W, K)
        16 bits: thresholds are sought to a hundredth.
    """

    image: int
    fold: int
    probability: npt.NDArray[np.float16]


def train_overlapping(
    data: DataSet,
    out: Path,
    settings: PhaseSettings,
    name: str,
    tell: Tell,
    clock: Clock,
) -> PhaseTraining:
    """Train a network that gives each class a mask; see `phases.train_phases`."""
    return _Training(data, out, settings, name, tell, clock).run()


class _Training:
    """One call of `train_overlapping`."""

    def __init__(
        self,
        data: DataSet,
        out: Path,
        settings: PhaseSettings,
        name: str,
        tell: Tell,
        clock: Clock,
    ):
        self.began, self.clock, self.tell, self.out = clock(), clock, tell, out
        self.name = name or out.stem
        self.settings = replace(settings, jobs=settings.jobs or os.cpu_count() or 1)
        whole = load_labelled(
            resample(data, settings.at_nm) if settings.at_nm else data, overlapping=True
        )
        if len(whole.classes) > _MOST_CLASSES:
            raise InputError(f"{len(whole.classes)} classes that overlap: at most {_MOST_CLASSES}")
        self.coarser = _coarser(data, settings.at_nm)
        self.data, self.rest = whole, whole.take(())
        if settings.few is not None:
            few, rest = take_few(whole, settings.few, settings.seed)
            self.data, self.rest = whole.take(few), whole.take(rest)
        self.candidate, self.start = self._start()
        from layerscope.training.class_losses import losses_of

        self.loss = losses_of(settings.losses, self.data.classes)

    def run(self) -> PhaseTraining:
        """Hold out, find thresholds, train on all, write."""
        for line in (*self.data.notes, describe(self.data, self.settings)):
            self.tell(line)
        folds, why = fold_images(self.data, self.settings)
        if why:
            self.tell(why)
        answers = self._try(folds) if folds else []
        thresholds = find_thresholds(answers, self.data)
        metrics = held_out_masks(answers, self.data, thresholds) if answers else {}
        if answers:
            metrics["islands"] = self._islands(answers, thresholds)
        for line in mask_lines(metrics, thresholds):
            self.tell(line)
        minutes = 0.0 if self.settings.steps else max(self._left_min(), 0.1)
        written = self._finish(self._card(metrics, thresholds), minutes)
        tested = score_masks(self.out, self.rest.take(range(len(self.rest))[:_MOST_TESTED]))
        return PhaseTraining(written, (), None, self.rest.names, tested)

    def _start(self) -> tuple[Candidate, Any]:
        from layerscope.training.weights import read_state

        chosen, base = self.settings.network, self.settings.start
        members = self.settings.members
        if chosen == FOREST:
            raise InputError("forests give one class per pixel; overlapping classes need a network")
        if base is None and chosen == "auto" and self.data.channels == 1:
            base = shipped_weights(PRETRAINED)
        if base is None:
            normalisation = "standard" if self.settings.weights is None else "imagenet"
            name = SCRATCH if chosen == "auto" else chosen
            return Candidate(name, normalisation, members=members), None
        card = read_model(base.with_suffix(".onnx")).card
        if card.input != "image":
            raise InputError(f"{base.name} is a forest, which cannot learn further")
        self.tell(f"starts from {card.name}")
        state = read_state(base.with_suffix(".safetensors"))
        state = for_classes(state, card.classes, self.data.classes)
        members = members if members > 1 else int(card.settings.get("members", 1))
        return Candidate(card.network, card.normalisation, members=members), state

    def _try(self, folds: Sequence[Split]) -> list[HeldOutMasks]:
        minutes = 0.0
        if not self.settings.steps:
            minutes = max(_FOLDS_SHARE * self._left_min(), 0.1) / len(folds)
        how = f"{minutes:.1f} min" if minutes else f"{self.settings.steps} steps"
        self.tell(f"trying {self.candidate.network} on {len(folds)} folds, {how} each")
        answers: list[HeldOutMasks] = []
        for k, (train, test) in enumerate(folds):
            network = self._train(self.data.take(train), minutes, self.settings.seed + k)
            answers += [self._ask(network, int(i), k) for i in test]
        return answers

    def _ask(self, network: Any, image: int, fold: int) -> HeldOutMasks:
        from layerscope.training.network_trial import ask_network, threads_of

        pixels = normalise(self.candidate.normalisation, self.data.unit(image))
        with threads_of(self.settings.jobs):
            maps = ask_network(network, pixels, apart=True)
        return HeldOutMasks(image, fold, maps.astype(np.float16))

    def _islands(
        self, answers: Sequence[HeldOutMasks], thresholds: Mapping[str, float]
    ) -> dict[str, Any]:
        images = [
            HeldOutImage(self.data.unit(a.image).mean(axis=2), a.probability,
                         self.data.labels[a.image])
            for a in answers
        ]  # fmt: skip
        return learn_islands(images, thresholds, self.coarser)

    def _train(self, data: LabelledImages, minutes: float, seed: int) -> Any:
        from layerscope.training.network_trial import train_members

        settings = replace(self._network_settings(), seed=seed)
        return train_members(
            data, self.candidate, minutes, settings,
            start=self.start, loss=self.loss, clock=self.clock,
        )  # fmt: skip

    def _network_settings(self) -> NetworkSettings:
        from layerscope.training.network_trial import NetworkSettings

        known = self.start is not None or self.settings.weights is not None
        found = NetworkSettings(
            learning_rate=_TUNING_RATE if known else _RATE,
            threads=self.settings.jobs,
            seed=self.settings.seed,
            weights=self.settings.weights,
        )
        smallest = min(min(m.shape[:2]) for m in self.data.labels)
        found = replace(found, size_px=int(np.clip(smallest // 64 * 64, 64, found.size_px)))
        return replace(found, steps=self.settings.steps) if self.settings.steps else found

    def _left_min(self) -> float:
        return self.settings.minutes - (self.clock() - self.began) / 60 - _RESERVED_MIN

    def _finish(self, card: ModelCard, minutes: float) -> ModelCard:
        from layerscope.training.export import export_model

        return export_model(self._train(self.data, minutes, self.settings.seed), card, self.out)

    def _card(self, metrics: Mapping[str, Any], thresholds: Mapping[str, float]) -> ModelCard:
        data = self.data
        asked: dict[str, Any] = {
            "minutes": self.settings.minutes,
            "seed": self.settings.seed,
            "folds": self.settings.folds,
            "losses": list(self.settings.losses),
        }
        if self.candidate.members > 1:
            asked["members"] = self.candidate.members
        return ModelCard(
            name=self.out.stem,
            task="phases",
            output="labels",
            classes=data.classes,
            channels=data.channels,
            normalisation=self.candidate.normalisation,
            pixel_size_nm=data.pixel_size_nm,
            thresholds=thresholds,
            network=self.candidate.network,
            trained_on=(TrainingSet(self.name, images=len(data), groups=data.specimens),),
            metrics=metrics,
            settings=asked,
        )


def _coarser(data: DataSet, at_nm: float) -> float:
    """Side of a pixel of the images over that of those that the network sees."""
    sizes = [e.pixel_size_nm for e in data.examples if e.pixel_size_nm is not None]
    return float(np.median(sizes)) / at_nm if at_nm and sizes else 1.0


def for_classes(
    state: Mapping[str, Any], had: Sequence[str], wanted: Sequence[str]
) -> dict[str, Any]:
    """Weights whose last layer (``head.``) answers for the classes `wanted`, in that order.

    A class that was not learned starts from zero; without a common class the last layer is left
    out, to be drawn anew.
    """
    import torch

    last = [k for k, v in state.items() if _HEAD.search(k) and v.shape[:1] == (len(had),)]
    known = [had.index(c) if c in had else None for c in wanted]
    out = {k: v for k, v in state.items() if k not in last}
    if any(i is not None for i in known):
        for key in last:
            rows = [state[key][i] if i is not None else 0 * state[key][0] for i in known]
            out[key] = torch.stack(rows)
    return out


def shipped_weights(name: str) -> Path | None:
    """Path of shipped weights, or None where the package has none of that name."""
    path = Path(str(resources.files("layerscope") / "data" / "models" / f"{name}.safetensors"))
    return path if path.is_file() else None


def find_thresholds(answers: Sequence[HeldOutMasks], data: LabelledImages) -> dict[str, float]:
    """Thresholds of the best masks of the held-out images; 0.5 where none was held out."""
    if not answers:
        return dict.fromkeys(data.classes, 0.5)
    pairs = ((a.probability.astype(np.float32), data.labels[a.image]) for a in answers)
    return dict(class_thresholds(pairs, data.classes))


def held_out_masks(
    answers: Sequence[HeldOutMasks], data: LabelledImages, thresholds: Mapping[str, float]
) -> dict[str, Any]:
    """Return what the card keeps of held-out images: figures of all pixels together."""
    cuts = np.array([thresholds[c] for c in data.classes], np.float32)
    parts, scale, unsure = [], [], []
    for answer in answers:
        truth = data.labels[answer.image]
        parts.append(MaskCounts.compare(cut_masks(answer.probability, cuts), truth))
        maps = np.where(truth == IGNORE, 0, answer.probability).astype(np.float64)
        scale.append((maps * (1 - maps)).sum(axis=(0, 1)) / np.maximum(parts[-1].known, 1))
        unsure.append(unsure_share(answer.probability, cuts))
    alone = data.specimens < 2
    groups = data.names if alone else data.groups
    shares = [_shares(p) for p in parts]
    errors = ShareErrors.measure(
        np.array([found for found, _ in shares]), np.array([true for _, true in shares]),
        np.array(scale), [groups[a.image] for a in answers],
    )  # fmt: skip
    figures = mask_figures(parts, data.classes)
    by_fold = [
        mean_figure(MaskCounts.together(p).figure("iou"))
        for p in _by_fold(parts, [a.fold for a in answers])
    ]
    return {
        **figures,
        "mean_iou_by_fold": [_short(v) for v in by_fold if np.isfinite(v)],
        "held_out_images": len(answers),
        "held_out_by": "image" if alone else "specimen",
        "unsure_share_most": _short(max(unsure)),
        "share_errors": errors.as_metrics(),
    }


def mask_figures(parts: Sequence[MaskCounts], classes: Sequence[str]) -> dict[str, Any]:
    """Figures of all pixels of all images together, and of always saying that a class is there."""
    total = MaskCounts.together(parts)
    always = MaskCounts(
        total.hit + total.missed, total.wrong + total.spared, 0 * total.hit, 0 * total.hit
    )
    out: dict[str, Any] = {
        "mean_iou": _short(mean_figure(total.figure("iou"))),
        "mean_iou_majority": _short(mean_figure(always.figure("iou"))),
        "mean_iou_of_images": _short(
            mean_figure(np.array([mean_figure(p.figure("iou")) for p in parts]))
        ),
    }
    for figure in ("iou", "dice", "precision", "recall", "specificity"):
        values = zip(classes, total.figure(figure), strict=True)
        out[figure] = {c: _short(v) for c, v in values if np.isfinite(v)}
    return out


def _shares(part: MaskCounts) -> tuple[Any, Any]:
    known = np.maximum(part.known, 1)
    return (part.hit + part.wrong) / known, (part.hit + part.missed) / known


def _by_fold(parts: Sequence[MaskCounts], folds: Sequence[int]) -> list[list[MaskCounts]]:
    return [
        [p for p, f in zip(parts, folds, strict=True) if f == fold] for fold in sorted(set(folds))
    ]


def mask_lines(metrics: Mapping[str, Any], thresholds: Mapping[str, float]) -> list[str]:
    """Say how good the masks of held-out images were."""
    if not metrics:
        return ["nothing was held out: thresholds are 0.5, and there are no scores"]
    folds = ", ".join(f"{v:.3f}" for v in metrics["mean_iou_by_fold"])
    lines = [
        f"held-out mean IoU {metrics['mean_iou']:.3f} (folds {folds}; the class everywhere: "
        f"{metrics['mean_iou_majority']:.3f})"
    ]
    for name, cut in thresholds.items():
        if name in metrics["iou"]:
            told = " ".join(
                f"{figure} {metrics[figure].get(name, float('nan')):.3f}"
                for figure in ("precision", "recall")
            )
            lines.append(f"  {name}: threshold {cut:g}, {told}")
    return lines


def score_masks(path: Path, data: LabelledImages) -> float | None:
    """Mean IoU of a written model on labelled images, all pixels together; None without images."""
    if not len(data):
        return None
    model = read_model(path)
    cuts = np.array([model.card.thresholds[c] for c in data.classes], np.float32)
    parts = [
        MaskCounts.compare(cut_masks(model.predict(image), cuts), truth)
        for image, truth in zip(data.images, data.labels, strict=True)
    ]
    return mean_figure(MaskCounts.together(parts).figure("iou"))


def _short(value: float) -> float:
    return float(f"{value:.4g}")
