"""Sites of a scan: how its images lie on the stage, and every region of the wafer once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope.batch.parts import Failed, part_path, read_found, read_part
from layerscope.batch.plan import Input, Plan
from layerscope.batch.work import ROW
from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.results import BoolArray, CropMasks, IntArray
from layerscope.core.scan import View
from layerscope.core.stage import StageAffine
from layerscope.errors import InputError
from layerscope.finding import Found
from layerscope.io import read
from layerscope.io.atomic import write_bytes
from layerscope.ops.stage import fit_affine
from layerscope.tasks.wafer import STAGE_ERROR_UM, locate_sites

if TYPE_CHECKING:
    import pandas as pd

_FILE = "stage.json"


def find_sites(plan: Plan, objects: pd.DataFrame) -> tuple[pd.DataFrame, StageAffine | None]:
    """Count each region of the wafer once.

    Parameters
    ----------
    plan : Plan
        Of a scan whose parts are complete.
    objects : pandas.DataFrame
        Its objects table.

    Returns
    -------
    sites : pandas.DataFrame
        `core.scan.SITE_COLUMNS`.
    affine : StageAffine or None
        None where images have no position, or nothing says how they lie; `read_affine` has notes.
    """
    masks = _Masks(plan)
    views = [
        View(item.name, row.shape, item.position, row.pixel_size, masks.of(item))
        for item, row in _analysed(plan)
    ]
    affine, notes = _affine(plan, views)
    _save(plan.folder, affine, notes)
    # Pairs of a stage that misses its targets are found three standard deviations apart.
    error_um = max(STAGE_ERROR_UM, 3 * (affine.rms_um or 0.0) if affine else 0.0)
    return locate_sites(views, objects, affine, stage_error_um=error_um), affine


def outline_reader(plan: Plan) -> Callable[[str, int], BoolArray | None]:
    """Reader of the mask of one region, as ``(image, region_id)``, for the pictures of a report."""
    masks, inputs = _Masks(plan), {i.name: i for i in plan.inputs}

    def read_outline(image: str, region_id: int) -> BoolArray | None:
        item = inputs.get(image)
        crops = masks.of(item)().crops if item else ()
        return crops[region_id - 1] if region_id <= len(crops) else None

    return read_outline


def read_affine(folder: Path) -> tuple[StageAffine | None, tuple[str, ...]]:
    """Read the affine of a finished scan, and what was noted about it."""
    document = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    found = document["affine"]
    if found is None:
        return None, tuple(document["notes"])
    matrix = np.array(found.pop("matrix"), float)
    return StageAffine(matrix, **found), tuple(document["notes"])


def _save(folder: Path, affine: StageAffine | None, notes: tuple[str, ...]) -> None:
    known = affine and {
        "matrix": affine.matrix.tolist(),
        "source": affine.source,
        "rms_um": affine.rms_um,
        "n_pairs": affine.n_pairs,
    }
    text = json.dumps({"affine": known, "notes": list(notes)}, ensure_ascii=False, indent=1)
    write_bytes(folder / _FILE, (text + "\n").encode())


def _analysed(plan: Plan) -> Iterator[tuple[Input, Found]]:
    for chunk in range(plan.n_chunks):
        rows = read_found(part_path(plan.folder, "find", chunk), masks=False)
        for item, row in zip(plan.chunk(chunk), rows, strict=True):
            if not isinstance(row, Failed):
                yield item, row


def _affine(plan: Plan, views: list[View]) -> tuple[StageAffine | None, tuple[str, ...]]:
    placed = [v for v in views if v.position is not None]
    if not placed:
        return None, ("no stage positions: every region is a site of its own; see --positions",)
    paths = {i.name: i.path for i in plan.inputs}
    sizes = [v.pixel_size for v in placed if v.pixel_size is not None]
    size: PixelSize | None = sorted(sizes, key=lambda s: s.um)[len(sizes) // 2] if sizes else None

    def picture(number: int) -> Micrograph:
        return read(paths[placed[number].name], max_pixels=plan.settings.max_pixels)

    try:
        affine = fit_affine([v.position for v in placed], picture, pixel_size=size)
    except InputError as error:  # no overlap and no pixel size, or the images are gone
        if size is None:
            return None, (str(error),)
        told = StageAffine.from_pixel_size(size)
        return told, (f"image axes taken as the stage's x and y: {error}",)
    return affine, affine.notes


class _Masks:
    """Masks of the regions in the objects table, read chunk by chunk when they are asked for."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self._chunk = lru_cache(maxsize=4)(self._read)

    def of(self, item: Input) -> Callable[[], CropMasks]:
        """Reader of one image's masks."""
        return lambda: self._chunk(item.number // self._plan.chunk_images)[item.name]

    def _read(self, chunk: int) -> Mapping[str, CropMasks]:
        rows = read_found(part_path(self._plan.folder, "find", chunk))
        kept = _kept_rows(part_path(self._plan.folder, "measure", chunk))
        none = np.zeros(0, np.int64)
        return {
            r.source.name: r.detections.masks.take(kept.get(r.source.name, none))
            for r in rows
            if not isinstance(r, Failed)
        }


def _kept_rows(path: Path) -> dict[str, IntArray]:
    table = read_part(path)
    if not table.num_rows:
        return {}
    frame: Any = table.select(["image", ROW]).to_pandas()
    return {str(name): rows[ROW].to_numpy() for name, rows in frame.groupby("image", sort=False)}
