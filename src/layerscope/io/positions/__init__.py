"""Lists of stage positions: one table of formats, one door in and one out.

    from layerscope.io.positions import read_positions, write_positions
    listed = read_positions("PositionList.pos")
    write_positions("revisit.xml", listed.positions)

An outside package adds a format with an entry point in the group ``layerscope.position_formats``
that names a `PositionFormat`.
"""

from __future__ import annotations

import functools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from layerscope.core.stage import StagePosition
from layerscope.errors import UnknownName, UnreadableFile
from layerscope.io.atomic import write_bytes
from layerscope.io.positions import image, micromanager, nis, ome, table, useq
from layerscope.io.positions.content import Content, PositionList, local_name, micrometres, one_line
from layerscope.io.positions.image import position_of, read_images
from layerscope.registry import Registry

__all__ = [
    "FORMATS",
    "Export",
    "PositionFormat",
    "PositionList",
    "known_position_formats",
    "position_of",
    "read_images",
    "read_positions",
    "write_positions",
]

# Neither UTF-8 nor XML can hold these; a file name that is no text has them.
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Export:
    """What is to be written.

    Attributes
    ----------
    positions : tuple of StagePosition
    extra : mapping of str to sequence
        Further columns, for formats that have room for them.
    stages : tuple of str
        Names of the stage and the focus drive, for formats that name them; "" for the usual ones.
    """

    positions: tuple[StagePosition, ...]
    extra: Mapping[str, Sequence[object]] = field(default_factory=dict)
    stages: tuple[str, str] = ("", "")


Writer = Callable[[Export], tuple[bytes, tuple[str, ...]]]


@dataclass(frozen=True)
class PositionFormat:
    """One kind of list.

    Attributes
    ----------
    name, description : str
        Identifier, and what a user calls it.
    extensions : tuple of str
        Lower case with the dot; the first is the one that asks for this format in writing. Reading
        goes by content.
    claims : callable
        ``(content) -> bool``: whether a file is of this format; never raises but `UnreadableFile`.
    read : callable
        ``(content) -> PositionList``, raising `UnreadableFile` without naming the file.
    write : callable or None
        ``(export) -> (bytes, notes)``, the notes saying what the format could not hold.
    """

    name: str
    description: str
    extensions: tuple[str, ...]
    claims: Callable[[Content], bool]
    read: Callable[[Content], PositionList]
    write: Writer | None = None


def _write_csv(export: Export) -> tuple[bytes, tuple[str, ...]]:
    return table.write_table(export.positions, export.extra), ()


def _write_micromanager(export: Export) -> tuple[bytes, tuple[str, ...]]:
    return micromanager.write_property_map(export.positions, export.stages), ()


def _write_nis(export: Export) -> tuple[bytes, tuple[str, ...]]:
    return nis.write_multipoint(export.positions)


def _write_useq(export: Export) -> tuple[bytes, tuple[str, ...]]:
    return useq.write_sequence(export.positions), ()


FORMATS: tuple[PositionFormat, ...] = (
    PositionFormat(
        "micromanager", "Micro-Manager 2 position list", (".pos", ".json"),
        micromanager.is_property_map, micromanager.read_property_map, _write_micromanager,
    ),
    PositionFormat(
        "micromanager1", "Micro-Manager 1 position list", (".pos",),
        micromanager.is_version_1, micromanager.read_version_1,
    ),
    PositionFormat(
        "micromanager_metadata", "Micro-Manager metadata.txt of a data set", (".txt",),
        micromanager.is_metadata, micromanager.read_metadata,
    ),
    PositionFormat(
        "useq", "useq-schema MDASequence, JSON", (".json",),
        useq.is_json_sequence, useq.read_json_sequence, _write_useq,
    ),
    PositionFormat(
        "useq_yaml", "useq-schema MDASequence, YAML", (".yaml", ".yml"),
        useq.is_yaml_sequence, useq.read_yaml_sequence,
    ),
    PositionFormat(
        "nis", "Nikon NIS-Elements multipoint list", (".xml",),
        nis.is_multipoint, nis.read_multipoint, _write_nis,
    ),
    PositionFormat("ome", "OME-XML", (".xml", ".ome"), ome.is_ome, ome.read_ome),
    PositionFormat(
        "tiff", "position in the header of a TIFF: OME-XML, Micro-Manager", (".tif", ".tiff"),
        image.is_image, image.read_image,
    ),
    PositionFormat(
        "csv", "table with a header, e.g. label,x_um,y_um", (".csv", ".tsv", ".txt"),
        table.is_table, table.read_table, _write_csv,
    ),
)  # fmt: skip
"""The formats of layerscope itself, asked in this order; see `known_position_formats`."""


@functools.cache
def known_position_formats() -> tuple[PositionFormat, ...]:
    """Return the formats of layerscope and of the packages installed beside it."""
    return (*FORMATS, *Registry("position_format", {}).values())


