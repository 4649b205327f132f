"""CVAT for images 1.1 (XML): polygons, boxes, ellipses and masks.

Shapes of one label that share a ``group_id`` above 0 are parts of one object.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np

from layerscope.core.examples import DataSet, Instance
from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError, UnreadableFile
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
    read_text,
    split_of,
)
from layerscope.io.annotated.images import image_facts
from layerscope.io.annotated.output import copy_images, objects_of
from layerscope.io.atomic import write_bytes

# Entities are the road to exhausting memory; CVAT writes none.
_DECLARES_TYPE = re.compile(r"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)


def claims_cvat(path: Path) -> bool:
    """Whether there is an XML file of annotations with images."""
    return bool(_documents(path))


def read_cvat(request: Request) -> Drafts:
    """Read one CVAT file, or those in a folder.

    Raises
    ------
    UnreadableFile
        If a file is damaged or no CVAT export for images.
    """
    names: list[str] = []
    drafts = []
    for path in _documents(request.path) or files_of(request.path, ".xml"):
        root = _parse(path)
        listed = [str(n.text) for n in root.iterfind(".//labels/label/name") if n.text]
        names += [n for n in listed if n not in names]
        for position, image in enumerate(root.iter("image"), 1):
            with request.entry(f"{path.name}: image {position}"):
                drafts.append(_draft(image, path, request))
    return Drafts(drafts, names)


def write_cvat(dataset: DataSet, folder: Path) -> tuple[str, ...]:
    """Write ``annotations.xml`` with masks and boxes, and ``images/``."""
    notes: list[str] = []
    files = copy_images(dataset, folder / "images")
    labels = "".join(
        f"<label><name>{_text(n)}</name><attributes/></label>" for n in dataset.classes[1:]
    )
    lines = ["<annotations>", "<version>1.1</version>"]
    lines.append(f"<meta><task><labels>{labels}</labels></task></meta>")
    for number, example in enumerate(dataset.examples):
        height, width = example.shape
        name = quoteattr(files[example.name])
        lines.append(f'<image id="{number}" name={name} width="{width}" height="{height}">')
        lines += [_shape(i, dataset.classes) for i in objects_of(example, notes)]
        lines.append("</image>")
    text = "\n".join(['<?xml version="1.0" encoding="utf-8"?>', *lines, "</annotations>", ""])
    write_bytes(folder / "annotations.xml", text.encode())
    return tuple(notes)


CVAT = AnnotationFormat(
    "cvat", "CVAT for images 1.1 (XML)", "masks", claims_cvat, read_cvat, write_cvat
)


def _documents(path: Path) -> list[Path]:
    return [p for p in files_of(path, ".xml") if holds(p, b"<annotations>", b"<image ")]


def _parse(path: Path) -> ElementTree.Element:
    text = read_text(path)
    if _DECLARES_TYPE.search(text):
        raise UnreadableFile(f"{path}: XML that declares a type of its own; CVAT writes none")
    try:
        root = ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))
    except ElementTree.ParseError as error:
        raise UnreadableFile(
            f"{path}: no complete XML ({error}); the file may be cut off"
        ) from None
    if root.tag != "annotations":
        raise UnreadableFile(f"{path}: XML of <{root.tag}>, expected the <annotations> of CVAT")
    return root


def _draft(image: ElementTree.Element, path: Path, request: Request) -> Draft:
    found = request.images.find(_of(image, "name"), path.parent)
    shape, size_nm = image_facts(found)
    declared = int(_of(image, "height")), int(_of(image, "width"))
    if declared != shape:
        raise InputError(f"{found.name} is {shape} px (rows, columns), labelled as {declared}")
    marks: list[tuple[object, Mark]] = []
    for number, element in enumerate(image, 1):
        with request.entry(f"{found.name}: shape {number}"):
            if element.tag != "tag":
                group = int(element.get("group_id") or 0)
                marks.append((group or None, _mark(element, shape)))
    split = {"Train": "train", "Validation": "valid", "Test": "test"}.get(image.get("subset", ""))
    split = split or split_of(found, request.images.root)
    return Draft(found, shape, joined(marks), pixel_size_nm=size_nm, split=split)


def _of(element: ElementTree.Element, attribute: str) -> str:
    value = element.get(attribute)
    if value is None:
        raise InputError(f"<{element.tag}> without {attribute}")
    return value


def _numbers(element: ElementTree.Element, *attributes: str) -> list[float]:
    return [float(_of(element, a)) for a in attributes]


def _mark(element: ElementTree.Element, shape: tuple[int, int]) -> Mark:
    name = _of(element, "label")
    crowd = any(
        a.get("name") == "is_crowd" and (a.text or "").casefold() == "true"
        for a in element.iter("attribute")
    )
    if element.tag == "polygon":
        pairs = [p.split(",") for p in _of(element, "points").split(";")]
        return mark_of_polygons(name, [[np.array(pairs, float)]], shape, crowd=crowd)
    if element.tag == "ellipse":
        return mark_of_polygons(name, [[_ellipse(element)]], shape, crowd=crowd)
    if element.tag == "box":
        left, top, right, bottom = _numbers(element, "xtl", "ytl", "xbr", "ybr")
        return mark_of_box(name, (top, left, bottom, right), shape, crowd=crowd)
    if element.tag == "mask":
        mask, origin = _read_mask(element, shape)
        return mark_of_mask(name, mask, origin, crowd=crowd)
    raise InputError(f"a shape of type {element.tag!r}, expected polygon, box, ellipse or mask")


def _ellipse(element: ElementTree.Element) -> FloatArray:
    x, y, rx, ry = _numbers(element, "cx", "cy", "rx", "ry")
    angle = np.linspace(0, 2 * math.pi, 360, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def _read_mask(
    element: ElementTree.Element, shape: tuple[int, int]
) -> tuple[BoolArray, tuple[int, int]]:
    """Mask in its window, and the window's first row and column.

    Run lengths go row by row through the window, background first.
    """
    left, top, width, height = (int(v) for v in _numbers(element, "left", "top", "width", "height"))
    if not (top >= 0 and top + height <= shape[0] and left >= 0 and left + width <= shape[1]):
        raise InputError(f"a mask of {height} x {width} px at {top}, {left} outside of the image")
    runs = np.array(_of(element, "rle").split(","), np.int64)
    if (runs < 0).any() or runs.sum() != width * height:
        raise InputError(f"run lengths add to {runs.sum()}, not to {height} x {width} pixels")
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return values.reshape(height, width), (top, left)


def _shape(instance: Instance, classes: tuple[str, ...]) -> str:
    top, left, bottom, right = instance.box
    label = f'label={quoteattr(classes[instance.class_index])} source="manual" occluded="0"'
    inner = '<attribute name="is_crowd">true</attribute>' if instance.crowd else ""
    if instance.mask is None:
        place = f'xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}"'
        return f'<box {label} {place} z_order="0">{inner}</box>'
    flat = instance.mask.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.r_[0, edges, len(flat)]).tolist()
    rle = ", ".join(map(str, [0, *runs] if flat[0] else runs))
    size = f'left="{left}" top="{top}" width="{right - left}" height="{bottom - top}"'
    return f'<mask {label} rle="{rle}" {size} z_order="0">{inner}</mask>'


def _text(value: str) -> str:
    from xml.sax.saxutils import escape

    return escape(value)
