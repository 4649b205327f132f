r"""Positions as CSV or TSV: a header that names axes and units, one row per position.

``x_um``, ``X (µm)``, ``stage_x_mm``, ``XPositionUm``, ``Position X [mm]``: an axis and a unit.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from layerscope.core.stage import StagePosition
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.positions.content import (
    Content,
    Entry,
    PositionList,
    micrometres,
    number,
    one_line,
)

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WORD = re.compile(r"[^\W_]+|#")
_UNITS = frozenset({"nm", "um", "µm", "μm", "micron", "mm", "cm", "m", "inch"})
_MICRONS = frozenset({"microns", "micrometer", "micrometers", "micrometre", "micrometres"})
_NOT_A_LENGTH = frozenset({"px", "pixel", "pixels", "deg"})
_FILLERS = frozenset(
    {"stage", "position", "positions", "pos", "coordinate", "coord", "center", "centre", "axis",
     "motor", "location", "loc", "absolute", "abs", "in"}
)  # fmt: skip
_AXES = {
    "x": "x", "y": "y", "z": "z", "focus": "z",
    "xpos": "x", "ypos": "y", "zpos": "z", "posx": "x", "posy": "y", "posz": "z",
    "xposition": "x", "yposition": "y", "zposition": "z",
    "positionx": "x", "positiony": "y", "positionz": "z",
    "stagex": "x", "stagey": "y", "stagez": "z", "xstage": "x", "ystage": "y", "zstage": "z",
    "xum": "x um", "yum": "y um", "zum": "z um", "xmm": "x mm", "ymm": "y mm", "zmm": "z mm",
}  # fmt: skip
_LABELS = ("label", "name", "position", "pos", "site", "point", "id", "#", "index", "number", "no")
_FILES = ("file", "filename", "image", "path", "tile", "micrograph", "frame")
_IMAGE_NAME = re.compile(r"\.(tiff?|jpe?g|png|bmp|npy|btf)$", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")


@dataclass(frozen=True)
class _Column:
    """Where an axis stands and how many um its numbers count for."""

    at: int
    scale_um: float


def is_table(content: Content) -> bool:
    """Whether its first line names an x and a y."""
    if not content.text or content.root is not None or content.document is not None:
        return False
    if content.extension in (".csv", ".tsv"):
        return True
    heading = _split(content.text, _delimiter(content.text))[:1]
    axes = {_axis(cell)[0] for row in heading for cell in row}
    return {"x", "y"} <= axes


def read_table(content: Content) -> PositionList:
    """Positions of a table; rows without x and y are left out and counted.

    Raises
    ------
    UnreadableFile
        If there is no x or y, they have no unit, or a cell is no number.
    """
    delimiter = _delimiter(content.text)
    rows = _split(content.text, delimiter)
    if not rows:
        raise UnreadableFile("an empty table")
    heading, body = rows[0], [(i, row) for i, row in enumerate(rows[1:], start=2) if any(row)]
    columns = {axis: _column(heading, axis, content.unit) for axis in "xyz"}
    label_at, file_at = _name_column(heading, _LABELS), _name_column(heading, _FILES)
    label_at = None if label_at == file_at else label_at  # "file name"
    reader = _Reader(columns, label_at, file_at, comma=delimiter != ",")
    found = [reader.read(row, i) for i, row in body]
    notes = []
    empty = sum(e is None for e in found)
    if empty:
        notes.append(f"rows without x and y left out: {empty}")
    if not content.text.endswith(("\n", "\r")):
        notes.append("the last line does not end: is the file complete?")
    return PositionList.of((e for e in found if e is not None), "csv", notes)


def write_table(
    positions: Sequence[StagePosition], extra: Mapping[str, Sequence[object]] | None = None
) -> bytes:
    """CSV ``label,x_um,y_um,z_um`` and the columns of `extra`, UTF-8.

    Text that a spreadsheet would run as a formula gets a ``'`` in front, which `read_table` takes
    away; numbers stay numbers.
    """
    extra = extra or {}
    for name, values in extra.items():
        if len(values) != len(positions):
            raise InputError(f"{name!r}: {len(values)} values for {len(positions)} positions")
    text = io.StringIO(newline="")
    # Only with a return in it does the module quote cells that hold one.
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["label", "x_um", "y_um", "z_um", *map(_safe, extra)])
    for i, p in enumerate(positions):
        own = [_safe(p.label), *(_cell(v) for v in (p.x_um, p.y_um, p.z_um))]
        writer.writerow([*own, *(_cell(values[i]) for values in extra.values())])
    return text.getvalue().encode()


@dataclass(frozen=True)
class _Reader:
    columns: Mapping[str, _Column | None]
    label_at: int | None
    file_at: int | None
    comma: bool

    def read(self, row: Sequence[str], line: int) -> Entry | None:
        """Entry of one row; None if it has neither x nor y."""
        texts = {axis: _at(row, c.at) for axis, c in self.columns.items() if c is not None}
        if not texts["x"] and not texts["y"]:
            return None
        x, y = (self._length_um(texts[axis], axis, line) for axis in "xy")
        z = self._length_um(texts["z"], "z", line) if texts.get("z") else None
        label, file = _text(row, self.label_at), _text(row, self.file_at)
        if not file and _IMAGE_NAME.search(label):
            file = label
        return Entry(StagePosition(x, y, z, label), file)

    def _length_um(self, text: str, axis: str, line: int) -> float:
        column = self.columns[axis]
        if self.comma and _DECIMAL_COMMA.fullmatch(text):
            text = text.replace(",", ".")
        value = number(text, f"row {line}: {axis}")
        return value * (1.0 if column is None else column.scale_um)


def _delimiter(text: str) -> str:
    head = text.lstrip().partition("\n")[0]
    return max(",;\t", key=head.count)


def _split(text: str, delimiter: str) -> list[list[str]]:
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        return [row for row in rows if row]
    except csv.Error as error:
        raise UnreadableFile(f"not a table ({error})") from None


def _axis(heading: str) -> tuple[str, str]:
    """Axis and unit that a column's name gives; "" for what it does not."""
    words = [w.casefold() for w in _WORD.findall(_CAMEL.sub(" ", heading))]
    words = ["um" if w in _MICRONS else w for w in words]
    unit = words.pop() if len(words) > 1 and words[-1] in _UNITS | _NOT_A_LENGTH else ""
    left = [w for w in words if w not in _FILLERS]
    if len(left) != 1:
        return "", unit
    axis, _, glued = _AXES.get(left[0], "").partition(" ")
    return axis, unit or glued


