"""What a project starts with: its classes, the names of its images, who works on it."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from layerscope.app.palette import PaintClass, paint_classes
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.sources import name_sources
from layerscope.report.run_files import FileStems

DEFAULT_CLASSES = ("flake", "hole", "film")


def chosen_classes(known: Sequence[PaintClass], asked: Sequence[str]) -> tuple[PaintClass, ...]:
    """Classes of a project that has some, and that were asked for.

    Raises
    ------
    InputError
        If others were asked for than the project has.
    """
    names = [c.name for c in known]
    if not known:
        return paint_classes(asked or DEFAULT_CLASSES)
    if not asked or list(asked) == names[: len(asked)]:
        return tuple(known)
    if list(asked[: len(names)]) != names:
        raise InputError(
            f"the project has the classes {', '.join(names)}; more can be added at the end, and "
            "renamed on the page"
        )
    return paint_classes(asked, [c.colour for c in known])


def with_new(known: list[tuple[str, Path]], paths: list[Path]) -> list[tuple[str, Path]]:
    """List known images and new ones, which get names that no other has.

    Raises
    ------
    UnreadableFile
        If a new one is not there.
    """
    if missing := [p for p in paths if not p.exists()]:
        raise UnreadableFile(f"{missing[0]}: no such file or folder")
    have = {path for _, path in known}
    new = [p for p in paths if p.resolve() not in have]
    stems = FileStems()
    for name, _ in known:
        stems.of(name)
    named = [(stems.of(s.name), Path(s.path).resolve()) for s in name_sources(new)]
    return [*known, *named]


def user_name() -> str:
    """Name of whoever is logged in."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def utc_now() -> str:
    """Return the time as the log has it."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
