"""The path of a micrograph through a trained questionnaire, from files to answers.

    each image:  read -> scale, burnt-in bar left out -> answers, or why there are none
    whole set:   one table of images, one of answers, one of probabilities

Every image stands for itself: nothing is fitted to the set, so that one bad image spoils no other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from layerscope import __version__
from layerscope.core.categories import (
    ANSWER_COLUMNS,
    IMAGE_COLUMNS,
    PROBABILITY_COLUMNS,
    CategoryResult,
    CategoryRun,
    View,
)
from layerscope.core.micrograph import Micrograph
from layerscope.core.run import Failure, Progress
from layerscope.io import MAX_PIXELS
from layerscope.io.sources import Source, name_sources
from layerscope.models.answers import questionnaire_of
from layerscope.models.file import Model
from layerscope.ops.magnification import view_of
from layerscope.tasks.categories import answer_questions, doubt_scale, least_probability
from layerscope.tasks.image_by_image import FromFiles, each, model_record, notes_of, table_of


@dataclass(frozen=True)
class Reading(FromFiles):
    """What is told of the images beside their files, and how sure an answer must be.

    Attributes
    ----------
    pixel_size : str or None
        For example ``"0.52nm"``, where the file has none.
    magnification : float or None
        Of all images; None: as metadata or the names of files say.
    unknown_below : float or None
        Least probability of an answer; None: that of the model.
    max_pixels : int
    magnification_table : str or None
        File of pixel sizes by magnification, for images that have none; see
        `ops.magnification_table`.
    """

    pixel_size: str | None = None
    magnification: float | None = None
    unknown_below: float | None = None
    max_pixels: int = MAX_PIXELS
    magnification_table: str | None = None

    def __post_init__(self) -> None:
        self.check_scale()
        View(self.magnification)


def run_categories(
    images: Iterable[str | os.PathLike[str] | Micrograph],
    model: Model,
    reading: Reading | None = None,
    *,
    on_result: Callable[[CategoryResult], None] | None = None,
    progress: Progress | None = None,
) -> CategoryRun:
    """Answer the questions of a model about each image.

    Parameters
    ----------
    images : iterable of path or Micrograph
        Files, folders of them, or micrographs in memory.
    model : Model
        From `models.file.read_model`, of the task ``categories``.
    reading : Reading, optional
    on_result : callable, optional
        Given every image's `CategoryResult` with its pixels, which the run itself does not keep.
    progress : callable, optional
        Called with images done, images in all, and the name of the last one.

    Returns
    -------
    CategoryRun
        A bad image is no error: it is listed in its `failures`.
    """
    reading, sources = reading or Reading(), name_sources(images)
    asked = questionnaire_of(model.card)
    least = least_probability(model.card, reading.unknown_below)
    rows: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    probabilities: list[dict[str, Any]] = []
    failures: list[Failure] = []
    answered = partial(answer, model=model, reading=reading)
    for result in each(sources, answered, failures, progress):
        rows.append(_image_row(result))
        answers.extend(_answer_rows(result))
        probabilities.extend(_probability_rows(result))
        if on_result is not None:
            on_result(result)
    return CategoryRun(
        table_of(rows, IMAGE_COLUMNS),
        table_of(answers, ANSWER_COLUMNS),
        table_of(probabilities, PROBABILITY_COLUMNS),
        asked,
        failures=tuple(failures),
        parameters={"task": "categories", **asdict(reading), "unknown_below": least},
        provenance={"version": __version__, "schema": 1, **model_record(model)},
    )


def answer(source: Source, model: Model, reading: Reading) -> CategoryResult:
    """Read one image and answer about it.

    Raises
    ------
    LayerscopeError
        If it cannot be read, or the model does not suit it.
    """
    image = reading.prepare(source)
    view = view_of(image, Path(source.path).name or source.name, reading.magnification)
    answers = answer_questions(image, view, model, reading.unknown_below)
    return CategoryResult(
        source.name,
        source.path,
        image.sha256,
        image,
        view,
        answers,
        notes=(*notes_of(image), *doubt_scale(view, model.card)),
    )


def _image_row(result: CategoryResult) -> dict[str, Any]:
    view, shape = result.view, result.micrograph.shape
    return {
        "image": result.name,
        "magnification": np.nan if view.magnification is None else view.magnification,
        "magnification_source": view.source,
        "pixel_size_nm": np.nan if view.pixel_size_nm is None else view.pixel_size_nm,
        "height_px": shape[0],
        "width_px": shape[1],
        "notes": "; ".join(result.notes),
        "path": result.path,
        "sha256": result.sha256,
    }


def _answer_rows(result: CategoryResult) -> list[dict[str, Any]]:
    return [
        {
            "image": result.name,
            "question": a.question,
            "answer": a.answer,
            "why": a.why,
            "probability": a.probability,
            "most_probable": max(a.probabilities, key=lambda p: p[1], default=("", 0.0))[0],
        }
        for a in result.answers
    ]


def _probability_rows(result: CategoryResult) -> list[dict[str, Any]]:
    return [
        {"image": result.name, "question": a.question, "answer": name, "probability": p}
        for a in result.answers
        for name, p in a.probabilities
    ]
