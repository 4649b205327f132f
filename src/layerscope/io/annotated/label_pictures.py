"""Label pictures: ``images/`` and beside it ``masks/``, same stem, value of a pixel = its class.

In a folder ``instances/`` the values number the objects of each image. Where both are there, the
masks give the class of each object.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE, ClassPixels, DataSet, Instance
from layerscope.core.results import CropMasks
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.annotated import AnnotationFormat
from layerscope.io.annotated.draft import Draft, Drafts, Mark, Request, split_of
from layerscope.io.annotated.images import ImageIndex, image_facts
from layerscope.io.annotated.output import copy_images, png
from layerscope.io.annotated.values import CLASSES_FILE, ValueMap, find_values
from layerscope.io.atomic import write_bytes
from layerscope.io.ilastik.exports import HDF5_SUFFIXES, read_numbers

_CLASS_FOLDERS = ("masks", "labels", "annotations")
_OBJECT_FOLDERS = ("instances",)
_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
_ENDINGS = ("", "_mask", "_label", "_labels", "_seg", "-mask", "-label")
_OBJECT = "object"
_MOST_PIXELS = 500_000_000


@dataclass(frozen=True)
class Row:
    """An image with its pictures of classes and of objects."""

    image: Path
    classes: Path | None
    objects: Path | None


def claims_label_pictures(path: Path) -> bool:
    """Whether a folder ``images`` has pictures of the same stem in ``masks`` or ``instances``."""
    return path.is_dir() and any(r.classes or r.objects for r in _rows(ImageIndex(path)))


def read_label_pictures(request: Request) -> Drafts:
    """Read a folder of label pictures; an image without one is noted and left out.

    Raises
    ------
    UnreadableFile
        If no label picture can be read.
    InputError
        If it is not clear what the values mean; see `values`.
    """
    rows = [r for r in _rows(request.images) if r.classes or r.objects]
    bare = len(request.images.paths) - len(rows)
    if bare:
        request.notes.append(f"{bare} images have no label picture: left out")
    if request.instances:
        rows = [Row(r.image, None, r.objects or r.classes) for r in rows]
    elif request.instances is False:
        rows = [Row(r.image, r.classes or r.objects, None) for r in rows]
    values_of = [(row, values_in(row, request)) for row in rows]
    readable = [row for row, values in values_of if values is not None]
    used = {v for _, values in values_of for v in values or ()}
    meaning = find_values(request.root, request.values, used)
    if not any(r.classes for r in readable):
        meaning = ValueMap(("background", _OBJECT), {0: 0, 1: 1})
    request.notes.extend(meaning.notes)
    drafts = []
    for row in readable:
        with request.entry(row.image.name):
            drafts.append(draft_of(row, meaning, request))
    return Drafts(drafts, meaning.classes[1:], meaning.classes[0])


def write_label_pictures(dataset: DataSet, folder: Path) -> tuple[str, ...]:
    """Write ``images/``, ``masks/``, ``classes.toml``; ``instances/`` of objects told apart."""
    notes: list[str] = []
    files = copy_images(dataset, folder / "images")
    (folder / "masks").mkdir()
    for example in dataset.examples:
        stem = Path(files[example.name]).stem
        write_bytes(folder / "masks" / f"{stem}.png", png(example.label_map()))
        if example.instances is not None:
            numbered = number_pixels(example.instances, example.shape, example.name, notes)
            (folder / "instances").mkdir(exist_ok=True)
            write_bytes(folder / "instances" / f"{stem}.png", png(numbered))
    lines = [f"{json.dumps(n, ensure_ascii=False)} = {i}" for i, n in enumerate(dataset.classes)]
    text = "\n".join([f"unlabelled = {IGNORE}", "", "[classes]", *lines, ""])
    write_bytes(folder / CLASSES_FILE, text.encode())
    return tuple(notes)


LABEL_PICTURES = AnnotationFormat(
    "label_pictures",
    "folder with images/ and masks/ (PNG, TIFF)",
    "pictures",
    claims_label_pictures,
    read_label_pictures,
    write_label_pictures,
)


def _rows(images: ImageIndex) -> list[Row]:
    found: dict[Path, dict[str, Path]] = {}
    return [
        Row(p, _beside(p, _CLASS_FOLDERS, found), _beside(p, _OBJECT_FOLDERS, found))
        for p in images.paths
    ]


def _beside(image: Path, folders: Sequence[str], found: dict[Path, dict[str, Path]]) -> Path | None:
    """Picture of the stem of `image` in one of the folders that stand in place of ``images``."""
    parts = list(image.parts)
    places = [i for i, p in enumerate(parts[:-1]) if p.casefold() == "images"]
    if not places:
        return None
    for name in folders:
        folder = Path(*parts[: places[-1]], name, *parts[places[-1] + 1 : -1])
        if folder not in found:
            inside = sorted(folder.iterdir()) if folder.is_dir() else []
            found[folder] = {
                p.stem.casefold(): p for p in inside if p.suffix.casefold() in _SUFFIXES
            }
        for ending in _ENDINGS:
            if match := found[folder].get(f"{image.stem}{ending}".casefold()):
                return match
    return None


def values_in(row: Row, request: Request) -> list[int] | None:
    """Values of the pictures of a row; None, and a note, where one cannot be read."""
    try:
        if row.objects is not None:
            read_values(row.objects)
        return [] if row.classes is None else np.unique(read_values(row.classes)).tolist()
    except InputError as error:
        request.notes.append(f"{error}, skipped")
        return None


def draft_of(row: Row, meaning: ValueMap, request: Request) -> Draft:
    """Return what the pictures of a row say of its image.

    Raises
    ------
    InputError
        If a picture has not the size of the image.
    """
    shape, size_nm = image_facts(row.image)
    for path in (row.classes, row.objects):
        if path is not None and read_values(path).shape != shape:
            came = read_values(path).shape
            raise InputError(f"the label picture is {came} px (rows, columns), the image {shape}")
    marks = None if row.objects is None else _marks(row.objects, row.classes, meaning)
    load = None if row.classes is None else partial(_read_labels, row.classes, meaning)
    label_path = row.classes or row.objects
    split = split_of(row.image, request.images.root)
    return Draft(row.image, shape, marks, load, label_path, size_nm, split)


def _marks(objects: Path, classes: Path | None, meaning: ValueMap) -> tuple[Mark, ...]:
    """Return a mark per value; its class is the most frequent one of the mask beneath it."""
    masks = CropMasks.from_labels(read_values(objects).astype(np.int32))
    labels = None if classes is None else meaning.translate(read_values(classes))
    marks = []
    for (where, crop), box in zip(masks, masks.boxes.tolist(), strict=True):
        name = _OBJECT
        if labels is not None:
            counts = np.bincount(labels[where][crop], minlength=IGNORE + 1)
            counts[[0, IGNORE]] = 0
            name = meaning.classes[int(counts.argmax())] if counts.any() else meaning.classes[0]
        marks.append(Mark(name, (box[0], box[1], box[2], box[3]), crop))
    return tuple(marks)


def _read_labels(path: Path, meaning: ValueMap) -> ClassPixels:
    return meaning.translate(read_values(path))


def read_values(path: Path) -> npt.NDArray[Any]:
    """Values (H, W) of a label picture; the indices of a palette, the one channel of a grey RGB.

    Pillow keeps the indices of a palette, which OpenCV turns to colours.
    """
    from PIL import Image

    if path.suffix.casefold() in HDF5_SUFFIXES:
        return read_numbers(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                if opened.width * opened.height > _MOST_PIXELS:
                    raise UnreadableFile(f"{path}: over {_MOST_PIXELS // 10**6} Mpx")
                values = np.array(opened)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, UnreadableFile):
            raise
        raise UnreadableFile(f"{path}: not a readable label picture; copy it again") from None
    if values.ndim == 3 and (values[..., :3] == values[..., :1]).all():
        values = values[..., 0]
    if values.ndim != 2 or values.dtype.kind not in "bui":
        raise UnreadableFile(f"{path}: has colours, expected one channel with value = class")
    if values.dtype.kind == "i" and values.size and values.min() < 0:
        raise UnreadableFile(f"{path}: has negative values, expected value = class")
    return values.astype(np.uint8) if values.dtype.kind == "b" else values


def number_pixels(
    instances: Sequence[Instance], shape: tuple[int, int], name: str, notes: list[str]
) -> npt.NDArray[np.uint16]:
    """Return the number of the object at each pixel, smaller ones on top as in the label map."""
    if len(instances) > 65535:
        raise InputError(
            f"{name}: {len(instances)} objects do not fit a 16-bit picture; write COCO"
        )
    out = np.zeros(shape, np.uint16)
    masks = [(n, i) for n, i in enumerate(instances, 1) if i.mask is not None]
    for number, instance in sorted(masks, key=lambda pair: -pair[1].area_px):
        top, left, bottom, right = instance.box
        out[top:bottom, left:right][instance.mask] = number
    covered = sum(i.area_px for _, i in masks) - int(np.count_nonzero(out))
    if covered:
        notes.append(
            f"{name}: {covered} pixels lie under a smaller object and are lost to the larger"
        )
    if len(masks) < len(instances):
        notes.append(
            f"{name}: {len(instances) - len(masks)} boxes without mask become unlabelled pixels"
        )
    if any(i.crowd for i in instances):
        notes.append(f"{name}: crowds are written as single objects")
    return out
