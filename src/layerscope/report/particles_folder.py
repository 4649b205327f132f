"""The folder that a particles run leaves behind, written image by image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscope.core.particles import (
    PARTICLE_IMAGE_COLUMNS,
    POPULATION_COLUMNS,
    ParticleResult,
    ParticleRun,
)
from layerscope.errors import CannotWrite
from layerscope.io.annotations import write_instances
from layerscope.io.atomic import write_bytes
from layerscope.io.rle import compress, run_lengths
from layerscope.io.tables import write_table
from layerscope.io.xlsx_book import Sheet, write_xlsx
from layerscope.measure.particles import particle_columns
from layerscope.report.columns import figures_of
from layerscope.report.coverage_pictures import encode_png
from layerscope.report.particles_pictures import draw_particles
from layerscope.report.particles_sections import N_GALLERY, ParticleGlance, particle_sections
from layerscope.report.run_files import FileStems, plain

if TYPE_CHECKING:
    import pandas as pd

_OVERLAY_PX = 1024
_PICTURE_PX = 560


class ParticlesFolder:
    """Writes a run's folder: ``run_particles(images, source, on_result=folder)``, then ``finish``.

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
        self._target = Path(folder)
        try:
            for name in ("masks", "overlays"):
                (self._target / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotWrite(
                f"cannot write to {folder}: {error.strerror}; choose another -o"
            ) from None
        self._glances: list[ParticleGlance] = []
        self._files: dict[str, str] = {}
        self._stems = FileStems()
        self._images: list[dict[str, Any]] = []
        self._entries: list[dict[str, Any]] = []

    def __call__(self, result: ParticleResult) -> None:
        """Write the files of one image.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        stem = self._stems.of(result.name)
        self._files[result.name] = stem
        write_instances(self._target / "masks" / f"{stem}.png", result.particles.masks)
        overlay = draw_particles(result, longest_px=_OVERLAY_PX, title=(result.name,))
        write_bytes(self._target / "overlays" / f"{stem}.png", encode_png(overlay))
        self._list(result)
        full = len(self._glances) >= N_GALLERY
        if full and (not result.doubts, result.name) > self._glances[-1].urgency:
            return
        kept = [*self._glances, _glance_at(result)]
        self._glances = sorted(kept, key=lambda glance: glance.urgency)[:N_GALLERY]

    def _list(self, result: ParticleResult) -> None:
        """Keep the masks of one image as COCO run lengths, which overlaps survive."""
        height, width = result.micrograph.shape
        name = Path(result.path).name if result.path else result.name
        number = len(self._images) + 1
        image: dict[str, Any] = {"id": number, "file_name": name, "height": height, "width": width}
        if result.micrograph.pixel_size is not None:
            image["pixel_size_nm"] = result.micrograph.pixel_size.um * 1e3
        self._images.append(image)
        masks, score = result.particles.masks, result.particles.score
        for k, ((top, left, bottom, right), crop) in enumerate(
            zip(masks.boxes.tolist(), masks.crops, strict=True)
        ):
            counts = compress(run_lengths(crop, (top, left), masks.shape))
            self._entries.append({
                "id": len(self._entries) + 1, "image_id": number, "category_id": 1,
                "segmentation": {"size": [height, width], "counts": counts},
                "area": int(masks.area_px[k]), "bbox": [left, top, right - left, bottom - top],
                "iscrowd": 0, "score": round(float(score[k]), 6), "particle_id": k + 1,
            })  # fmt: skip

    def finish(self, run: ParticleRun) -> Path:
        """Write tables, COCO, ``run.json`` and the report of `run`, and return the folder.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        parts = (
            ("images", run.images, PARTICLE_IMAGE_COLUMNS),
            ("particles", run.particles, particle_columns()),
            ("population", run.population, POPULATION_COLUMNS),
        )
        for name, table, columns in parts:
            units = {c.name: c.unit for c in columns}
            write_table(table, self._target / f"{name}.csv")
            write_table(table, self._target / f"{name}.parquet", units=units)
        write_xlsx(
            self._target / "particles.xlsx", [_sheet(name, table) for name, table, _ in parts]
        )  # fmt: skip
        coco = {
            "info": {"version": str(run.provenance.get("version", ""))}, "images": self._images,
            "categories": [{"id": 1, "name": "particle"}], "annotations": self._entries,
        }  # fmt: skip
        write_bytes(self._target / "annotations.coco.json", _json(coco))
        write_bytes(self._target / "run.json", self._run_json(run))
        self._write_report(run)
        return self._target

    def _write_report(self, run: ParticleRun) -> None:
        from layerscope.report.html import page_html
        from layerscope.report.pdf import pdf_bytes

        sections = particle_sections(run, self._glances)
        version = str(run.provenance.get("version", ""))
        page = page_html("Particles", sections, version=version)
        write_bytes(self._target / "report.html", page.encode())
        pdf = pdf_bytes("Particles", sections, version=version)
        write_bytes(self._target / "report.pdf", pdf)

    def _run_json(self, run: ParticleRun) -> bytes:
        rows = run.images.astype(object).where(run.images.notna(), None).to_dict("records")
        document: dict[str, Any] = {
            "provenance": run.provenance,
            "parameters": run.parameters,
            "images": [{**row, "files": self._files.get(str(row["image"]))} for row in rows],
            "failures": [{"path": f.path, "reason": f.reason} for f in run.failures],
        }
        return _json(document)


def _sheet(name: str, table: pd.DataFrame) -> Sheet:
    rows = table.astype(object).where(table.notna(), None).to_numpy().tolist()
    return Sheet(name, tuple(table.columns), rows)


def _json(document: Any) -> bytes:
    text = json.dumps(plain(document), indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def _glance_at(result: ParticleResult) -> ParticleGlance:
    n = len(result.particles)
    row = result.population[result.population["quantity"] == "lateral_size_median"].iloc[0]
    value, unit = float(row["value"]), str(row["unit"])
    line = f"{n} particle{'' if n == 1 else 's'}"
    if value == value:
        line += f", median lateral size {figures_of(value)} {'µm' if unit == 'um' else unit}"
    return ParticleGlance(
        result.name,
        line,
        result.doubts,
        draw_particles(result, longest_px=_PICTURE_PX, marked=False),
        draw_particles(result, longest_px=_PICTURE_PX),
    )
