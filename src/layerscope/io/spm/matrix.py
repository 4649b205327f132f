"""Text: a matrix of values (ASCII, CSV) or a table of points x, y, z; units from the header.

Matrices run from the top row down, as Gwyddion and spreadsheets write them. In tables of points y
points up, so the largest y is the top row. Known headers: Gwyddion's ``# Width: 5 µm``, keys of
.gsf (``XReal = 5e-6``), and names of columns with units such as ``x (um), y (um), z [nm]``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from layerscope.core.micrograph import Micrograph
from layerscope.errors import TooLarge, UnreadableFile
from layerscope.io.pixels import check_size
from layerscope.io.spm.scan import Array, Channel, Scan, height
from layerscope.io.spm.units import nm_per, split_quantity

_MAX_HEADER_LINES = 500
_MAX_BYTES = 1 << 28
_COMMENT = "#;%!/\"'"
_MISSING = frozenset({"", "nan", "-nan", "na", "n/a", "--", "null"})
_COLUMN = re.compile(
    r"\W*(?P<name>[xyz]|height|topography)(?:[\W_]+(?P<unit>[^\W\d_]+))?\W*", re.IGNORECASE
)
_KEYS = {
    "width": ("width", "xreal", "x amplitude", "x size", "scan width"),
    "height": ("height", "yreal", "y amplitude", "y size", "scan height"),
    "z": ("value units", "zunits", "z unit", "z units", "unit", "units"),
    "xy": ("xyunits", "xy units", "lateral units"),
    "title": ("channel", "title", "name"),
}


@dataclass(frozen=True, eq=False)
class Text:
    """A text cut into its header and its rows of cells."""

    lines: tuple[str, ...]
    rows: tuple[list[str], ...]
    decimal_comma: bool

    def header(self) -> dict[str, str]:
        """``key: value`` and ``key = value`` of the header lines, keys in lower case."""
        found: dict[str, str] = {}
        for line in self.lines:
            key, sign, value = re.sub(
                r"\s*=\s*", ":", line.strip(_COMMENT + " \t"), count=1
            ).partition(":")
            if sign:
                found.setdefault(key.strip().casefold(), value.strip())
        return found


def decode_matrix(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode a matrix or a table of points in a text file.

    Raises
    ------
    UnreadableFile
        If there is no complete matrix or regular grid.
    """
    return height(scan_matrix(data, max_pixels=max_pixels))


def scan_matrix(data: bytes, *, max_pixels: int) -> Scan:
    """Return the one channel of a text file.

    Raises
    ------
    UnreadableFile
        If there is no complete matrix or regular grid.
    """
    if len(data) > _MAX_BYTES:  # every cell takes some 60 bytes while it is parsed
        raise TooLarge(f"a text of {len(data)} bytes, over the limit of {_MAX_BYTES}; use .gsf")
    found = _cut(_decode(data))
    widths = {len(r) for r in found.rows}
    if len(widths) != 1 or len(found.rows) < 2 or max(widths) < 2:
        raise UnreadableFile(
            f"a text with {len(found.rows)} rows of {sorted(widths)[:4] or 'no'} numbers; expected "
            "a matrix or a table x, y, z"
        )
    values = _numbers(found)
    units = _columns(found)
    check_size(*values.shape, channel_bytes=8, stored_bytes=8 * len(data), max_pixels=max_pixels)
    channel = _points(values, units) if units and values.shape[1] == 3 else _matrix(found, values)
    return Scan((channel,), {"lines": found.lines, **found.header()})


