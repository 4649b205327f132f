"""Masks and classes in the files of other programs: COCO, label images, QuPath GeoJSON.

Written files are whole or absent, and the same input gives the same bytes. What each form loses:

=============  ===================================================================================
COCO JSON      nothing: compressed run lengths, overlapping masks kept
instance PNG   overlaps (the later mask lies on top); 16 bit, value = region number, 0 = none
layers PNG     instances; 8 bit, 0 none, 1 to 253 layers, 254 thick, 255 unknown
GeoJSON        nothing: rings follow the pixels' edges, holes are inner rings, pixel units
=============  ===================================================================================
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.classes import class_colour, class_name, class_value, layer_numbers
from layerscope.core.results import BoolArray, CropMasks, Detections, FloatArray
from layerscope.core.run import ImageResult
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.atomic import write_bytes
from layerscope.io.polygons import fill_polygon, outline_polygons
from layerscope.io.rle import compress, expand, mask_from_runs, run_lengths

_NAMESPACE = uuid.UUID("6f0d2c1e-5d0b-5b57-9d67-8a3c4a1f7e21")
_MOST_PIXELS = 500_000_000


@dataclass(frozen=True)
class AnnotatedImage:
    """What an annotation file says about one image.

    Attributes
    ----------
    file_name : str
        As written in the file; empty where the form has none.
    masks : CropMasks
    classes : tuple of str
        Name of each mask's class, empty where none is given.
    score : ndarray, (n,)
        NaN where none is given.
    """

    file_name: str
    masks: CropMasks
    classes: tuple[str, ...]
    score: FloatArray


def write_coco(
    path: str | Path, images: Sequence[ImageResult], provenance: Mapping[str, Any] | None = None
) -> None:
    """Write the detections of a run as COCO instances (Lin et al., arXiv 1405.0312).

    Parameters
    ----------
    path : path
    images : sequence of ImageResult
        Numbered from 1 in this order.
    provenance : mapping, optional
        Goes into ``info``.

    Notes
    -----
    ``segmentation`` is compressed RLE, column-major; ``bbox`` is x, y, width, height; categories
    are numbered as in `write_layers`. Beyond the standard, each entry has ``score`` and
    ``flake_id``.
    """
    answers = [layer_numbers(image.detections) for image in images]
    classes = sorted({n for numbers in answers for n in numbers}, key=class_value)
    entries: list[dict[str, Any]] = []
    for number, (image, layers) in enumerate(zip(images, answers, strict=True), 1):
        entries += _coco_entries(image.detections, layers, number, len(entries) + 1)
    document = {
        "info": dict(provenance or {}),
        "images": [_coco_image(i, image) for i, image in enumerate(images, 1)],
        "categories": [
            {"id": class_value(n), "name": class_name(n), "supercategory": "flake"} for n in classes
        ],
        "annotations": entries,
    }
    write_bytes(path, _json_bytes(document))


def read_coco(path: str | Path) -> list[AnnotatedImage]:
    """Read COCO instances: polygons, uncompressed and compressed run lengths.

    Returns
    -------
    list of AnnotatedImage
        One per image of the file, in its order, also those without annotation.

    Raises
    ------
    UnreadableFile
        If the file is missing, no JSON, or lacks what COCO instances need; the message names it.
    """
    document = _read_json(path)
    try:
        names = {c["id"]: str(c["name"]) for c in document.get("categories", [])}
        of_image: dict[Any, list[Any]] = {image["id"]: [] for image in document["images"]}
        for entry in document["annotations"]:
            of_image[entry["image_id"]].append(entry)
        return [_read_coco_image(i, of_image[i["id"]], names) for i in document["images"]]
    except (KeyError, TypeError, AttributeError, ValueError) as reason:
        raise UnreadableFile(_not_as_expected(path, "COCO instances", reason)) from None


def write_instances(path: str | Path, masks: CropMasks) -> None:
    """Write masks as a 16-bit PNG: value = number of the mask from 1, 0 = none.

    Raises
    ------
    InputError
        If there are more than 65535 masks.
    """
    if len(masks) > 65535:
        raise InputError(f"{len(masks)} masks do not fit a 16-bit image; write COCO instead")
    write_bytes(path, _png(masks.labels().astype(np.uint16)))


def read_instances(path: str | Path) -> CropMasks:
    """Read a label image (PNG, TIFF; 8 or 16 bit): one mask per value above 0, ascending.

    Raises
    ------
    UnreadableFile
        If the file is missing, no image, or has colours.
    """
    content = _read_bytes(path)
    try:
        labels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        labels = None
    if labels is None or labels.ndim != 2 or labels.dtype not in (np.uint8, np.uint16):
        raise UnreadableFile(f"{path}: expected a grey label image of 8 or 16 bit")
    return CropMasks.from_labels(labels.astype(np.int32))


def write_layers(path: str | Path, detections: Detections) -> None:
    """Write layer numbers as an 8-bit PNG: 0 none, 1 to 253 layers, 254 thick, 255 unknown."""
    values = [class_value(n) for n in layer_numbers(detections)]
    write_bytes(path, _png(detections.masks.labels(values).astype(np.uint8)))


def write_geojson(
    path: str | Path,
    detections: Detections,
    *,
    image: str = "",
    measurements: Sequence[Mapping[str, float]] | None = None,
) -> None:
    """Write regions as QuPath reads them: a FeatureCollection in pixels.

    Parameters
    ----------
    path : path
    detections : Detections
    image : str
        Name of the image; makes the identifiers unique.
    measurements : sequence of mappings, optional
        One per region, e.g. the numeric columns of its row of the objects table; values that are
        not finite are left out.

    Raises
    ------
    InputError
        If there are not as many measurements as regions.
    """
    extra = [{}] * len(detections) if measurements is None else list(measurements)
    if len(extra) != len(detections):
        raise InputError(f"{len(detections)} regions but {len(extra)} rows of measurements")
    layers = layer_numbers(detections)
    features = [
        _feature(detections, i, layers[i], {"score": float(detections.score[i]), **extra[i]}, image)
        for i in range(len(detections))
    ]
    write_bytes(path, _json_bytes({"type": "FeatureCollection", "features": features}))


def read_geojson(path: str | Path, shape: tuple[int, int]) -> AnnotatedImage:
    """Read a FeatureCollection of polygons in pixels, as QuPath writes it.

    Parameters
    ----------
    path : path
    shape : tuple of int
        Height and width of the image that it belongs to. Features without area or outside the
        image, such as points and lines, are skipped.

    Raises
    ------
    UnreadableFile
        If the file is missing, no JSON or no GeoJSON.
    """
    document = _read_json(path)
    masks, classes, score = [], [], []
    try:
        features = document.get("features", [document])
        for feature in features:
            mask = _read_geometry(feature["geometry"] or {}, shape)
            if mask.any():
                properties = feature.get("properties") or {}
                masks.append(mask)
                classes.append(str((properties.get("classification") or {}).get("name", "")))
                score.append(_read_score(properties.get("measurements") or {}))
    except (KeyError, TypeError, AttributeError, ValueError) as reason:
        raise UnreadableFile(_not_as_expected(path, "GeoJSON", reason)) from None
    return AnnotatedImage(
        "", CropMasks.from_dense(masks, shape), tuple(classes), np.array(score, float)
    )


def _coco_image(number: int, image: ImageResult) -> dict[str, Any]:
    height, width = image.shape
    name = Path(image.path).name if image.path else image.name
    entry = {"id": number, "file_name": name, "height": height, "width": width}
    if image.pixel_size is not None:
        entry["pixel_size_nm"] = [image.pixel_size.y_nm, image.pixel_size.x_nm]
    return entry


def _coco_entries(
    detections: Detections, layers: list[int], image_id: int, first: int
) -> list[dict[str, Any]]:
    masks = detections.masks
    height, width = masks.shape
    entries = []
    for i, ((top, left, bottom, right), crop) in enumerate(
        zip(masks.boxes.tolist(), masks.crops, strict=True)
    ):
        counts = compress(run_lengths(crop, (top, left), masks.shape))
        entries.append(
            {
                "id": first + i,
                "image_id": image_id,
                "category_id": class_value(layers[i]),
                "segmentation": {"size": [height, width], "counts": counts},
                "area": int(masks.area_px[i]),
                "bbox": [left, top, right - left, bottom - top],
                "iscrowd": 0,
                "score": float(detections.score[i]),
                "flake_id": int(detections.flake_id[i]),
            }
        )
    return entries


def _read_coco_image(
    image: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], names: Mapping[Any, str]
) -> AnnotatedImage:
    shape = int(image["height"]), int(image["width"])
    if min(shape) < 1 or shape[0] * shape[1] > _MOST_PIXELS:
        raise InputError(f"image {image['id']!r} claims {shape[0]} x {shape[1]} pixels")
    masks, kept = [], []
    for entry in entries:
        mask = _read_segmentation(entry["segmentation"], shape)
        if mask.any():
            # Cropped at once: a hundred dense masks of a large image would fill the memory.
            masks.append(CropMasks.from_dense([mask], shape))
            kept.append(entry)
    boxes = np.array([m.boxes[0] for m in masks], np.int64).reshape(-1, 4)
    joined = CropMasks(boxes, tuple(m.crops[0].copy() for m in masks), shape)
    classes = tuple(names.get(e.get("category_id"), "") for e in kept)
    score = np.array([float(e.get("score", np.nan)) for e in kept], float)
    return AnnotatedImage(str(image.get("file_name", "")), joined, classes, score)


def _read_segmentation(segmentation: Any, shape: tuple[int, int]) -> BoolArray:
    if isinstance(segmentation, Mapping):
        size = int(segmentation["size"][0]), int(segmentation["size"][1])
        if size != shape:
            raise InputError(f"run lengths for {size} on an image of {shape}")
        counts = segmentation["counts"]
        return mask_from_runs(expand(counts) if isinstance(counts, str) else counts, shape)
    mask = np.zeros(shape, bool)
    for flat in segmentation:
        mask |= fill_polygon([np.asarray(flat, float).reshape(-1, 2)], shape)
    return mask


def _feature(
    detections: Detections, i: int, layers: int, measured: Mapping[str, float], image: str
) -> dict[str, Any]:
    top, left, *_ = detections.masks.boxes[i].tolist()
    polygons = outline_polygons(detections.masks.crops[i], (top, left))
    closed = [[[*map(list, ring), list(ring[0])] for ring in polygon] for polygon in polygons]
    single = len(closed) == 1
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, f"{image}/{i + 1}")),
        "geometry": {
            "type": "Polygon" if single else "MultiPolygon",
            "coordinates": closed[0] if single else closed,
        },
        "properties": {
            "objectType": "annotation",
            "name": f"{i + 1}",
            "classification": {"name": class_name(layers), "color": list(class_colour(layers))},
            "measurements": {k: float(v) for k, v in measured.items() if math.isfinite(v)},
        },
    }


def _read_geometry(geometry: Mapping[str, Any], shape: tuple[int, int]) -> BoolArray:
    mask = np.zeros(shape, bool)
    kind = geometry.get("type")
    polygons = geometry["coordinates"] if kind in ("Polygon", "MultiPolygon") else []
    for polygon in [polygons] if kind == "Polygon" else polygons:
        mask |= fill_polygon([np.asarray(ring, float)[:, :2] for ring in polygon], shape)
    return mask


def _read_score(measurements: Any) -> float:
    """Score among QuPath's measurements: a mapping, in old versions a list of name and value."""
    if isinstance(measurements, list):
        measurements = {m["name"]: m["value"] for m in measurements}
    return float(measurements.get("score", np.nan))


