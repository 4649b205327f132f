"""The objects table as CSV and Parquet."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscope.errors import InputError
from layerscope.io.atomic import write_bytes

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


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
    suffix = Path(path).suffix.lower()
    if suffix == ".csv":
        write_bytes(path, _csv_bytes(frame))
    elif suffix == ".parquet":
        write_bytes(path, _parquet_bytes(frame, units or {}))
    else:
        raise InputError(
            f"{path}: tables are written as .csv or .parquet, not {suffix or 'bare'!r}"
        )


def _csv_bytes(frame: pd.DataFrame) -> bytes:
    import csv

    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_safe(str(name)) for name in frame.columns])
    cells = [[_cell(value) for value in frame[name].tolist()] for name in frame.columns]
    writer.writerows(zip(*cells, strict=True))
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return _safe(value)
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.7g}"
    return "" if value is None else _safe(str(value)) if not isinstance(value, int) else str(value)


def _safe(text: str) -> str:
    """Defuse what a spreadsheet would take for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _parquet_bytes(frame: pd.DataFrame, units: Mapping[str, str]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.Table.from_pandas(frame, preserve_index=False)
    fields = [
        field.with_metadata({"unit": units[field.name]}) if units.get(field.name) else field
        for field in table.schema
    ]
    table = table.cast(pa.schema(fields, metadata=table.schema.metadata))
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd", write_statistics=True)
    return buffer.getvalue()
