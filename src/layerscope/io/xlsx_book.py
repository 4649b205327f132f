"""Excel workbooks written: sheets of texts and numbers, without a library and without a clock.

Office Open XML (ECMA-376). Texts are written as texts: a cell that begins with ``=`` is no formula.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from layerscope.errors import InputError
from layerscope.io.atomic import write_bytes

Cell = str | float | int | bool | None

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first that a ZIP can hold
_LONGEST_TEXT = 32_767
_MOST_ROWS = 1_048_576
_LONGEST_NAME = 31
_FORBIDDEN_IN_NAME = re.compile(r"[\[\]:*?/\\]")
_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WIDEST, _NARROWEST = 60.0, 8.0
_HEAD, _WRAPPED = 1, 2  # numbers of the styles in _STYLES

_NS = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_HEADER = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_STYLES = (
    f'<styleSheet {_NS}><fonts count="2"><font><sz val="10"/><name val="Arial"/></font>'
    '<font><b/><sz val="10"/><name val="Arial"/></font></fonts>'
    '<fills count="3"><fill><patternFill patternType="none"/></fill>'
    '<fill><patternFill patternType="gray125"/></fill><fill><patternFill patternType="solid">'
    '<fgColor rgb="FFE6EBEF"/></patternFill></fill></fills>'
    '<borders count="1"><border/></borders>'
    '<cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="3"><xf/>'
    '<xf fontId="1" fillId="2" applyFont="1" applyFill="1" applyAlignment="1">'
    '<alignment wrapText="1" vertical="top"/></xf>'
    '<xf applyAlignment="1"><alignment wrapText="1" vertical="top"/></xf></cellXfs></styleSheet>'
)


@dataclass(frozen=True)
class Sheet:
    """One sheet.

    Attributes
    ----------
    name : str
        At most 31 characters are kept.
    columns : tuple of str
        Printed bold; they stay in place when the rows are scrolled.
    rows : sequence of sequence
        Texts, numbers, yes or no, None for an empty cell; a number that is not finite is empty.
    """

    name: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]

    def __post_init__(self) -> None:
        if len(self.rows) >= _MOST_ROWS:
            raise InputError(f"sheet {self.name!r}: {len(self.rows)} rows do not fit; write CSV")
        if any(len(row) != len(self.columns) for row in self.rows):
            raise InputError(f"sheet {self.name!r}: a row is not as long as the columns")


def write_xlsx(path: str | Path, sheets: Sequence[Sheet]) -> None:
    """Write a workbook, whole or not at all; the same sheets give the same bytes.

    Parameters
    ----------
    path : path
    sheets : sequence of Sheet
        One or more, of different names.

    Raises
    ------
    InputError
        If there is none, or two have one name.
    CannotWrite
        If the disk refuses.
    """
    names = [_sheet_name(sheet.name) for sheet in sheets]
    if not names or len({n.casefold() for n in names}) < len(names):
        raise InputError(f"sheets {names}: expected one or more, each with a name of its own")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as book:
        for part, content in _parts(names, sheets).items():
            entry = zipfile.ZipInfo(part, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            book.writestr(entry, _HEADER + content)
    write_bytes(path, out.getvalue())


def _sheet_name(name: str) -> str:
    return _FORBIDDEN_IN_NAME.sub(" ", name).strip(" '")[:_LONGEST_NAME] or "sheet"


def _parts(names: Sequence[str], sheets: Sequence[Sheet]) -> dict[str, str]:
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    numbers = range(1, len(names) + 1)
    overrides = "".join(
        f'<Override PartName="/xl/worksheets/sheet{i}.xml" ContentType="{kind}.worksheet+xml"/>'
        for i in numbers
    )
    listed = "".join(
        f'<sheet name={quoteattr(name)} sheetId="{i}" r:id="rId{i}"/>'
        for i, name in zip(numbers, names, strict=True)
    )
    links = "".join(
        f'<Relationship Id="rId{i}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{i}.xml"/>'
        for i in numbers
    )
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Default '
        'Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{kind}.styles+xml"/>{overrides}</Types>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {_NS} xmlns:r="{_OFFICE}"><sheets>{listed}</sheets>'
        "</workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">{links}'
        f'<Relationship Id="rId{len(names) + 1}" Type="{_OFFICE}/styles" Target="styles.xml"/>'
        "</Relationships>",
        "xl/styles.xml": _STYLES,
    }
    for i, sheet in zip(numbers, sheets, strict=True):
        parts[f"xl/worksheets/sheet{i}.xml"] = _sheet_xml(sheet)
    return parts


def _sheet_xml(sheet: Sheet) -> str:
    widths = "".join(
        f'<col min="{i}" max="{i}" width="{width:g}" customWidth="1"/>'
        for i, width in enumerate(_widths(sheet), 1)
    )
    rows = [_row_xml(1, sheet.columns, _HEAD)]
    rows += [_row_xml(i, row, _WRAPPED) for i, row in enumerate(sheet.rows, 2)]
    return (
        f'<worksheet {_NS}><sheetViews><sheetView workbookViewId="0"><pane ySplit="1" '
        'topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews>'
        f"<cols>{widths}</cols><sheetData>{''.join(rows)}</sheetData></worksheet>"
    )


def _widths(sheet: Sheet) -> list[float]:
    columns = [[name, *(row[i] for row in sheet.rows)] for i, name in enumerate(sheet.columns)]
    longest = [max(len(str(v)) if isinstance(v, str) else 9 for v in c) + 2 for c in columns]
    return [min(max(float(n), _NARROWEST), _WIDEST) for n in longest]


def _row_xml(number: int, row: Sequence[Cell], style: int) -> str:
    cells = (_cell_xml(f"{_letters(i)}{number}", v, style) for i, v in enumerate(row))
    return f'<row r="{number}">{"".join(cells)}</row>'


def _cell_xml(place: str, value: Cell, style: int) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return f'<c r="{place}" s="{style}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, (int, float)):
        return f'<c r="{place}" s="{style}"><v>{value!r}</v></c>'
    text = escape(_NOT_IN_XML.sub("?", value)[:_LONGEST_TEXT])
    return (
        f'<c r="{place}" s="{style}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
    )


def _letters(index: int) -> str:
    """Name of a column, from 0: A, B ... Z, AA."""
    name, rest = "", index + 1
    while rest:
        rest, letter = divmod(rest - 1, 26)
        name = chr(ord("A") + letter) + name
    return name
