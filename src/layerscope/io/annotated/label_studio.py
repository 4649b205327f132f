"""Label Studio's JSON export: painted masks, polygons, rectangles and ellipses in percent."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import quoteattr, unescape

import numpy as np

from layerscope.core.examples import DataSet, Instance
from layerscope.core.results import FloatArray
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.annotated import AnnotationFormat
from layerscope.io.annotated.brush import brush_of_mask, mask_of_brush
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
    read_text,
    split_of,
)
from layerscope.io.annotated.images import image_facts
from layerscope.io.annotated.output import copy_images, objects_of, write_json
from layerscope.io.atomic import write_bytes

_CONFIG_FILE = "label_config.xml"
# Label Studio puts eight hexadecimal digits before the name of an uploaded file.
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
_SHAPES = ("brush", "polygon", "rectangle", "ellipse")


def claims_label_studio(path: Path) -> bool:
    """Whether there is a JSON list of tasks with annotations and data."""
    return bool(_documents(path))


def read_label_studio(request: Request) -> Drafts:
    """Read the first annotation of each task that nobody cancelled.

    Raises
    ------
    UnreadableFile
        If a file is damaged or holds no list of tasks.
    """
    drafts = []
    for path in _documents(request.path) or files_of(request.path, ".json"):
        tasks = read_json(path)
        if not isinstance(tasks, list):
            raise UnreadableFile(f"{path}: expected a list of tasks, as 'Export > JSON' writes it")
        for position, task in enumerate(tasks, 1):
            with request.entry(f"{path.name}: task {position}"):
                drafts.append(_draft(task, path, request))
    return Drafts(drafts, _configured(request.root / _CONFIG_FILE))


def write_label_studio(dataset: DataSet, folder: Path) -> tuple[str, ...]:
    """Write ``tasks.json`` with painted masks and rectangles, ``label_config.xml``, ``images/``."""
    notes: list[str] = []
    files = copy_images(dataset, folder / "images")
    tasks = []
    for number, example in enumerate(dataset.examples, 1):
        results = [
            _result(i, dataset.classes, example.shape, f"{number}-{k}")
            for k, i in enumerate(objects_of(example, notes), 1)
        ]
        if any(i.crowd for i in example.instances or ()):
            notes.append(f"{example.name}: crowds are written as single objects")
        image = f"/data/local-files/?d=images/{files[example.name]}"
        tasks.append(
            {
                "id": number,
                "data": {"image": image},
                "annotations": [{"id": number, "result": results}],
            }
        )
    write_json(folder / "tasks.json", tasks)
    write_bytes(folder / _CONFIG_FILE, _config(dataset.classes[1:]).encode())
    return tuple(notes)


LABEL_STUDIO = AnnotationFormat(
    "label_studio",
    "Label Studio (JSON export)",
    "masks",
    claims_label_studio,
    read_label_studio,
    write_label_studio,
)


def _documents(path: Path) -> list[Path]:
    files = files_of(path, ".json")
    return [p for p in files if holds(p, b'"data"', b'"result"') and not holds(p, b'"imagePath"')]


def _draft(task: Mapping[str, Any], path: Path, request: Request) -> Draft:
    found = request.images.find(_image_name(task["data"]), path.parent)
    given = task.get("annotations", task.get("completions", []))
    valid = [a for a in given if not a.get("was_cancelled")]
    if not valid:
        raise InputError(f"{found.name} has no annotation")
    if len(valid) > 1:
        request.notes.append(f"{found.name}: the first of {len(valid)} annotations is used")
    shape, size_nm = image_facts(found)
    labels = _labels(valid[0]["result"])
    marks = []
    for number, result in enumerate(valid[0]["result"], 1):
        with request.entry(f"{found.name}: region {number}"):
            if any(k in result.get("value", {}) for k in ("rle", "points", "width", "radiusX")):
                marks.append(_mark(result, labels, shape))
    split = split_of(found, request.images.root)
    return Draft(found, shape, tuple(marks), pixel_size_nm=size_nm, split=split)


def _image_name(data: Mapping[str, Any]) -> str:
    """File name in the task's data, without what the server added."""
    texts = [
        v for k, v in sorted(data.items(), key=lambda i: i[0] != "image") if isinstance(v, str)
    ]
    if not texts:
        raise InputError("the task names no image")
    parsed = urlsplit(texts[0])
    local = parse_qs(parsed.query).get("d")
    path = local[0] if local else parsed.path
    folder, slash, name = path.rpartition("/")
    uploaded = "upload" in folder.split("/")
    return _UPLOADED.sub("", name) if uploaded else f"{folder}{slash}{name}".lstrip("/")


