"""Evaluate a model or a finished run on labelled images.

    each image:  ask the candidate -> bring classes together -> count what agrees
    whole set:   figures with intervals over specimens, baselines, signs of failure

Only counts are kept of an image; no torch is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import layerscope
from layerscope.core.evaluation import (
    Comparison,
    Confusion,
    Curve,
    Evaluation,
    Figure,
)
from layerscope.core.examples import DataSet, Example
from layerscope.core.run import Failure
from layerscope.errors import InputError, LayerscopeError
from layerscope.measure.reliability import ReliabilityDiagram, score_diagram
from layerscope.measure.scores_precision import precision_recall_curve, rank_class
from layerscope.training.answers import Candidate, ClassMatch, match_classes
from layerscope.training.image_scores import class_table, image_scores, image_table
from layerscope.training.merits import merit_figures
from layerscope.training.signs import Evidence, failure_signs, mean_by_group
from layerscope.training.tally import Tally, both_sides, grey_picture, most_common, tally_image

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Examination:
    """How strictly to judge.

    Attributes
    ----------
    max_detections : int
        Found objects of a class that count in one image, the best; COCO has 100.
    min_score : float
        Objects below it are not answers. 0 takes all that the candidate gives.
    ignore_classes : bool
        Count all classes but the background as one.
    n_resamples : int
        Of the specimens, for intervals.
    keep_trained : bool
        Score images that taught the model, too; they flatter it.
    """

    max_detections: int = 100
    min_score: float = 0.0
    ignore_classes: bool = False
    n_resamples: int = 500
    keep_trained: bool = False

    def __post_init__(self) -> None:
        if self.max_detections < 1 or self.n_resamples < 20 or not 0 <= self.min_score <= 1:
            raise InputError(
                f"{self}: expected max_detections from 1, n_resamples from 20, min_score 0 to 1"
            )


def evaluate(
    candidate: Candidate,
    data: DataSet,
    examination: Examination | None = None,
    *,
    on_image: Callable[[Comparison], None] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Compare answers with labels.

    Parameters
    ----------
    candidate : Candidate
        From `open_candidate`.
    data : DataSet
        From `read_dataset`. Images that taught the candidate are left out where its card names
        them.
    examination : Examination, optional
    on_image : callable, optional
        Given every image with both sides, which the evaluation itself does not keep.
    progress : callable, optional
        Called with images done, images in all, and the name of the last one.

    Returns
    -------
    Evaluation
        Images without answer are listed in its `failures` and count in no figure.

    Raises
    ------
    InputError
        If the candidate answers for none of the images, or learned from all of them.
    """
    asked = examination or Examination()
    match = match_classes(data.classes, candidate.classes, ignore_classes=asked.ignore_classes)
    common = _common_class(data, match)
    tallies, failures, trained = [], [], []
    examples = sorted(data.examples, key=lambda e: e.name)
    for done, example in enumerate(examples, 1):
        try:
            image = example.read_image()
            taught = image in candidate.seen
            trained += [example.name] * taught
            if asked.keep_trained or not taught:
                tallies.append(_examine(candidate, example, image, match, asked, common, on_image))
        except LayerscopeError as error:
            failures.append(Failure(str(example.path), str(error)))
        if progress is not None:
            progress(done, len(examples), example.name)
    if not tallies:
        raise InputError(_why_none(candidate.name, len(examples), len(trained), failures))
    return _summarise(candidate, data, match, asked, tallies, tuple(failures), tuple(trained))


def _why_none(name: str, images: int, trained: int, failures: Sequence[Failure]) -> str:
    if trained:
        return (
            f"{name} learned from {trained} of these {images} images, and nothing is left to judge "
            "it by: give images of other specimens (or --keep-trained, which flatters it)"
        )
    why = failures[0].reason if failures else "there is no image"
    return f"{name} answers for none of {images} images: {why}"


def _common_class(data: DataSet, match: ClassMatch) -> int:
    tables = [
        np.bincount(match.truth[[i.class_index for i in e.instances]], minlength=256)
        for e in data.examples
        if e.instances
    ]
    return max(1, most_common(tables))


def _examine(
    candidate: Candidate,
    example: Example,
    image: npt.NDArray[Any],
    match: ClassMatch,
    asked: Examination,
    common: int,
    on_image: Callable[[Comparison], None] | None,
) -> Tally:
    answer = candidate.ask(example)
    sides = both_sides(example, answer, match, asked.min_score)
    tally = tally_image(
        example,
        answer,
        sides,
        len(match.classes),
        max_detections=asked.max_detections,
        common_class=common,
        image=grey_picture(image),
    )
    if tally.pixels is None and tally.objects is None and tally.fraction is None:
        raise InputError(f"{example.name}: labels and answer have nothing that can be compared")
    if on_image is not None:
        scores = image_scores(tally, match.classes)
        on_image(
            Comparison(
                example.name,
                example.group,
                image,
                sides.truth,
                sides.labels,
                match.classes,
                example.pixel_size_nm,
                {k: v for k, v in scores.items() if isinstance(v, float)},
            )
        )
    return tally


