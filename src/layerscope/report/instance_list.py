"""Masks of objects as COCO instances, gathered image by image; run lengths survive overlaps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from layerscope.core.results import CropMasks
from layerscope.core.run import TaskResult
from layerscope.io.atomic import write_bytes
from layerscope.io.rle import compress, run_lengths
from layerscope.report.run_files import json_bytes


class InstanceList:
    """COCO instances of a run.

    Parameters
    ----------
    number : str
        Key of an object's number in its image, e.g. ``crystal_id``.
    categories : sequence of str
        Others that images have come behind them.
    """

    def __init__(self, number: str, categories: Sequence[str]):
        self._number, self._categories = number, list(categories)
        self._images: list[dict[str, Any]] = []
        self._entries: list[dict[str, Any]] = []

    def add(
        self,
        result: TaskResult,
        masks: CropMasks,
        score: Sequence[float],
        category: Sequence[str] | None = None,
    ) -> None:
        """Add the objects of one image; without categories each is of the first."""
        height, width = result.micrograph.shape
        name = Path(result.path).name if result.path else result.name
        number = len(self._images) + 1
        image: dict[str, Any] = {"id": number, "file_name": name, "height": height, "width": width}
        if result.micrograph.pixel_size is not None:
            image["pixel_size_nm"] = result.micrograph.pixel_size.um * 1e3
        self._images.append(image)
        for k, (where, crop) in enumerate(masks):
            top, left = where[0].start, where[1].start
            counts = compress(run_lengths(crop, (top, left), masks.shape))
            kind = self._kind(category[k]) if category else 1
            self._entries.append({
                "id": len(self._entries) + 1, "image_id": number, "category_id": kind,
                "segmentation": {"size": [height, width], "counts": counts},
                "area": int(crop.sum()), "bbox": [left, top, crop.shape[1], crop.shape[0]],
                "iscrowd": 0, "score": round(float(score[k]), 6), self._number: k + 1,
            })  # fmt: skip

    def _kind(self, name: str) -> int:
        if name not in self._categories:
            self._categories.append(name)
        return self._categories.index(name) + 1

    def write(self, folder: Path, version: str) -> None:
        """Write ``annotations.coco.json``.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        document = {
            "info": {"version": version},
            "images": self._images,
            "categories": [{"id": k, "name": s} for k, s in enumerate(self._categories, 1)],
            "annotations": self._entries,
        }
        write_bytes(folder / "annotations.coco.json", json_bytes(document))
