"""Stage positions that images carry themselves: tags of Micro-Manager and OME-XML in a TIFF."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from layerscope.core.stage import StagePosition
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.positions.content import Content, Entry, PositionList, parse_xml
from layerscope.io.positions.micromanager import position_of_tags
from layerscope.io.positions.ome import positions_of

_DESCRIPTION, _MICRO_MANAGER = 270, 51123
# What tifffile raises on damaged headers; MemoryError on a tag of absurd length.
_DAMAGE = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, OSError,
    AssertionError, MemoryError, struct.error,
)  # fmt: skip


def is_image(content: Content) -> bool:
    """Whether it is a TIFF."""
    return content.is_tiff


def read_image(content: Content) -> PositionList:
    """Position of one TIFF, from its header only; all that its OME-XML lists where none is its own.

    Raises
    ------
    UnreadableFile
        If the header is damaged or holds no position.
    """
    try:
        tags = _header(content.path)
    except UnreadableFile:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:80] or type(error).__name__
        raise UnreadableFile(f"truncated or damaged TIFF ({reason}); copy it again") from None
    found = _of_tags(tags, content.path.name, content.unit)
    if found is None:
        raise UnreadableFile("the image holds no stage position (OME-XML or Micro-Manager)")
    return found


def read_images(paths: Iterable[str | os.PathLike[str]], unit: str | None = None) -> PositionList:
    """Positions that image files carry in their headers; the pixels are not read.

    Parameters
    ----------
    paths : iterable of path
    unit : str, optional
        As in `read_positions`.

    Returns
    -------
    PositionList
        In the order of `paths`; files without a position are left out and counted in a note.

    Raises
    ------
    UnreadableFile
        If no file has a position; the reason of the first is given.
    """
    entries: list[Entry] = []
    reasons: list[str] = []
    notes: list[str] = []
    told: dict[Path, StagePosition] = {}
    for path in map(Path, paths):
        try:
            if path not in told:
                found = _in_header(Content(path, unit))
                told |= _of_siblings(found, path)
                told[path] = _own(found, path.name)
                notes += found.notes
            entries.append(Entry(told[path], str(path)))
        except UnreadableFile as error:
            reasons.append(f"{path.name}: {error}")
    if not entries:
        why = f". First: {reasons[0]}" if reasons else ""
        raise UnreadableFile(f"none of {len(reasons)} images holds a stage position{why}")
    if reasons:
        notes.append(f"images without a stage position: {len(reasons)}, first {reasons[0]}")
    return PositionList.of(entries, "tiff", dict.fromkeys(notes))


def position_of(
    metadata: Mapping[str, Any], *, file: str = "", unit: str | None = None
) -> StagePosition | None:
    """Position in the metadata of a `Micrograph` that was read anyway.

    Parameters
    ----------
    metadata : mapping
        ``Micrograph.metadata``.
    file : str
        Name of the image file: tells which of several images in a shared OME-XML is meant.
    unit : str, optional
        As in `read_positions`.

    Returns
    -------
    StagePosition or None
        None where the image holds none that can be used; that is no reason to lose the image.
    """
    tags = metadata.get("tiff")
    if not isinstance(tags, Mapping):
        return None
    try:
        found = _of_tags(tags, file, unit)
        return None if found is None else _own(found, file)
    except InputError:
        return None


def _of_siblings(found: PositionList, path: Path) -> dict[Path, StagePosition]:
    """Places of the other files of an OME set: each file lists all, and is parsed in seconds."""
    count = Counter(found.files)
    return {
        path.with_name(Path(file).name): place
        for file, place in zip(found.files, found.positions, strict=True)
        if file and count[file] == 1
    }


def _in_header(content: Content) -> PositionList:
    if not is_image(content):
        raise UnreadableFile("no TIFF: only those carry stage positions")
    return read_image(content)


def _own(found: PositionList, file: str) -> StagePosition:
    own = ("", Path(file).name)
    mine = [p for p, f in zip(found.positions, found.files, strict=True) if f in own]
    if len(mine) == 1:
        return mine[0]
    if len(found) == 1:
        return found.positions[0]
    raise UnreadableFile(f"its OME-XML lists {len(found)} images and does not say which it is")


def _of_tags(tags: Mapping[str, Any], file: str, unit: str | None) -> PositionList | None:
    written = tags.get("MicroManagerMetadata")
    position = position_of_tags(written) if isinstance(written, Mapping) else None
    if position is not None:
        return PositionList((position,), (file,), "tiff")
    text = tags.get("ImageDescription")
    if not isinstance(text, str) or "<OME" not in text[:4096]:
        return None
    listed = positions_of(parse_xml(text), unit)
    files = (file,) if listed.files == ("",) else listed.files
    return PositionList(listed.positions, files, "tiff", listed.notes)


def _header(path: Path) -> dict[str, Any]:
    import tifffile

    with tifffile.TiffFile(path, _multifile=False) as tif:
        tags = tif.pages[0].tags
        return {
            "ImageDescription": tags.valueof(_DESCRIPTION),
            "MicroManagerMetadata": tags.valueof(_MICRO_MANAGER),
        }
