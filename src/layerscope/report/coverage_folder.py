"""The folder that a coverage run leaves behind, written image by image."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from layerscope.core.coverage import COVERAGE_COLUMNS, CoverageRun, SurfaceResult
from layerscope.io.atomic import write_bytes
from layerscope.io.spm import write_gwy
from layerscope.io.tables import write_table
from layerscope.report.coverage_glance import Glance, glance_at, step_text
from layerscope.report.coverage_pictures import (
    draw_surface,
    encode_png,
    layer_image,
    layer_numbers,
    percent_text,
)
from layerscope.report.coverage_sections import N_GALLERY, coverage_sections, coverage_title
from layerscope.report.growth_sections import write_growth
from layerscope.report.run_files import FileStems, json_bytes, make_folder
from layerscope.tasks.growth import GrowthStudy

_OVERLAY_PX = 1024


class CoverageFolder:
    """Writes a run's folder: ``run_coverage(images, on_result=folder)``, then ``folder.finish``.

    Of each image only what the report shows is kept, and of that the `N_GALLERY` most urgent.

    Parameters
    ----------
    folder : path
        Made if missing; files of an earlier run in it are replaced.

    Raises
    ------
    CannotWrite
        If it cannot be made.

    Examples
    --------
    >>> folder = CoverageFolder("out")  # doctest: +SKIP
    >>> folder.finish(run_coverage(["scans/"], on_result=folder))  # doctest: +SKIP
    """

    def __init__(self, folder: str | Path):
        self._target = make_folder(folder, "masks", "overlays", "scans")
        self._glances: list[Glance] = []
        self._history: dict[str, list[str]] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._stems = FileStems()

    def __call__(self, result: SurfaceResult) -> None:
        """Write the files of one image.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        stem = self._stems.of(result.name)
        write_bytes(
            self._target / "masks" / f"{stem}.png", encode_png(layer_image(result.coverage))
        )
        overlay = draw_surface(result, longest_px=_OVERLAY_PX, title=_title(result))
        write_bytes(self._target / "overlays" / f"{stem}.png", encode_png(overlay))
        if result.micrograph.value_unit == "nm":
            _write_scan(result, self._target / "scans" / f"{stem}.gwy")
        steps = result.micrograph.history
        self._history[result.name] = [step_text(step) for step in steps]
        self._facts[result.name] = {
            "files": stem,
            "terraces": [asdict(t) for t in result.coverage.terraces],
            "history": [{"step": s.name, **dict(s.parameters)} for s in steps],
            "coverage_provenance": dict(result.coverage.provenance),
        }
        self._show(result)

    def _show(self, result: SurfaceResult) -> None:
        """Keep `result` for the gallery if it is among the most urgent so far."""
        full = len(self._glances) >= N_GALLERY
        if full and (not result.coverage.doubts, result.name) > self._glances[-1].urgency:
            return
        kept = [*self._glances, glance_at(result)]
        self._glances = sorted(kept, key=lambda glance: glance.urgency)[:N_GALLERY]

    def finish(self, run: CoverageRun, study: GrowthStudy | None = None) -> Path:
        """Write tables, ``run.json`` and the report of `run`, and return the folder.

        A growth `study` adds its tables and pictures, and their sections.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        target, units = self._target, {c.name: c.unit for c in COVERAGE_COLUMNS}
        for name, table in (("images", run.images), ("domains", run.domains)):
            if name == "images" or len(table):
                write_table(table, target / f"{name}.csv")
                write_table(table, target / f"{name}.parquet", units=units)
        if run.films is not None and len(run.films):
            write_table(run.films, target / "films.csv")
        if study is not None:
            write_growth(study, target / "growth")
        write_bytes(target / "run.json", self._run_json(run))
        self._write_report(run, study)
        return target

    def _write_report(self, run: CoverageRun, study: GrowthStudy | None) -> None:
        from layerscope.report.html import page_html
        from layerscope.report.pdf import pdf_bytes

        sections = coverage_sections(run, self._glances, self._history, study)
        title, version = coverage_title(run), str(run.provenance.get("version", ""))
        page = page_html(title, sections, version=version)
        write_bytes(self._target / "report.html", page.encode())
        write_bytes(self._target / "report.pdf", pdf_bytes(title, sections, version=version))

    def _run_json(self, run: CoverageRun) -> bytes:
        rows = run.images.astype(object).where(run.images.notna(), None).to_dict("records")
        document = {
            "provenance": run.provenance,
            "parameters": run.parameters,
            "images": [{**row, **self._facts.get(str(row["image"]), {})} for row in rows],
            "failures": [{"path": f.path, "reason": f.reason} for f in run.failures],
        }
        return json_bytes(document)


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
