"""How large a pixel is: what the user says, a magnification table, metadata, or a burnt-in bar."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from layerscope.core.micrograph import Micrograph, Modality, PixelSize, parse_length_nm
from layerscope.errors import InputError, UnknownName
from layerscope.ops.magnification import view_of
from layerscope.ops.magnification_table import MagnificationTable, read_magnifications
from layerscope.ops.scale_bar import ScaleBar, banner_top, candidate_bars, levels_of
from layerscope.ops.scale_text import is_readable, read_scale_bar_length, with_text

__all__ = [
    "ScaleBar",
    "find_scale_bar",
    "load_magnification_table",
    "mask_annotations",
    "read_scale_bar_length",
    "resolve_pixel_size",
]

Table = Mapping[str, PixelSize]
TableSource = str | os.PathLike[str] | Mapping[str, str] | Table | MagnificationTable

_CONFLICT = 0.05
"""Of the logarithm. Bars are drawn in whole pixels and with outlines: up to 4 % of a short one."""

_BARE_SHARE = 0.08
"""Of the width: shorter bars, without text beside them, are strokes of large letters."""


def resolve_pixel_size(
    micrograph: Micrograph,
    *,
    pixel_size: str | PixelSize | None = None,
    objective: str | None = None,
    magnification_table: TableSource | None = None,
    scale_bar_length: str | None = None,
) -> Micrograph:
    """Give a micrograph the best pixel size that is known, and its source.

    What the user says of this image decides: `pixel_size`, or `objective` in
    `magnification_table`. Then the file's metadata, the magnification (metadata or file name) in
    the table, the burnt-in scale bar. None of them: the pixel size stays None, never a silent
    guess. Of images of electron microscopes the sources are compared; where two differ by more
    than 5 %, a note says so.

    Parameters
    ----------
    micrograph : Micrograph
    pixel_size : str or PixelSize, optional
        Such as ``"0.3844um"``, per pixel.
    objective : str, optional
        A name in the table, such as ``"20x"``.
    magnification_table : path, mapping or MagnificationTable, optional
        See `load_magnification_table` (objectives) and `read_magnifications`; or names to lengths
        such as ``{"20x": "0.3844um"}``.
    scale_bar_length : str, optional
        Length of the burnt-in bar, such as ``"10um"``, where its text cannot be read.

    Raises
    ------
    InputError
        If a length cannot be understood, an objective comes without a table, or
        `scale_bar_length` is given for an image on which no bar is found.
    UnknownName
        If the table has no such objective; the nearest names are offered.
    """
    notes: list[str] = []
    by_user = _from_user(pixel_size, objective, magnification_table)
    table = None if objective else as_magnifications(magnification_table)
    by_table = None if table is None else _at_magnification(micrograph, table, notes)
    electrons = micrograph.modality in (Modality.TEM, Modality.SEM)
    known = [s for s in (by_user, micrograph.pixel_size, by_table) if s is not None]
    compared = electrons or by_table is not None
    if not known or (compared and by_user is None):
        by_bar = _from_bar(micrograph, scale_bar_length)
        known += [] if by_bar is None else [by_bar]
    if compared:
        notes += [n for other in known[1:] if (n := _conflict(known[0], other))]
    if not known or (known[0] is micrograph.pixel_size and not notes):
        return _with_notes(micrograph, notes)
    return _with_scale(_with_notes(micrograph, notes), known[0])


def _from_user(
    pixel_size: str | PixelSize | None, objective: str | None, table: TableSource | None
) -> PixelSize | None:
    if pixel_size is not None:
        return pixel_size if isinstance(pixel_size, PixelSize) else PixelSize.parse(pixel_size)
    if objective is not None or (table is not None and as_magnifications(table) is None):
        return _from_table(objective, table)
    return None


def as_magnifications(table: TableSource | None) -> MagnificationTable | None:
    """Table by magnification, read if it is a file; None if it is of objectives.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    if table is None or isinstance(table, MagnificationTable):
        return table
    return None if isinstance(table, Mapping) else read_magnifications(table)


def _at_magnification(
    micrograph: Micrograph, table: MagnificationTable, notes: list[str]
) -> PixelSize | None:
    view = view_of(micrograph, micrograph.name)
    times = view.magnification
    if times is None:
        notes.append(f"{table.source} not used: no magnification in metadata or file name")
        return None
    found = table.pixel_size(times, micrograph.shape[1])
    if found is None:
        near = sorted(table.nm_at, key=lambda t: abs(math.log(t / times)))[:3]
        listed = ", ".join(f"{t:g}x" for t in sorted(near))
        notes.append(f"{times:g}x is not in {table.source}; nearest are {listed}")
        return None
    return replace(found, source=f"{found.source} ({view.source})")


def _conflict(used: PixelSize, other: PixelSize) -> str:
    """One line where two sources differ; empty where they agree."""
    ratio = other.um / used.um
    if abs(math.log(ratio)) <= _CONFLICT:
        return ""
    return (
        f"sources of the scale disagree: {used.um * 1e3:.4g} nm per pixel is used "
        f"({used.source}), {other.um * 1e3:.4g} nm says {other.source}"
    )


