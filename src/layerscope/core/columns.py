"""One column of a table: its name carries the unit, its meaning is in the glossary."""

from __future__ import annotations

from typing import NamedTuple


class Column(NamedTuple):
    """One column of a results table."""

    name: str
    unit: str
    dtype: str
    meaning: str


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
