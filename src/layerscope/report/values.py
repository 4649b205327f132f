"""What a section of the report is made of; plain values that every renderer knows how to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Banner:
    """A sentence that nobody may miss; ``warning`` where numbers are withheld or incomplete."""

    level: Literal["warning", "note", "good"]
    title: str
    text: str


@dataclass(frozen=True)
class Plot:
    """A figure drawn by matplotlib; shown as vectors wherever the renderer can.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
    caption : str
        What is drawn, with how many values; also the text for readers who cannot see it.
    wide : bool
        Takes the whole width of the page; otherwise two plots stand side by side.
    dense : bool
        Has so many marks that a browser is better served with pixels.
    """

    figure: Any
    caption: str
    wide: bool = False
    dense: bool = False


@dataclass(frozen=True)
class Photo:
    """Pixels, uint8 (H, W, 3) RGB, shown as JPEG."""

    pixels: npt.NDArray[np.uint8]
    caption: str = ""


@dataclass(frozen=True)
class Card:
    """One flake at a glance: picture, a coloured headline, and lines of name and value."""

    headline: str
    color: str
    photo: Photo | None
    rows: tuple[tuple[str, str], ...]
    flags: tuple[str, ...] = ()
    no_photo: str = ""


@dataclass(frozen=True)
class Table:
    """Text cells; `numeric` columns are aligned right, `code` columns set in a fixed width.

    `printed` rows go on paper, all on the screen, where a `folded` table opens at a click.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    numeric: tuple[int, ...] = ()
    code: tuple[int, ...] = ()
    widths: tuple[float, ...] = ()
    folded: bool = False
    printed: int = 150


@dataclass(frozen=True)
class Section:
    """One part of the report, in the order: banners, tiles, text, cards, plots, photos, tables.

    Attributes
    ----------
    tiles : tuple of (str, str)
        Large number and what it counts.
    new_page : bool
        Begins a page on paper.
    photos_in_row : int
        Photos side by side on paper.
    """

    title: str
    text: tuple[str, ...] = ()
    banners: tuple[Banner, ...] = ()
    tiles: tuple[tuple[str, str], ...] = ()
    cards: tuple[Card, ...] = ()
    plots: tuple[Plot, ...] = ()
    photos: tuple[Photo, ...] = ()
    tables: tuple[Table, ...] = ()
    new_page: bool = False
    photos_in_row: int = 2


@dataclass(frozen=True)
class Skipped:
    """A section that had nothing to show, and why, in one sentence."""

    title: str
    reason: str
