"""Stage positions in OME-XML: ``PositionX`` of a plane, else the ``StageLabel`` of its image."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from layerscope.core.stage import StagePosition
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.positions.content import (
    Content,
    Entry,
    PositionList,
    local_name,
    micrometres,
    number,
    one_line,
)

_ASSUMED = "no unit is written: um, as in OME-XML before 2015"


def is_ome(content: Content) -> bool:
    """Whether it is OME-XML."""
    return content.root is not None and local_name(content.root) == "OME"


def read_ome(content: Content) -> PositionList:
    """Positions of the images that an OME-XML text describes."""
    if content.root is None:
        raise UnreadableFile("no XML")
    return positions_of(content.root, content.unit)


def positions_of(root: ElementTree.Element, unit: str | None = None) -> PositionList:
    """Positions of the images below an ``OME`` element.

    Parameters
    ----------
    root : Element
    unit : str, optional
        For lengths in the ``reference frame``, whose scale OME leaves open.

    Raises
    ------
    UnreadableFile
        If no image has a position, or its unit is not one of length and `unit` is not given.
    """
    notes: list[str] = []
    entries = [_entry(image, unit, notes) for image in _below(root, "Image")]
    found = [e for e in entries if e is not None]
    if not found:
        raise UnreadableFile("OME-XML without a stage position (PositionX, PositionY)")
    if len(found) < len(entries):
        notes.append(f"images without a position: {len(entries) - len(found)} of {len(entries)}")
    return PositionList.of(found, "ome", dict.fromkeys(notes))


def _entry(image: ElementTree.Element, unit: str | None, notes: list[str]) -> Entry | None:
    stage = next(_below(image, "StageLabel"), None)
    label = image.get("Name", "") if stage is None else stage.get("Name", "")
    places = [(plane, "Position") for plane in _below(image, "Plane")]
    if stage is not None:
        places.append((stage, ""))
    for element, prefix in places:
        if element.get(f"{prefix}X") is not None and element.get(f"{prefix}Y") is not None:
            lengths = [_length_um(element, f"{prefix}{a}", unit, notes) for a in "XY"]
            has_z = element.get(f"{prefix}Z") is not None
            z = _length_um(element, f"{prefix}Z", unit, notes) if has_z else None
            return Entry(StagePosition(lengths[0], lengths[1], z, label), _file(image))
    return None


def _length_um(
    element: ElementTree.Element, name: str, unit: str | None, notes: list[str]
) -> float:
    value, said = number(element.get(name), name), element.get(f"{name}Unit")
    if said is None:
        if unit is None:
            notes.append(_ASSUMED)
        return value * micrometres(unit or "um")
    try:
        return value * micrometres(said)
    except InputError:
        if unit is not None:
            return value * micrometres(unit)
        raise UnreadableFile(
            f"{name} is in {one_line(said)!r}, which is no length; say its unit, e.g. um"
        ) from None


def _file(image: ElementTree.Element) -> str:
    return next((u.get("FileName", "") for u in _below(image, "UUID")), "")


def _below(element: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    return (e for e in element.iter() if local_name(e) == name)
