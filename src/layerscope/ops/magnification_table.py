"""Pixel sizes by magnification, from a calibration of the microscope: TOML or CSV."""

from __future__ import annotations

import csv
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerscope.core.micrograph import PixelSize, parse_length_nm
from layerscope.errors import InputError
from layerscope.ops.magnification import parse_magnification

_SAME = 0.01
"""Share by which an indicated magnification may differ: programs round it differently."""


@dataclass(frozen=True)
class MagnificationTable:
    """Pixel size at each calibrated magnification.

    Attributes
    ----------
    nm_at : mapping of float to float
        Magnification to nm per pixel.
    columns : int or None
        Width in px of the images that were calibrated. An image of half as many columns was
        binned, so that its pixels are twice as large.
    source : str
        Name of the file.
    """

    nm_at: Mapping[float, float]
    columns: int | None = None
    source: str = "given"

    def __post_init__(self) -> None:
        """Refuse what is no magnification or no length."""
        for times, side_nm in self.nm_at.items():
            if not (times > 0 and 0 < side_nm < float("inf")):
                raise InputError(f"{self.source}: {side_nm} nm per pixel at {times}x")
        if self.columns is not None and self.columns < 1:
            raise InputError(f"{self.source}: images of {self.columns} columns; expected 1 or more")

    def pixel_size(self, times: float, columns: int) -> PixelSize | None:
        """Pixel size at a magnification, or None where it was not calibrated.

        Never interpolated: the true magnification differs from the indicated one by up to 10 %, and
        by another amount at each step of the lenses.

        Parameters
        ----------
        times : float
        columns : int
            Width of the image.
        """
        near = [t for t in self.nm_at if abs(t / times - 1) < _SAME]
        if not near:
            return None
        best = min(near, key=lambda t: abs(t - times))
        binning = 1.0 if self.columns is None else self.columns / columns
        side_nm = self.nm_at[best] * binning
        scaled = f", {self.columns} columns to {columns}" if binning != 1 else ""
        source = f"magnification table {self.source}: {best:g}x{scaled}"
        return PixelSize(side_nm, side_nm, source)


def read_magnifications(path: str | os.PathLike[str]) -> MagnificationTable | None:
    """Read a table of magnifications; None from a TOML file that has objectives only.

    ::

        columns = 4096          # of the calibrated images; may be left out

        [magnifications]
        "20000x" = 0.55         # nm per pixel
        "50kx" = "0.22nm"

    or a CSV file with the columns ``magnification`` and ``pixel_size_nm``.

    Raises
    ------
    InputError
        If the file is missing, cannot be understood, or an entry is no length.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.casefold() == ".csv":
            return MagnificationTable(_from_csv(text, file.name), None, file.name)
        content = tomllib.loads(text)
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise InputError(f"magnification table {file}: {reason}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"magnification table {file}: not TOML ({error})") from error
    said, columns = content.get("magnifications"), content.get("columns")
    if said is None:
        return None
    if not isinstance(said, dict) or not said or not isinstance(columns, int | None):
        raise InputError(
            f'magnification table {file}: expected [magnifications] with "50kx" = 0.22'
        )
    return MagnificationTable(_checked(said.items(), file.name), columns, file.name)


def _from_csv(text: str, source: str) -> dict[float, float]:
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or not {"magnification", "pixel_size_nm"} <= set(rows[0]):
        raise InputError(f"{source}: expected the columns magnification,pixel_size_nm")
    return _checked(((r["magnification"], r["pixel_size_nm"]) for r in rows), source)


def _checked(entries: Iterable[tuple[Any, Any]], source: str) -> dict[float, float]:
    table: dict[float, float] = {}
    for name, value in entries:
        times = parse_magnification(str(name))
        if times in table:
            raise InputError(f"{source}: {name} is there twice")
        table[times] = _length_nm(value, f"{source}: {name}")
    return table


def _length_nm(value: Any, where: str) -> float:
    """Read a number of nm, or text with a unit."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return parse_length_nm(value)
    if not isinstance(value, int | float):
        raise InputError(
            f'{where} = {value!r}; expected nm per pixel, or a length such as "0.22nm"'
        )
    return float(value)
