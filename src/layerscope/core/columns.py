"""Columns of tables: a name carries the unit, its meaning is in the glossary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd


class Column(NamedTuple):
    """One column of a results table."""

    name: str
    unit: str
    dtype: str
    meaning: str


def glossary_of(columns: Iterable[Column]) -> pd.DataFrame:
    """Name, unit and meaning of `columns`: a table with ``column``, ``unit``, ``meaning``."""
    import pandas as pd

    rows = [(c.name, c.unit, c.meaning) for c in columns]
    return pd.DataFrame(rows, columns=["column", "unit", "meaning"], dtype="str")


BOX: tuple[Column, ...] = (
    Column("bbox_top_px", "px", "int64", "First row of the bounding box."),
    Column("bbox_left_px", "px", "int64", "First column of the bounding box."),
    Column("bbox_bottom_px", "px", "int64", "Row after the last of the bounding box."),
    Column("bbox_right_px", "px", "int64", "Column after the last of the bounding box."),
)
"""Where an object lies, in the order of `core.results.CropMasks.boxes`."""

IMAGE_FACTS: tuple[Column, ...] = (
    Column("doubts", "", "str", "Why a person should look at it, or empty."),
    Column("height_px", "px", "int64", "Rows."),
    Column("width_px", "px", "int64", "Columns."),
    Column("valid_share", "", "float64", "Share of the pixels that was counted."),
    Column("pixel_size_nm", "nm", "float64", "Side of a pixel; empty if unknown."),
    Column("pixel_size_source", "", "str", "Where that figure comes from."),
    Column("notes", "", "str", "Warnings, joined by '; '."),
    Column("path", "", "str", "File."),
    Column("sha256", "", "str", "Of its bytes."),
)
"""Last columns of the images table of several tasks."""