def read_positions(path: str | os.PathLike[str], *, unit: str | None = None) -> PositionList:
    """Read stage positions from a list, or from the headers of images.

    Parameters
    ----------
    path : path
        A file of a known format, recognised by its content; or a folder of TIFF images.
    unit : str, optional
        Unit of lengths that the file gives without one, e.g. ``"um"``; without it such a file is
        refused, since a wrong guess would move every flake by a factor of 1000.

    Returns
    -------
    PositionList
        In um. Its notes say what was left out or taken for granted.

    Raises
    ------
    UnreadableFile
        If the file is missing, damaged, empty, of no known format, or without units; one line.
    InputError
        If `unit` is no unit of length.
    MissingExtra
        For YAML without PyYAML.
    """
    if unit is not None:
        micrometres(unit)
    path = Path(path)
    if path.is_dir():
        images = sorted(p for p in path.iterdir() if _is_tiff_name(p))
        if not images:
            raise UnreadableFile(f"{one_line(path, 200)}: a folder without TIFF images")
        return read_images(images, unit)
    content = Content(path, unit)
    try:
        found = _format_of(content).read(content)
        if not len(found):
            raise UnreadableFile("the list is empty")
    except UnreadableFile as error:
        raise UnreadableFile(f"{one_line(path, 200)}: {one_line(error, 300)}") from None
    return replace(found, notes=(*found.notes, *_repeats(found)))


def write_positions(
    path: str | os.PathLike[str],
    positions: Iterable[StagePosition],
    format: str | None = None,
    *,
    extra: Mapping[str, Sequence[object]] | None = None,
    stages: tuple[str, str] = ("", ""),
) -> tuple[str, ...]:
    """Write stage positions for a microscope, a script or a spreadsheet.

    Parameters
    ----------
    path : path
    positions : iterable of StagePosition
    format : str, optional
        ``csv``, ``micromanager``, ``nis``, ``useq``; by default the extension decides: ``.csv``,
        ``.pos``, ``.xml``, ``.json`` (useq).
    extra : mapping of str to sequence, optional
        Further columns of a table, one value per position.
    stages : tuple of str
        Names of the stage and the focus drive in the Micro-Manager configuration
        (`PositionList.stages`); by default ``XYStage`` and ``ZStage``.

    Returns
    -------
    tuple of str
        What the format could not hold, one line each.

    Raises
    ------
    UnknownName
        If no writable format has this name or extension.
    InputError
        If a column of `extra` has another length, or the folder cannot be written.
    """
    write = _writer(Path(path), format)
    listed = tuple(positions)
    clean = tuple(replace(p, label=_UNWRITABLE.sub("\ufffd", p.label)) for p in listed)
    content, notes = write(Export(clean, extra or {}, stages))
    write_bytes(Path(path), content)
    changed = sum(a.label != b.label for a, b in zip(listed, clean, strict=True))
    if changed:
        notes = (*notes, f"labels with characters that no file can hold, replaced: {changed}")
    return notes


def _writer(path: Path, name: str | None) -> Writer:
    writable = [(f, f.write) for f in known_position_formats() if f.write is not None]
    by_name = {f.name: write for f, write in writable}
    if name is not None:
        if name not in by_name:
            raise UnknownName.of("position format", name, by_name)
        return by_name[name]
    by_extension = {f.extensions[0]: write for f, write in reversed(writable)}
    extension = path.suffix.casefold()
    if extension not in by_extension:
        raise UnknownName(
            f"{path.name}: positions are written as {', '.join(sorted(by_extension))}, "
            f"not {extension or 'bare'!r}; or name a format: {', '.join(by_name)}"
        )
    return by_extension[extension]


def _format_of(content: Content) -> PositionFormat:
    for candidate in known_position_formats():
        if candidate.claims(content):
            return candidate
    readable = ", ".join(f.name for f in known_position_formats())
    raise UnreadableFile(f"{_describe(content)}; readable lists are {readable}")


def _describe(content: Content) -> str:
    if content.root is not None:
        return f"XML of another kind (<{one_line(local_name(content.root), 30)}>)"
    if content.document is not None:
        return "JSON without stage positions"
    if content.text:
        first = one_line(content.text.partition("\n")[0])
        return f"a text without columns x and y (first line {first!r})"
    return f"binary (first bytes {content.head[:4].hex(' ')}), not a list of positions"


def _is_tiff_name(path: Path) -> bool:
    return path.suffix.casefold() in (".tif", ".tiff", ".btf") and not path.name.startswith(".")


def _repeats(found: PositionList) -> tuple[str, ...]:
    """Say which labels stand for several places."""
    places = {(p.label, p.x_um, p.y_um) for p in found.positions if p.label}
    repeated = sorted(label for label, n in Counter(place[0] for place in places).items() if n > 1)
    if not repeated:
        return ()
    shown = ", ".join(repr(one_line(label, 30)) for label in repeated[:5])
    return (f"labels that stand for several places: {len(repeated)}, e.g. {shown}",)