def _labels(results: list[Mapping[str, Any]]) -> dict[str, str]:
    """Class by region; labels and shape of one region may be separate results of the same id."""
    found = {}
    for result in results:
        value = result.get("value") if isinstance(result, Mapping) else None
        named = value.items() if isinstance(value, Mapping) else ()
        listed = [v for k, v in named if k.endswith("labels") and isinstance(v, list) and v]
        if listed:
            found[str(result.get("id"))] = str(listed[0][0])
    return found


def _mark(result: Mapping[str, Any], labels: Mapping[str, str], shape: tuple[int, int]) -> Mark:
    name = labels.get(str(result.get("id")))
    if name is None:
        raise InputError("a region without a label")
    declared = result.get("original_height", shape[0]), result.get("original_width", shape[1])
    if declared != shape:
        raise InputError(f"labelled on {declared} px (rows, columns), the image is {shape}")
    value = result["value"]
    if "rle" in value:
        return mark_of_mask(name, mask_of_brush(value["rle"], shape))
    if "points" in value:
        points = np.asarray(value["points"], float) / 100 * [shape[1], shape[0]]
        return mark_of_polygons(name, [[points]], shape)
    if "radiusX" in value:
        return mark_of_polygons(name, [[_ellipse(value, shape)]], shape)
    corners = _rectangle(value, shape)
    if float(value.get("rotation", 0)) % 360:
        return mark_of_polygons(name, [[corners]], shape)
    (left, top), (right, bottom) = corners.min(0), corners.max(0)
    return mark_of_box(name, (top, left, bottom, right), shape)


def _rectangle(value: Mapping[str, Any], shape: tuple[int, int]) -> FloatArray:
    """Corners x, y in px; the rotation, clockwise as seen, is about the first one."""
    x, y = float(value["x"]) / 100 * shape[1], float(value["y"]) / 100 * shape[0]
    w, h = float(value["width"]) / 100 * shape[1], float(value["height"]) / 100 * shape[0]
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], float)
    return np.array([x, y]) + _turned(corners, value)


def _ellipse(value: Mapping[str, Any], shape: tuple[int, int]) -> FloatArray:
    centre = np.array([float(value["x"]) * shape[1], float(value["y"]) * shape[0]]) / 100
    radii = np.array([float(value["radiusX"]) * shape[1], float(value["radiusY"]) * shape[0]]) / 100
    angle = np.linspace(0, 2 * math.pi, 360, endpoint=False)
    around = radii * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return centre + _turned(around, value)


def _turned(points: FloatArray, value: Mapping[str, Any]) -> FloatArray:
    angle = math.radians(float(value.get("rotation", 0)))
    cos, sin = math.cos(angle), math.sin(angle)
    return np.asarray(points @ np.array([[cos, sin], [-sin, cos]]))


def _result(
    instance: Instance, classes: tuple[str, ...], shape: tuple[int, int], identity: str
) -> dict[str, Any]:
    height, width = shape
    top, left, bottom, right = instance.box
    name = [classes[instance.class_index]]
    common = {
        "id": identity,
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
    }
    if instance.mask is None:
        value: dict[str, Any] = {
            "x": 100 * left / width,
            "y": 100 * top / height,
            "width": 100 * (right - left) / width,
            "height": 100 * (bottom - top) / height,
            "rotation": 0,
            "rectanglelabels": name,
        }
        return common | {"type": "rectanglelabels", "from_name": "box", "value": value}
    full = np.zeros(shape, bool)
    full[top:bottom, left:right] = instance.mask
    value = {"format": "rle", "rle": brush_of_mask(full), "brushlabels": name}
    return common | {"type": "brushlabels", "from_name": "brush", "value": value}


def _config(classes: tuple[str, ...]) -> str:
    """Labelling interface to paste into a Label Studio project before importing the tasks."""
    listed = "".join(f"    <Label value={quoteattr(n)}/>\n" for n in classes)
    tools = "".join(
        f'  <{tag} name="{name}" toName="image">\n{listed}  </{tag}>\n'
        for tag, name in (("BrushLabels", "brush"), ("RectangleLabels", "box"))
    )
    return f'<View>\n  <Image name="image" value="$image"/>\n{tools}</View>\n'


def _configured(path: Path) -> list[str]:
    if not path.is_file():
        return []
    found = re.findall(r"""<Label\s[^>]*?value=(?:"([^"]*)"|'([^']*)')""", read_text(path))
    quotes = {"&quot;": '"', "&apos;": "'"}
    return list(dict.fromkeys(unescape(a or b, quotes) for a, b in found))
