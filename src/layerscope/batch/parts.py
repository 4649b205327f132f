"""Parts on disk: what was found on the images of one chunk, as one Parquet file.

Masks are kept as packed bits of their crops; numbers keep all their digits, so that a table made
from a part equals one made without it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from layerscope.core.micrograph import PixelSize
from layerscope.core.results import BoolArray, CropMasks, Detections, IntArray, RegionSignal
from layerscope.core.scan import Status
from layerscope.errors import UnreadableFile
from layerscope.finding import Found
from layerscope.io.atomic import write_bytes
from layerscope.io.sources import Source, printable
from layerscope.ops.optical import Background


@dataclass(frozen=True)
class Failed:
    """An image that gave no result, and why."""

    source: Source
    status: Status
    reason: str


_RGB = ("level", "noise", "surface_se")
_SIGNAL = tuple(f.name for f in fields(RegionSignal))
_COLOURS = tuple(n for n in _SIGNAL if getattr(RegionSignal.empty(), n).ndim == 2)
_PROVENANCE = (
    "task", "software", "binning", "min_area_px", "flat_field", "finder", "model", "model_sha256",
)  # fmt: skip


def part_path(folder: Path, stage: str, chunk: int) -> Path:
    """Where a part lies."""
    return folder / "parts" / f"{stage}-{chunk:05d}.parquet"


def write_found(path: Path, rows: Sequence[Found | Failed]) -> str:
    """Write a ``find`` part; returns its SHA-256. The same rows give the same bytes.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    records = [_record(r) for r in rows]
    regions = [r.detections if isinstance(r, Found) else Detections.empty((1, 1)) for r in rows]
    table = pa.table(_columns(records) | _region_columns(regions))
    return write_part(path, table)


def write_part(path: Path, table: pa.Table) -> str:
    """Write any part atomically; returns its SHA-256."""
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd", write_statistics=False)
    content = buffer.getvalue()
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def read_found(path: Path, *, masks: bool = True) -> list[Found | Failed]:
    """Read a ``find`` part.

    Parameters
    ----------
    path : Path
    masks : bool
        Without them every mask is one empty pixel, and the file is read ten times faster.

    Returns
    -------
    list of Found or Failed
        In the order of the images. Of each background only its level, noise and standard error
        are kept.

    Raises
    ------
    UnreadableFile
        If the file is missing or damaged.
    """
    table = read_part(path, [] if masks else ["crops"])
    rows = table.select([c for c in table.column_names if not _is_list(table, c)]).to_pylist()
    lists = {c: _ragged(table, c) for c in table.column_names if _is_list(table, c)}
    return [
        _failed(r) if r["reason"] else _found(r, {c: v[i] for c, v in lists.items()})
        for i, r in enumerate(rows)
    ]


