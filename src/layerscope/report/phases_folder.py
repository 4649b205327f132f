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
from layerscope.report.overlay_folder import OverlayFolder
from layerscope.report.panels import Rgb
from layerscope.report.phases_pictures import class_image, draw_phases
from layerscope.report.phases_sections import area_text, phase_sections
from layerscope.report.run_folder import RunTable
from layerscope.report.values import Section, Skipped


class PhasesFolder(OverlayFolder[PhaseResult, PhaseRun]):
    """Class pictures, overlays, tables and report of ``run_phases``."""

    inside = ("classes", "overlays")
    title = "Phases"
    listed = ("areas",)

    def write_image(self, result: PhaseResult, stem: str) -> Mapping[str, Any]:
        """Write classes, masks where they overlap, and overlay."""
        self._write_picture("classes", stem, class_image(result.phases))
        if isinstance(result.phases, ClassMasks):
            self._write_masks(result.phases, stem)
        return super().write_image(result, stem)

    def draw(self, result: PhaseResult, longest_px: int, title: Sequence[str] = ()) -> Rgb:
        """Tint the classes."""
        return draw_phases(result, longest_px, title)

    def _write_masks(self, phases: ClassMasks, stem: str) -> None:
        """Write a mask per class, as `layerscope train phases` reads them once corrected."""
        for k, name in enumerate(phases.classes):
            folder = self._target / "masks" / name.replace("/", "_")
            folder.mkdir(parents=True, exist_ok=True)
            write_mask(folder / f"{stem}.png", phases.masks[..., k], ~phases.valid)

    def line(self, result: PhaseResult) -> str:
        """Say the shares of the classes."""
        return "; ".join(f"{a.name} {area_text(a.fraction, a.low, a.high)}" for a in result.areas)

    def tables(self, run: PhaseRun) -> Sequence[RunTable]:
        """Images and areas."""
        return (
            RunTable("images", run.images, PHASE_COLUMNS),
            RunTable("areas", run.areas, AREA_COLUMNS),
        )

    def sections(self, run: PhaseRun, shown: Sequence[Glance]) -> Sequence[Section | Skipped]:
        """Return what the report says."""
        return phase_sections(run, shown)
