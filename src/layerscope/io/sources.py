"""Which images a run is about, and a name for each that stays the same in any order."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from layerscope.core.micrograph import Micrograph
from layerscope.io import known_formats

_LONGEST_BYTES = 180


@dataclass(frozen=True)
class Source:
    """An image to analyse: a file, or one that is already in memory."""

    name: str
    path: str
    micrograph: Micrograph | None = None


def printable(text: str) -> str:
    """Return a name or path that any table can hold: bytes of it that are no UTF-8 become ?."""
    return text.encode("utf-8", "replace").decode()


def name_sources(
    images: Iterable[str | os.PathLike[str] | Micrograph], *, deep: bool = False
) -> list[Source]:
    """Give every image a unique name; folders stand for the images in them.

    Parameters
    ----------
    images : iterable of path or Micrograph
        A pattern such as ``scan/*.jpg`` that the shell left as it is matches files. Repeated
        files count once.
    deep : bool
        Search the folders in a folder too; links to folders are not followed.

    Returns
    -------
    list of Source
        Sorted by name. Files of equal stem are told apart by their suffix, then by their folder. Of
        a name of over 180 bytes the end is replaced by a hash: what is written for an image ends in
        more than its name, and file systems take 255.
    """
    items = list(images)
    in_memory = [i for i in items if isinstance(i, Micrograph)]
    paths = sorted(
        {p for i in items if not isinstance(i, Micrograph) for p in _expand(Path(i), deep)}
    )
    names = [_short(name) for name in _unique_names(paths)]
    sources = [Source(name, str(path)) for name, path in zip(names, paths, strict=True)]
    taken = Counter(names)
    for image in in_memory:
        taken[image.name] += 1
        count = taken[image.name]
        name = image.name if count == 1 else f"{image.name}-{count}"
        sources.append(Source(name, "", image))
    return sorted(sources, key=lambda s: (s.name, s.path))


def _expand(path: Path, deep: bool) -> list[Path]:
    if path.is_dir():
        suffixes = {s for f in known_formats() for s in f.extensions}
        inside = path.rglob("*") if deep else path.iterdir()
        return [p for p in inside if p.suffix.casefold() in suffixes and p.name[0] != "."]
    if not path.exists() and any(c in path.name for c in "*?["):
        return [p for p in path.parent.glob(path.name) if p.name[0] != "."] or [path]
    return [path]


def _unique_names(paths: list[Path]) -> list[str]:
    """Shortest of stem, file name, folder and stem, whole path that no other file has."""
    forms = [
        (p.stem, p.name.replace(".", "_"), f"{p.parent.name}_{p.stem}", _flat(p)) for p in paths
    ]
    counts = [Counter(f[i].casefold() for f in forms) for i in range(4)]
    return [next((f[i] for i in range(4) if counts[i][f[i].casefold()] == 1), f[3]) for f in forms]


def _short(name: str) -> str:
    whole = name.encode("utf-8", "surrogateescape")
    if len(whole) <= _LONGEST_BYTES:
        return name
    kept = whole[: _LONGEST_BYTES - 9].decode("utf-8", "ignore")
    return f"{kept}-{hashlib.sha256(whole).hexdigest()[:8]}"


def _flat(path: Path) -> str:
    return "_".join(path.absolute().parts[1:])
