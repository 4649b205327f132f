"""LabelMe: a JSON file per image with polygons, rectangles, circles and masks.

Shapes of one label that share a ``group_id`` are parts of one object.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from layerscope.core.examples import DataSet, Instance
from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError
from layerscope.io.annotated import AnnotationFormat
from layerscope.io.annotated.draft import (
    Draft,
    Drafts,
    Mark,
    Request,
    files_of,
    holds,
    joined,
    mark_of_box,
    mark_of_mask,
    mark_of_polygons,
    read_json,
    read_text,
    split_of,
)
from layerscope.io.annotated.images import image_facts
from layerscope.io.annotated.output import copy_images, objects_of, png, write_json
from layerscope.io.atomic import write_bytes
from layerscope.io.polygons import outline_polygons

_LABELS_FILE = "labels.txt"
_MOST_CORNERS = 100_000
_NO_OBJECT = ("_background_", "__ignore__", "background")


def claims_labelme(path: Path) -> bool:
    """Whether there is a JSON file with shapes and the path of an image."""
    return any(holds(p, b'"shapes"', b'"imagePath"') for p in files_of(path, ".json"))


def read_labelme(request: Request) -> Drafts:
    """Read a folder of LabelMe files, or one; a damaged file is noted, the others are read."""
    files = files_of(request.path, ".json")
    drafts = []
    for path in files:
        if len(files) > 1 and not holds(path, b'"shapes"'):
            request.notes.append(f"{path.name}: no LabelMe file, or cut off; skipped")
            continue
        with request.entry(path.name):
            drafts.append(_draft(path, request))
    names = request.root / _LABELS_FILE
    listed = [line.strip() for line in read_text(names).splitlines()] if names.is_file() else []
    return Drafts(drafts, [n for n in listed if n and n not in _NO_OBJECT])


def write_labelme(dataset: DataSet, folder: Path) -> tuple[str, ...]:
    """Write images and JSON files side by side, and ``labels.txt``.

    A mask of one outline is written as a polygon, others as a mask.
    """
    notes: list[str] = []
    files = copy_images(dataset, folder)
    for example in dataset.examples:
        document: dict[str, Any] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": [_shape(i, dataset.classes) for i in objects_of(example, notes)],
            "imagePath": files[example.name],
            "imageData": None,
            "imageHeight": example.shape[0],
            "imageWidth": example.shape[1],
        }
        write_json(folder / f"{example.name}.json", document)
    listed = "\n".join(["__ignore__", "_background_", *dataset.classes[1:]])
    write_bytes(folder / _LABELS_FILE, f"{listed}\n".encode())
    return tuple(notes)


LABELME = AnnotationFormat(
    "labelme", "LabelMe (JSON per image)", "masks", claims_labelme, read_labelme, write_labelme
)


def _draft(path: Path, request: Request) -> Draft:
    document = read_json(path)
    found = request.images.find(str(document["imagePath"]), path.parent)
    shape, size_nm = image_facts(found)
    declared = document.get("imageHeight"), document.get("imageWidth")
    if None not in declared and declared != shape:
        raise InputError(f"{found.name} is {shape} px (rows, columns), labelled as {declared}")
    marks: list[tuple[object, Mark]] = []
    for number, entry in enumerate(document["shapes"], 1):
        with request.entry(f"{path.name}: shape {number}"):
            if entry["label"] not in _NO_OBJECT:
                group = entry.get("group_id")
                marks.append((None if group is None else str(group), _mark(entry, shape)))
    split = split_of(path, request.images.root)
    return Draft(found, shape, joined(marks), label_path=path, pixel_size_nm=size_nm, split=split)


def _mark(entry: Mapping[str, Any], shape: tuple[int, int]) -> Mark:
    name, kind = str(entry["label"]), entry.get("shape_type") or "polygon"
    points = np.asarray(entry["points"], float).reshape(-1, 2)
    crowd = bool((entry.get("flags") or {}).get("iscrowd", False))
    if kind == "polygon":
        return mark_of_polygons(name, [[points]], shape, crowd=crowd)
    if kind == "circle":
        return mark_of_polygons(name, [[_circle(points)]], shape, crowd=crowd)
    if kind == "rectangle":
        (left, top), (right, bottom) = points.min(0), points.max(0)
        return mark_of_box(name, (top, left, bottom, right), shape, crowd=crowd)
    if kind == "mask":
        origin = round(points[0, 1]), round(points[0, 0])
        return mark_of_mask(name, *_cut(_decode(entry["mask"]), origin, shape), crowd=crowd)
    raise InputError(f"a shape of type {kind!r}, expected polygon, rectangle, circle or mask")


def _circle(points: FloatArray) -> FloatArray:
    """Polygon of a circle given by its centre and a point on it."""
    centre, radius = points[0], float(np.linalg.norm(points[1] - points[0]))
    # A corner per half pixel of the outline: the polygon stays within 0.04 px of the circle.
    corners = min(max(16, math.ceil(4 * math.pi * radius)), _MOST_CORNERS)
    angle = np.linspace(0, 2 * math.pi, corners, endpoint=False)
    return centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _decode(text: str) -> BoolArray:
    data = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if pixels is None or pixels.ndim != 2:
        raise InputError("a mask that is no grey PNG")
    return np.asarray(pixels > 0)


def _cut(
    mask: BoolArray, origin: tuple[int, int], shape: tuple[int, int]
) -> tuple[BoolArray, tuple[int, int]]:
    """Part of a mask that lies in the image, and its origin."""
    top, left = max(-origin[0], 0), max(-origin[1], 0)
    inside = mask[top : max(shape[0] - origin[0], 0), left : max(shape[1] - origin[1], 0)]
    return inside, (origin[0] + top, origin[1] + left)


def _shape(instance: Instance, classes: tuple[str, ...]) -> dict[str, Any]:
    top, left, bottom, right = instance.box
    entry: dict[str, Any] = {
        "label": classes[instance.class_index],
        "group_id": None,
        "description": "",
        "flags": {"iscrowd": True} if instance.crowd else {},
        "mask": None,
    }
    if instance.mask is None:
        return entry | {"shape_type": "rectangle", "points": [[left, top], [right, bottom]]}
    polygons = outline_polygons(instance.mask, (top, left))
    if len(polygons) == 1 and len(polygons[0]) == 1:
        return entry | {"shape_type": "polygon", "points": [list(p) for p in polygons[0][0]]}
    mask = base64.b64encode(png(instance.mask.astype(np.uint8))).decode()
    corners = [[left, top], [right - 1, bottom - 1]]
    return entry | {"shape_type": "mask", "points": corners, "mask": mask}