def _with_notes(micrograph: Micrograph, notes: list[str]) -> Micrograph:
    if not notes:
        return micrograph
    said = (*micrograph.metadata.get("notes", ()), *notes)
    return replace(micrograph, metadata={**micrograph.metadata, "notes": said})


def find_scale_bar(micrograph: Micrograph) -> ScaleBar | None:
    """Find the burnt-in scale bar, if there is one.

    Parameters
    ----------
    micrograph : Micrograph
        Of any number type; values are compared as fractions of the white level.

    Returns
    -------
    ScaleBar or None
        Where several shapes qualify, one with a readable length beside it wins, then a thick
        one (the frame of a box that holds bar and text is a thin line as well), then the longest.
    """
    levels = levels_of(micrograph)
    shortest = _BARE_SHARE * micrograph.shape[1]
    found = [with_text(levels, bar) for bar in candidate_bars(levels)]
    found = [bar for bar in found if bar.text_box or bar.length_px > shortest]
    if len(found) < 2:
        return found[0] if found else None
    return max(found, key=lambda b: (is_readable(levels, b), b.thickness_px > 1, b.length_px))


def mask_annotations(micrograph: Micrograph) -> Micrograph:
    """Exclude the scale bar, the text beside it, and an instrument's banner at the bottom.

    Returns
    -------
    Micrograph
        With `excluded` set, or unchanged where nothing of the kind was found.
    """
    bar, banner = find_scale_bar(micrograph), banner_top(levels_of(micrograph))
    if bar is None and banner is None:
        return micrograph
    boxes = [] if banner is None else [(banner, 0, *micrograph.shape)]
    if bar is not None:
        boxes += [bar.box] if bar.text_box is None else [bar.box, bar.text_box]
    excluded = np.zeros(micrograph.shape, bool)
    if micrograph.excluded is not None:
        excluded |= micrograph.excluded
    for top, left, bottom, right in boxes:
        # The edge is blurred, and JPEG rings within its 8x8 block.
        excluded[max(top - 4, 0) : bottom + 4, max(left - 4, 0) : right + 4] = True
    return micrograph.after("mask_annotations", {"boxes": tuple(boxes)}, excluded=excluded)


def load_magnification_table(path: str | os.PathLike[str]) -> dict[str, PixelSize]:
    """Read pixel sizes by objective from a TOML file.

    ::

        [objectives]
        "20x" = "0.3844um"
        "100x" = "76.9nm"

    Raises
    ------
    InputError
        If the file is missing, is not TOML, or an entry is no length.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise InputError(f"magnification table {path}: {reason}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"magnification table {path}: not TOML ({error})") from error
    objectives = content.get("objectives")
    if not isinstance(objectives, dict) or not objectives:
        raise InputError(f'magnification table {path}: expected [objectives] with "20x" = "0.38um"')
    return _parsed_table(objectives, path.name)


def _parsed_table(objectives: Mapping[str, object], source: str) -> dict[str, PixelSize]:
    table = {}
    for name, value in objectives.items():
        if isinstance(value, PixelSize):
            table[name] = value
        elif isinstance(value, str):
            table[name] = PixelSize.parse(value, f"magnification table {source}: {name}")
        else:
            raise InputError(f'{source}: {name} = {value!r}; expected a length in quotes, "0.38um"')
    return table


def _from_table(objective: str | None, table: TableSource | None) -> PixelSize:
    if objective is None:
        raise InputError("a magnification table needs an objective: --objective 20x")
    if table is None or isinstance(table, MagnificationTable):
        raise InputError(f"objective {objective} needs a magnification table: TOML, [objectives]")
    known = (
        _parsed_table(table, "given")
        if isinstance(table, Mapping)
        else load_magnification_table(table)
    )
    folded = {name.casefold(): size for name, size in known.items()}
    if objective.casefold() not in folded:
        raise UnknownName.of("objective", objective, known)
    return folded[objective.casefold()]


def _from_bar(micrograph: Micrograph, length: str | None) -> PixelSize | None:
    given_nm = None if length is None else parse_length_nm(length)
    bar = find_scale_bar(micrograph)
    if bar is None:
        if length is not None:
            raise InputError(
                f"{micrograph.name}: a scale bar of {length} was announced but none is found; "
                "give --pixel-size instead"
            )
        return None
    if given_nm is not None:
        size_nm, source = given_nm / bar.length_px, f"{length} given by the user"
    else:
        read = read_scale_bar_length(micrograph, bar)
        if read is None:
            return None
        size_nm, source = read[0] / bar.length_px, f"{read[0]:g} nm read, confidence {read[1]:.2f}"
    return PixelSize(size_nm, size_nm, f"scale bar of {bar.length_px:.1f} px, {source}")


def _with_scale(micrograph: Micrograph, size: PixelSize) -> Micrograph:
    parameters = {"y_nm": size.y_nm, "x_nm": size.x_nm, "source": size.source}
    return replace(micrograph.after("resolve_pixel_size", parameters), pixel_size=size)
