"""What a reader of one format finds, before classes get numbers and images get groups."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from layerscope.core.examples import ClassPixels
from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.annotated.images import ImageIndex
from layerscope.io.polygons import fill_polygon

Box = tuple[int, int, int, int]
Rings = Sequence[FloatArray]

BACKGROUND = "background"
_MOST_BYTES = 2_000_000_000
# OSError: a name too long for the disk.
_WRONG_ENTRY = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError)


@dataclass(frozen=True, eq=False)
class Mark:
    """One marked object and the name of its class; see `core.examples.Instance`."""

    name: str
    box: Box
    mask: BoolArray | None = None
    crowd: bool = False


@dataclass(frozen=True, eq=False)
class Draft:
    """One image and its marks; see `core.examples.Example`."""

    path: Path
    shape: tuple[int, int]
    marks: tuple[Mark, ...] | None = ()
    load_labels: Callable[[], ClassPixels] | None = None
    label_path: Path | None = None
    pixel_size_nm: float | None = None
    split: str = ""


@dataclass(frozen=True, eq=False)
class Drafts:
    """All images of a data set, and the names of its classes but the background, in order."""

    images: Sequence[Draft]
    classes: Sequence[str] = ()
    background: str = BACKGROUND


@dataclass(frozen=True, eq=False)
class Request:
    """What is to be read, and what was remarkable in doing so.

    Attributes
    ----------
    path : Path
        File or folder that was named.
    root : Path
        Folder of the data set: lists of classes and groups lie in it.
    images : ImageIndex
        Images below the root, or where they were said to be.
    instances : bool or None
        Whether label pictures hold numbers of objects, not classes; None: the folder's name says.
    values : mapping of str to int, or None
        Class name to value in label pictures.
    notes : list of str
        Grows while reading: what was skipped or guessed, one line each.
    """

    path: Path
    root: Path
    images: ImageIndex
    instances: bool | None = None
    values: Mapping[str, int] | None = None
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def entry(self, where: str) -> Iterator[None]:
        """Turn what a wrong entry raises into a note, so that the others are still read."""
        try:
            yield
        except _WRONG_ENTRY as error:
            what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            self.notes.append(f"{where}: {one_line(what)}, skipped")


def one_line(text: str) -> str:
    """Without line breaks and control characters, not longer than a line of a report."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return clean if len(clean) <= 300 else f"{clean[:297]}..."


def mark_of_mask(
    name: str, mask: BoolArray, origin: tuple[int, int] = (0, 0), *, crowd: bool = False
) -> Mark:
    """Mark a mask whose first pixel lies at row and column `origin` of the image.

    Raises
    ------
    InputError
        If it holds no pixel.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        raise InputError(f"an object of class {name!r} covers no pixel of the image")
    top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    box = (origin[0] + top, origin[1] + left, origin[0] + bottom, origin[1] + right)
    crop = np.array(mask[top:bottom, left:right], bool)
    return Mark(name, (int(box[0]), int(box[1]), int(box[2]), int(box[3])), crop, crowd)


def mark_of_polygons(
    name: str, polygons: Sequence[Rings], shape: tuple[int, int], *, crowd: bool = False
) -> Mark:
    """Mark the union of polygons; the rings of each are filled by the even-odd rule.

    Only the window that the corners span is filled: hundreds of small objects of a large image
    would take seconds otherwise.
    """
    corners = np.concatenate([ring for rings in polygons for ring in rings])
    if corners.ndim != 2 or corners.shape[1] != 2 or not np.isfinite(corners).all():
        raise InputError("a polygon with corners that are no finite x, y")
    left, top = np.clip(np.floor(corners.min(0)), 0, [shape[1], shape[0]]).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(0)), 0, [shape[1], shape[0]]).astype(int)
    mask = np.zeros((max(bottom - top, 0), max(right - left, 0)), bool)
    for rings in polygons:
        mask |= fill_polygon([ring - [left, top] for ring in rings], mask.shape)
    return mark_of_mask(name, mask, (int(top), int(left)), crowd=crowd)


def mark_of_box(
    name: str, box: Sequence[float], shape: tuple[int, int], *, crowd: bool = False
) -> Mark:
    """Mark a box, given as top, left, bottom, right in px, as far as it lies in the image."""
    if not all(math.isfinite(v) for v in box):
        raise InputError(f"box {tuple(box)}: expected finite numbers")
    top, left = max(round(box[0]), 0), max(round(box[1]), 0)
    bottom, right = min(round(box[2]), shape[0]), min(round(box[3]), shape[1])
    if bottom <= top or right <= left:
        raise InputError(f"a box of class {name!r} covers no pixel of the image")
    return Mark(name, (top, left, bottom, right), None, crowd)


def joined(marks: Sequence[tuple[object, Mark]]) -> tuple[Mark, ...]:
    """Return marks in their order, those of one class and one key (not None) joined to one."""
    found: dict[tuple[object, str], Mark] = {}
    for number, (key, mark) in enumerate(marks):
        place = (("alone", number) if key is None else ("group", key), mark.name)
        found[place] = _union(found[place], mark) if place in found else mark
    return tuple(found.values())


def _union(one: Mark, other: Mark) -> Mark:
    top, left = min(one.box[0], other.box[0]), min(one.box[1], other.box[1])
    bottom, right = max(one.box[2], other.box[2]), max(one.box[3], other.box[3])
    crowd = one.crowd or other.crowd
    if one.mask is None or other.mask is None:
        return Mark(one.name, (top, left, bottom, right), None, crowd)
    mask = np.zeros((bottom - top, right - left), bool)
    for m in (one, other):
        where = slice(m.box[0] - top, m.box[2] - top), slice(m.box[1] - left, m.box[3] - left)
        mask[where] |= m.mask
    return Mark(one.name, (top, left, bottom, right), mask, crowd)


def read_text(path: Path) -> str:
    """Text of a file.

    Raises
    ------
    UnreadableFile
        If it is missing, no UTF-8, or too large to be labels.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UnreadableFile(f"{path}: over {_MOST_BYTES // 10**9} GB; split it")
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UnreadableFile(f"{path}: no UTF-8 text; the file may be damaged") from None


def read_json(path: Path) -> Any:
    """Document in a JSON file.

    Raises
    ------
    UnreadableFile
        If there is none.
    """
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError):
        raise UnreadableFile(f"{path}: no JSON; the file may be cut off") from None


def files_of(path: Path, suffix: str) -> list[Path]:
    """Return `path` if it is such a file, or such files in the folder, sorted, no hidden ones."""
    if not path.is_dir():
        return [path] if path.suffix.casefold() == suffix else []
    inside = (p for p in path.rglob("*") if p.suffix.casefold() == suffix and p.is_file())
    return sorted(
        p for p in inside if not any(part[0] == "." for part in p.relative_to(path).parts)
    )


def holds(path: Path, *words: bytes) -> bool:
    """Whether the bytes of a file hold all of `words`; False where it cannot be read."""
    try:
        data = path.read_bytes() if path.stat().st_size <= _MOST_BYTES else b""
    except OSError:
        return False
    return all(word in data for word in words)


def split_of(path: Path, root: Path) -> str:
    """``train``, ``valid`` or ``test``, if one of the folders between says so, else empty."""
    named = {
        "train": "train",
        "val": "valid",
        "valid": "valid",
        "validation": "valid",
        "test": "test",
    }
    try:
        parts = path.relative_to(root).parts[:-1]
    except ValueError:
        parts = ()
    found = [named[p.casefold()] for p in (root.name, *parts) if p.casefold() in named]
    return found[-1] if found else ""
