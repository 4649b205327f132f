"""Files that appear in folders, each reported once it is complete.

By looking again and again: notifications of the system do not cross a network drive.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from layerscope.errors import InputError
from layerscope.io import known_formats
from layerscope.io.whole import has_end

Stamp = tuple[int, int]
"""Size in bytes and time of change in ns, as the ledger keeps them."""

PATIENCE_S = 10.0
"""A file without an end that has not changed for this long is taken for what it is: no writer of
camera images pauses for so long, and a truncated one has to be reported some time."""


@dataclass(frozen=True)
class Arrival:
    """A file that is complete.

    Attributes
    ----------
    path : str
    stamp : (int, int)
    since_s : float or None
        Time of the last look at which the file was not yet what it is now: it was completed later
        than that. None if it was there at the first look.
    """

    path: str
    stamp: Stamp
    since_s: float | None


@dataclass
class _Pending:
    """A file that is not known to be complete."""

    stamp: Stamp
    since_s: float | None
    begun_s: float
    unchanged_s: float
    told: bool = False


class Arrivals:
    """What is new in some folders.

    Parameters
    ----------
    folders : sequence of path
        They need not exist yet.
    known : mapping of str to (int, int)
        Files that are not new, unless they are no longer what they were.
    deep : bool
        Look into folders in folders too; links to folders are not followed.
    without : path, optional
        Folder to leave out: that of the results.
    patience_s : float
    tell : callable, optional
        Called with a line where something needs to be said.

    Raises
    ------
    InputError
        If one of the folders is a file or a pattern.
    """

    def __init__(
        self,
        folders: Sequence[str | os.PathLike[str]],
        *,
        known: Mapping[str, Stamp] | None = None,
        deep: bool = False,
        without: str | os.PathLike[str] | None = None,
        patience_s: float = PATIENCE_S,
        tell: Callable[[str], None] | None = None,
    ):
        self._folders = [_checked(f) for f in folders]
        self._taken = dict(known or {})
        self._deep, self._without = deep, without and os.path.abspath(without)
        self._patience_s, self._tell = patience_s, tell or (lambda _: None)
        self._suffixes = {s for f in known_formats() for s in f.extensions}
        self._pending: dict[str, _Pending] = {}
        self._gone: set[str] = set()
        self._last_look_s: float | None = None

    @property
    def pending(self) -> int:
        """Files that are there and not yet complete."""
        return len(self._pending)

    def look(self, now_s: float) -> list[Arrival]:
        """Look once.

        Parameters
        ----------
        now_s : float
            The time, from any clock that only goes forward.

        Returns
        -------
        list of Arrival
            Files found complete now, by name.
        """
        seen = dict(self._seen())
        for path in [p for p in self._pending if p not in seen and not self._is_gone(p)]:
            del self._pending[path]  # renamed or deleted before it was complete
        new = [a for p, stamp in seen.items() if (a := self._arrived(p, stamp, now_s)) is not None]
        self._last_look_s = now_s
        return sorted(new, key=lambda a: (os.path.basename(a.path), a.path))

    def _arrived(self, path: str, stamp: Stamp, now_s: float) -> Arrival | None:
        if self._taken.get(path) == stamp:
            return None
        own = self._pending.get(path)
        if own is None or own.stamp != stamp:
            begun_s, told = (own.begun_s, own.told) if own else (now_s, False)
            own = _Pending(stamp, self._last_look_s, begun_s, now_s, told)
            self._pending[path] = own
            self._tell_growing(path, own, now_s)
            return None
        if not has_end(path):
            if now_s - own.unchanged_s < self._patience_s:
                return None
            self._tell(f"{path}: unchanged for {self._patience_s:g} s; taken as it is")
        del self._pending[path]
        self._taken[path] = stamp
        return Arrival(path, stamp, own.since_s)

    def _tell_growing(self, path: str, own: _Pending, now_s: float) -> None:
        if not own.told and now_s - own.begun_s >= self._patience_s:
            own.told = True
            self._tell(f"{path}: still being written, {own.stamp[0] / 1e6:.1f} MB so far; waiting")

    def _seen(self) -> Iterator[tuple[str, Stamp]]:
        for folder in self._folders:
            try:
                found = list(self._images(folder))
            except OSError as error:
                if folder not in self._gone:
                    self._tell(f"{folder}: {error.strerror}; waiting for it")
                self._gone.add(folder)
                continue
            if folder in self._gone:
                self._gone.remove(folder)
                self._tell(f"{folder}: there again")
            yield from found

    def _images(self, folder: str) -> Iterator[tuple[str, Stamp]]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if self._deep and entry.path != self._without:
                        yield from self._images(entry.path)
                elif os.path.splitext(entry.name)[1].casefold() in self._suffixes:
                    yield from _stamped(entry.path)

    def _is_gone(self, path: str) -> bool:
        return any(Path(path).is_relative_to(folder) for folder in self._gone)


def _stamped(path: str) -> Iterator[tuple[str, Stamp]]:
    """Nothing for what was renamed since it was listed, and for pipes and dead links.

    Not from the listing itself: on Windows that holds the size at which a file was last closed.
    """
    try:
        status = os.stat(path)
    except OSError:
        return
    if stat.S_ISREG(status.st_mode):
        yield path, (status.st_size, status.st_mtime_ns)


def _checked(folder: str | os.PathLike[str]) -> str:
    path = os.path.abspath(folder)
    if os.path.isfile(path) or any(c in os.path.basename(path) for c in "*?"):
        raise InputError(f"{folder}: a file or a pattern; --watch takes folders")
    return path
