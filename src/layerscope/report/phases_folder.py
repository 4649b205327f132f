"""The folder that a phases run leaves behind, written image by image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from layerscope.core.segmentation import (
    AREA_COLUMNS,
    PHASE_COLUMNS,
    ClassMasks,
    PhaseResult,
    PhaseRun,
)
from layerscope.io.annotated.class_masks import write_mask
from layerscope.io.atomic import write_bytes
from layerscope.io.tables import write_table
from layerscope.report.coverage_pictures import encode_png
from layerscope.report.phases_pictures import class_image, draw_phases
from layerscope.report.phases_sections import N_GALLERY, PhaseGlance, area_text, phase_sections
from layerscope.report.run_files import FileStems, json_bytes, make_folder

_OVERLAY_PX = 1024
_PICTURE_PX = 560


class PhasesFolder:
    """Writes a run's folder: ``run_phases(images, model, on_result=folder)``, ``folder.finish``.

    Of each image only what the report shows is kept, and of that the `N_GALLERY` most urgent.

    Parameters
    ----------
    folder : path
        Made if missing; files of an earlier run in it are replaced.

    Raises
    ------
    CannotWrite
        If it cannot be made.
    """

    def __init__(self, folder: str | Path):
        self._target = make_folder(folder, "classes", "overlays")
        self._glances: list[PhaseGlance] = []
        self._files: dict[str, str] = {}
        self._stems = FileStems()

    def __call__(self, result: PhaseResult) -> None:
        """Write the files of one image.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        stem = self._stems.of(result.name)
        self._files[result.name] = stem
        classes = encode_png(class_image(result.phases))
        write_bytes(self._target / "classes" / f"{stem}.png", classes)
        if isinstance(result.phases, ClassMasks):
            self._write_masks(result.phases, stem)
        overlay = draw_phases(result, longest_px=_OVERLAY_PX, title=(result.name,))
        write_bytes(self._target / "overlays" / f"{stem}.png", encode_png(overlay))
        self._show(result)

    def _write_masks(self, phases: ClassMasks, stem: str) -> None:
        """Write a mask per class, as `layerscope train phases` reads them once corrected."""
        for k, name in enumerate(phases.classes):
            folder = self._target / "masks" / name.replace("/", "_")
            folder.mkdir(parents=True, exist_ok=True)
            write_mask(folder / f"{stem}.png", phases.masks[..., k], ~phases.valid)

    def _show(self, result: PhaseResult) -> None:
        """Keep `result` for the gallery if it is among the most urgent so far."""
        full = len(self._glances) >= N_GALLERY
        if full and (not result.doubts, result.name) > self._glances[-1].urgency:
            return
        kept = [*self._glances, _glance_at(result)]
        self._glances = sorted(kept, key=lambda glance: glance.urgency)[:N_GALLERY]

    def finish(self, run: PhaseRun) -> Path:
        """Write tables, ``run.json`` and the report of `run`, and return the folder.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        parts = (("images", run.images, PHASE_COLUMNS), ("areas", run.areas, AREA_COLUMNS))
        for name, table, columns in parts:
            units = {c.name: c.unit for c in columns}
            write_table(table, self._target / f"{name}.csv")
            write_table(table, self._target / f"{name}.parquet", units=units)
        write_bytes(self._target / "run.json", self._run_json(run))
        self._write_report(run)
        return self._target

    def _write_report(self, run: PhaseRun) -> None:
        from layerscope.report.html import page_html
        from layerscope.report.pdf import pdf_bytes

        sections = phase_sections(run, self._glances)
        version = str(run.provenance.get("version", ""))
        page = page_html("Phases", sections, version=version)
        write_bytes(self._target / "report.html", page.encode())
        pdf = pdf_bytes("Phases", sections, version=version)
        write_bytes(self._target / "report.pdf", pdf)

    def _run_json(self, run: PhaseRun) -> bytes:
        rows = run.images.astype(object).where(run.images.notna(), None).to_dict("records")
        areas = run.areas.astype(object).where(run.areas.notna(), None).to_dict("records")
        document: dict[str, Any] = {
            "provenance": run.provenance,
            "parameters": run.parameters,
            "images": [{**row, "files": self._files.get(str(row["image"]))} for row in rows],
            "areas": areas,
            "failures": [{"path": f.path, "reason": f.reason} for f in run.failures],
        }
        return json_bytes(document)


def _glance_at(result: PhaseResult) -> PhaseGlance:
    return PhaseGlance(
        result.name,
        "; ".join(f"{a.name} {area_text(a.fraction, a.low, a.high)}" for a in result.areas),
        result.doubts,
        draw_phases(result, longest_px=_PICTURE_PX, tinted=False),
        draw_phases(result, longest_px=_PICTURE_PX),
    )
