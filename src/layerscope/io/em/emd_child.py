"""Read one EMD file in a process of its own: ``python -m layerscope.io.em.emd_child``.

Why in its own process, and how it talks: `layerscope.io.spm.hdf5_child`. Requests are a survey of
all data (``path`` null), or the values of one frame (``path``, ``frame``).

Two layouts share the name. Velox: ``/Data/KIND/ID/Data`` beside ``Metadata``, JSON in bytes, frames
last. NCEM: any group with the attribute ``emd_group_type`` holds ``data``, first axis slowest, and
``dim1``, ``dim2`` ... with the coordinates of each axis. Some programs write it columns first.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from layerscope.errors import UnreadableFile
from layerscope.io.pixels import check_size
from layerscope.io.spm.hdf5_child import MAX_DEPTH, Said, Walk, attributes, own, serve

_MAX_JSON = 4_000_000
_FRAMES_LAST = "velox"
COLUMNS_FIRST = "ncem, columns first"


def survey(data: bytes) -> Said:
    """All data of the file: where, of which layout, shape, type and what is said of it.

    Raises
    ------
    UnreadableFile
        If groups are nested too deeply or too many.
    """
    import h5py

    walk = Walk()
    with h5py.File(io.BytesIO(data), "r", locking=False) as file:
        found = list(_data_sets(file, "", walk, 0))
        return {"found": found, "header": _header(file)}


def values(data: bytes, path: str, layout: str, frame: int, max_pixels: int) -> Any:
    """One frame of the data at `path`.

    Raises
    ------
    UnreadableFile
        If it is too large or damaged.
    """
    import h5py

    with h5py.File(io.BytesIO(data), "r", locking=False) as file:
        dataset = file[path]
        _check(dataset, layout, len(data), max_pixels)
        last = layout in (_FRAMES_LAST, COLUMNS_FIRST)
        if dataset.ndim == 2:
            chosen = dataset[()]
        else:
            chosen = dataset[:, :, frame] if last else dataset[frame]
        return np.ascontiguousarray(chosen.T if layout == COLUMNS_FIRST else chosen)


def _data_sets(group: Any, path: str, walk: Walk, depth: int) -> Iterator[Said]:
    import h5py

    if depth > MAX_DEPTH:
        raise UnreadableFile("groups nested too deeply: damaged")
    velox = re.fullmatch(r"/Data/(\w+)/[^/]+", path)
    for name in sorted(group):
        item = own(group, name, walk)
        if isinstance(item, h5py.Group):
            yield from _data_sets(item, f"{path}/{name}", walk, depth + 1)
        elif isinstance(item, h5py.Dataset) and not (item.is_virtual or item.external):
            if velox and name == "Data":
                said = {"kind": velox.group(1), "metadata": _json(group)}
                yield _entry(item, f"{path}/{name}", _FRAMES_LAST, said)
            elif name == "data" and "emd_group_type" in group.attrs:
                yield _entry(item, f"{path}/{name}", "ncem", {"axes": _axes(group, item.ndim)})


def _entry(dataset: Any, path: str, layout: str, said: Said) -> Said:
    kind = "c" if dataset.dtype.kind in "Vc" else dataset.dtype.kind
    return {"path": path, "layout": layout, "shape": dataset.shape, "type": kind, **said}


def _json(group: Any) -> Said:
    """Metadata of the first frame: text in a column of bytes, ended by a NUL."""
    import h5py

    stored: Any = group.get("Metadata") if _is_own(group, "Metadata") else None
    if not isinstance(stored, h5py.Dataset) or stored.is_virtual or stored.external:
        return {}
    if stored.ndim != 2 or stored.dtype != np.uint8 or min(stored.shape) < 1:
        return {}
    if stored.shape[0] > _MAX_JSON or np.prod(stored.chunks or (1,), dtype=object) > 16 * _MAX_JSON:
        return {}
    text = bytes(stored[:, 0]).split(b"\0", 1)[0]
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _is_own(group: Any, name: str) -> bool:
    import h5py

    return isinstance(group.get(name, getlink=True), h5py.HardLink)


def _axes(group: Any, count: int) -> list[Said]:
    """Step, name and unit of each axis; an empty mapping where the file has none."""
    first = 0 if "dim0" in group else 1
    return [_axis(group, f"dim{n + first}") for n in range(min(count, 8))]


def _axis(group: Any, name: str) -> Said:
    import h5py

    stored = group[name] if _is_own(group, name) else None
    if not isinstance(stored, h5py.Dataset) or stored.is_virtual or stored.external:
        return {}
    said = {k: v for k, v in attributes(stored).items() if k in ("name", "units")}
    if stored.ndim != 1 or stored.dtype.kind not in "iuf" or not 2 <= stored.shape[0] <= 100_000:
        return said
    coordinates = np.asarray(stored[()], float)
    return {**said, "step": float(coordinates[-1] - coordinates[0]) / (len(coordinates) - 1)}


def _header(file: Any) -> Said:
    import h5py

    said = attributes(file)
    for name in ("microscope", "sample", "user", "comments"):
        if _is_own(file, name) and isinstance(file[name], h5py.Group):
            said[name] = attributes(file[name])
    return said


def _check(dataset: Any, layout: str, n_bytes: int, max_pixels: int) -> None:
    if dataset.ndim not in (2, 3) or dataset.dtype.kind not in "biuf":
        raise UnreadableFile(f"data of shape {dataset.shape} and type {dataset.dtype}: no image")
    size, chunk = dataset.dtype.itemsize, dataset.chunks or (1, 1)
    plane = dataset.shape[-2:] if layout == "ncem" else dataset.shape[:2]
    # A compressed chunk is unpacked whole, however little of it is asked for.
    whole = (1, int(np.prod(chunk, dtype=object)))
    for rows, columns in (plane, whole):
        check_size(rows, columns, channel_bytes=size, stored_bytes=n_bytes, max_pixels=max_pixels)


def answer(asked: Said, data: bytes) -> tuple[Said, bytes]:
    """Answer and the bytes that follow it."""
    if asked["path"] is None:
        return survey(data), b""
    found = values(data, asked["path"], asked["layout"], asked["frame"], asked["max_pixels"])
    return {"shape": found.shape, "dtype": found.dtype.str}, found.tobytes()


if __name__ == "__main__":
    serve(answer)
