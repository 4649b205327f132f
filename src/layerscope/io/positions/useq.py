"""``MDASequence`` of useq-schema, which pymmcore-plus and napari-micromanager run: JSON or YAML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from layerscope.core.stage import StagePosition
from layerscope.errors import MissingExtra, UnreadableFile
from layerscope.io.positions.content import Content, Entry, PositionList, number, one_line

_KEY = "stage_positions"


def is_json_sequence(content: Content) -> bool:
    """Whether it is a sequence in JSON."""
    return isinstance(content.document, dict) and _KEY in content.document


def read_json_sequence(content: Content) -> PositionList:
    """Positions of a sequence in JSON, um."""
    return _of_sequence(content.document)


def is_yaml_sequence(content: Content) -> bool:
    """Whether it is a sequence in YAML."""
    return content.extension in (".yaml", ".yml") and f"{_KEY}:" in content.text


def read_yaml_sequence(content: Content) -> PositionList:
    """Positions of a sequence in YAML, um.

    Raises
    ------
    MissingExtra
        If PyYAML is not installed.
    """
    try:
        yaml = import_module("yaml")
    except ImportError:
        raise MissingExtra(
            f"{content.path.name}: YAML needs PyYAML: pip install pyyaml, or save it as JSON"
        ) from None
    try:
        document = yaml.safe_load(content.text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UnreadableFile(f"damaged YAML ({one_line(error)}); save it again") from None
    if not isinstance(document, dict) or _KEY not in document:
        raise UnreadableFile(f"YAML without {_KEY}; expected an MDASequence")
    return _of_sequence(document)


def write_sequence(positions: Sequence[StagePosition]) -> bytes:
    """Sequence that visits `positions`; a missing z leaves the focus where it is."""
    document = {_KEY: [_as_mapping(p) for p in positions]}
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _as_mapping(position: StagePosition) -> dict[str, Any]:
    said = {
        "x": position.x_um,
        "y": position.y_um,
        "z": position.z_um,
        "name": position.label or None,
    }
    return {key: value for key, value in said.items() if value is not None}


def _of_sequence(document: dict[str, Any]) -> PositionList:
    listed = document[_KEY]
    if not isinstance(listed, list):
        raise UnreadableFile(f"{_KEY} is no list; expand the plan into positions first")
    return PositionList.of((_entry(item, i) for i, item in enumerate(listed, start=1)), "useq")


def _entry(item: Any, index: int) -> Entry:
    if isinstance(item, list):
        item = dict(zip("xyz", item, strict=False))
    if not isinstance(item, dict):
        raise UnreadableFile(f"position {index} is {one_line(item)!r}; expected x, y, z, name")
    label = str(item.get("name") or "")
    where = f"position {label or index}"
    x, y = (number(item.get(axis), f"{where}: {axis}") for axis in "xy")
    z = item.get("z")
    return Entry(StagePosition(x, y, None if z is None else number(z, f"{where}: z"), label))
