"""COCO instances: polygons, compressed and uncompressed run lengths, boxes, crowds.

Lin et al., arXiv 1405.0312. Polygons lie in coordinates from the corner of the first pixel, and a
pixel belongs to one when its centre does; ``pycocotools`` fills some pixels along the outline too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from layerscope.core.examples import DataSet, Instance
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.annotated import AnnotationFormat
from layerscope.io.annotated.draft import (
    Draft,
    Drafts,
    Mark,
    Request,
    files_of,
    holds,
    mark_of_box,
    mark_of_mask,
    mark_of_polygons,
    read_json,
    split_of,
)
from layerscope.io.annotated.images import image_facts
from layerscope.io.annotated.output import copy_images, objects_of, write_json
from layerscope.io.rle import compress, expand, mask_from_runs, run_lengths


def claims_coco(path: Path) -> bool:
    """Whether there is a JSON file with images, categories and annotations."""
    return bool(_documents(path))


def read_coco(request: Request) -> Drafts:
    """Read one COCO file, or those in a folder; their categories are joined by name.

    Raises
    ------
    UnreadableFile
        If a file is damaged or holds no COCO instances.
    """
    names: list[str] = []
    drafts: list[Draft] = []
    for path in _documents(request.path) or files_of(request.path, ".json"):
        document = read_json(path)
        if not isinstance(document, Mapping) or not isinstance(document.get("images"), list):
            raise UnreadableFile(f"{path}: no COCO file: a list of 'images' is missing")
        categories = _categories(document, path)
        names += [n for n in categories.values() if n not in names]
        drafts += _images(document, categories, path, request)
    return Drafts(drafts, names)


def write_coco(dataset: DataSet, folder: Path) -> tuple[str, ...]:
    """Write ``annotations.json`` with compressed run lengths, and ``images/``."""
    notes: list[str] = []
    files = copy_images(dataset, folder / "images")
    images: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    for number, example in enumerate(dataset.examples, 1):
        height, width = example.shape
        image = {"id": number, "file_name": files[example.name], "height": height, "width": width}
        if example.pixel_size_nm is not None:
            image["pixel_size_nm"] = example.pixel_size_nm
        images.append(image)
        for instance in objects_of(example, notes):
            entries.append(_entry(instance, len(entries) + 1, number, example.shape))
    categories = [{"id": i, "name": n} for i, n in enumerate(dataset.classes) if i > 0]
    document = {"info": {}, "images": images, "categories": categories, "annotations": entries}
    write_json(folder / "annotations.json", document)
    return tuple(notes)


COCO = AnnotationFormat(
    "coco", "COCO instances (JSON)", "masks", claims_coco, read_coco, write_coco
)


def _documents(path: Path) -> list[Path]:
    words = (b'"images"', b'"categories"', b'"annotations"')
    return [p for p in files_of(path, ".json") if holds(p, *words)]


def _categories(document: Mapping[str, Any], path: Path) -> dict[Any, str]:
    """Name by number, ascending, without the root that Roboflow adds above the classes."""
    entries, listed = document.get("annotations"), document.get("categories")
    if not isinstance(entries, list) or not isinstance(listed, list):
        raise UnreadableFile(
            f"{path}: no COCO instances: lists of 'categories', 'annotations' missing"
        )
    whole = [c for c in listed if isinstance(c, Mapping) and isinstance(c.get("id"), int)]
    above = [c.get("supercategory") for c in whole]
    used = [a.get("category_id") for a in entries if isinstance(a, Mapping)]
    names = {c["id"]: str(c["name"]) for c in sorted(whole, key=_number) if "name" in c}
    return {i: n for i, n in names.items() if i in used or n not in above}


def _number(category: Mapping[str, Any]) -> int:
    return int(category["id"])


def _images(
    document: Mapping[str, Any], names: Mapping[Any, str], path: Path, request: Request
) -> list[Draft]:
    of_image: dict[Any, list[Any]] = defaultdict(list)
    for position, entry in enumerate(document["annotations"]):
        with request.entry(f"{path.name}: annotation {position + 1}"):
            of_image[entry["image_id"]].append(entry)
    drafts = []
    for position, image in enumerate(document["images"]):
        with request.entry(f"{path.name}: image {position + 1}"):
            drafts.append(_image(image, of_image.pop(image["id"], []), names, path, request))
    for entries in of_image.values():
        request.notes.append(
            f"{path.name}: {len(entries)} annotations of image {entries[0]['image_id']!r}, which "
            "is not listed or was skipped"
        )
    return drafts


def _image(
    image: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
    names: Mapping[Any, str],
    path: Path,
    request: Request,
) -> Draft:
    found = request.images.find(str(image["file_name"]), path.parent)
    shape, size_nm = image_facts(found)
    declared = int(image["height"]), int(image["width"])
    if declared != shape:
        raise InputError(f"{found.name} is {shape} px (rows, columns), labelled as {declared}")
    marks = []
    for entry in entries:
        with request.entry(f"{found.name}: annotation {entry.get('id')}"):
            marks.append(_mark(entry, names, shape))
    size_nm = _pixel_size(image.get("pixel_size_nm"), size_nm)
    split = split_of(path, request.images.root) or split_of(found, request.images.root)
    return Draft(found, shape, tuple(marks), pixel_size_nm=size_nm, split=split)


def _pixel_size(told: Any, otherwise: float | None) -> float | None:
    """Pixel size in the file, one number or two as layerscope's own runs write it."""
    return (
        otherwise
        if told is None
        else float(np.sqrt(np.prod(np.resize(np.asarray(told, float), 2))))
    )


def _mark(entry: Mapping[str, Any], names: Mapping[Any, str], shape: tuple[int, int]) -> Mark:
    if entry["category_id"] not in names:
        raise InputError(f"category {entry['category_id']!r} is not listed")
    name, crowd = names[entry["category_id"]], bool(entry.get("iscrowd", 0))
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, Mapping):
        size, counts = segmentation["size"], segmentation["counts"]
        if (int(size[0]), int(size[1])) != shape:
            raise InputError(f"run lengths for {size} px on an image of {shape}")
        runs = expand(counts) if isinstance(counts, str) else counts
        return mark_of_mask(name, mask_from_runs(runs, shape), crowd=crowd)
    rings = [np.asarray(flat, float).reshape(-1, 2) for flat in segmentation or []]
    # Two corners are a box that some tools write as a polygon.
    polygons = [[ring] for ring in rings if len(ring) > 2]
    if polygons:
        return mark_of_polygons(name, polygons, shape, crowd=crowd)
    left, top, width, height = (float(v) for v in entry["bbox"])
    return mark_of_box(name, (top, left, top + height, left + width), shape, crowd=crowd)


def _entry(instance: Instance, number: int, image: int, shape: tuple[int, int]) -> dict[str, Any]:
    top, left, bottom, right = instance.box
    entry: dict[str, Any] = {
        "id": number,
        "image_id": image,
        "category_id": instance.class_index,
        "bbox": [left, top, right - left, bottom - top],
        "area": instance.area_px,
        "iscrowd": int(instance.crowd),
    }
    if instance.mask is None:
        return entry | {"segmentation": []}
    counts = compress(run_lengths(instance.mask, (top, left), shape))
    return entry | {"segmentation": {"size": list(shape), "counts": counts}}
