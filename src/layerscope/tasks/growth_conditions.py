"""The grower's table: at which temperature, pressure, time ... each sample or image was made."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from layerscope.errors import InputError, UnreadableFile

_IMAGE_NAMES = frozenset({"image", "file", "filename", "scan", "name"})
_SAMPLE_NAMES = frozenset({"sample", "sample_id", "specimen", "run"})
_MOST_BYTES = 16 << 20
_UNIT = re.compile(r"^(?P<name>.+?)\s*[\[(](?P<unit>[^\])]+)[\])]$")


@dataclass(frozen=True)
class GrowthRow:
    """One row of the table.

    Attributes
    ----------
    image : str
        Name of an image, or "" where the row is of a whole sample.
    sample : str
        Name of the sample; where the table has no such column, that of the image.
    conditions : mapping of str to float
        By condition; NaN where the cell is empty.
    """

    image: str
    sample: str
    conditions: Mapping[str, float]


@dataclass(frozen=True)
class Conditions:
    """What the table says.

    Attributes
    ----------
    rows : tuple of GrowthRow
        In the order of the file.
    names : tuple of str
        Conditions: the numeric columns, with their unit, e.g. ``temperature_C``.
    ignored : tuple of str
        Columns that hold text.
    """

    rows: tuple[GrowthRow, ...]
    names: tuple[str, ...]
    ignored: tuple[str, ...] = ()

    def match(self, images: Iterable[str]) -> Matches:
        """Find the row of each image: by its name, else by a sample's name that it starts with.

        Suffixes of files do not count. ``S12_003.spm`` belongs to sample ``S12`` and not to
        ``S1``: after the sample's name there must be no letter or digit. The longest name wins.
        """
        by_image = {_stem(row.image): row for row in self.rows if row.image}
        by_sample = {row.sample: row for row in self.rows if not row.image}
        found: dict[str, GrowthRow] = {}
        for image in sorted(set(images)):
            row = by_image.get(_stem(image)) or _by_prefix(image, by_sample)
            if row is not None:
                found[image] = row
        missing = tuple(sorted(set(images) - set(found)))
        used = {id(row) for row in found.values()}
        unused = tuple(row.image or row.sample for row in self.rows if id(row) not in used)
        return Matches(found, missing, unused)


@dataclass(frozen=True)
class Matches:
    """Which image is in which row.

    Attributes
    ----------
    rows : mapping of str to GrowthRow
        By image.
    images_without_row, rows_without_image : tuple of str
    """

    rows: Mapping[str, GrowthRow]
    images_without_row: tuple[str, ...]
    rows_without_image: tuple[str, ...]

    def report(self) -> tuple[str, ...]:
        """Lines for the user about what did not match; none where all did."""
        lines = []
        if self.images_without_row:
            lines.append(f"{len(self.images_without_row)} images have no row in the table of "
                         f"conditions: {_few(self.images_without_row)}")  # fmt: skip
        if self.rows_without_image:
            lines.append(f"{len(self.rows_without_image)} rows of conditions have no image: "
                         f"{_few(self.rows_without_image)}")  # fmt: skip
        return tuple(lines)


def read_conditions(path: str | Path) -> Conditions:
    """Read growth conditions from a CSV file.

    One row per image or per sample. Columns: ``image`` or ``sample`` or both, and any number of
    numeric ones with the unit in the name: ``temperature_C``, ``pressure_Pa``, ``time [min]``.
    Separators comma, semicolon or tab; decimal commas where the separator is none.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Conditions

    Raises
    ------
    UnreadableFile
        If the file is missing, no text or over 16 MiB.
    InputError
        If no column names images or samples, none is numeric, a name comes twice, or a numeric
        column holds a word: the line is named.
    """
    text = _read_text(Path(path))
    table = _cells(text, str(path))
    header = [_column_name(cell) for cell in table[0]]
    double = next((n for k, n in enumerate(header) if n in header[:k]), None)
    if double is not None:
        raise InputError(f"{path}: column {double!r} comes twice; rename one of them")
    image = _key(header, _IMAGE_NAMES)
    sample = _key(header, _SAMPLE_NAMES)
    if image is None and sample is None:
        raise InputError(f"{path}: no column named image or sample among {', '.join(header)}")
    body = [(k, _padded(row, header, k, path)) for k, row in enumerate(table[1:], 2) if any(row)]
    others = [k for k in range(len(header)) if k not in (image, sample)]
    numeric = [k for k in others if _is_numeric([row[k] for _, row in body])]
    if not numeric:
        raise InputError(f"{path}: no numeric column: give temperature_C, pressure_Pa, time_min ..")
    rows = [_row(row, line, header, (image, sample), numeric, path) for line, row in body]
    _refuse_repeats(rows, path)
    ignored = tuple(header[k] for k in others if k not in numeric)
    return Conditions(tuple(rows), tuple(header[k] for k in numeric), ignored)


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UnreadableFile(f"{path}: over 16 MiB: expected a small table")
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableFile(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _cells(text: str, path: str) -> list[list[str]]:
    first = text.lstrip().partition("\n")[0]
    if "\0" in text or not first.strip():
        raise UnreadableFile(f"{path}: empty or no text: expected a CSV table with a header")
    separator = max(",;\t", key=first.count)
    rows = csv.reader(io.StringIO(text.lstrip(), newline=""), delimiter=separator)
    try:
        table = [[cell.strip() for cell in row] for row in rows]
    except csv.Error as error:
        raise UnreadableFile(f"{path}: no CSV table: {error}") from error
    if separator != ",":
        table[1:] = [[_decimal_point(cell) for cell in row] for row in table[1:]]
    return table


def _decimal_point(cell: str) -> str:
    return cell.replace(",", ".") if re.fullmatch(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?", cell) else cell


def _column_name(cell: str) -> str:
    """Header with its unit as a suffix: ``time [min]`` is ``time_min``."""
    match = _UNIT.match(cell)
    name = f"{match['name']}_{match['unit']}" if match else cell
    return re.sub(r"\s+", "_", name.strip().replace("°", ""))


def _key(header: list[str], names: frozenset[str]) -> int | None:
    return next((k for k, name in enumerate(header) if name.casefold() in names), None)


def _padded(row: list[str], header: list[str], line: int, path: str | Path) -> list[str]:
    if len(row) > len(header) and any(row[len(header) :]):
        raise InputError(f"{path}: line {line} has {len(row)} cells but the header {len(header)}")
    return (row + [""] * len(header))[: len(header)]


def _is_numeric(cells: list[str]) -> bool:
    """Whether most of the cells that hold something are numbers: then a word is a mistake."""
    filled = [cell for cell in cells if cell]
    numbers = sum(_number(cell) is not None for cell in filled)
    return numbers > len(filled) / 2


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _row(
    row: list[str],
    line: int,
    header: list[str],
    keys: tuple[int | None, int | None],
    numeric: list[int],
    path: str | Path,
) -> GrowthRow:
    image, sample = ("" if k is None else row[k] for k in keys)
    if not image and not sample:
        raise InputError(f"{path}: line {line} names neither an image nor a sample")
    values = {}
    for k in numeric:
        value = _number(row[k])
        if value is None and row[k]:
            raise InputError(
                f"{path}: line {line}, {header[k]}: expected a number, got {row[k]!r}; leave the "
                "cell empty where it is not known"
            )
        values[header[k]] = math.nan if value is None else value
    return GrowthRow(image, sample or _stem(image), values)


def _refuse_repeats(rows: list[GrowthRow], path: str | Path) -> None:
    seen: set[tuple[str, str]] = set()
    for row in rows:
        key = ("image", _stem(row.image)) if row.image else ("sample", row.sample)
        if key in seen:
            raise InputError(f"{path}: {key[0]} {key[1]!r} has two rows; leave one of them")
        seen.add(key)


def _by_prefix(image: str, by_sample: Mapping[str, GrowthRow]) -> GrowthRow | None:
    name = PurePath(image).name
    fits = [
        sample
        for sample in by_sample
        if name.startswith(sample) and not name[len(sample) : len(sample) + 1].isalnum()
    ]
    return by_sample[max(fits, key=len)] if fits else None


def _stem(name: str) -> str:
    """File name without folder and suffix; a suffix of digits only is part of the name."""
    path = PurePath(name)
    return path.name if path.suffix[1:].isdigit() else path.stem


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
