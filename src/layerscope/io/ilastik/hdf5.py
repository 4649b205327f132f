"""HDF5 as the files of ilastik need it: plain arrays and texts of the file itself.

Read in this process, unlike the scans of `io.spm.hdf5`: a person converts a few files of his own,
and what `write_hdf5` writes carries checksums, so that damage is met as an error.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.errors import LayerscopeError, MissingExtra, UnreadableFile
from layerscope.io.atomic import write_bytes
from layerscope.io.pixels import check_size

_MOST_PIXELS = 500_000_000
_CHUNK_BYTES = 512_000  # as large as ilastik's own
# What h5py raises on damage.
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, MemoryError)


def require_h5py() -> None:
    """Refuse, and say how to get it, where h5py is not installed.

    Raises
    ------
    MissingExtra
    """
    if find_spec("h5py") is None:
        raise MissingExtra.of("exchange with ilastik", "formats")


@contextmanager
def open_hdf5(path: str | Path) -> Iterator[Any]:
    """Open a file to read it; whatever the library raises in the block becomes one line.

    Raises
    ------
    UnreadableFile
        If the file is missing, damaged or no HDF5.
    MissingExtra
        If h5py is not installed.
    """
    require_h5py()
    import h5py

    if not Path(path).is_file():
        raise UnreadableFile(f"{path}: no such file")
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except LayerscopeError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UnreadableFile(f"{path}: damaged, or no HDF5 file ({reason})") from None


def child(group: Any, name: str) -> Any:
    """Object at the path `name` below `group`; None if missing, or a link out of the file.

    Soft and external links could name any other file of the machine.
    """
    import h5py

    item = group
    for part in name.split("/"):
        inside = isinstance(item, h5py.Group) and part in item
        if not inside or not isinstance(item.get(part, getlink=True), h5py.HardLink):
            return None
        item = item[part]
    return item


def names_in(group: Any) -> list[str]:
    """Names of what lies in a group, sorted; none where there is no group."""
    import h5py

    return sorted(group) if isinstance(group, h5py.Group) else []


def numbers_of(dataset: Any, stored_bytes: int) -> npt.NDArray[Any] | None:
    """Values of an array of numbers that lies in the file; None for anything else.

    Parameters
    ----------
    dataset : h5py.Dataset or None
    stored_bytes : int
        Of the file: an array that expands far beyond it is refused.

    Raises
    ------
    UnreadableFile
        If it is too large.
    """
    import h5py

    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "biuf":
        return None
    if dataset.is_virtual or dataset.external:
        return None
    for shape in (dataset.shape, dataset.chunks or ()):
        if 0 not in shape:
            check_size(
                int(np.prod(shape, dtype=object)), 1, channel_bytes=dataset.dtype.itemsize,
                stored_bytes=stored_bytes, max_pixels=_MOST_PIXELS,
            )  # fmt: skip
    return np.asarray(dataset[()])


def text_of(value: Any) -> str | None:
    """Text of an attribute or of a scalar array; None where it is neither text nor bytes."""
    import h5py

    if isinstance(value, h5py.Dataset):
        value = value[()] if value.shape == () and value.dtype.kind in "OS" else None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def texts_of(dataset: Any) -> list[str]:
    """Texts of a one-dimensional array of them."""
    import h5py

    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "OS":
        return []
    return [text for v in np.ravel(dataset[()]).tolist() if (text := text_of(v)) is not None]


def write_hdf5(path: str | Path, fill: Callable[[Any], None]) -> None:
    """Write a file, whole or not at all, with checksums and without times: the same bytes again.

    Parameters
    ----------
    path : path
    fill : callable
        Given the open h5py file.

    Raises
    ------
    CannotWrite
        If the disk refuses.
    MissingExtra
        If h5py is not installed.
    """
    require_h5py()
    import h5py

    stream = io.BytesIO()
    # The layout of 1.8 has checksums of all structures and is read by every HDF5 since 2008.
    with h5py.File(stream, "w", libver=("v108", "v108")) as file:
        fill(file)
    write_bytes(path, stream.getvalue())


def put_picture(file: Any, name: str, values: npt.NDArray[Any]) -> Any:
    """Add an array compressed and cut as ilastik cuts it, a channel to a chunk."""
    *sides, channels = values.shape
    side = int(np.sqrt(_CHUNK_BYTES / values.dtype.itemsize))
    chunks = (*(min(n, side) for n in sides), min(channels, 1))
    if 0 in values.shape:
        return file.create_dataset(name, data=values)
    return file.create_dataset(
        name, data=values, chunks=chunks, compression="gzip", compression_opts=1, fletcher32=True
    )
