"""One column of a table: its name carries the unit, its meaning is in the glossary."""

from __future__ import annotations

from typing import NamedTuple


class Column(NamedTuple):
    """One column of a results table."""

    name: str
    unit: str
    dtype: str
    meaning: str
