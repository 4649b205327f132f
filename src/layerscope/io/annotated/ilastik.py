"""Labels of ilastik: ``*_Labels.h5``, ``*_Simple Segmentation.h5``, or a project (``.ilp``).

Label 0 is "nobody said", also where only a few strokes were painted. The classes begin with 1: the
first is taken as the background unless one is called so, or the classes are told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from layerscope.core.examples import IGNORE, ClassPixels, DataSet, Example
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.annotated import AnnotationFormat
from layerscope.io.annotated.draft import BACKGROUND, Draft, Drafts, Request, split_of
from layerscope.io.annotated.images import image_facts
from layerscope.io.annotated.label_pictures import Row, draft_of, number_pixels, values_in
from layerscope.io.annotated.output import copy_images
from layerscope.io.annotated.values import CLASSES_FILE, ValueMap, read_classes
from layerscope.io.atomic import write_bytes
from layerscope.io.ilastik.exports import HDF5_SUFFIXES, kind_of, write_labels
from layerscope.io.ilastik.project import IlastikProject, ProjectImage, read_project
from layerscope.io.ilastik.project_file import write_project

PROJECT_FILE = "project.ilp"
_CLASS_KINDS = ("Labels", "Simple Segmentation")
_OBJECT_KIND = "Object Identities"
_NOT_SAID = 0


def claims_ilastik(path: Path) -> bool:
    """Whether there are exported labels, or a project."""
    return bool(_exports(path) or _projects(path))


def read_ilastik(request: Request) -> Drafts:
    """Read exported labels; where there are none, the labels of a project.

    Raises
    ------
    UnreadableFile
        If a project is damaged, or there are several.
    InputError
        If a label stands for two classes.
    """
    if exports := _exports(request.path):
        return _read_exports(exports, request)
    projects = _projects(request.path)
    if len(projects) != 1:
        raise UnreadableFile(f"{request.path}: {len(projects)} projects; name one of them")
    project = read_project(projects[0])
    request.notes.extend(f"{projects[0].name}: {note}" for note in project.notes)
    used = sorted({v for i in project.images for v in np.unique(i.labels).tolist()})
    meaning = _meaning(request, used, project.classes)
    drafts = []
    for image in project.images:
        with request.entry(image.name):
            drafts.append(_of_project(image, projects[0], meaning, request))
    return Drafts(drafts, meaning.classes[1:], meaning.classes[0])


def write_ilastik(dataset: DataSet, folder: Path) -> tuple[str, ...]:
    """Write ``images/``, ``labels/``, ``classes.toml``, and a project with all of them."""
    notes: list[str] = []
    files = copy_images(dataset, folder / "images")
    (folder / "labels").mkdir()
    images = []
    for example in dataset.examples:
        stem = Path(files[example.name]).stem
        labels = labels_of(example)
        write_labels(folder / "labels" / f"{stem}_Labels.h5", labels)
        if example.instances is not None:
            numbered = number_pixels(example.instances, example.shape, example.name, notes)
            write_labels(folder / "labels" / f"{stem}_{_OBJECT_KIND}.h5", numbered)
        shape = (*example.shape, example.read_image().shape[2])
        path = f"images/{files[example.name]}"
        images.append(ProjectImage(stem, path, "yxc", shape, labels))
    write_project(folder / PROJECT_FILE, IlastikProject(tuple(images), dataset.classes))
    lines = [f"{json.dumps(n, ensure_ascii=False)} = {i}" for i, n in enumerate(dataset.classes, 1)]
    text = "\n".join([f"unlabelled = {_NOT_SAID}", "", "[classes]", *lines, ""])
    write_bytes(folder / CLASSES_FILE, text.encode())
    return tuple(notes)


def labels_of(example: Example) -> ClassPixels:
    """Label of every pixel (H, W) as ilastik counts: class 0 is label 1, not labelled is 0."""
    found = example.label_map()
    return np.where(found == IGNORE, np.uint8(_NOT_SAID), found + np.uint8(1))


ILASTIK = AnnotationFormat(
    "ilastik",
    "labels of ilastik (*_Labels.h5, .ilp)",
    "pictures",
    claims_ilastik,
    read_ilastik,
    write_ilastik,
)


def _exports(path: Path) -> list[Path]:
    """Return exported labels, segmentations and objects; probabilities are no labels."""
    kinds = (*_CLASS_KINDS, _OBJECT_KIND)
    inside = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [p for p in inside if p.suffix.casefold() in HDF5_SUFFIXES and kind_of(p)[1] in kinds]


def _projects(path: Path) -> list[Path]:
    inside = sorted(path.rglob("*.ilp")) if path.is_dir() else [path]
    return [p for p in inside if p.suffix.casefold() == ".ilp"]


def _read_exports(exports: Sequence[Path], request: Request) -> Drafts:
    rows = []
    for name, of_kind in _by_image(exports):
        with request.entry(name):
            classes = next((of_kind[k] for k in _CLASS_KINDS if k in of_kind), None)
            image = request.images.find(name, next(iter(of_kind.values())).parent)
            rows.append(Row(image, classes, of_kind.get(_OBJECT_KIND)))
    found = [(row, values_in(row, request)) for row in rows]
    used = sorted({v for _, values in found for v in values or ()})
    meaning = _meaning(request, used, ())
    drafts = []
    for row, values in found:
        if values is not None:
            with request.entry(row.image.name):
                drafts.append(draft_of(row, meaning, request))
    return Drafts(drafts, meaning.classes[1:], meaning.classes[0])


def _by_image(exports: Sequence[Path]) -> Iterator[tuple[str, dict[str, Path]]]:
    found: dict[str, dict[str, Path]] = {}
    for path in exports:
        name, kind = kind_of(path)
        found.setdefault(name, {}).setdefault(kind, path)
    yield from found.items()


def _meaning(request: Request, used: Sequence[int], names: Sequence[str]) -> ValueMap:
    """Class of every label: as told, as ``classes.toml`` or the project says, or by number."""
    table = request.root / CLASSES_FILE
    if request.values is not None:
        told = dict(request.values)
    elif table.is_file():
        told, _ = read_classes(table)
    else:
        known = dict(enumerate(names, 1))
        told = {known.get(k, f"class_{k}"): k for k in {*known, *used} if k != _NOT_SAID}
    if len(set(told.values())) < len(told):
        raise InputError("a label has two meanings; give each class its own")
    if stray := [v for v in used if v not in told.values() and v != _NOT_SAID]:
        request.notes.append(
            f"labels {', '.join(map(str, stray))} are in no class: taken as unlabelled"
        )
    ordered = sorted(told, key=lambda name: (name != BACKGROUND, told[name]))
    if ordered and ordered[0] != BACKGROUND and not (request.values or table.is_file()):
        request.notes.append(
            f"label {told[ordered[0]]} ({ordered[0]}) is taken as the background; say otherwise "
            "with --classes, e.g. 2=background,1=flake"
        )
    of_value = {told[name]: i for i, name in enumerate(ordered)}
    return ValueMap(tuple(ordered) or (BACKGROUND,), {_NOT_SAID: IGNORE} | of_value)


def _of_project(image: ProjectImage, project: Path, meaning: ValueMap, request: Request) -> Draft:
    path = request.images.find(image.path or image.name, project.parent)
    shape, size_nm = image_facts(path)
    if image.labels.shape != shape:
        raise InputError(f"the labels are {image.labels.shape} px (rows, columns), it is {shape}")
    load = partial(meaning.translate, image.labels)
    return Draft(path, shape, None, load, project, size_nm, split_of(path, request.images.root))
