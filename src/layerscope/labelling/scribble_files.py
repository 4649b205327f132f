"""Scribbles in files: a picture or an ilastik export of labels beside or apart from the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from layerscope.errors import CannotWrite, InputError
from layerscope.io.annotated.label_pictures import read_values
from layerscope.io.atomic import write_bytes
from layerscope.labelling.scribbles import MOST_CLASSES, Labels

SUFFIXES = (".png", ".tif", ".tiff", ".h5", ".hdf5")
_ENDINGS = ("", "_Labels", "-labels", "_labels", "_scribbles")


def find_scribbles(stems: Sequence[str], folder: Path) -> dict[str, Path]:
    """Files of scribbles by the stem of the image that they are of.

    Parameters
    ----------
    stems : sequence of str
    folder : Path
        Holds ``STEM.png``, ``STEM.tif`` or ``STEM_Labels.h5``, as ilastik names them.

    Raises
    ------
    InputError
        If no file there is of any of the images, or two are of the same.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no folder of scribbles")
    wanted = {(stem + ending).casefold(): stem for stem in stems for ending in _ENDINGS}
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem = wanted.get(path.stem.casefold())
        if path.suffix.casefold() not in SUFFIXES or stem is None:
            continue
        if stem in found:
            raise InputError(f"{path.name} and {found[stem].name} are both of {stem}; keep one")
        found[stem] = path
    if not found:
        raise InputError(
            f"{folder}: no scribbles of these images; expected STEM.png or STEM_Labels.h5"
        )
    return found


def read_scribbles(path: Path, shape: tuple[int, int]) -> Labels:
    """Read the scribbles on an image of `shape`, uint8 (H, W), 0 where nothing was said.

    Raises
    ------
    UnreadableFile
        If it is no picture of labels.
    InputError
        If it is of another size, or has values above `scribbles.MOST_CLASSES`.
    """
    values = read_values(path)
    if values.shape != shape:
        raise InputError(f"{path.name}: scribbles of {values.shape} on an image of {shape}")
    if values.max(initial=0) > MOST_CLASSES:
        raise InputError(
            f"{path.name}: values up to {values.max()}; expected 0 and classes from 1, in one byte"
        )
    return values.astype(np.uint8)


def write_scribbles(path: Path, labels: Labels) -> None:
    """Write scribbles as a PNG of one channel.

    Raises
    ------
    CannotWrite
        If the disk refuses.
    """
    encoded, content = cv2.imencode(".png", labels)
    if not encoded:
        raise CannotWrite(f"{path}: labels of {labels.shape} could not be written")
    write_bytes(path, content.tobytes())


def class_names(names: Mapping[int, str], highest: int) -> tuple[str, ...]:
    """Names of the classes 1 to `highest`: those that were told, else ``class 3``."""
    if unknown := [n for n in names if not 1 <= n <= max(highest, 1)]:
        raise InputError(f"a name for class {unknown[0]}, but scribbles end at {highest}")
    return tuple(names.get(k, f"class {k}") for k in range(1, highest + 1))
