"""What reports about objects, crystals or particles, have in common: sizes and the largest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from layerscope.core.results import FloatArray, IntArray
from layerscope.report.columns import numbers, words
from layerscope.report.scan_text import counted
from layerscope.report.values import Banner, Table

if TYPE_CHECKING:
    import pandas as pd

SHOWN_ROWS = 60
"""Objects that a report lists; all of them are in its table."""


def look_banners(images: pd.DataFrame, without_scale: str) -> tuple[Banner, ...]:
    """Say above everything which images to look at, and what lacks a scale.

    Parameters
    ----------
    images : DataFrame
        One row per image: ``doubts``, ``pixel_size_nm``.
    without_scale : str
        What images without a pixel size lack, and how to give one.
    """
    banners = []
    doubtful = sum(map(bool, words(images, "doubts")))
    if doubtful:
        title = f"{counted(doubtful, 'image')} to look at"
        banners.append(Banner("warning", title, "They come first among the images below."))
    bare = int(np.isnan(numbers(images, "pixel_size_nm")).sum())
    if bare:
        text = f"{counted(bare, 'image')} without: {without_scale}"
        banners.append(Banner("warning", "No pixel size", text))
    return tuple(banners)


def sizes_of(objects: pd.DataFrame, quantity: str) -> tuple[FloatArray, str, str]:
    """Sizes of all objects, their unit as it is written, and as columns end.

    In µm where all have one, in px otherwise.
    """
    um = numbers(objects, f"{quantity}_um")
    if np.isfinite(um).all():
        return um, "µm", "um"
    return numbers(objects, f"{quantity}_px"), "px", "px"


def largest_first(sizes: FloatArray) -> IntArray:
    """Rows of the largest, `SHOWN_ROWS` at most."""
    return np.argsort(-sizes, kind="stable")[:SHOWN_ROWS]


def flag_words(objects: pd.DataFrame) -> list[str]:
    """Quality flags of each object, for people."""
    return [text.replace("_", " ").replace("|", ", ") for text in words(objects, "flags")]


def folded_table(
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    caption: str,
    numeric: Sequence[int],
    widths: Sequence[float],
) -> Table:
    """Table of long lists, given column by column: folded on the page, its first rows printed."""
    rows = tuple(zip(*cells, strict=True))
    return Table(tuple(columns), rows, caption, numeric=tuple(numeric), widths=tuple(widths),
                 folded=True, printed=25)  # fmt: skip