def read_part(path: Path, without: Sequence[str] = ()) -> pa.Table:
    """Read any part.

    Raises
    ------
    UnreadableFile
        If the file is missing or damaged.
    """
    try:
        file = parquet.ParquetFile(path)
        names = [c for c in file.schema_arrow.names if c not in without]
        return file.read(columns=names, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise UnreadableFile(f"{path}: {' '.join(str(error).split())[:100]}") from None


def _record(row: Found | Failed) -> dict[str, Any]:
    if isinstance(row, Failed):
        blank = {"sha256": "", "height": 0, "width": 0, "confident": False, "notes": "[]"}
        sizes = {"pixel_y_nm": None, "pixel_x_nm": None, "pixel_source": ""}
        own = {"name": row.source.name, "path": printable(row.source.path), "provenance": "{}"}
        rgb = {name: [0.0] * 3 for name in _RGB}
        return (
            own | {"status": str(row.status), "reason": printable(row.reason)} | blank | sizes | rgb
        )
    size, provenance = row.pixel_size, row.detections.provenance
    return {
        "name": row.source.name,
        "path": printable(row.source.path),
        "provenance": json.dumps({k: provenance[k] for k in _PROVENANCE if k in provenance}),
        "status": str(Status.OK),
        "reason": "",
        "sha256": row.sha256,
        "height": row.shape[0],
        "width": row.shape[1],
        "confident": row.background.confident,
        "notes": json.dumps(list(row.notes), ensure_ascii=False),
        "pixel_y_nm": size and size.y_nm,
        "pixel_x_nm": size and size.x_nm,
        "pixel_source": size.source if size else "",
        **{name: np.asarray(getattr(row.background, name), float).tolist() for name in _RGB},
    }


def _columns(records: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
    kinds = {"height": pa.int64(), "width": pa.int64(), "confident": pa.bool_()}
    kinds |= dict.fromkeys(("pixel_y_nm", "pixel_x_nm"), pa.float64())
    kinds |= dict.fromkeys(_RGB, pa.list_(pa.float64(), 3))
    return {
        name: pa.array([r[name] for r in records], kinds.get(name, pa.string()))
        for name in records[0]
    }


def _region_columns(found: Sequence[Detections]) -> dict[str, pa.Array]:
    """One list per image and column; arrays of three or four per region are laid out flat."""
    offsets = np.concatenate([[0], np.cumsum([len(d) for d in found])])
    columns: dict[str, list[npt.NDArray[Any]]] = {
        "boxes": [d.masks.boxes for d in found],
        "score": [d.score for d in found],
        "flags": [d.flags for d in found],
        "flake_id": [d.flake_id for d in found],
        **{f"signal_{n}": [getattr(d.signal, n) for d in found] for n in _SIGNAL},
    }
    out: dict[str, pa.Array] = {}
    for name, parts in columns.items():
        values = np.concatenate(parts)
        width = values.shape[1] if values.ndim == 2 else 1
        flat = pa.array(np.ascontiguousarray(values).ravel())
        out[name] = pa.ListArray.from_arrays(pa.array(offsets * width, pa.int32()), flat)
    crops = [np.packbits(c).tobytes() for d in found for c in d.masks.crops]
    packed = pa.array(crops, pa.binary())
    out["crops"] = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), packed)
    return out


def _is_list(table: pa.Table, name: str) -> bool:
    return pa.types.is_list(table.schema.field(name).type)


def _ragged(table: pa.Table, name: str) -> list[Any]:
    column = table.column(name).combine_chunks()
    offsets, values = column.offsets.to_pylist(), column.values
    flat = values.to_pylist() if name == "crops" else values.to_numpy(zero_copy_only=False)
    return [flat[a:b] for a, b in pairwise(offsets)]


def _failed(row: Mapping[str, Any]) -> Failed:
    return Failed(Source(row["name"], row["path"]), Status(row["status"]), row["reason"])


def _found(row: Mapping[str, Any], lists: Mapping[str, Any]) -> Found:
    shape = (row["height"], row["width"])
    boxes = lists["boxes"].reshape(-1, 4)
    signal = {n: lists[f"signal_{n}"] for n in _SIGNAL}
    signal |= {n: signal[n].reshape(-1, 3) for n in _COLOURS}
    packed = lists.get("crops")
    detections = Detections(
        masks=CropMasks(boxes, _unpacked(packed, boxes), shape),
        score=lists["score"],
        flags=lists["flags"],
        flake_id=lists["flake_id"],
        signal=RegionSignal(**signal),
        provenance={**json.loads(row["provenance"]), "input_sha256": row["sha256"]},
    )
    level, noise, surface_se = (np.array(row[name], float) for name in _RGB)
    surface = np.asarray(level, np.float32)[None, None]
    background = Background(level, surface, noise, surface_se, (), row["confident"])
    size = row["pixel_y_nm"] and PixelSize(
        row["pixel_y_nm"], row["pixel_x_nm"], row["pixel_source"]
    )
    notes = tuple(json.loads(row["notes"]))
    source = Source(row["name"], row["path"])
    return Found(source, row["sha256"], shape, size or None, detections, background, notes)


def _unpacked(packed: Sequence[bytes] | None, boxes: IntArray) -> tuple[BoolArray, ...]:
    if packed is None:
        return (np.zeros((1, 1), bool),) * len(boxes)
    sizes = (boxes[:, 2:] - boxes[:, :2]).tolist()
    return tuple(_crop(bits, h, w) for bits, (h, w) in zip(packed, sizes, strict=True))


def _crop(bits: bytes, height: int, width: int) -> BoolArray:
    flat = np.unpackbits(np.frombuffer(bits, np.uint8), count=height * width)
    return flat.reshape(height, width).view(bool)