def _rounded(value: Any) -> Any:
    """Floats to seven digits: more says nothing and differs between machines."""
    if isinstance(value, Mapping):
        return {str(k): _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value


def _json_bytes(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(
        _rounded(document), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    return text.encode() + b"\n"


def _png(labels: npt.NDArray[Any]) -> bytes:
    # Rows of labels repeat: the "up" filter and run lengths take a quarter of the default's time.
    options = [
        cv2.IMWRITE_PNG_COMPRESSION,
        1,
        cv2.IMWRITE_PNG_STRATEGY,
        cv2.IMWRITE_PNG_STRATEGY_RLE,
    ]
    if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # from OpenCV 4.12 on
        options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    done, content = cv2.imencode(".png", labels, options)
    if not done:
        raise InputError(f"cannot encode labels of shape {labels.shape} as PNG")
    return bytes(content.tobytes())


def _read_bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as reason:
        raise UnreadableFile(f"{path}: {reason.strerror}") from None


def _read_json(path: str | Path) -> dict[str, Any]:
    content = _read_bytes(path)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise UnreadableFile(f"{path}: no JSON; the file may be cut off") from None
    if not isinstance(document, dict):
        raise UnreadableFile(f"{path}: expected a JSON object, found {type(document).__name__}")
    return document


def _not_as_expected(path: str | Path, form: str, reason: Exception) -> str:
    what = f"{reason.args[0]!r} is missing" if isinstance(reason, KeyError) else str(reason)
    return f"{path}: not {form} as expected: {what}"
