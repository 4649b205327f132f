"""The path of a micrograph through a trained pixel classifier, from files to areas of phases.

    each image:  read -> pixel size, burnt-in bar left out -> class of every pixel -> areas
    whole set:   one table of images, one of areas

Every image stands for itself: nothing is fitted to the set, so that one bad image spoils no other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from layerscope import __version__
from layerscope.core.micrograph import Micrograph
from layerscope.core.run import Failure, Progress
from layerscope.core.segmentation import AREA_COLUMNS, PHASE_COLUMNS, PhaseResult, PhaseRun
from layerscope.io import MAX_PIXELS
from layerscope.io.sources import Source, name_sources
from layerscope.models.file import Model
from layerscope.tasks.image_by_image import (
    FromFiles,
    each,
    image_facts,
    model_record,
    notes_of,
    table_of,
)
from layerscope.tasks.phases import (
    disagreement,
    doubt_phases,
    find_phases,
    measure_areas,
    require_phases,
    sureness_of,
)
from layerscope.tasks.shares import ShareErrors


@dataclass(frozen=True)
class Scale(FromFiles):
    """What is told of the images beside their files.

    Attributes
    ----------
    pixel_size : str or None
        For example ``"0.52nm"``, where the file has none.
    max_pixels : int
    magnification_table : str or None
        File of pixel sizes by magnification, for images that have none; see
        `ops.magnification_table`.
    """

    pixel_size: str | None = None
    max_pixels: int = MAX_PIXELS
    magnification_table: str | None = None

    def __post_init__(self) -> None:
        self.check_scale()


def run_phases(
    images: Iterable[str | os.PathLike[str] | Micrograph],
    model: Model,
    scale: Scale | None = None,
    *,
    on_result: Callable[[PhaseResult], None] | None = None,
    progress: Progress | None = None,
) -> PhaseRun:
    """Give every pixel of each image its class, and measure the areas of the classes.

    Parameters
    ----------
    images : iterable of path or Micrograph
        Files, folders of them, or micrographs in memory.
    model : Model
        From `models.file.read_model`, of the task ``phases``.
    scale : Scale, optional
    on_result : callable, optional
        Given every image's `PhaseResult` with its pixels, which the run itself does not keep.
    progress : callable, optional
        Called with images done, images in all, and the name of the last one.

    Returns
    -------
    PhaseRun
        A bad image is no error: it is listed in its `failures`.
    """
    scale, sources = scale or Scale(), name_sources(images)
    card = require_phases(model.card)
    errors = ShareErrors.from_metrics(card.metrics.get("share_errors"), len(card.classes))
    rows: list[dict[str, Any]] = []
    areas: list[dict[str, Any]] = []
    failures: list[Failure] = []
    segmented = partial(segment, model=model, scale=scale, errors=errors)
    for result in each(sources, segmented, failures, progress):
        rows.append(_row(result))
        areas.extend(_area_rows(result))
        if on_result is not None:
            on_result(result)
    return PhaseRun(
        table_of(rows, PHASE_COLUMNS),
        table_of(areas, AREA_COLUMNS),
        failures=tuple(failures),
        parameters={"task": "phases", **asdict(scale)},
        provenance={"version": __version__, "schema": 1, **model_record(model)},
    )


def segment(
    source: Source, model: Model, scale: Scale, errors: ShareErrors | None = None
) -> PhaseResult:
    """Read and segment one image.

    Parameters
    ----------
    source : Source
    model : Model
    scale : Scale
    errors : ShareErrors, optional
        Of the model on held-out images; None: shares get no interval.

    Raises
    ------
    LayerscopeError
        If it cannot be read, or the model does not suit it.
    """
    image = scale.prepare(source)
    phases = find_phases(image, model)
    notes = notes_of(image)
    if image.pixel_size is None:
        notes.append("no pixel size: no areas in um2")
        if model.card.pixel_size_nm is not None:
            notes.append("no pixel size: taken as that of the training images")
    size = image.pixel_size
    if not model.is_exact(image.shape, None if size is None else 1e3 * size.um):
        notes.append(
            "larger than a window of this network, which looks at the whole image: windows are "
            "blended, and numbers depend on them"
        )
    if errors is None:
        notes.append("the model was never tried on held-out images: no intervals")
    return PhaseResult(
        source.name,
        source.path,
        image.sha256,
        image,
        phases,
        measure_areas(phases, errors),
        doubts=doubt_phases(phases, image, model.card),
        notes=tuple(notes),
    )


def _row(result: PhaseResult) -> dict[str, Any]:
    phases = result.phases
    confidence, unsure = sureness_of(phases)
    return {
        "image": result.name,
        "confidence": confidence,
        "disagreement": disagreement(phases),
        "unsure_share": unsure,
        **image_facts(result, result.doubts, float(phases.valid.mean())),
    }


def _area_rows(result: PhaseResult) -> list[dict[str, Any]]:
    size, valid = result.micrograph.pixel_size, int(result.phases.valid.sum())
    whole_um2 = valid * size.x_nm * size.y_nm * 1e-6 if size else np.nan
    return [
        {
            "image": result.name,
            "class": area.name,
            "value": area.value,
            "area_px": area.pixels,
            "fraction": area.fraction,
            "fraction_low": area.low,
            "fraction_high": area.high,
            "area_um2": area.fraction * whole_um2,
            "area_low_um2": area.low * whole_um2,
            "area_high_um2": area.high * whole_um2,
        }
        for area in result.areas
    ]
