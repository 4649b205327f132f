"""YOLO text labels: one line per object, class number and fractions of width and height.

Boxes: ``class x y w h`` with the centre; segments: ``class x1 y1 x2 y2 ...``. Both may stand in one
file. Labels lie in a folder ``labels`` where the images lie in ``images``, or beside them; class
names stand in ``data.yaml``, ``classes.txt`` or ``obj.names``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from layerscope.core.examples import DataSet, Example, Instance
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.annotated import AnnotationFormat
from layerscope.io.annotated.draft import (
    Draft,
    Drafts,
    Mark,
    Request,
    mark_of_box,
    mark_of_polygons,
    read_text,
    split_of,
)
from layerscope.io.annotated.images import ImageIndex, image_facts
from layerscope.io.annotated.output import copy_images, mask_of, objects_of, without_masks
from layerscope.io.atomic import write_bytes
from layerscope.io.polygons import outline_polygons

_NAME_FILES = ("classes.txt", "obj.names")
_NO_LABELS = {*_NAME_FILES, "notes.txt", "readme.txt"}
_LOOKED_AT = 200  # label files that decide between boxes and segments
_DIGITS = 7


def claims_segments(path: Path) -> bool:
    """Whether some label file has a line of more than five numbers."""
    return _longest(path) > 5


def claims_boxes(path: Path) -> bool:
    """Whether some label file has a line of five numbers."""
    return _longest(path) == 5


def read_yolo(request: Request) -> Drafts:
    """Read a folder of YOLO labels, boxes and segments.

    An image without a label file is one without objects, as YOLO takes it.

    Raises
    ------
    UnreadableFile
        If the folder has no images, or a file of names is damaged.
    """
    if not request.path.is_dir():
        raise UnreadableFile(f"{request.path}: expected the folder that holds images and labels")
    names = _class_names(request.root)
    rows: list[tuple[Path, list[tuple[str, list[str]]]]] = []
    empty = 0
    for path in request.images.paths:
        labels = _label_file(path)
        empty += labels is None
        with request.entry(path.name):
            rows.append((path, [] if labels is None else _lines(labels)))
    if empty:
        request.notes.append(f"{empty} images have no label file: taken as images without objects")
    if names is None:
        names = _numbered(rows)
        request.notes.append("no data.yaml or classes.txt: classes are called class_0, class_1 ...")
    drafts = []
    for path, lines in rows:
        with request.entry(path.name):
            drafts.append(_draft(path, lines, names, request))
    return Drafts(drafts, names)


def write_segments(dataset: DataSet, folder: Path) -> tuple[str, ...]:
    """Write ``images/``, ``labels/`` and ``data.yaml``; one closed line around each object.

    The parts and holes of an object are joined by cuts of no width.
    """
    return _write(dataset, folder, segments=True)


def write_boxes(dataset: DataSet, folder: Path) -> tuple[str, ...]:
    """Write ``images/``, ``labels/`` and ``data.yaml``; the box of each object."""
    return _write(dataset, folder, segments=False)


YOLO_SEG = AnnotationFormat(
    "yolo_seg", "YOLO segments (text)", "masks", claims_segments, read_yolo, write_segments
)
YOLO_BOXES = AnnotationFormat(
    "yolo_boxes", "YOLO boxes (text)", "boxes", claims_boxes, read_yolo, write_boxes
)


def _longest(path: Path) -> int:
    """Most numbers in a line of the first label files; 0 where there are none."""
    if not path.is_dir():
        return 0
    files = [f for f in map(_label_file, ImageIndex(path).paths) if f is not None]
    longest = 0
    for file in files[:_LOOKED_AT]:
        try:
            lines = read_text(file).splitlines()
        except UnreadableFile:
            continue
        longest = max([longest, *(len(line.split()) for line in lines if _is_numbers(line))])
    return longest


def _is_numbers(line: str) -> bool:
    return re.fullmatch(r"\s*\d+(\s+-?[\d.]+(e[-+]?\d+)?){4,}\s*", line) is not None


def _label_file(image: Path) -> Path | None:
    """Labels of an image: beside it, or in ``labels`` in place of the last ``images``."""
    parts = list(image.with_name(f"{image.stem}.txt").parts)
    beside = Path(*parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i].casefold() == "images":
            parts[i] = "labels"
            break
    other = Path(*parts)
    found = next((p for p in (other, beside) if p.is_file()), None)
    return None if found is None or found.name.casefold() in _NO_LABELS else found


def _lines(path: Path) -> list[tuple[str, list[str]]]:
    """Where each line stands, and its words."""
    text = read_text(path)
    return [
        (f"{path.name} line {n}", line.split())
        for n, line in enumerate(text.splitlines(), 1)
        if line.strip()
    ]


def _numbered(rows: Sequence[tuple[Path, list[tuple[str, list[str]]]]]) -> list[str]:
    used = [int(words[0]) for _, lines in rows for _, words in lines if words[0].isdigit()]
    return [f"class_{i}" for i in range(min(max(used, default=-1) + 1, 1000))]


def _draft(
    path: Path, lines: list[tuple[str, list[str]]], names: Sequence[str], request: Request
) -> Draft:
    shape, size_nm = image_facts(path)
    marks = []
    for where, words in lines:
        with request.entry(where):
            marks.append(_mark(words, names, shape))
    split = split_of(path, request.images.root)
    return Draft(path, shape, tuple(marks), pixel_size_nm=size_nm, split=split)


def _mark(words: list[str], names: Sequence[str], shape: tuple[int, int]) -> Mark:
    index = int(words[0])
    if not 0 <= index < len(names):
        raise InputError(f"class {index}, expected 0 to {len(names) - 1}")
    height, width = shape
    numbers = np.array(words[1:], float)
    if len(numbers) == 4:
        x, y, w, h = (numbers * [width, height, width, height]).tolist()
        return mark_of_box(names[index], (y - h / 2, x - w / 2, y + h / 2, x + w / 2), shape)
    if len(numbers) < 6 or len(numbers) % 2:
        raise InputError(f"{len(numbers)} numbers after the class, expected 4, or x and y in turn")
    return mark_of_polygons(names[index], [[numbers.reshape(-1, 2) * [width, height]]], shape)


def _class_names(root: Path) -> list[str] | None:
    yaml = sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    for path in yaml:
        names = _yaml_names(read_text(path))
        if names:
            return names
    for path in (root / n for n in _NAME_FILES):
        if path.is_file():
            return [line.strip() for line in read_text(path).splitlines() if line.strip()]
    return None


def _yaml_names(text: str) -> list[str]:
    """Class names in a ``data.yaml``: ``names`` as a list or as numbers with names.

    The file holds little else, so that no reader of all YAML is needed.
    """
    found = re.search(r"^names\s*:(.*(?:\n(?:[ \t]+|-).*|\n\s*)*)", text, re.MULTILINE)
    body = re.sub(r"(^|\s)#.*", "", found.group(1)) if found else ""
    item = r"""\s*(?:"([^"]*)"|'([^']*)'|([^,\[\]{}\n]+))"""
    if "[" in body or "{" in body:
        inner = re.sub(r"(^|[{,])\s*\d+\s*:", r"\1", body.strip(" \n[]{}"))
        found_items = re.findall(item, inner)
    else:
        lines = [re.sub(r"^\s*(-|\d+\s*:)\s*", "", x) for x in body.splitlines() if x.strip()]
        found_items = [m.groups("") for m in (re.match(item, x.strip()) for x in lines) if m]
    names = [next((part for part in parts if part), "").strip() for parts in found_items]
    return [n for n in names if n]


