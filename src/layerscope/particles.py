"""The path from electron micrographs to a table of particles: the page to read first for them.

    each image:  read -> pixel size, burnt-in bar left out -> pixels of particles and of holes
                 -> particles told apart -> sizes, edges, thickness -> figures with intervals
    whole set:   one table of images, one of particles, one of figures

Pixels come from a phases model, from label pictures, or from the picture alone
(`tasks.particle_sources`). A hole of the support is never a particle, and a particle over a hole
keeps its area.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope import __version__
from layerscope.core.micrograph import Micrograph
from layerscope.core.particles import (
    PARTICLE_IMAGE_COLUMNS,
    POPULATION_COLUMNS,
    ParticleResult,
    ParticleRun,
    Particles,
)
from layerscope.core.run import Failure, Progress
from layerscope.errors import InputError
from layerscope.io import MAX_PIXELS
from layerscope.io.sources import Source, name_sources
from layerscope.measure.number_density import BORDER
from layerscope.measure.particle_population import Field, summarise_particles
from layerscope.measure.particle_signal import ThicknessLimits
from layerscope.measure.particles import measure_particles, particle_columns
from layerscope.tasks.image_by_image import (
    FromFiles,
    each,
    image_facts,
    notes_of,
    stacked,
    table_of,
)
from layerscope.tasks.particle_segmentation import grey_of
from layerscope.tasks.particle_sources import ParticleSource

if TYPE_CHECKING:
    import pandas as pd

ALL = "all"
"""`image` of the figures over all images."""

_MANY_CUT = 0.3


@dataclass(frozen=True)
class Settings(FromFiles):
    """What is told beside the images and where their particles come from.

    Attributes
    ----------
    pixel_size : str or None
        For example ``"0.52nm"``, where the file has none.
    scale_bar_length : str or None
        Of the burnt-in bar, where its text cannot be read.
    border : str
        How particles that the border cuts are counted; a name in `measure.number_density.BORDER`.
    limits : ThicknessLimits
    max_pixels : int
    magnification_table : str or None
        File of pixel sizes by magnification, for images that have none; see
        `ops.magnification_table`.
    """

    pixel_size: str | None = None
    scale_bar_length: str | None = None
    border: str = "weighted"
    limits: ThicknessLimits = field(default_factory=ThicknessLimits)
    max_pixels: int = MAX_PIXELS
    magnification_table: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no image could make right, before any image is read."""
        self.check_scale()
        if self.border not in BORDER:
            raise InputError(f"border {self.border!r}: expected one of {', '.join(BORDER)}")


def run_particles(
    images: Iterable[str | os.PathLike[str] | Micrograph],
    source: ParticleSource,
    settings: Settings | None = None,
    *,
    on_result: Callable[[ParticleResult], None] | None = None,
    progress: Progress | None = None,
) -> ParticleRun:
    """Find and measure the particles of electron micrographs.

    Parameters
    ----------
    images : iterable of path or Micrograph
        Files, folders of them, or micrographs in memory.
    source : ParticleSource
        From `tasks.particle_sources`: a model, label pictures, or the picture alone.
    settings : Settings, optional
    on_result : callable, optional
        Given every image's `ParticleResult` with its pixels, which the run itself does not keep.
    progress : callable, optional
        Called with images done, images in all, and the name of the last one.

    Returns
    -------
    ParticleRun
        A bad image is no error: it is listed in its `failures`.
    """
    settings = settings or Settings()
    tables: list[pd.DataFrame] = []
    rows: list[dict[str, Any]] = []
    fields: list[Field] = []
    figures: list[pd.DataFrame] = []
    failures: list[Failure] = []
    analysed = partial(analyse, source=source, settings=settings)
    for result, row, frame in each(name_sources(images), analysed, failures, progress):
        tables.append(result.table)
        rows.append(row)
        fields.append(frame)
        figures.append(result.population)
        if on_result is not None:
            on_result(result)
    table = stacked(tables, particle_columns())
    if len(fields) > 1:
        figures.append(summarise_particles(table, _comparable(fields, table), image=ALL,
                                           border=settings.border))  # fmt: skip
    return ParticleRun(
        table_of(rows, PARTICLE_IMAGE_COLUMNS),
        table,
        stacked(figures, POPULATION_COLUMNS),
        failures=tuple(failures),
        parameters={"task": "particles", **_told(settings)},
        provenance={"version": __version__, "schema": 1, **source.about()},
    )


