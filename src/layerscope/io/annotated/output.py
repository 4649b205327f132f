"""What all writers of data sets share: objects of an example, copies of images, groups.csv."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE, DataSet, Example, Instance
from layerscope.core.results import BoolArray
from layerscope.errors import CannotWrite, InputError
from layerscope.io.annotated.groups import GROUPS_FILE
from layerscope.io.atomic import write_bytes


def new_folder(path: Path) -> Path:
    """Make a folder, or take an empty one.

    Raises
    ------
    InputError
        If something is in it: labels of two data sets must not mix.
    CannotWrite
        If it cannot be made.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} is not empty; give a new folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror}; give another folder") from None
    return path


def objects_of(example: Example, notes: list[str]) -> tuple[Instance, ...]:
    """Objects of an example; where none were told apart, connected areas of one class.

    Parameters
    ----------
    example : Example
    notes : list of str
        Grows by what is lost.
    """
    if example.instances is not None:
        return example.instances
    labels = example.label_map()
    if (labels == IGNORE).any():
        notes.append(
            f"{example.name}: {np.count_nonzero(labels == IGNORE)} pixels that nobody labelled "
            "become background; label_pictures would keep them"
        )
    return tuple(_areas(np.where(labels == IGNORE, 0, labels)))


def _areas(labels: npt.NDArray[np.uint8]) -> Iterable[Instance]:
    from scipy import ndimage

    for value in np.unique(labels[labels > 0]).tolist():
        numbered, _ = ndimage.label(labels == value, np.ones((3, 3), int))
        for i, (rows, columns) in enumerate(ndimage.find_objects(numbered), 1):
            box = (rows.start, columns.start, rows.stop, columns.stop)
            yield Instance(value, box, np.asarray(numbered[rows, columns] == i, bool))


def mask_of(instance: Instance) -> BoolArray:
    """Mask in its box; the whole box where there is no mask."""
    top, left, bottom, right = instance.box
    return np.ones((bottom - top, right - left), bool) if instance.mask is None else instance.mask


def without_masks(dataset: DataSet, what: str) -> list[str]:
    """Note on how boxes without mask are written, if there are any."""
    n = sum(i.mask is None for e in dataset.examples for i in e.instances or ())
    return [f"{n} boxes without mask are written as {what}"] if n else []


def copy_images(dataset: DataSet, folder: Path) -> dict[str, str]:
    """Copy every image; returns the file name of each example.

    Raises
    ------
    CannotWrite
        If the disk is full or the folder not writable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return {e.name: _copy(e, folder) for e in dataset.examples}


def _copy(example: Example, folder: Path) -> str:
    # The suffix stands for the content, so that of the file must stay; a name may hold dots.
    if example.path.is_file():
        target = folder / f"{example.name}{example.path.suffix}"
        try:
            shutil.copyfile(example.path, target)
        except OSError as error:
            raise CannotWrite(f"cannot write {target}: {error.strerror}") from None
        return target.name
    pixels = example.read_image()
    if pixels.dtype == np.uint8:
        target = folder / f"{example.name}.png"
        write_bytes(target, png(pixels))
    else:
        target = folder / f"{example.name}.tif"
        write_bytes(target, _tiff(pixels))
    return target.name


def png(pixels: npt.NDArray[Any]) -> bytes:
    """Encode (H, W), (H, W, 1) or RGB (H, W, 3) of 8 or 16 bit as a PNG."""
    bgr = pixels[..., ::-1] if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels
    done, content = cv2.imencode(".png", np.ascontiguousarray(bgr))
    if not done:
        raise InputError(f"cannot encode an image of {pixels.shape} as PNG")
    return bytes(content.tobytes())


def _tiff(pixels: npt.NDArray[Any]) -> bytes:
    import tifffile

    stream = io.BytesIO()
    colour = pixels.shape[2] == 3
    plane = pixels if colour else pixels[..., 0]
    tifffile.imwrite(stream, plane, photometric="rgb" if colour else "minisblack", metadata=None)
    return stream.getvalue()


def write_json(path: Path, document: Any) -> None:
    """Write a JSON file, whole or not at all; floats that are not finite are refused."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    write_bytes(path, text.encode() + b"\n")


def write_groups(dataset: DataSet, folder: Path) -> None:
    """Write ``groups.csv`` if the images' names do not say it all."""
    if all(e.group == e.name and not e.split for e in dataset.examples):
        return
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["image", "group", "split"])
    writer.writerows([e.name, e.group, e.split] for e in dataset.examples)
    write_bytes(folder / GROUPS_FILE, out.getvalue().encode())
