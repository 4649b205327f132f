"""Which specimen an image shows: told in a table, in its name, or not at all."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from layerscope.errors import InputError, UnreadableFile
from layerscope.io.labels import image_key

GROUPS_FILE = "groups.csv"
# Roboflow writes several altered copies of one image as NAME_jpg.rf.<32 hexadecimal digits>.jpg.
_COPY = re.compile(r"\.rf\.[0-9a-f]{32}$")


@dataclass(frozen=True)
class Grouping:
    """Group and split of each image, and in words where they come from.

    Attributes
    ----------
    groups, splits : tuple of str
    source : str
    notes : tuple of str
    """

    groups: tuple[str, ...]
    splits: tuple[str, ...]
    source: str
    notes: tuple[str, ...] = ()


def group_images(
    names: Sequence[str], splits: Sequence[str], folder: Path, pattern: str | None = None
) -> Grouping:
    """Say which images show the same specimen.

    Parameters
    ----------
    names : sequence of str
        Of the images.
    splits : sequence of str
        Where the files say them.
    folder : Path
        ``groups.csv`` in it (image,group and perhaps split) decides.
    pattern : str, optional
        Regular expression, searched in the name; its first bracket, or the whole match, is the
        group. Used where there is no table.

    Raises
    ------
    InputError
        If the table or the pattern cannot be used.
    """
    if pattern is not None:
        return _by_pattern(names, splits, pattern)
    table = folder / GROUPS_FILE
    if table.is_file():
        return _by_table(names, splits, table)
    own = tuple(_COPY.sub("", name) for name in names)
    copies = len(own) - len(set(own))
    source = "each image is its own group"
    if copies:
        source += f"; {copies} altered copies made by Roboflow are grouped with their originals"
    return Grouping(own, tuple(splits), source)


def _by_pattern(names: Sequence[str], splits: Sequence[str], pattern: str) -> Grouping:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"group pattern {pattern!r}: no regular expression ({error})") from None
    found = [compiled.search(name) for name in names]
    groups = tuple(
        name if m is None else next((g for g in m.groups() if g), m.group(0)) or name
        for name, m in zip(names, found, strict=True)
    )
    missing = [name for name, m in zip(names, found, strict=True) if m is None]
    notes = (
        (f"{len(missing)} images, e.g. {missing[0]}, do not match {pattern!r}",) if missing else ()
    )
    return Grouping(groups, tuple(splits), f"group pattern {pattern!r}", notes)


def _by_table(names: Sequence[str], splits: Sequence[str], table: Path) -> Grouping:
    try:
        text = table.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise UnreadableFile(f"{table}: not readable as UTF-8 text") from None
    rows = list(csv.DictReader(io.StringIO(text), skipinitialspace=True))
    if not rows or not {"image", "group"} <= set(rows[0]):
        raise InputError(
            f"{table}: expected the columns image,group (and split) and a row per image"
        )
    told = {image_key(r["image"] or "").casefold(): r for r in rows}
    own = [told.get(name.casefold()) for name in names]
    groups = tuple((row or {}).get("group") or name for row, name in zip(own, names, strict=True))
    parts = tuple((row or {}).get("split") or s for row, s in zip(own, splits, strict=True))
    missing = [name for name, row in zip(names, own, strict=True) if row is None]
    notes = (
        (f"{len(missing)} images, e.g. {missing[0]}, are not in {table.name}",) if missing else ()
    )
    return Grouping(groups, parts, table.name, notes)
