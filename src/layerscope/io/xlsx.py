"""Cells of the first sheet of an Excel workbook (.xlsx, .xlsm), as text.

A workbook is a zip of XML (ECMA-376). Only the values that are stored are read: no formula is
computed, no macro is opened. Reading them takes 100 lines, so that no library is needed.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

from layerscope.errors import TooLarge, UnreadableFile

_MOST_BYTES = 50_000_000  # of one part, unpacked: half a million cells
_MOST_COLUMNS = 16_384  # of the format
_DECLARES_TYPE = re.compile(rb"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_STRICT = "{http://purl.oclc.org/ooxml/spreadsheetml/main}"
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_STRICT_RELATION = "{http://purl.oclc.org/ooxml/officeDocument/relationships}id"
_CELL = re.compile(r"([A-Z]{1,3})[0-9]+")


def read_xlsx(path: str | Path) -> list[list[str]]:
    """Read the first sheet.

    Parameters
    ----------
    path : path

    Returns
    -------
    list of list of str
        Rows from the top; missing cells are empty, whole numbers have no decimals.

    Raises
    ------
    UnreadableFile
        If it is no workbook, or is damaged.
    TooLarge
        If a part of it is over 50 MB unpacked.
    """
    name = Path(path).name
    try:
        with zipfile.ZipFile(path) as book:
            shared = _shared_texts(book, name)
            sheet = _parse(book, _first_sheet(book, name), name)
    except OSError as reason:
        raise UnreadableFile(f"{name}: {reason.strerror or reason}") from None
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, EOFError):
        raise UnreadableFile(
            f"{name}: no whole Excel workbook; save it again as .xlsx, or as .csv"
        ) from None
    return [_row(row, shared, name) for row in sheet.iter() if _tag(row) == "row"]


def _parse(book: zipfile.ZipFile, part: str, name: str) -> ElementTree.Element:
    if book.getinfo(part).file_size > _MOST_BYTES:
        raise TooLarge(f"{name}: {part} is over {_MOST_BYTES // 1_000_000} MB unpacked")
    with book.open(part) as stream:
        content = stream.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise TooLarge(f"{name}: {part} is over {_MOST_BYTES // 1_000_000} MB unpacked")
    if _DECLARES_TYPE.search(content):
        raise UnreadableFile(f"{name}: XML that declares a type of its own; Excel writes none")
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise UnreadableFile(f"{name}: {part} is no complete XML ({error})") from None


def _tag(element: ElementTree.Element) -> str:
    return element.tag.removeprefix(_MAIN).removeprefix(_STRICT)


def _first_sheet(book: zipfile.ZipFile, name: str) -> str:
    """Part that holds the first sheet of the workbook, as its relations say."""
    sheets = [e for e in _parse(book, "xl/workbook.xml", name).iter() if _tag(e) == "sheet"]
    relations = {e.get("Id"): e.get("Target", "") for e in _relations(book, name)}
    for sheet in sheets:
        target = relations.get(sheet.get(_RELATION) or sheet.get(_STRICT_RELATION), "")
        part = target.removeprefix("/") if target.startswith("/") else f"xl/{target}"
        if "worksheets/" in part and part in book.namelist():
            return part
    raise UnreadableFile(f"{name}: a workbook without a sheet of cells")


def _relations(book: zipfile.ZipFile, name: str) -> list[ElementTree.Element]:
    return list(_parse(book, "xl/_rels/workbook.xml.rels", name))


def _shared_texts(book: zipfile.ZipFile, name: str) -> list[str]:
    if "xl/sharedStrings.xml" not in book.namelist():
        return []
    table = _parse(book, "xl/sharedStrings.xml", name)
    return [_text(item) for item in table if _tag(item) == "si"]


def _text(item: ElementTree.Element) -> str:
    """Text of a cell, all runs of it; how it is pronounced (``rPh``) is none of it."""
    parts = []
    for child in item:
        if _tag(child) == "t":
            parts.append(child.text or "")
        elif _tag(child) == "r":
            parts.append(_text(child))
    return "".join(parts)


def _row(row: ElementTree.Element, shared: list[str], name: str) -> list[str]:
    cells: list[str] = []
    for cell in row:
        if _tag(cell) != "c":
            continue
        place = _column(cell.get("r", ""), len(cells), name)
        cells += [""] * (place + 1 - len(cells))
        cells[place] = _value(cell, shared, name)
    return cells


def _column(reference: str, following: int, name: str) -> int:
    """Column of ``AB12``, from 0; without a reference the next one."""
    if not reference:
        return following
    match = _CELL.fullmatch(reference)
    if match is None:
        raise UnreadableFile(f"{name}: a cell at {reference!r}; save it again as .xlsx")
    column = 0
    for letter in match.group(1):
        column = 26 * column + ord(letter) - ord("A") + 1
    return min(column, _MOST_COLUMNS) - 1


def _value(cell: ElementTree.Element, shared: list[str], name: str) -> str:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        return "".join(_text(child) for child in cell if _tag(child) == "is")
    stored = next((child.text or "" for child in cell if _tag(child) == "v"), "")
    if kind == "s":
        if not stored.isdecimal() or int(stored) >= len(shared):
            raise UnreadableFile(f"{name}: text {stored!r} is not in it; save it again as .xlsx")
        return shared[int(stored)]
    if kind == "b":
        return {"1": "yes", "0": "no"}.get(stored, stored)
    return _plain(stored) if kind == "n" else stored


def _plain(number: str) -> str:
    try:
        value = float(number)
    except ValueError:
        return number
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else number
