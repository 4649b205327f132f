"""The folder that a coverage run leaves behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope.core.coverage import COVERAGE_COLUMNS, CoverageRun, SurfaceResult
from layerscope.io.spm import write_gwy
from layerscope.io.tables import write_table
from layerscope.report.columns import percent_text
from layerscope.report.coverage_glance import Glance, glance_at, step_text
from layerscope.report.coverage_pictures import draw_surface, layer_image, layer_numbers
from layerscope.report.coverage_sections import coverage_sections, coverage_title
from layerscope.report.run_folder import RunFolder, RunTable
from layerscope.report.values import Section, Skipped

if TYPE_CHECKING:
    from layerscope.tasks.growth import GrowthStudy

_OVERLAY_PX = 1024


class CoverageFolder(RunFolder[SurfaceResult, CoverageRun, Glance]):
    """Masks, overlays, scans, tables and report of ``run_coverage``.

    Examples
    --------
    >>> folder = CoverageFolder("out")  # doctest: +SKIP
    >>> folder.finish(run_coverage(["scans/"], on_result=folder))  # doctest: +SKIP
    """

    inside = ("masks", "overlays", "scans")

    def __init__(self, folder: str | Path):
        super().__init__(folder)
        self._history: dict[str, list[str]] = {}
        self._study: GrowthStudy | None = None

    def write_image(self, result: SurfaceResult, stem: str) -> Mapping[str, Any]:
        """Write layers, overlay, and heights as a scan."""
        self._write_picture("masks", stem, layer_image(result.coverage))
        overlay = draw_surface(result, longest_px=_OVERLAY_PX, title=_title(result))
        self._write_picture("overlays", stem, overlay)
        if result.micrograph.value_unit == "nm":
            _write_scan(result, self._target / "scans" / f"{stem}.gwy")
        steps = result.micrograph.history
        self._history[result.name] = [step_text(step) for step in steps]
        return {
            "files": stem,
            "terraces": [asdict(t) for t in result.coverage.terraces],
            "history": [{"step": s.name, **dict(s.parameters)} for s in steps],
            "coverage_provenance": dict(result.coverage.provenance),
        }

    def rank(self, result: SurfaceResult) -> int:
        """Doubtful ones first."""
        return int(not result.coverage.doubts)

    def look(self, result: SurfaceResult) -> Glance:
        """Pictures, coverage and histogram."""
        return glance_at(result)

    def tables(self, run: CoverageRun) -> Iterator[RunTable]:
        """Images, and domains where they were measured."""
        yield RunTable("images", run.images, COVERAGE_COLUMNS)
        if len(run.domains):
            yield RunTable("domains", run.domains, COVERAGE_COLUMNS)

    def finish(
        self, run: CoverageRun, study: GrowthStudy | None = None, *, report: bool = True
    ) -> Path:
        """Write tables, ``run.json`` and the report of `run`, and return the folder.

        A growth `study` adds its tables and pictures, and their sections.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        self._study = study
        return super().finish(run, report=report)

    def write_more(self, run: CoverageRun) -> None:
        """Write the films, and the growth study."""
        if run.films is not None and len(run.films):
            write_table(run.films, self._target / "films.csv")
        if self._study is not None:
            from layerscope.report.growth_sections import write_growth

            write_growth(self._study, self._target / "growth")

    def heading(self, run: CoverageRun) -> str:
        """Name the material, where it is known."""
        return coverage_title(run)

    def sections(self, run: CoverageRun, shown: Sequence[Glance]) -> Sequence[Section | Skipped]:
        """Return what the report says."""
        return coverage_sections(run, shown, self._history, self._study)


def _title(result: SurfaceResult) -> tuple[str, str]:
    coverage = result.coverage
    share = percent_text(coverage.fraction, coverage.low, coverage.high)
    doubt = ", doubtful" if coverage.doubts else ""
    return result.name, f"coverage {share}, {coverage.method}{doubt}"


def _write_scan(result: SurfaceResult, path: Path) -> None:
    """Levelled heights under the film as a mask, and the layer numbers, for Gwyddion."""
    image, film = result.micrograph, result.coverage.film
    layers = layer_numbers(result.coverage)[film.labels].astype(np.float32)
    heights = replace(image, metadata={"channel": "Levelled height"})
    counted = np.where(film.valid, layers, np.float32("nan"))
    number = replace(image, data=counted, value_unit="", metadata={"channel": "Layers"})
    mask = (layers > 0) & film.valid
    write_gwy(path, (heights, number), {"Levelled height": mask})
