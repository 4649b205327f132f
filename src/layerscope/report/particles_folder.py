"""The folder that a particles run leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from layerscope.core.particles import (
    PARTICLE_IMAGE_COLUMNS,
    POPULATION_COLUMNS,
    ParticleResult,
    ParticleRun,
)
from layerscope.io.annotations import write_instances
from layerscope.io.xlsx_book import Sheet, write_xlsx
from layerscope.measure.particles import particle_columns
from layerscope.report.columns import figures_of
from layerscope.report.gallery import Glance
from layerscope.report.instance_list import InstanceList
from layerscope.report.overlay_folder import OverlayFolder
from layerscope.report.panels import Rgb
from layerscope.report.particles_pictures import draw_particles
from layerscope.report.particles_sections import particle_sections
from layerscope.report.run_folder import RunTable
from layerscope.report.scan_text import counted
from layerscope.report.values import Section, Skipped


class ParticlesFolder(OverlayFolder[ParticleResult, ParticleRun]):
    """Masks, overlays, COCO instances, tables, workbook and report of ``run_particles``."""

    inside = ("masks", "overlays")
    title = "Particles"

    def __init__(self, folder: str | Path):
        super().__init__(folder)
        self._instances = InstanceList("particle_id", ("particle",))

    def write_image(self, result: ParticleResult, stem: str) -> Mapping[str, Any]:
        """Write masks and overlay."""
        masks = result.particles.masks
        write_instances(self._target / "masks" / f"{stem}.png", masks)
        self._instances.add(result, masks, result.particles.score.tolist())
        return super().write_image(result, stem)

    def draw(self, result: ParticleResult, longest_px: int, title: Sequence[str] = ()) -> Rgb:
        """Draw the particles."""
        return draw_particles(result, longest_px, title)

    def line(self, result: ParticleResult) -> str:
        """Say how many there are, and their median size."""
        row = result.population[result.population["quantity"] == "lateral_size_median"].iloc[0]
        value, unit = float(row["value"]), str(row["unit"])
        line = counted(len(result.particles), "particle")
        if value == value:
            line += f", median lateral size {figures_of(value)} {'µm' if unit == 'um' else unit}"
        return line

    def tables(self, run: ParticleRun) -> Sequence[RunTable]:
        """Images, particles, and figures of both."""
        return (
            RunTable("images", run.images, PARTICLE_IMAGE_COLUMNS),
            RunTable("particles", run.particles, particle_columns()),
            RunTable("population", run.population, POPULATION_COLUMNS),
        )

    def write_more(self, run: ParticleRun) -> None:
        """Write the workbook and the COCO instances."""
        write_xlsx(self._target / "particles.xlsx", [_sheet(t) for t in self.tables(run)])
        self._instances.write(self._target, str(run.provenance.get("version", "")))

    def sections(self, run: ParticleRun, shown: Sequence[Glance]) -> Sequence[Section | Skipped]:
        """Return what the report says."""
        return particle_sections(run, shown)


def _sheet(one: RunTable) -> Sheet:
    rows = one.table.astype(object).where(one.table.notna(), None).to_numpy().tolist()
    return Sheet(one.name, tuple(one.table.columns), rows)
