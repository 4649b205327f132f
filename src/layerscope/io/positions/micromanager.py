"""Micro-Manager: position lists of versions 1 and 2, ``metadata.txt``, tags in its images.

A list of version 2 is a property map: every leaf is ``{"type": ..., "scalar" | "array": ...}``, and
the length of ``Position_um`` says whether a device is a stage (2) or a focus drive (1).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from layerscope.core.stage import StagePosition
from layerscope.errors import UnreadableFile
from layerscope.io.positions.content import Content, Entry, PositionList, number

_X_KEYS = ("XPositionUm", "XPosition_um_Intended")
_Y_KEYS = ("YPositionUm", "YPosition_um_Intended")
_Z_KEYS = ("ZPositionUm", "ZPosition_um_Intended")
_FRAME = ("FrameKey-", "Metadata-")
XY_STAGE, Z_STAGE = "XYStage", "ZStage"

Device = tuple[str, Sequence[Any]]


def is_property_map(content: Content) -> bool:
    """Whether it is a position list of Micro-Manager 2."""
    document = content.document
    return isinstance(document, dict) and "StagePositions" in _mapping(document.get("map"))


def read_property_map(content: Content) -> PositionList:
    """Positions of a Micro-Manager 2 list, with the names of its devices."""
    listed = _leaf(content.document["map"]["StagePositions"])
    return _of_list(listed, "micromanager")


def is_version_1(content: Content) -> bool:
    """Whether it is a position list of Micro-Manager 1."""
    return isinstance(content.document, dict) and "POSITIONS" in content.document


def read_version_1(content: Content) -> PositionList:
    """Positions of a Micro-Manager 1 list, with the names of its devices."""
    return _of_list(content.document["POSITIONS"], "micromanager1")


def is_metadata(content: Content) -> bool:
    """Whether it is the ``metadata.txt`` beside a data set of Micro-Manager."""
    document = content.document
    return isinstance(document, dict) and (
        "Summary" in document or any(k.startswith(_FRAME) for k in document)
    )


def read_metadata(content: Content) -> PositionList:
    """Positions of the images of a data set; of its summary where images have none."""
    document: dict[str, Any] = content.document
    frames = [
        entry
        for key, tags in document.items()
        if key.startswith(_FRAME) and isinstance(tags, dict)
        if (entry := _frame(key, tags)) is not None
    ]
    if frames:
        return _first_of_each(frames)
    summary = _mapping(document.get("Summary"))
    planned = summary.get("StagePositions", summary.get("InitialPositionList"))
    if not planned:
        raise UnreadableFile("Micro-Manager metadata without XPositionUm and YPositionUm")
    found = _of_list(_leaf(planned), "micromanager_metadata")
    note = "planned positions of the acquisition: its images have none of their own"
    return PositionList.of(_entries(found), found.format, (*found.notes, note), found.stages)


def position_of_tags(tags: Mapping[str, Any]) -> StagePosition | None:
    """Position that Micro-Manager wrote into the tags of one image, um; None if it did not.

    Raises
    ------
    UnreadableFile
        If a coordinate is there and is no number.
    """
    x, y, z = (_first(tags, keys) for keys in (_X_KEYS, _Y_KEYS, _Z_KEYS))
    if x is None or y is None:
        return None
    label = str(tags.get("PositionName") or "")
    focus = None if z is None else number(z, "ZPositionUm")
    return StagePosition(number(x, "XPositionUm"), number(y, "YPositionUm"), focus, label)


def write_property_map(positions: Sequence[StagePosition], stages: tuple[str, str]) -> bytes:
    """Micro-Manager 2 list. A position without z has no focus drive: a 0 would drive it there."""
    stage, focus = stages[0] or XY_STAGE, stages[1] or Z_STAGE
    listed = [_position_map(p, stage, focus) for p in positions]
    document = {
        "encoding": "UTF-8",
        "format": "Micro-Manager Property Map",
        "major_version": 2,
        "minor_version": 0,
        "map": {"StagePositions": {"type": "PROPERTY_MAP", "array": listed}},
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _position_map(position: StagePosition, stage: str, focus: str) -> dict[str, Any]:
    has_z = position.z_um is not None
    devices = [_device_map(focus, [position.z_um])] if has_z else []
    devices.append(_device_map(stage, [position.x_um, position.y_um]))
    return {
        "DefaultXYStage": _string(stage),
        "DefaultZStage": _string(focus if has_z else ""),
        "DevicePositions": {"type": "PROPERTY_MAP", "array": devices},
        "GridCol": {"type": "INTEGER", "scalar": 0},
        "GridRow": {"type": "INTEGER", "scalar": 0},
        "Label": _string(position.label),
        "Properties": {"type": "PROPERTY_MAP", "scalar": {}},
    }


def _device_map(name: str, values: Sequence[float | None]) -> dict[str, Any]:
    return {"Device": _string(name), "Position_um": {"type": "DOUBLE", "array": list(values)}}


def _string(text: str) -> dict[str, str]:
    return {"type": "STRING", "scalar": text}


def _of_list(listed: Any, form: str) -> PositionList:
    if not isinstance(listed, list):
        raise UnreadableFile("the list of stage positions is missing or damaged")
    found = [_position(item, i) for i, item in enumerate(listed, start=1)]
    notes = sorted({note for _, _, note in found if note})
    stages = found[0][1] if found else ("", "")
    return PositionList.of((Entry(p) for p, _, _ in found), form, notes, stages)


def _position(item: Any, index: int) -> tuple[StagePosition, tuple[str, str], str]:
    item = _mapping(item)
    label = str(_either(item, "Label", "LABEL") or "")
    where = f"position {label or index}"
    devices = _devices(item, where)
    stage = _chosen(devices, str(_either(item, "DefaultXYStage", "DEFAULT_XY_STAGE") or ""), 2)
    if stage is None:
        raise UnreadableFile(f"{where} has no stage with x and y")
    focus, note = _focus(devices, str(_either(item, "DefaultZStage", "DEFAULT_Z_STAGE") or ""))
    x, y = (number(v, f"{where}: {axis}") for v, axis in zip(stage[1], "xy", strict=True))
    z = None if focus is None else number(focus[1][0], f"{where}: z")
    return StagePosition(x, y, z, label), (stage[0], focus[0] if focus else ""), note


def _focus(devices: Sequence[Device], default: str) -> tuple[Device | None, str]:
    """Focus drive by its name, else the only one; several without a name are no answer."""
    drives = [d for d in devices if len(d[1]) == 1]
    found = _chosen(devices, default, 1) if default or len(drives) == 1 else None
    unsure = found is None and len(drives) > 1
    return found, "several focus drives and no default: z left out" if unsure else ""


def _chosen(devices: Sequence[Device], default: str, axes: int) -> Device | None:
    able = [d for d in devices if len(d[1]) == axes]
    return next((d for d in able if d[0] == default), able[0] if able else None)


def _devices(item: Mapping[str, Any], where: str) -> list[Device]:
    """Name and coordinates of every device, of any version."""
    by_name = item.get("DeviceCoordinatesUm")
    if isinstance(by_name, dict):
        return [(name, v) for name, v in by_name.items() if isinstance(v, list)]
    listed = _either(item, "DevicePositions", "DEVICES")
    if not isinstance(listed, list):
        raise UnreadableFile(f"{where} has no devices")
    return [_device(_mapping(device)) for device in listed]


def _device(device: Mapping[str, Any]) -> Device:
    if "AXES" in device:
        values = [device.get(axis) for axis in "XYZ"]
        return str(device.get("DEVICE", "")), values[: 2 if device["AXES"] == 2 else 1]
    values = _either(device, "Position_um")
    return str(_either(device, "Device") or ""), values if isinstance(values, list) else []


def _frame(key: str, tags: Mapping[str, Any]) -> Entry | None:
    position = position_of_tags(tags)
    if position is None:
        return None
    by_key = key.partition("-")[2] if key.startswith("Metadata-") else ""
    return Entry(position, str(tags.get("FileName") or by_key))


def _first_of_each(frames: Iterable[Entry]) -> PositionList:
    """One entry per file, label and place: the planes of a stack share theirs."""
    first: dict[tuple[Any, ...], Entry] = {}
    for entry in frames:
        p = entry.position
        first.setdefault((entry.file, p.label, p.x_um, p.y_um), entry)
    return PositionList.of(first.values(), "micromanager_metadata")


def _entries(found: PositionList) -> list[Entry]:
    return [Entry(p, f) for p, f in zip(found.positions, found.files, strict=True)]


def _leaf(value: Any) -> Any:
    """Content of a property map's leaf; anything else as it is."""
    if isinstance(value, dict):
        return value.get("array", value.get("scalar", value))
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _either(item: Mapping[str, Any], *names: str) -> Any:
    return next((_leaf(item[name]) for name in names if name in item), None)


def _first(tags: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((tags[name] for name in names if tags.get(name) is not None), None)
