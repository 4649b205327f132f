"""Labelled images in the files of other programs: one table of formats, one door in, one out.

    from layerscope.io.annotated import read_dataset, write_dataset
    data = read_dataset("export/")
    write_dataset(data, "as_coco", "coco")

An outside package adds a format with an entry point in the group
``layerscope.annotation_formats`` that names an `AnnotationFormat`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from layerscope.core.examples import DataSet
from layerscope.core.micrograph import parse_length_nm
from layerscope.errors import InputError, UnreadableFile
from layerscope.io import DECODER_ERRORS
from layerscope.io.annotated.assemble import assemble
from layerscope.io.annotated.draft import BACKGROUND, Drafts, Request, one_line
from layerscope.io.annotated.images import LABEL_FOLDERS, ImageIndex
from layerscope.registry import Registry

__all__ = ["ANNOTATION_FORMATS", "AnnotationFormat", "read_dataset", "write_dataset"]


@dataclass(frozen=True)
class AnnotationFormat:
    """One way to write labels down.

    Attributes
    ----------
    name, description : str
        Identifier, and what a user calls it.
    keeps : str
        ``masks``: pixel by pixel, overlaps too; ``boxes``: their boxes only; ``pictures``: masks
        that do not overlap, and pixels that nobody labelled.
    claims : callable
        ``(path) -> bool``: whether a file or folder looks like it; never raises.
    read : callable
        ``(request) -> Drafts``, raising `InputError`; wrong entries become notes of the request.
    write : callable
        ``(data set, folder) -> notes``: what the format cannot hold. The folder exists.
    """

    name: str
    description: str
    keeps: str
    claims: Callable[[Path], bool]
    read: Callable[[Request], Drafts]
    write: Callable[[DataSet, Path], tuple[str, ...]]


_HERE = "layerscope.io.annotated."
ANNOTATION_FORMATS = Registry(
    "annotation_format",
    {
        "coco": _HERE + "coco:COCO",
        "label_studio": _HERE + "label_studio:LABEL_STUDIO",
        "labelme": _HERE + "labelme:LABELME",
        "cvat": _HERE + "cvat:CVAT",
        "ilastik": _HERE + "ilastik:ILASTIK",
        "label_pictures": _HERE + "label_pictures:LABEL_PICTURES",
        "yolo_seg": _HERE + "yolo:YOLO_SEG",
        "yolo_boxes": _HERE + "yolo:YOLO_BOXES",
    },
)
"""Formats in the order in which they are tried."""


def read_dataset(
    path: str | os.PathLike[str],
    format: str = "auto",
    *,
    instances: bool | None = None,
    values: Mapping[str, int] | None = None,
    group_pattern: str | None = None,
    pixel_size: str | None = None,
    images: str | os.PathLike[str] | None = None,
) -> DataSet:
    """Read labelled images.

    Parameters
    ----------
    path : path
        A folder, or the file of labels. The images lie beside or below it.
    format : str
        A name in `ANNOTATION_FORMATS`, or ``auto``: the first that claims the files.
    instances : bool, optional
        Whether label pictures hold numbers of objects, not classes; default: those in a folder
        called ``instances`` do.
    values : mapping of str to int, optional
        Class to value in label pictures, e.g. ``{"background": 0, "film": 255}``; default: as
        ``classes.toml`` says, else as `label_pictures` guesses and notes.
    group_pattern : str, optional
        Regular expression that finds the specimen in an image's name; default: ``groups.csv``
        beside the data (image,group), else each image is a group.
    pixel_size : str, optional
        Of all images, e.g. ``0.3844um``; default: as the files say.
    images : path, optional
        Folder of the images, where they lie neither beside nor below the labels.

    Returns
    -------
    DataSet
        Its notes say what was skipped, one line each.

    Raises
    ------
    UnreadableFile
        If the path is missing or the file of labels is damaged.
    InputError
        If nothing in it can be used.
    """
    source = Path(path)
    if not source.exists():
        raise UnreadableFile(f"{source}: no such file or folder")
    form = _find_format(source) if format == "auto" else ANNOTATION_FORMATS[format]
    root = _root(source)
    index = ImageIndex(root if images is None else Path(images))
    request = Request(source, root, index, instances, values)
    try:
        found = form.read(request)
    except InputError:
        raise
    except DECODER_ERRORS as error:
        reason = one_line(str(error))[:120] or type(error).__name__
        raise UnreadableFile(f"{source}: not {form.description} as expected ({reason})") from error
    data = assemble(found, request, group_pattern)
    return data if pixel_size is None else _scaled(data, parse_length_nm(pixel_size))


def write_dataset(dataset: DataSet, folder: str | os.PathLike[str], format: str) -> tuple[str, ...]:
    """Write images and labels.

    Files of images are copied as they are; images in memory become PNG or TIFF. Groups and splits
    go to ``groups.csv``.

    Parameters
    ----------
    dataset : DataSet
    folder : path
        New or empty.
    format : str
        A name in `ANNOTATION_FORMATS`.

    Returns
    -------
    tuple of str
        What the format cannot hold, one line each.

    Raises
    ------
    InputError
        If the folder is not empty or an image cannot be read.
    """
    from layerscope.io.annotated.output import new_folder, write_groups

    form = ANNOTATION_FORMATS[format]
    target = new_folder(Path(folder))
    notes = (*form.write(dataset, target), *_lost(dataset, form))
    write_groups(dataset, target)
    return tuple(dict.fromkeys(notes))


def _lost(dataset: DataSet, form: AnnotationFormat) -> Iterator[str]:
    if form.keeps != "pictures" and dataset.classes[0] != BACKGROUND:
        yield f"{dataset.classes[0]!r} is the class of value 0: it becomes the background"
    if form.name != "coco" and any(e.pixel_size_nm for e in dataset.examples):
        yield "pixel sizes are written to COCO only; elsewhere the image files may hold them"


def _find_format(path: Path) -> AnnotationFormat:
    for form in ANNOTATION_FORMATS.values():
        if form.claims(path):
            return form
    known = ", ".join(ANNOTATION_FORMATS)
    raise UnreadableFile(
        f"{path}: no labels of a known format in it ({known}); expected e.g. a COCO file, or a "
        "folder with images/ and masks/"
    )


def _root(path: Path) -> Path:
    """Folder below which the images are looked for."""
    folder = path if path.is_dir() else path.absolute().parent
    inner = folder.name.casefold() in LABEL_FOLDERS and (folder.parent / "images").is_dir()
    return folder.parent if inner else folder


def _scaled(data: DataSet, pixel_size_nm: float) -> DataSet:
    return replace(
        data, examples=tuple(replace(e, pixel_size_nm=pixel_size_nm) for e in data.examples)
    )
