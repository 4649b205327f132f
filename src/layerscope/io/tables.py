"""The objects table as CSV and Parquet."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from layerscope.errors import InputError
from layerscope.io.atomic import open_atomic

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_GROUP_ROWS = 50_000
"""Rows per row group of a Parquet file: some 20 MB in memory. Groups that followed the pieces would
make the bytes depend on how the work was cut."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SPECIAL = re.compile(r'[",\n]')


def write_table(
    frame: pd.DataFrame, path: str | Path, *, units: Mapping[str, str] | None = None
) -> None:
    r"""Write a table; the suffix, ``.csv`` or ``.parquet``, decides the form.

    Parameters
    ----------
    frame : pandas.DataFrame
        The index is not written.
    path : path
    units : mapping of str to str, optional
        Column name -> unit, kept as metadata of the Parquet columns.

    Notes
    -----
    CSV is UTF-8 with ``\n`` and seven digits per number; missing values are empty cells. Text that
    a spreadsheet would run as a formula (first character ``= + - @``, tab or return) is prefixed
    with ``'``; numbers stay numbers. Parquet keeps full precision. The same table gives the same
    bytes.

    Raises
    ------
    InputError
        If the suffix is another or the folder cannot be written.
    """
    with TableWriter(path, units=units) as table:
        table.append(frame)


def table_records(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """Rows of a table as mappings that JSON can hold: what is missing is None."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


class TableWriter:
    """A table written piece by piece, so that it never has to be whole in memory.

    The file appears when the block ends well. The form is that of `write_table`, whatever the
    pieces: the same rows give the same bytes.

    Parameters
    ----------
    path : path
    units : mapping of str to str, optional

    Raises
    ------
    InputError
        If the suffix is neither ``.csv`` nor ``.parquet`` or the folder cannot be written.
    """

    def __init__(self, path: str | Path, *, units: Mapping[str, str] | None = None):
        suffix = Path(path).suffix.lower()
        if suffix not in (".csv", ".parquet"):
            raise InputError(
                f"{path}: tables are written as .csv or .parquet, not {suffix or 'bare'!r}"
            )
        self._path, self._stack = path, ExitStack()
        self._units, self._as_csv = units or {}, suffix == ".csv"
        self._parquet: Any = None
        self._waiting: list[pa.Table] = []
        self._begun = False

    def __enter__(self) -> TableWriter:
        self._stream = self._stack.enter_context(open_atomic(self._path))
        self._stack.push(self._finish)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def append(self, frame: pd.DataFrame) -> None:
        """Add rows; every piece has the columns of the first."""
        if self._as_csv:
            self._stream.write(_csv_bytes(frame, header=not self._begun))
        else:
            self._append_parquet(frame)
        self._begun = True

    def _append_parquet(self, frame: pd.DataFrame) -> None:
        from pyarrow import parquet

        table = _with_units(frame, self._units)
        if self._parquet is None:
            self._parquet = parquet.ParquetWriter(
                self._stream, table.schema, compression="zstd", write_statistics=True
            )
        self._waiting.append(table.cast(self._parquet.schema))
        if sum(t.num_rows for t in self._waiting) >= _GROUP_ROWS:
            self._write_groups()

    def _write_groups(self, *, last: bool = False) -> None:
        """Write what waits as row groups of one size; only the last may be smaller."""
        import pyarrow as pa

        table = pa.concat_tables(self._waiting).combine_chunks()
        ready = table.num_rows - (0 if last else table.num_rows % _GROUP_ROWS)
        for start in range(0, ready, _GROUP_ROWS):
            self._parquet.write_table(table.slice(start, _GROUP_ROWS))
        self._waiting = [table.slice(ready)]

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._parquet is None:
            return
        if kind is None:
            self._write_groups(last=True)
            self._parquet.close()
        else:
            with suppress(OSError):  # the disk is full, or the writer would close itself later
                self._parquet.close()


def _csv_bytes(frame: pd.DataFrame, *, header: bool) -> bytes:
    names = [_quoted(_safe(str(name))) for name in frame.columns]
    lines = [",".join(names)] if header else []
    lines += map(",".join, zip(*_csv_blocks(frame), strict=True))
    return "".join(f"{line}\n" for line in lines).encode()


def _csv_blocks(frame: pd.DataFrame) -> Iterator[list[str]]:
    """Cells of neighbouring columns, row by row, joined where they are plain numbers.

    One format for a row of numbers takes a third of the time of one per cell.
    """
    for plain, group in groupby(frame.columns, lambda name: frame[name].dtype == "float64"):
        names = list(group)
        if plain:
            row = ",".join(["%.7g"] * len(names))
            columns = [frame[name].tolist() for name in names]
            cells = [row % values for values in zip(*columns, strict=True)]
            yield [c.replace("nan", "") if "nan" in c else c for c in cells]
        else:
            yield from ([_quoted(_cell(v)) for v in _values(frame[name])] for name in names)


def _quoted(text: str) -> str:
    if not _SPECIAL.search(text):
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def _values(column: pd.Series[Any]) -> list[Any]:
    """Values of a column as Python objects, None where an integer is missing."""
    if column.dtype == "Int64":
        return [
            None if missing else int(v) for v, missing in zip(column, column.isna(), strict=True)
        ]
    return column.tolist()


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return _safe(value)
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.7g}"
    return "" if value is None else _safe(str(value)) if not isinstance(value, int) else str(value)


def _safe(text: str) -> str:
    """Defuse what a spreadsheet would take for a formula (OWASP, CSV injection), or a row's end."""
    return (f"'{text}" if text.startswith(_FORMULA) else text).replace("\r", " ")


def _with_units(frame: pd.DataFrame, units: Mapping[str, str]) -> pa.Table:
    import pyarrow as pa

    table = pa.Table.from_pandas(frame, preserve_index=False)
    fields = [
        field.with_metadata({"unit": units[field.name]}) if units.get(field.name) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields, metadata=table.schema.metadata))