def _decode(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _cut(text: str) -> Text:
    """Header: all lines before the first that is numbers only."""
    lines = text.splitlines()
    start = next((n for n, x in enumerate(lines[:_MAX_HEADER_LINES]) if _is_numbers(x)), None)
    if start is None:
        raise UnreadableFile("a text without numbers, not an image")
    first = lines[start]
    separator = next((s for s in "\t;" if s in first.strip()), None)
    comma = "," in first and (separator is not None or first.count(",") < len(first.split()))
    comma = comma and "." not in first
    if separator is None and not comma and "," in first:
        separator = ","
    body = [x for x in lines[start:] if x.strip() and x.lstrip()[0] not in "#%"]
    rows = tuple(_cells(x, separator) for x in body)
    return Text(tuple(lines[:start]), rows, comma)


def _cells(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return line.split()
    cells = [c.strip() for c in line.split(separator)]
    return cells[:-1] if cells[-1] == "" and len(cells) > 2 else cells


def _is_numbers(line: str) -> bool:
    cells = [c for c in re.split(r"[\t;]|,(?=\s)|\s+", line.strip()) if c]
    if len(cells) == 1:
        cells = [c for c in line.strip().split(",") if c]
    return len(cells) > 1 and all(_is_number(c) for c in cells)


def _is_number(cell: str) -> bool:
    plain = cell.strip().strip(",").replace(",", ".")
    if plain.casefold() in _MISSING:
        return True
    try:
        float(plain)
    except ValueError:
        return False
    return True


def _numbers(found: Text) -> Array:
    rows = found.rows
    if found.decimal_comma:
        rows = tuple([c.replace(",", ".") for c in r] for r in rows)
    try:
        return np.array(rows, dtype=np.float64)
    except ValueError:
        cells = [["nan" if c.casefold() in _MISSING else c for c in r] for r in rows]
        return np.array(cells, dtype=np.float64)


def _columns(found: Text) -> tuple[str, str, str] | None:
    """Units of x, y and z where the last header line names three such columns."""
    if not found.lines:
        return None
    cells = re.split(r"[\t;,]|\s{2,}", found.lines[-1].strip(_COMMENT + " \t"))
    if len(cells) != 3:
        cells = found.lines[-1].strip(_COMMENT + " \t").split()
    matches = [_COLUMN.fullmatch(c.strip()) for c in cells]
    if len(matches) != 3:
        return None
    x, y, z = matches
    if x is None or y is None or z is None or (x["name"] + y["name"]).casefold() != "xy":
        return None
    return x["unit"] or "", y["unit"] or "", z["unit"] or ""


def _points(values: Array, units: tuple[str, str, str]) -> Channel:
    x, y, z = values.T
    across, column = np.unique(x, return_inverse=True)
    up, row = np.unique(y, return_inverse=True)
    shape = len(up), len(across)
    if shape[0] * shape[1] != len(z) or min(shape) < 2 or not _is_even(across, up):
        raise UnreadableFile(f"{len(z)} scattered points; expected a full regular grid")
    field = np.full(shape, np.nan)
    field[row, column] = z
    if np.isnan(field).sum() > np.isnan(z).sum():
        raise UnreadableFile("points given twice and others missing; expected a full regular grid")
    nm = nm_per(units[1]), nm_per(units[0])
    steps = (up[-1] - up[0]) / (shape[0] - 1), (across[-1] - across[0]) / (shape[1] - 1)
    size = None if nm[0] is None or nm[1] is None else (steps[0] * nm[0], steps[1] * nm[1])
    return Channel("z", units[2], shape, size, load=lambda: field[::-1])


def _is_even(*axes: Array) -> bool:
    return all(np.allclose(np.diff(a), np.diff(a).mean(), rtol=0.01) for a in axes)


def _matrix(found: Text, values: Array) -> Channel:
    said = found.header()
    unit, lateral, title = (_first(said, k) for k in ("z", "xy", "title"))
    sides = [_side(_first(said, k), lateral) for k in ("height", "width")]
    size = (
        None if sides[0] is None or sides[1] is None
        else (sides[0] / values.shape[0], sides[1] / values.shape[1])
    )  # fmt: skip
    shape = values.shape[0], values.shape[1]
    return Channel(title or "unnamed", unit, shape, size, load=lambda: values)


def _first(said: dict[str, str], key: str) -> str:
    return next((said[k] for k in _KEYS[key] if k in said), "")


def _side(shown: str, lateral: str) -> float | None:
    """Length in nm of ``5 µm``, or of ``5e-6`` with a unit given elsewhere."""
    if not shown:
        return None
    try:
        size, unit = split_quantity(shown)
    except ValueError:
        return None
    nm = nm_per(unit or lateral)
    return None if nm is None else size * nm
