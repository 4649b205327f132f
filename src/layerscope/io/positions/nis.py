"""Multipoint lists of Nikon NIS-Elements: XML, micrometres, UTF-16 as the instrument writes it."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from layerscope.core.stage import StagePosition
from layerscope.errors import UnreadableFile
from layerscope.io.positions.content import Content, Entry, PositionList, local_name, number

_POINT = "NDSetupMultipointListItem"
_NO_OFFSET = "-1.000000000000000"  # below zero: the focus lock keeps its own


def is_multipoint(content: Content) -> bool:
    """Whether it is a list of NIS-Elements."""
    return content.root is not None and content.root.tag == "variant"


def read_multipoint(content: Content) -> PositionList:
    """List the checked points; z where the list says that it is to be used."""
    root = content.root
    points = [] if root is None else [e for e in root.iter() if e.get("runtype") == _POINT]
    with_z = root is not None and _flag(root.find(".//bIncludeZ"))
    checked = [p for p in points if _flag(p.find("bChecked"), missing=True)]
    entries = [Entry(_position(p, i, with_z)) for i, p in enumerate(checked, start=1)]
    notes = []
    if len(checked) < len(points):
        notes.append(f"unchecked points left out: {len(points) - len(checked)}")
    return PositionList.of(entries, "nis", notes)


def write_multipoint(positions: Sequence[StagePosition]) -> tuple[bytes, tuple[str, ...]]:
    """Bytes of a list and what was lost: z counts only where every position has one."""
    known = sum(p.z_um is not None for p in positions)
    with_z = 0 < known == len(positions)
    lines = [
        '<?xml version="1.0" encoding="UTF-16"?>',
        '<variant version="1.0">',
        '<no_name runtype="CLxListVariant">',
        f'<bIncludeZ runtype="bool" value="{str(with_z).lower()}"/>',
        '<bPFSEnabled runtype="bool" value="false"/>',
        *(_point(i, p) for i, p in enumerate(positions)),
        "</no_name>",
        "</variant>",
    ]
    lost = len(positions) - known
    notes = (f"positions without z: {lost} of {len(positions)}, so none is used",)
    return "\r\n".join(lines).encode("utf-16"), notes if known and lost else ()


def _point(index: int, position: StagePosition) -> str:
    name = quoteattr(position.label, {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})
    z_um = position.z_um or 0.0
    return (
        f'<Point{index:05d} runtype="{_POINT}">'
        '<bChecked runtype="bool" value="true"/>'
        f'<strName runtype="CLxStringW" value={name}/>'
        f'<dXPosition runtype="double" value="{position.x_um:.15f}"/>'
        f'<dYPosition runtype="double" value="{position.y_um:.15f}"/>'
        f'<dZPosition runtype="double" value="{z_um:.15f}"/>'
        f'<dPFSOffset runtype="double" value="{_NO_OFFSET}"/>'
        '<baUserData runtype="CLxByteArray" value=""/>'
        f"</Point{index:05d}>"
    )


def _position(point: ElementTree.Element, index: int, with_z: bool) -> StagePosition:
    values = {local_name(child): child.get("value") for child in point}
    label = values.get("strName") or ""
    where = f"point {label or index}"
    x, y = (number(values.get(f"d{a}Position"), f"{where}: d{a}Position") for a in "XY")
    z = values.get("dZPosition")
    if with_z and z is None:
        raise UnreadableFile(f"{where} has no dZPosition although the list includes z")
    return StagePosition(x, y, number(z, f"{where}: dZPosition") if with_z else None, label)


def _flag(element: ElementTree.Element | None, *, missing: bool = False) -> bool:
    text = "" if element is None else (element.get("value") or "").strip().casefold()
    return text in ("true", "1") if text else missing
