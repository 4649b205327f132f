"""The path of a micrograph through a trained pixel classifier, from files to areas of phases.

    each image:  read -> pixel size, burnt-in bar left out -> class of every pixel -> areas
    whole set:   one table of images, one of areas

Every image stands for itself: nothing is fitted to the set, so that one bad image spoils no other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope import __version__
from layerscope.core.columns import Column
from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.run import Failure
from layerscope.core.segmentation import AREA_COLUMNS, PHASE_COLUMNS, PhaseResult, PhaseRun
from layerscope.errors import LayerscopeError
from layerscope.io import MAX_PIXELS, read
from layerscope.io.sources import Source, name_sources
from layerscope.models.file import Model
from layerscope.ops.scale import as_magnifications, mask_annotations, resolve_pixel_size
from layerscope.tasks.phases import (
    disagreement,
    doubt_phases,
    find_phases,
    measure_areas,
    require_phases,
    sureness_of,
)
from layerscope.tasks.shares import ShareErrors

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Scale:
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
        """Refuse what no image could make right, before any image is read."""
        if self.pixel_size is not None:
            PixelSize.parse(self.pixel_size)
        as_magnifications(self.magnification_table)


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
    for i, source in enumerate(sources):
        try:
            result = segment(source, model, scale, errors)
        except LayerscopeError as error:
            failures.append(Failure(source.path, str(error)))
        else:
            rows.append(_row(result))
            areas.extend(_area_rows(result))
            if on_result is not None:
                on_result(result)
        if progress is not None:
            progress(i + 1, len(sources), source.name)
    return PhaseRun(
        _table(rows, PHASE_COLUMNS),
        _table(areas, AREA_COLUMNS),
        tuple(failures),
        {"task": "phases", **asdict(scale)},
        {
            "version": __version__,
            "schema": 1,
            "model_sha256": model.sha256,
            "model": json.loads(card.to_json()),
        },
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
    image = prepare(source, scale)
    phases = find_phases(image, model)
    notes = [str(note) for note in image.metadata.get("notes", ())]
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
        doubt_phases(phases, image, model.card),
        tuple(notes),
    )


def prepare(source: Source, scale: Scale) -> Micrograph:
    """Read one image, find its pixel size, and leave out what is burnt into it."""
    image = source.micrograph or read(source.path, max_pixels=scale.max_pixels)
    return mask_annotations(
        resolve_pixel_size(
            image, pixel_size=scale.pixel_size, magnification_table=scale.magnification_table
        )
    )


def _row(result: PhaseResult) -> dict[str, Any]:
    image, phases = result.micrograph, result.phases
    confidence, unsure = sureness_of(phases)
    return {
        "image": result.name,
        "confidence": confidence,
        "disagreement": disagreement(phases),
        "unsure_share": unsure,
        "doubts": "; ".join(result.doubts),
        "height_px": image.shape[0],
        "width_px": image.shape[1],
        "valid_share": float(phases.valid.mean()),
        "pixel_size_nm": image.pixel_size.um * 1e3 if image.pixel_size else np.nan,
        "pixel_size_source": image.pixel_size.source if image.pixel_size else "",
        "notes": "; ".join(result.notes),
        "path": result.path,
        "sha256": result.sha256,
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


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {c.name: pd.Series([r[c.name] for r in rows], dtype=c.dtype) for c in columns}
    )