def _summarise(
    candidate: Candidate,
    data: DataSet,
    match: ClassMatch,
    asked: Examination,
    tallies: Sequence[Tally],
    failures: tuple[Failure, ...],
    trained: tuple[str, ...],
) -> Evaluation:
    figures = merit_figures(
        tallies,
        match.classes,
        max_detections=asked.max_detections,
        n_resamples=asked.n_resamples,
    )
    diagrams = _diagrams(tallies)
    figures += tuple(
        Figure(f"{kind[:-1]}_ece", "", d.calibration_error, note="no interval: one over all images")
        for kind, d in diagrams.items()
    )
    confusions = _confusions(tallies, match.classes)
    images = image_table(tallies, match.classes)
    evidence = _evidence(candidate, asked, tallies, figures, confusions, images, diagrams)
    return Evaluation(
        candidate.name,
        match.classes,
        figures,
        images,
        class_table(tallies, match.classes),
        len({t.group for t in tallies}),
        confusions,
        (*_precision_curves(tallies, match.classes), *_reliability_curves(diagrams)),
        failure_signs(evidence),
        tuple(dict.fromkeys((*_notes(candidate), *match.notes, *data.notes, data.grouped_by))),
        failures,
        trained,
        asdict(asked),
        {"version": layerscope.__version__, **candidate.provenance},
    )


def _notes(candidate: Candidate) -> tuple[str, ...]:
    if candidate.seen.whole:
        return candidate.notes
    note = (
        "the model's card does not name all images that taught it: some of these may be among them"
    )
    return (*candidate.notes, note)


def _evidence(
    candidate: Candidate,
    asked: Examination,
    tallies: Sequence[Tally],
    figures: Sequence[Figure],
    confusions: tuple[Confusion, ...],
    images: pd.DataFrame,
    diagrams: dict[str, ReliabilityDiagram],
) -> Evidence:
    score = next((c for c in ("f1", "mean_iou") if c in images), None)
    groups = [t.group for t in tallies]
    by_group = mean_by_group(groups, images[score].to_numpy(float)) if score else {}
    sure = right = float("nan")
    for diagram in diagrams.values():
        if len(diagram.count):
            sure = float(np.average(diagram.confidence, weights=diagram.count))
            right = float(np.average(diagram.accuracy, weights=diagram.count))
    return Evidence(
        {(f.name, f.group): f for f in figures},
        confusions,
        by_group,
        candidate.provenance.get("metrics", {}),
        max((t.objects.most_marked for t in tallies if t.objects), default=0),
        asked.max_detections,
        sure,
        right,
    )


def _diagrams(tallies: Sequence[Tally]) -> dict[str, ReliabilityDiagram]:
    out = {}
    sure = [t.sureness for t in tallies if t.sureness is not None]
    if sure:
        out["pixels"] = score_diagram(*np.concatenate(sure, axis=1))
    objects = [t.objects for t in tallies if t.objects is not None]
    score = np.concatenate([o.score for o in objects]) if objects else np.zeros(0)
    if len(set(score.tolist())) > 1:
        out["objects"] = score_diagram(score, np.concatenate([o.right for o in objects]))
    return out


def _reliability_curves(diagrams: dict[str, ReliabilityDiagram]) -> list[Curve]:
    """Curves; neighbouring pixels are no independent answers, so that theirs has no interval."""
    return [
        Curve(
            "reliability",
            kind,
            d.confidence,
            d.accuracy,
            d.accuracy_low if kind == "objects" else None,
            d.accuracy_high if kind == "objects" else None,
        )
        for kind, d in diagrams.items()
    ]


def _confusions(tallies: Sequence[Tally], classes: tuple[str, ...]) -> tuple[Confusion, ...]:
    out = []
    objects = [t.objects.confusion for t in tallies if t.objects is not None]
    if objects:
        rows, columns = ("nothing", *classes[1:]), ("missed", *classes[1:])
        out.append(Confusion("objects", rows, columns, np.sum(objects, axis=0)))
    pixels = [t.pixels for t in tallies if t.pixels is not None]
    if pixels:
        out.append(Confusion("pixels", classes, classes, np.sum(pixels, axis=0)))
    return tuple(out)


def _precision_curves(tallies: Sequence[Tally], classes: tuple[str, ...]) -> list[Curve]:
    per_image = [t.objects.ranked for t in tallies if t.objects is not None]
    if not per_image:
        return []
    kind = "mask" if all("mask" in ranked for ranked in per_image) else "box"
    out = []
    for i, name in enumerate(classes[1:]):
        ranking = rank_class([ranked[kind][i] for ranked in per_image])
        recall, precision = precision_recall_curve(ranking)
        if len(recall):
            out.append(Curve("precision_recall", name, recall, precision))
    return out