def _write(dataset: DataSet, folder: Path, *, segments: bool) -> tuple[str, ...]:
    notes = without_masks(dataset, "rectangles") if segments else []
    splits = sorted({e.split for e in dataset.examples})
    for split in splits:
        part = dataset.take([i for i, e in enumerate(dataset.examples) if e.split == split])
        copy_images(part, folder / "images" / split)
        (folder / "labels" / split).mkdir(parents=True)
        for example in part.examples:
            objects = objects_of(example, notes)
            if any(i.crowd for i in objects):
                notes.append(f"{example.name}: crowds are written as single objects")
            text = "".join(_line(i, example, segments=segments) for i in objects)
            write_bytes(folder / "labels" / split / f"{example.name}.txt", text.encode())
    write_bytes(folder / "data.yaml", _yaml(dataset, splits).encode())
    return tuple(notes)


def _line(instance: Instance, example: Example, *, segments: bool) -> str:
    height, width = example.shape
    top, left, bottom, right = instance.box
    if segments:
        corners = np.array(_one_line_around(instance), float) / [width, height]
        numbers = corners.ravel().tolist()
    else:
        numbers = [
            (left + right) / 2 / width,
            (top + bottom) / 2 / height,
            (right - left) / width,
            (bottom - top) / height,
        ]
    return " ".join([str(instance.class_index - 1), *(f"{v:.{_DIGITS}g}" for v in numbers)]) + "\n"


def _one_line_around(instance: Instance) -> list[tuple[int, int]]:
    """All outlines of an object as one, with cuts back and forth that the even-odd rule undoes."""
    origin = instance.box[0], instance.box[1]
    rings = [r for polygon in outline_polygons(mask_of(instance), origin) for r in polygon]
    start = rings[0][0]
    line = list(rings[0])
    for ring in rings[1:]:
        # Upright and level cuts: a slanted one may pass through a pixel's centre and, by rounding,
        # on one side of it there and on the other back.
        corner = start[0], ring[0][1]
        line += [start, corner, *ring, ring[0], corner]
    return line


def _yaml(dataset: DataSet, splits: Sequence[str]) -> str:
    train = "train" if "train" in splits else splits[0]
    valid = next((s for s in ("valid", "test") if s in splits), train)
    lines = [f"train: images/{train}".rstrip("/"), f"val: images/{valid}".rstrip("/")]
    if "test" in splits:
        lines.append("test: images/test")
    names = [
        f"  {i}: {json.dumps(n, ensure_ascii=False)}" for i, n in enumerate(dataset.classes[1:])
    ]
    return "\n".join([*lines, f"nc: {len(names)}", "names:", *names]) + "\n"
