"""The folder that a phases run leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from layerscope.core.segmentation import (
    AREA_COLUMNS,
    PHASE_COLUMNS,
    ClassMasks,
    PhaseResult,
    PhaseRun,
)
from layerscope.io.annotated.class_masks import write_mask
from layerscope.report.gallery import Glance
from layerscope.report.phases_pictures import class_image, draw_phases
from layerscope.report.phases_sections import area_text, phase_sections
from layerscope.report.run_folder import RunFolder, RunTable
from layerscope.report.values import Section, Skipped

_OVERLAY_PX = 1024
_PICTURE_PX = 560


class PhasesFolder(RunFolder[PhaseResult, PhaseRun, Glance]):
    """Class pictures, overlays, tables and report of ``run_phases``."""

    inside = ("classes", "overlays")
    title = "Phases"
    listed = ("areas",)

    def write_image(self, result: PhaseResult, stem: str) -> Mapping[str, Any]:
        """Write classes, masks where they overlap, and overlay."""
        self._write_picture("classes", stem, class_image(result.phases))
        if isinstance(result.phases, ClassMasks):
            self._write_masks(result.phases, stem)
        overlay = draw_phases(result, longest_px=_OVERLAY_PX, title=(result.name,))
        self._write_picture("overlays", stem, overlay)
        return {"files": stem}

    def _write_masks(self, phases: ClassMasks, stem: str) -> None:
        """Write a mask per class, as `layerscope train phases` reads them once corrected."""
        for k, name in enumerate(phases.classes):
            folder = self._target / "masks" / name.replace("/", "_")
            folder.mkdir(parents=True, exist_ok=True)
            write_mask(folder / f"{stem}.png", phases.masks[..., k], ~phases.valid)

    def rank(self, result: PhaseResult) -> int:
        """Doubtful ones first."""
        return int(not result.doubts)

    def look(self, result: PhaseResult) -> Glance:
        """Pictures, and the shares of the classes."""
        line = "; ".join(f"{a.name} {area_text(a.fraction, a.low, a.high)}" for a in result.areas)
        plain = draw_phases(result, longest_px=_PICTURE_PX, tinted=False)
        tinted = draw_phases(result, longest_px=_PICTURE_PX)
        return Glance(result.name, line, result.doubts, plain, tinted)

    def tables(self, run: PhaseRun) -> Sequence[RunTable]:
        """Images and areas."""
        return (
            RunTable("images", run.images, PHASE_COLUMNS),
            RunTable("areas", run.areas, AREA_COLUMNS),
        )

    def sections(self, run: PhaseRun, shown: Sequence[Glance]) -> Sequence[Section | Skipped]:
        """Return what the report says."""
        return phase_sections(run, shown)
