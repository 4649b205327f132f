"""Which position belongs to which image: by file, by label, by its name, by order if told so."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from layerscope.core.stage import StagePosition
from layerscope.errors import InputError
from layerscope.io.labels import image_key
from layerscope.io.positions import read_images, read_positions
from layerscope.io.positions.content import PositionList, one_line
from layerscope.io.positions.names import Grid, positions_from_names
from layerscope.io.sources import Source

_TOKEN = re.compile(r"[^\W_]+")
_DIGITS = re.compile(r"(\d+)")
_MOST_NAMED = 3

Index = dict[str, list[int]]


@dataclass(frozen=True)
class AssignedPositions:
    """Stage positions of a set of images.

    Attributes
    ----------
    positions : tuple of StagePosition or None
        One per image; None where the list has none or contradicts itself.
    notes : tuple of str
        How they were matched, conflicts, and what was left over, one line each.
    """

    positions: tuple[StagePosition | None, ...]
    notes: tuple[str, ...] = ()

    def by_path(self, sources: Sequence[Source]) -> dict[str, StagePosition]:
        """Positions that are known, by `Source.path` of the `sources` they were made for."""
        pairs = zip(sources, self.positions, strict=True)
        return {s.path: p for s, p in pairs if p is not None and s.path}


def place_images(
    sources: Sequence[Source],
    where: str,
    *,
    unit: str | None = None,
    grid: Grid | None = None,
    by_order: bool = False,
) -> AssignedPositions:
    """Stage positions of images, from wherever the user says.

    Parameters
    ----------
    sources : sequence of Source
    where : str
        Path of a list or of a folder of TIFF images (`read_positions`); ``images``: the headers of
        the images themselves; ``names``: a common pattern of file names; or a pattern
        (`positions_from_names`), known by its ``{`` or ``(?P<``.
    unit, grid : optional
        As in `positions_from_names` and `read_positions`.
    by_order : bool
        As in `assign_positions`.

    Raises
    ------
    InputError
        As those functions.
    """
    patterned = "{" in where or "(?P<" in where
    if where == "names" or patterned:
        names = [s.path or s.name for s in sources]
        named = positions_from_names(names, where if patterned else None, unit=unit, grid=grid)
        how = f"positions by file name, pattern {named.pattern}, {named.unit}"
        return AssignedPositions(named.positions, (how, *named.notes))
    if where == "images":
        listed = read_images([s.path for s in sources if s.path], unit)
    else:
        listed = read_positions(where, unit=unit)
    found = assign_positions(sources, listed, by_order=by_order)
    return AssignedPositions(found.positions, (*listed.notes, *found.notes))


def assign_positions(
    sources: Sequence[Source], listed: PositionList, *, by_order: bool = False
) -> AssignedPositions:
    """Find the stage position of each image.

    Asked in this order, for each image by itself: the file that the list names (of equal names the
    one in the same folder); a label that equals the image's name; the longest label that stands in
    its name, or in the name of its folder, between separators. Letter case does not matter. A label
    of digits only must be the last word of the name. Several places for one image are a conflict:
    it gets none, and the notes say so.

    Parameters
    ----------
    sources : sequence of Source
    listed : PositionList
    by_order : bool
        If no image is matched by any name, the first position is that of the first image, and so
        on; images sorted by name with numbers as numbers (``img2`` before ``img10``).

    Raises
    ------
    InputError
        If `by_order` is needed and the counts differ.
    """
    lookup = _Lookup.of(listed)
    found = [lookup.find(source) for source in sources]
    if sources and not any(candidates for _, candidates in found):
        return _by_order(sources, listed) if by_order else _nothing(sources, listed)
    places = [_place(listed, candidates) for _, candidates in found]
    return AssignedPositions(tuple(places), tuple(_report(sources, listed, found, places)))


@dataclass(frozen=True)
class _Lookup:
    """Indices of positions by file name, by stem and by label, in lower case."""

    listed: PositionList
    files: Index
    stems: Index
    labels: Index

    @classmethod
    def of(cls, listed: PositionList) -> _Lookup:
        files, stems, labels = (defaultdict[str, list[int]](list) for _ in range(3))
        for i, (position, file) in enumerate(zip(listed.positions, listed.files, strict=True)):
            if file:
                files[_path(file).name].append(i)
                stems[image_key(_path(file).name)].append(i)
            if position.label.strip():
                labels[image_key(position.label.strip().casefold())].append(i)
        return cls(listed, dict(files), dict(stems), dict(labels))

    def find(self, source: Source) -> tuple[str, list[int]]:
        """How the image was matched, and the positions it was matched with."""
        path = _path(source.path or source.name)
        stem = image_key(path.name)
        by_file = self.files.get(path.name) or self.stems.get(stem)
        if by_file:
            return "file name", self._nearest(path, by_file)
        by_label = self.labels.get(stem) or self.labels.get(source.name.casefold())
        if by_label:
            return "label", by_label
        inside = self._label_in(stem) or self._label_in(path.parent.name)
        return ("label in the name", inside) if inside else ("", [])

    def _nearest(self, path: PurePosixPath, candidates: list[int]) -> list[int]:
        """Those whose folders agree with the image's for longest."""
        if len(candidates) == 1:
            return candidates
        shared = [_shared_folders(path, _path(self.listed.files[i])) for i in candidates]
        return [i for i, n in zip(candidates, shared, strict=True) if n == max(shared)]

    def _label_in(self, name: str) -> list[int]:
        """Positions of the longest label between separators of `name`; all of them on a tie."""
        if not self.labels:
            return []
        words = [(m.start(), m.end()) for m in _TOKEN.finditer(name)]
        spans = [
            name[start:end]
            for k, (start, _) in enumerate(words)
            for _, end in words[k:]
            if name[start:end] in self.labels
            and (not name[start:end].isdigit() or end == len(name))
        ]
        longest = max(map(len, spans), default=0)
        best = {span for span in spans if len(span) == longest}
        return [i for span in sorted(best) for i in self.labels[span]]


def _path(text: str) -> PurePosixPath:
    return PurePosixPath(text.strip().replace("\\", "/").casefold())


def _shared_folders(one: PurePosixPath, other: PurePosixPath) -> int:
    shared = 0
    for a, b in zip(reversed(one.parent.parts), reversed(other.parent.parts), strict=False):
        if a != b:
            break
        shared += 1
    return shared


def _place(listed: PositionList, candidates: Sequence[int]) -> StagePosition | None:
    places = {(listed.positions[i].x_um, listed.positions[i].y_um) for i in candidates}
    return listed.positions[candidates[0]] if len(places) == 1 else None


def _by_order(sources: Sequence[Source], listed: PositionList) -> AssignedPositions:
    if len(sources) != len(listed):
        raise InputError(
            f"{len(listed)} positions for {len(sources)} images: by order needs as many of both; "
            "name the image files in the list"
        )
    order = sorted(range(len(sources)), key=lambda i: _natural(sources[i]))
    places: list[StagePosition | None] = [None] * len(sources)
    for position, i in zip(listed.positions, order, strict=True):
        places[i] = position
    first, last = sources[order[0]].name, sources[order[-1]].name
    note = f"{len(sources)} positions by order only: the first is {first}, the last {last}"
    return AssignedPositions(tuple(places), (note,))


def _natural(source: Source) -> list[tuple[int, int, str]]:
    """Sort key with numbers as numbers."""
    parts = _DIGITS.split((source.path or source.name).casefold())
    key = [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts]
    return [*key, (2, 0, source.name)]


def _nothing(sources: Sequence[Source], listed: PositionList) -> AssignedPositions:
    labels = [p.label for p in listed.positions if p.label]
    shown = next((f for f in listed.files if f), labels[0] if labels else "no label")
    note = (
        f"none of {len(sources)} images is named in the list of {len(listed)} positions (first "
        f"image {sources[0].name}, first position {one_line(shown)}); add a column with the image "
        "file, or say that the order is the same"
    )
    return AssignedPositions((None,) * len(sources), (note,))


def _report(
    sources: Sequence[Source],
    listed: PositionList,
    found: Sequence[tuple[str, list[int]]],
    places: Sequence[StagePosition | None],
) -> list[str]:
    how = Counter(way for (way, _), p in zip(found, places, strict=True) if p is not None)
    notes = [f"positions by {way}: {n}" for way, n in sorted(how.items())]
    without = [s.name for s, (_, c) in zip(sources, found, strict=True) if not c]
    notes += _named(without, "images without a position in the list")
    torn = [s.name for s, (_, c), p in zip(sources, found, places, strict=True) if c and p is None]
    notes += _named(torn, "images that match several places in the list and get none")
    used = Counter(c[0] for (_, c), p in zip(found, places, strict=True) if p is not None)
    shared = [_shown(listed, i) for i, n in sorted(used.items()) if n > 1]
    notes += _named(shared, "positions that belong to several images")
    left = set(range(len(listed))) - {i for _, c in found for i in c}
    return notes + _named(
        [_shown(listed, i) for i in sorted(left)], "positions that match no image"
    )


def _named(names: Sequence[str], what: str) -> list[str]:
    if not names:
        return []
    more = ", ..." if len(names) > _MOST_NAMED else ""
    return [f"{what}: {len(names)} ({', '.join(map(one_line, names[:_MOST_NAMED]))}{more})"]


def _shown(listed: PositionList, i: int) -> str:
    return listed.files[i] or listed.positions[i].label or f"number {i + 1}"
