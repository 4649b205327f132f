"""HDF5 files: every two-dimensional array of numbers is a channel, first row on top.

Unit and scale come from attributes of the array or of the groups above it: ``unit`` or ``units``;
``pixel_size_nm`` (one number, or rows and columns). The arrays of TopoStats (``image`` in nm beside
``pixel_to_nm_scaling``) are known.

Only what lies in the file itself is read: soft and external links, external storage and virtual
arrays could name any other file of the machine and are refused.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from layerscope.core.micrograph import Micrograph
from layerscope.errors import MissingExtra, UnreadableFile
from layerscope.io.pixels import check_size
from layerscope.io.spm.scan import Array, Channel, Scan, height

MAGIC = b"\x89HDF\r\n\x1a\n"
_MAX_OBJECTS = 5000
_MAX_DEPTH = 32
_MAX_TEXT = 4096


def decode_hdf5(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode the height array of an HDF5 file.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, or holds no heights.
    MissingExtra
        If h5py is not installed.
    """
    return height(scan_hdf5(data, max_pixels=max_pixels))


def scan_hdf5(data: bytes, *, max_pixels: int) -> Scan:
    """Return all two-dimensional arrays of an HDF5 file.

    Raises
    ------
    UnreadableFile
        If the file is damaged or too large.
    MissingExtra
        If h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingExtra.of("reading HDF5", "formats") from error
    refused: list[str] = []
    with h5py.File(io.BytesIO(data), "r", locking=False) as file:
        channels = tuple(
            _channel(name, dataset, said, data, max_pixels)
            for name, dataset, said in _walk(h5py, file, "", {}, set(), refused, 0)
        )
        header = _attributes(file)
    notes = tuple(f"not followed: {name}" for name in refused[:20])
    other = (f"{len(refused)} links to elsewhere",) if refused else ()
    return Scan(channels, header, notes, other)


def _walk(
    h5py: Any,
    group: Any,
    path: str,
    above: dict[str, Any],
    seen: set[int],
    refused: list[str],
    depth: int,
) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Arrays of numbers with two dimensions, by path, with the attributes that hold for them."""
    said = {**above, **_attributes(group)}
    if depth > _MAX_DEPTH:
        raise UnreadableFile("groups nested too deeply: damaged")
    if isinstance(group.get("pixel_to_nm_scaling", getlink=True), h5py.HardLink):
        said |= _topostats(group["pixel_to_nm_scaling"])
    for name in sorted(group):
        where = f"{path}/{name}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            refused.append(where)
            continue
        item = group[name]
        address = int(h5py.h5o.get_info(item.id).addr)
        if address in seen:
            continue
        seen.add(address)
        if len(seen) > _MAX_OBJECTS:
            raise UnreadableFile(f"more than {_MAX_OBJECTS} objects in the file")
        if isinstance(item, h5py.Group):
            yield from _walk(h5py, item, where, said, seen, refused, depth + 1)
        elif isinstance(item, h5py.Dataset) and item.ndim == 2 and item.dtype.kind in "iuf":
            if item.is_virtual or item.external:
                refused.append(where)
            else:
                yield where, item, {**said, **_attributes(item)}


def _topostats(scaling: Any) -> dict[str, Any]:
    if scaling.shape != () or scaling.dtype.kind not in "iuf":
        return {}
    return {"pixel_size_nm": float(scaling[()]), "unit": "nm"}


def _attributes(item: Any) -> dict[str, Any]:
    """Attributes that are short texts or few numbers, as plain values."""
    said: dict[str, Any] = {}
    for name in sorted(item.attrs):
        kind = item.attrs.get_id(name)
        if kind.get_storage_size() > _MAX_TEXT:
            continue
        value = item.attrs[name]
        if isinstance(value, bytes):
            said[name] = value.decode("utf-8", "replace")
        elif isinstance(value, str):
            said[name] = value
        elif isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
            said[name] = value.tolist()
    return said


def _channel(
    name: str, dataset: Any, said: dict[str, Any], data: bytes, max_pixels: int
) -> Channel:
    rows, columns = dataset.shape
    size, n_bytes = dataset.dtype.itemsize, len(data)
    check_size(rows, columns, channel_bytes=size, stored_bytes=n_bytes, max_pixels=max_pixels)
    if dataset.chunks is not None:
        # One compressed chunk is unpacked whole, however little of it lies inside the array.
        check_size(*dataset.chunks, channel_bytes=size, stored_bytes=n_bytes,
                   max_pixels=max_pixels)  # fmt: skip
    unit = said.get("unit", said.get("units", ""))
    return Channel(
        name=name.strip("/"),
        unit=unit if isinstance(unit, str) else "",
        shape=(rows, columns),
        pixel_nm=_pixel_nm(said.get("pixel_size_nm")),
        header=said,
        load=lambda: _values(data, name),
    )


def _pixel_nm(said: Any) -> tuple[float, float] | None:
    sides = [said] * 2 if isinstance(said, int | float) else said
    if not isinstance(sides, list) or len(sides) != 2:
        return None
    if not all(isinstance(s, int | float) for s in sides):
        return None
    return float(sides[0]), float(sides[1])


def _values(data: bytes, name: str) -> Array:
    import h5py

    with h5py.File(io.BytesIO(data), "r", locking=False) as file:
        return np.asarray(file[name][()])
