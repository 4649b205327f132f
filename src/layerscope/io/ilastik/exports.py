"""Pictures that ilastik exports: probabilities, segmentations, labels, numbers of objects.

An array ``exported_data`` with its axes in the attribute ``axistags``. Channel k of probabilities
is class k + 1. Labels: 0 nobody said, 1 to K the class. A simple segmentation: 1 to K.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.errors import InputError, UnreadableFile
from layerscope.io.ilastik.axes import (
    check_axes,
    format_axistags,
    from_plane,
    guess_axes,
    parse_axistags,
    to_plane,
)
from layerscope.io.ilastik.hdf5 import (
    child,
    names_in,
    numbers_of,
    open_hdf5,
    put_picture,
    text_of,
    write_hdf5,
)

DATASET = "exported_data"
KINDS = ("Probabilities", "Simple Segmentation", "Labels", "Object Identities", "Uncertainty")
"""What ilastik appends to the name of the image, after an underscore."""

HDF5_SUFFIXES = (".h5", ".hdf5")
STORED = ("float32", "uint8", "uint16")
_SLACK = 1e-3
_ENDING = re.compile(rf"_({'|'.join(KINDS).replace(' ', '[ _-]')})\.(h5|hdf5)$", re.IGNORECASE)

Probabilities = npt.NDArray[np.float32]


def kind_of(path: str | Path) -> tuple[str, str]:
    """Name of the image and kind of export that a file is called after; empty if it is none."""
    match = _ENDING.search(Path(path).name)
    if match is None:
        return Path(path).stem, ""
    told = re.sub("[_-]", " ", match.group(1)).casefold()
    kind = next(k for k in KINDS if k.casefold() == told)
    return Path(path).name[: match.start()], kind


def read_probabilities(path: str | Path, axes: str | None = None) -> Probabilities:
    """Read the probabilities of the classes.

    Parameters
    ----------
    path : path
        Of ``*_Probabilities.h5``.
    axes : str, optional
        For example ``"cyx"``, where the file does not say them and `guess_axes` is wrong.

    Returns
    -------
    ndarray of float32, (H, W, C)
        From 0 to 1. Whole numbers are divided by the end of the range that the file gives
        (``drange``), or else by the largest that their type holds.

    Raises
    ------
    UnreadableFile
        If the file is damaged, or its values are no probabilities.
    InputError
        If it holds several images.
    """
    values, drange = _read(path, axes)
    if values.dtype.kind == "f":
        unit = values if drange is None or drange[1] <= 1 else values / drange[1]
    else:
        top = np.iinfo(values.dtype).max
        low, high = drange if drange is not None and drange[1] > 1 else (0.0, float(top))
        unit = (values - low) / (high - low)
    if not (np.isfinite(unit).all() and unit.min() >= -_SLACK and unit.max() <= 1 + _SLACK):
        raise UnreadableFile(
            f"{path}: values from {unit.min():g} to {unit.max():g} are no probabilities"
        )
    return np.clip(unit, 0, 1).astype(np.float32)


def read_labels(path: str | Path, axes: str | None = None) -> npt.NDArray[np.uint8]:
    """Read sparse labels (H, W), uint8: 0 nobody said, 1 to K the class; as `read_probabilities`.

    Raises
    ------
    UnreadableFile
        If the file is damaged, has several channels, or values beyond 255.
    InputError
        If it holds several images.
    """
    values = read_numbers(path, axes)
    if values.max(initial=0) > 255:
        raise UnreadableFile(f"{path}: values up to {values.max()}; labels end at 255")
    return values.astype(np.uint8)


def read_segmentation(path: str | Path, axes: str | None = None) -> npt.NDArray[np.uint8]:
    """Read the class (H, W) of each pixel, uint8, 1 to K; errors are those of `read_labels`."""
    return read_labels(path, axes)


def read_numbers(path: str | Path, axes: str | None = None) -> npt.NDArray[np.uint32]:
    """Read whole numbers (H, W) as they are, uint32: classes, labels, numbers of objects.

    Raises
    ------
    UnreadableFile
        If the file is damaged, has several channels or other values.
    InputError
        If it holds several images.
    """
    values, _ = _read(path, axes)
    whole = values.dtype.kind in "biu" or bool((values == np.rint(values)).all())
    if values.shape[2] != 1 or not whole or (values.size and values.min() < 0):
        raise UnreadableFile(
            f"{path}: {values.dtype} with {values.shape[2]} channels; expected one of whole numbers"
        )
    return np.asarray(values[..., 0]).astype(np.uint32)


def write_probabilities(
    path: str | Path, values: Probabilities, *, stored: str = "float32", axes: str = "yxc"
) -> None:
    """Write probabilities.

    Parameters
    ----------
    path : path
    values : ndarray, (H, W, C)
        From 0 to 1.
    stored : {"float32", "uint8", "uint16"}
        Whole numbers are rounded: half a step is lost at most.
    axes : str

    Raises
    ------
    InputError
        For other values.
    CannotWrite
        If the disk refuses.
    """
    if values.ndim != 3 or stored not in STORED:
        raise InputError(f"probabilities are (H, W, C) of {STORED}, got {values.shape}, {stored}")
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise InputError(f"probabilities from {values.min():g} to {values.max():g}: not in 0 to 1")
    dtype = np.dtype(stored)
    top = 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)
    plane = values.astype(dtype) if dtype.kind == "f" else np.rint(values * top).astype(dtype)
    _write(path, plane, check_axes(axes), (0.0, top))


def write_labels(path: str | Path, labels: npt.NDArray[Any], *, axes: str = "yxc") -> None:
    """Write sparse labels, classes or numbers of objects (H, W), of whole numbers.

    Raises
    ------
    InputError
        For other values.
    CannotWrite
        If the disk refuses.
    """
    if labels.ndim != 2 or labels.dtype.kind != "u":
        raise InputError(f"labels are unsigned (H, W), got {labels.dtype} {labels.shape}")
    _write(path, labels[..., None], check_axes(axes), None)


write_segmentation = write_labels


def _read(
    path: str | Path, axes: str | None
) -> tuple[npt.NDArray[Any], tuple[float, float] | None]:
    """Plane (H, W, C) and the range that the file gives for its values."""
    stored_bytes = Path(path).stat().st_size if Path(path).is_file() else 0
    with open_hdf5(path) as file:
        dataset = _dataset(file, path)
        values = numbers_of(dataset, stored_bytes)
        if values is None or 0 in values.shape:
            raise UnreadableFile(f"{path}: {dataset.name} holds no numbers of its own")
        tags = text_of(dataset.attrs.get("axistags"))
        told = dataset.attrs.get("drange")
    keys = axes or (parse_axistags(tags) if tags else guess_axes(values.shape))
    return to_plane(values, check_axes(keys), str(path)), _range(told)


def _dataset(file: Any, path: str | Path) -> Any:
    """Return the exported array, or the only one of the file."""
    import h5py

    if (named := child(file, DATASET)) is not None and isinstance(named, h5py.Dataset):
        return named
    found = [item for name in names_in(file) if isinstance(item := child(file, name), h5py.Dataset)]
    if len(found) == 1:
        return found[0]
    raise UnreadableFile(
        f"{path}: {len(found)} arrays and none is called {DATASET!r}; expected an export of ilastik"
    )


def _range(told: Any) -> tuple[float, float] | None:
    values = np.ravel(told).astype(float) if np.size(told) == 2 and told is not None else None
    if values is None or not np.isfinite(values).all() or values[1] <= values[0]:
        return None
    return float(values[0]), float(values[1])


def _write(
    path: str | Path, plane: npt.NDArray[Any], axes: str, drange: tuple[float, float] | None
) -> None:
    values = from_plane(plane, axes)

    def fill(file: Any) -> None:
        dataset = put_picture(file, DATASET, values)
        dataset.attrs["axistags"] = format_axistags(axes)
        if drange is not None:
            dataset.attrs["drange"] = np.array(drange)
        for axis, key in enumerate(axes):
            dataset.dims[axis].label = key

    write_hdf5(path, fill)
