"""The folder that a crystals run leaves behind, written image by image."""

from __future__ import annotations

from collections import Counter
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
from layerscope.io.atomic import write_bytes
from layerscope.io.rle import compress, run_lengths
from layerscope.io.tables import write_table
from layerscope.report.coverage_pictures import encode_png
from layerscope.report.crystals_pictures import draw_crystals
from layerscope.report.crystals_sections import N_GALLERY, CrystalGlance, crystal_sections
from layerscope.report.run_files import FileStems, json_bytes, make_folder
from layerscope.report.scan_text import counted

_OVERLAY_PX = 1280
_PICTURE_PX = 560


class CrystalsFolder:
    """Writes a run's folder: ``run_crystals(images, on_result=folder)``, then ``finish``.

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
        self._target = make_folder(folder, "masks", "overlays")
        self._glances: list[CrystalGlance] = []
        self._files: dict[str, str] = {}
        self._stems = FileStems()
        self._images: list[dict[str, Any]] = []
        self._entries: list[dict[str, Any]] = []
        self._categories = list(SHAPE_NAMES)

    def __call__(self, result: CrystalResult) -> None:
        """Write the files of one image.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        stem = self._stems.of(result.name)
        self._files[result.name] = stem
        write_instances(self._target / "masks" / f"{stem}.png", result.masks)
        overlay = draw_crystals(result, longest_px=_OVERLAY_PX, title=(result.name,))
        write_bytes(self._target / "overlays" / f"{stem}.png", encode_png(overlay))
        self._list(result)
        full = len(self._glances) >= N_GALLERY
        if full and (not result.doubts, result.name) > self._glances[-1].urgency:
            return
        kept = [*self._glances, _glance_at(result)]
        self._glances = sorted(kept, key=lambda glance: glance.urgency)[:N_GALLERY]

    def _list(self, result: CrystalResult) -> None:
        """Keep the masks of one image as COCO run lengths; a model's classes, or shapes."""
        height, width = result.micrograph.shape
        name = Path(result.path).name if result.path else result.name
        number = len(self._images) + 1
        image: dict[str, Any] = {"id": number, "file_name": name, "height": height, "width": width}
        if result.micrograph.pixel_size is not None:
            image["pixel_size_nm"] = result.micrograph.pixel_size.um * 1e3
        self._images.append(image)
        rows = result.table.to_dict("records")
        for (where, crop), row in zip(result.masks, rows, strict=True):
            top, left = where[0].start, where[1].start
            counts = compress(run_lengths(crop, (top, left), result.masks.shape))
            self._entries.append({
                "id": len(self._entries) + 1, "image_id": number,
                "category_id": self._category(row["class"] or row["shape"]),
                "segmentation": {"size": [height, width], "counts": counts},
                "area": int(crop.sum()), "bbox": [left, top, crop.shape[1], crop.shape[0]],
                "iscrowd": 0, "score": round(float(row["score"]), 6),
                "crystal_id": int(row["crystal_id"]),
            })  # fmt: skip

    def _category(self, name: str) -> int:
        """Give a category its number; names that are no shapes come behind them."""
        if name not in self._categories:
            self._categories.append(name)
        return self._categories.index(name) + 1

    def finish(self, run: CrystalRun, *, report: bool = True) -> Path:
        """Write tables, COCO, ``run.json`` and the report of `run`, and return the folder.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        for name, table, columns in (
            ("images", run.images, CRYSTAL_IMAGE_COLUMNS),
            ("crystals", run.crystals, CRYSTAL_COLUMNS),
        ):
            write_table(table, self._target / f"{name}.csv")
            units = {c.name: c.unit for c in columns}
            write_table(table, self._target / f"{name}.parquet", units=units)
        coco = {
            "info": {"version": str(run.provenance.get("version", ""))},
            "images": self._images,
            "categories": [{"id": k, "name": s} for k, s in enumerate(self._categories, 1)],
            "annotations": self._entries,
        }
        write_bytes(self._target / "annotations.coco.json", json_bytes(coco))
        write_bytes(self._target / "run.json", self._run_json(run))
        if report:
            self._write_report(run)
        return self._target

    def _write_report(self, run: CrystalRun) -> None:
        from layerscope.report.html import page_html
        from layerscope.report.pdf import pdf_bytes

        sections = crystal_sections(run, self._glances)
        title, version = "Grown crystals", str(run.provenance.get("version", ""))
        page = page_html(title, sections, version=version)
        write_bytes(self._target / "report.html", page.encode())
        write_bytes(self._target / "report.pdf", pdf_bytes(title, sections, version=version))

    def _run_json(self, run: CrystalRun) -> bytes:
        rows = run.images.astype(object).where(run.images.notna(), None).to_dict("records")
        return json_bytes({
            "provenance": run.provenance,
            "parameters": run.parameters,
            "images": [{**row, "files": self._files.get(str(row["image"]))} for row in rows],
            "failures": [{"path": f.path, "reason": f.reason} for f in run.failures],
        })  # fmt: skip


def _glance_at(result: CrystalResult) -> CrystalGlance:
    counts = Counter(result.table["shape"].tolist())
    kinds = [
        f"{counts[s]} {'cut by the border' if s == 'unknown' else s}"
        for s in SHAPE_NAMES
        if counts[s]
    ]
    line = counted(len(result.table), "crystal") + (f": {', '.join(kinds)}" if kinds else "")
    return CrystalGlance(
        result.name,
        line,
        result.doubts,
        draw_crystals(result, longest_px=_PICTURE_PX, marked=False),
        draw_crystals(result, longest_px=_PICTURE_PX),
    )