def analyse(
    one: Source, source: ParticleSource, settings: Settings
) -> tuple[ParticleResult, dict[str, Any], Field]:
    """Read, find and measure one image.

    Parameters
    ----------
    one : Source
    source : ParticleSource
    settings : Settings

    Returns
    -------
    result : ParticleResult
    row : dict
        Of the images table.
    frame : Field
        What is counted per area.

    Raises
    ------
    LayerscopeError
        If it cannot be read, or its particles cannot be found.
    """
    image = settings.prepare(one)
    particles = source.find(image)
    table, reference = measure_particles(
        particles, grey_of(image), pixel_size=image.pixel_size, image=one.name,
        border=settings.border, limits=settings.limits,
    )  # fmt: skip
    frame = Field.of(particles, image.pixel_size, one.name)
    population = summarise_particles(table, [frame], image=one.name, border=settings.border)
    result = ParticleResult(
        one.name, one.path, image.sha256, image, particles, table, population,
        doubts=_doubts(particles, table), notes=_notes(image, particles, reference),
    )  # fmt: skip
    return result, _row(result, reference), frame


def _doubts(particles: Particles, table: pd.DataFrame) -> tuple[str, ...]:
    n, cut = len(table), int(table["touches_border"].sum())
    doubts = []
    if not particles.pixels.valid.any():
        doubts.append("no pixel is counted")
    if n and cut > _MANY_CUT * n and n >= 5:
        doubts.append(f"{cut} of {n} particles are cut by the border: take larger fields")
    largest = table[["bbox_bottom_px", "bbox_right_px"]].to_numpy(float) - table[
        ["bbox_top_px", "bbox_left_px"]
    ].to_numpy(float)
    if n and (largest > 0.5 * np.array(particles.masks.shape)).any():
        doubts.append("a particle is longer than half the field: the border hides others like it")
    left_out = int(particles.provenance.get("unsure_left_out", 0))
    if left_out > max(n, 1):
        doubts.append(
            f"{left_out} unsure islands left out, more than were counted: teach the model"
        )
    unsure = int((table["score"] < 0.5).sum())
    if n and unsure > 0.5 * n:
        doubts.append(f"{unsure} of {n} particles are hardly sure")
    return tuple(doubts)


def _notes(image: Micrograph, particles: Particles, reference: str) -> tuple[str, ...]:
    notes = notes_of(image)
    if image.pixel_size is None:
        notes.append("no pixel size: lengths and areas in px only")
    if len(particles) and not reference:
        notes.append("no bare support to compare with: no transmission")
    told = particles.provenance
    if told.get("from") == "picture":
        notes.append(f"particles taken as {told['polarity']}; {told['left_out']} others left out")
    if told.get("unsure_left_out"):
        notes.append(f"{told['unsure_left_out']} islands of which the model is not sure left out")
    return tuple(notes)


def _row(result: ParticleResult, reference: str) -> dict[str, Any]:
    table, pixels = result.table, result.particles.pixels
    figures = result.population.set_index("quantity")["value"]
    sizes = table.loc[table["aggregate_size"] > 1, "aggregate_id"]
    whole = max(int(np.count_nonzero(pixels.valid)), 1)
    return {
        "image": result.name,
        "particles": len(table),
        "at_border": int(table["touches_border"].sum()),
        "aggregates": int(sizes.nunique()),
        "coverage": float(figures["coverage"]),
        "hole_share": float(np.count_nonzero(pixels.holes & pixels.valid) / whole),
        "reference": reference,
        **image_facts(result, result.doubts, float(pixels.valid.mean())),
    }


def _comparable(fields: Sequence[Field], table: pd.DataFrame) -> list[Field]:
    """Fields in one unit of area; none has a density where some images have no scale."""
    mixed = table["lateral_size_um"].isna().any() and table["lateral_size_um"].notna().any()
    return [replace(f, area=float("nan")) for f in fields] if mixed else list(fields)


def _told(settings: Settings) -> dict[str, Any]:
    return {
        "pixel_size": settings.pixel_size,
        "scale_bar_length": settings.scale_bar_length,
        "magnification_table": settings.magnification_table,
        "border": settings.border,
        "thin_below": settings.limits.thin,
        "medium_below": settings.limits.medium,
    }
