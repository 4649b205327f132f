"""Read one HDF5 file in a process of its own: ``python -m layerscope.io.spm.hdf5_child``.

The HDF5 library is C. Of 800 small files with one to four spoiled bytes 2 killed it (segmentation
fault) and 1 kept it busy for over 10 s (HDF5 1.14, h5py 3.16). A child takes that instead of a run
of thousands of images.

Standard input: a line of JSON (``max_pixels``, ``name`` of an array or null), then the file.
Standard output: a line of JSON (the survey, or shape and type of the array, or ``refused``), then
the values.

Only what lies in the file itself is read: soft and external links, external storage and virtual
arrays could name any other file of the machine and are refused.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from layerscope.errors import UnreadableFile
from layerscope.io.pixels import check_size

MAX_OBJECTS = 5000
MAX_DEPTH = 32
_MAX_TEXT = 4096

Said = dict[str, Any]


@dataclass
class Walk:
    """What has been met in one file."""

    seen: set[int] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)


def survey(data: bytes, max_pixels: int) -> Said:
    """All two-dimensional arrays of numbers, the file's attributes, and what was not followed.

    Raises
    ------
    UnreadableFile
        If the file is damaged or an array too large.
    """
    import h5py

    walk = Walk()
    with h5py.File(io.BytesIO(data), "r", locking=False) as file:
        arrays = []
        for name, dataset, said in _arrays(file, "", {}, walk, 0):
            _check(dataset, len(data), max_pixels)
            arrays.append({"name": name, "shape": dataset.shape, "said": said})
        return {"arrays": arrays, "header": attributes(file), "refused": walk.refused}


def values(data: bytes, name: str, max_pixels: int) -> np.ndarray[Any, Any]:
    """Array called `name` in the survey of the same file.

    Raises
    ------
    UnreadableFile
        If the file is damaged or the array too large.
    """
    import h5py

    with h5py.File(io.BytesIO(data), "r", locking=False) as file:
        _check(file[name], len(data), max_pixels)
        return np.ascontiguousarray(file[name][()])


def _arrays(
    group: Any, path: str, above: Said, walk: Walk, depth: int
) -> Iterator[tuple[str, Any, Said]]:
    """Arrays below `group` with the attributes that hold for them."""
    import h5py

    if depth > MAX_DEPTH:
        raise UnreadableFile("groups nested too deeply: damaged")
    said = {**above, **attributes(group), **_topostats(group)}
    for name in sorted(group):
        where = f"{path}/{name}"
        item = own(group, name, walk)
        if item is None:
            walk.refused.append(where)
        elif isinstance(item, h5py.Group):
            yield from _arrays(item, where, said, walk, depth + 1)
        elif isinstance(item, h5py.Dataset) and item.ndim == 2 and item.dtype.kind in "iuf":
            if item.is_virtual or item.external:
                walk.refused.append(where)
            else:
                yield where, item, {**said, **attributes(item)}


def own(group: Any, name: str, walk: Walk) -> Any:
    """Object of that name, if it lies in this file and was not met before; else None."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        return None
    item = group[name]
    address = int(h5py.h5o.get_info(item.id).addr)
    if address in walk.seen:
        return None
    walk.seen.add(address)
    if len(walk.seen) > MAX_OBJECTS:
        raise UnreadableFile(f"more than {MAX_OBJECTS} objects in the file")
    return item


def _topostats(group: Any) -> Said:
    """Scale of TopoStats: nm per pixel beside the image, whose heights are in nm."""
    import h5py

    if not isinstance(group.get("pixel_to_nm_scaling", getlink=True), h5py.HardLink):
        return {}
    scaling = group["pixel_to_nm_scaling"]
    if getattr(scaling, "shape", None) != () or scaling.dtype.kind not in "iuf":
        return {}
    return {"pixel_size_nm": float(scaling[()]), "unit": "nm"}


def attributes(item: Any) -> Said:
    """Attributes that are short texts or few numbers, as plain values."""
    said: Said = {}
    for name in sorted(item.attrs):
        if item.attrs.get_id(name).get_storage_size() > _MAX_TEXT:
            continue
        value = item.attrs[name]
        if isinstance(value, bytes):
            said[name] = value.decode("utf-8", "replace")
        elif isinstance(value, str):
            said[name] = value
        elif isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
            said[name] = value.tolist()
    return said


def _check(dataset: Any, n_bytes: int, max_pixels: int) -> None:
    size = dataset.dtype.itemsize
    # A compressed chunk is unpacked whole, however little of it lies inside the array.
    for rows, columns in (dataset.shape, dataset.chunks or (1, 1)):
        check_size(rows, columns, channel_bytes=size, stored_bytes=n_bytes, max_pixels=max_pixels)


def _answer(asked: Said, data: bytes) -> tuple[Said, bytes]:
    if asked["name"] is None:
        return survey(data, asked["max_pixels"]), b""
    found = values(data, asked["name"], asked["max_pixels"])
    return {"shape": found.shape, "dtype": found.dtype.str}, found.tobytes()


def serve(answer_to: Callable[[Said, bytes], tuple[Said, bytes]]) -> None:
    """Answer the one request on standard input, or tell why not.

    Parameters
    ----------
    answer_to : callable
        From request and file to the answer and the bytes that follow it.
    """
    head, _, data = sys.stdin.buffer.read().partition(b"\n")
    body = b""
    try:
        answer, body = answer_to(json.loads(head), data)
    except Exception as error:  # whatever the library raises on damage is the answer
        answer = {"error": " ".join(str(error).split())[:200] or type(error).__name__}
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + body)


if __name__ == "__main__":
    serve(_answer)