def _column(heading: Sequence[str], axis: str, unit: str | None) -> _Column | None:
    """Column of an axis: one in a unit of length before any other, one of the stage before that."""
    named = [(i, cell, _axis(cell)[1]) for i, cell in enumerate(heading) if _axis(cell)[0] == axis]
    if not named:
        if axis == "z":
            return None
        shown = one_line(", ".join(heading), 120)
        raise UnreadableFile(f"no column {axis} in {shown!r}; expected e.g. {axis}_um")
    ranked = [(u not in _UNITS, "stage" not in c.casefold(), i, c, u) for i, c, u in named]
    best, *others = sorted(ranked)
    if others and others[0][:2] == best[:2]:
        raise UnreadableFile(f"columns {best[3]!r} and {others[0][3]!r} both name {axis}; keep one")
    _, _, at, cell, said = best
    if said in _NOT_A_LENGTH or not (said or unit):
        raise UnreadableFile(
            f"column {one_line(cell)!r} has no unit of length; name it {axis}_um or {axis}_mm, "
            "or say the unit"
        )
    return _Column(at, micrometres(said or unit or ""))


def _name_column(heading: Sequence[str], known: Sequence[str]) -> int | None:
    """First column whose name is one of `known`, alone or with words such as ``name``."""
    for name in known:
        for i, cell in enumerate(heading):
            words = [w.casefold() for w in _WORD.findall(_CAMEL.sub(" ", cell))]
            if name in words and set(words) <= {name, "name", "position", "image", "file", "id"}:
                return i
    return None


def _at(row: Sequence[str], at: int) -> str:
    return row[at].strip() if at < len(row) else ""


def _text(row: Sequence[str], at: int | None) -> str:
    """Text cell as it was before `_safe`."""
    text = "" if at is None or at >= len(row) else row[at]
    guarded = text.startswith("'") and text.lstrip("'").startswith(_FORMULA)
    return text[1:] if guarded else text


def _cell(value: object) -> str:
    if isinstance(value, float):
        # Rounded to 0.1 nm: 12.3 and not 12.299999999999999; no stage is that good.
        return "" if value != value else repr(round(value, 4) + 0.0)
    return "" if value is None else str(value) if isinstance(value, int) else _safe(str(value))


def _safe(text: str) -> str:
    """Defuse what a spreadsheet would take for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text
