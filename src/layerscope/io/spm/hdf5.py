"""HDF5 files: every two-dimensional array of numbers is a channel, first row on top.

Unit and scale come from attributes of the array or of the groups above it: ``unit`` or ``units``;
``pixel_size_nm`` (one number, or rows and columns). The arrays of TopoStats (``image`` in nm beside
``pixel_to_nm_scaling``) are known. `hdf5_child` does the reading.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np

from layerscope.core.micrograph import Micrograph
from layerscope.errors import MissingExtra, UnreadableFile
from layerscope.io.spm.binary import grid
from layerscope.io.spm.scan import Array, Channel, Scan, height

_TIMEOUT_S = 30.0
_CHILD = "layerscope.io.spm.hdf5_child"


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
    found, _ = ask_child(_CHILD, data, {"name": None, "max_pixels": max_pixels})
    channels = tuple(_channel(a, data, max_pixels) for a in found["arrays"])
    refused = found["refused"]
    notes = tuple(f"not followed: {name}" for name in refused[:20])
    other = (f"{len(refused)} links or arrays of other files",) if refused else ()
    return Scan(channels, found["header"], notes, other)


def ask_child(module: str, data: bytes, request: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Answer of a module that reads an HDF5 file in a process of its own; see `hdf5_child`.

    Parameters
    ----------
    module : str
        Run with ``python -m``.
    data : bytes
        The file.
    request : mapping
        Sent as JSON before it.

    Returns
    -------
    dict
    bytes
        Values that follow the answer.

    Raises
    ------
    UnreadableFile
        If the library refuses the file, dies of it, or needs too long.
    MissingExtra
        If h5py is not installed.
    """
    if find_spec("h5py") is None:
        raise MissingExtra.of("reading HDF5", "formats")
    asked = json.dumps(request).encode() + b"\n"
    command = [sys.executable, "-m", module]
    try:
        done = subprocess.run(command, input=asked + data, capture_output=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise UnreadableFile(f"HDF5 still reads it after {_TIMEOUT_S:g} s: damaged") from error
    head, newline, body = done.stdout.partition(b"\n")
    if done.returncode != 0 or not newline:
        raise UnreadableFile(f"HDF5 dies on it (status {done.returncode}): damaged")
    answer: dict[str, Any] = json.loads(head)
    if "error" in answer:
        raise UnreadableFile(f"a damaged or unsupported HDF5 file ({answer['error']})")
    return answer, body


def _channel(found: dict[str, Any], data: bytes, max_pixels: int) -> Channel:
    said = found["said"]
    unit = said.get("unit", said.get("units", ""))
    rows, columns = found["shape"]
    return Channel(
        name=found["name"].strip("/"),
        unit=unit if isinstance(unit, str) else "",
        shape=(rows, columns),
        pixel_nm=_pixel_nm(said.get("pixel_size_nm")),
        header=said,
        load=lambda: _values(found["name"], data, max_pixels),
    )


def _values(name: str, data: bytes, max_pixels: int) -> Array:
    answer, body = ask_child(_CHILD, data, {"name": name, "max_pixels": max_pixels})
    rows, columns = answer["shape"]
    return grid(body, 0, answer["dtype"], (rows, columns), what=name, max_pixels=max_pixels)


def _pixel_nm(said: Any) -> tuple[float, float] | None:
    sides = [said] * 2 if isinstance(said, int | float) else said
    if not isinstance(sides, list) or len(sides) != 2:
        return None
    if not all(isinstance(s, int | float) and np.isfinite(s) for s in sides):
        return None
    return float(sides[0]), float(sides[1])
