"""The folder that a crystals run leaves behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from layerscope.core.crystals import (
    CRYSTAL_COLUMNS,
    CRYSTAL_IMAGE_COLUMNS,
    SHAPE_NAMES,
    CrystalResult,
    CrystalRun,
)
from layerscope.io.annotations import write_instances
from layerscope.report.columns import words
from layerscope.report.crystals_pictures import draw_crystals
from layerscope.report.crystals_sections import crystal_sections
from layerscope.report.gallery import Glance
from layerscope.report.instance_list import InstanceList
from layerscope.report.overlay_folder import OverlayFolder
from layerscope.report.panels import Rgb
from layerscope.report.run_folder import RunTable
from layerscope.report.scan_text import counted
from layerscope.report.values import Section, Skipped


class CrystalsFolder(OverlayFolder[CrystalResult, CrystalRun]):
    """Masks, overlays, COCO instances, tables and report of ``run_crystals``."""

    inside = ("masks", "overlays")
    title = "Grown crystals"
    overlay_px = 1280

    def __init__(self, folder: str | Path):
        super().__init__(folder)
        self._instances = InstanceList("crystal_id", SHAPE_NAMES)

    def write_image(self, result: CrystalResult, stem: str) -> Mapping[str, Any]:
        """Write masks and overlay."""
        write_instances(self._target / "masks" / f"{stem}.png", result.masks)
        pairs = zip(words(result.table, "class"), words(result.table, "shape"), strict=True)
        names = [name or shape for name, shape in pairs]  # those of a model, or shapes
        self._instances.add(result, result.masks, list(result.table["score"]), names)
        return super().write_image(result, stem)

    def draw(self, result: CrystalResult, longest_px: int, title: Sequence[str] = ()) -> Rgb:
        """Draw the crystals."""
        return draw_crystals(result, longest_px, title)

    def line(self, result: CrystalResult) -> str:
        """Say how many there are of each shape."""
        counts = Counter(result.table["shape"].tolist())
        kinds = [
            f"{counts[s]} {'cut by the border' if s == 'unknown' else s}"
            for s in SHAPE_NAMES
            if counts[s]
        ]
        return counted(len(result.table), "crystal") + (f": {', '.join(kinds)}" if kinds else "")

    def tables(self, run: CrystalRun) -> Sequence[RunTable]:
        """Images and crystals."""
        return (
            RunTable("images", run.images, CRYSTAL_IMAGE_COLUMNS),
            RunTable("crystals", run.crystals, CRYSTAL_COLUMNS),
        )

    def write_more(self, run: CrystalRun) -> None:
        """Write the COCO instances."""
        self._instances.write(self._target, str(run.provenance.get("version", "")))

    def sections(self, run: CrystalRun, shown: Sequence[Glance]) -> Sequence[Section | Skipped]:
        """Return what the report says."""
        return crystal_sections(run, shown)
