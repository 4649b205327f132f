"""Which parts are done. SQLite where one driver works; JSON lines for shards and network folders.

An entry is only believed if its own checksum is right, and a part only if its bytes have the hash
of its entry: half a line, a flipped bit or a file of an earlier scan is work to be done again,
never a result.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from layerscope.batch.seal import seal, unseal
from layerscope.errors import CannotWrite

Stage = Literal["survey", "find", "measure"]


@dataclass(frozen=True)
class ImageEntry:
    """One image of a finished chunk, as it was when it was read.

    Attributes
    ----------
    number : int
    status : str
        A `core.scan.Status`.
    size, mtime_ns : int
        Of the file; 0 if there was none.
    sha256 : str
        Of its bytes, empty if they could not be read.
    """

    number: int
    status: str
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """One finished part.

    Attributes
    ----------
    stage : {"survey", "find", "measure"}
    chunk : int
    key : str
        Hash of everything that decided its content, besides the bytes of the images.
    part_sha256 : str
    images : tuple of ImageEntry
        Empty for ``measure`` parts.
    regions : int
    cpu_s : dict of str to float
        Where the time went.
    """

    stage: Stage
    chunk: int
    key: str
    part_sha256: str
    images: tuple[ImageEntry, ...] = ()
    regions: int = 0
    cpu_s: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> str:
        """One line, with its checksum."""
        return seal(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Entry | None:
        """Entry of a line, or None if the line is not whole and right."""
        try:
            document = unseal(line)
            images = tuple(ImageEntry(**i) for i in document.pop("images"))
            return cls(images=images, **document)
        except (ValueError, KeyError, TypeError):
            return None


class Ledger(Protocol):
    """Where entries are kept; the last one for a stage and chunk counts."""

    def record(self, entry: Entry) -> None:
        """Keep an entry for good: it survives a power cut once this returns."""

    def entries(self) -> dict[tuple[str, int], Entry]:
        """All believable entries by stage and chunk."""

    def quarantine(self, number: int, status: str) -> None:
        """Remember an image that must not be tried again."""

    def quarantined(self) -> dict[int, str]:
        """Status by number of the images not to be tried."""

    def release(self, numbers: set[int]) -> None:
        """Allow these images to be tried again."""

    def close(self) -> None:
        """Release the files."""


class SqliteLedger:
    """Entries in a database in WAL mode.

    Parameters
    ----------
    path : Path
    read_only : bool
        For whoever only looks; a missing database is empty.
    """

    def __init__(self, path: Path, *, read_only: bool = False):
        self._path = path
        if read_only:
            self._base = _looked_at(path)
        else:
            self._base = _opened(path)

    def record(self, entry: Entry) -> None:
        """Keep an entry; committed with full synchronisation (0.7 ms a chunk)."""
        row = (entry.stage, entry.chunk, entry.as_json())
        self._write("INSERT OR REPLACE INTO parts VALUES (?, ?, ?)", row)

    def entries(self) -> dict[tuple[str, int], Entry]:
        """All believable entries by stage and chunk."""
        found = (Entry.from_json(text) for _, _, text in _rows(self._base, "parts"))
        return {(e.stage, e.chunk): e for e in found if e is not None}

    def quarantine(self, number: int, status: str) -> None:
        """Remember an image that must not be tried again."""
        row = (number, "", _quarantine_line(number, status))
        self._write("INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?)", row)

    def quarantined(self) -> dict[int, str]:
        """Status by number of the images not to be tried."""
        return _quarantined(text for _, _, text in _rows(self._base, "quarantine"))

    def release(self, numbers: set[int]) -> None:
        """Allow these images to be tried again."""
        for number in sorted(numbers):
            self._write("DELETE FROM quarantine WHERE a = ?", (number,))

    def close(self) -> None:
        """Close the database."""
        self._base.close()

    def _write(self, sql: str, values: tuple[Any, ...]) -> None:
        try:
            with self._base:
                self._base.execute(sql, values)
        except sqlite3.Error as error:
            raise CannotWrite(
                f"cannot write {self._path}: {error}; make room, then the same command goes on"
            ) from None


def _quarantine_line(number: int, status: str) -> str:
    return seal({"quarantine": number, "status": status})


def _quarantined(lines: Iterable[Any]) -> dict[int, str]:
    """Status by number, of the lines that are whole and right; an empty status releases."""
    out: dict[int, str] = {}
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            document = unseal(line)
            out[document["quarantine"]] = document["status"]
    return {n: s for n, s in out.items() if s}


def _looked_at(path: Path) -> sqlite3.Connection:
    """Open only to read; in an archive that nobody can write, WAL has to be told so."""
    name = f"file:{path.as_posix().replace('%', '%25').replace('?', '%3f')}?mode=ro"
    base = _connected(name, uri=True)
    try:
        base.execute("SELECT 1 FROM parts LIMIT 1").fetchone()
    except sqlite3.OperationalError:
        if not os.access(path.parent, os.W_OK):
            base.close()
            return _connected(f"{name}&immutable=1", uri=True)
    except sqlite3.DatabaseError:
        pass  # damaged: read as far as it goes
    return base


def _connected(name: str | Path, *, uri: bool = False) -> sqlite3.Connection:
    base = sqlite3.connect(name, uri=uri, timeout=10)
    # A flipped byte may spoil the encoding of one row; the checksum is what judges it.
    base.text_factory = lambda content: content.decode(errors="replace")
    return base


def _opened(path: Path) -> sqlite3.Connection:
    """Open the ledger; what can be read of a damaged one is carried over to a new one.

    Raises
    ------
    sqlite3.OperationalError
        If it cannot be written here.
    """
    base = _connected(path)
    try:
        _prepare(base)
        if base.execute("PRAGMA quick_check(1)").fetchone() == ("ok",):
            return base
    except sqlite3.OperationalError:
        base.close()
        raise
    except sqlite3.DatabaseError:
        pass  # malformed, or no database at all
    base.close()
    damaged = path.with_suffix(".damaged")
    saved = _salvaged(path)
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{damaged}{suffix}")
    base = _connected(path)
    _prepare(base)
    with base:
        for table, rows in saved.items():
            base.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", rows)
    return base


def _prepare(base: sqlite3.Connection) -> None:
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=FULL")
    for table in ("parts", "quarantine"):
        base.execute(f"CREATE TABLE IF NOT EXISTS {table} (a, b, c, PRIMARY KEY (a, b))")
    base.commit()


def _salvaged(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    saved: dict[str, list[tuple[Any, ...]]] = {"parts": [], "quarantine": []}
    with suppress(sqlite3.Error):
        base = _connected(path)
        for table, rows in saved.items():
            rows.extend(_rows(base, table))
        base.close()
    return saved


def _rows(base: sqlite3.Connection, table: str) -> Iterator[tuple[Any, Any, Any]]:
    """Rows of a table as far as they can be read."""
    try:
        yield from base.execute(f"SELECT a, b, c FROM {table}")
    except sqlite3.Error:
        return


class LineLedger:
    """Entries as lines appended to a file: for shards, and where SQLite cannot lock."""

    def __init__(self, path: Path):
        self._path = path

    def record(self, entry: Entry) -> None:
        """Append the entry and flush it to the disk."""
        self._append(entry.as_json())

    def entries(self) -> dict[tuple[str, int], Entry]:
        """All believable entries by stage and chunk."""
        found = (Entry.from_json(line) for line in self._lines())
        return {(e.stage, e.chunk): e for e in found if e is not None}

    def quarantine(self, number: int, status: str) -> None:
        """Remember an image that must not be tried again."""
        self._append(_quarantine_line(number, status))

    def quarantined(self) -> dict[int, str]:
        """Status by number of the images not to be tried."""
        return _quarantined(self._lines())

    def release(self, numbers: set[int]) -> None:
        """Allow these images to be tried again."""
        for number in sorted(numbers):
            self.quarantine(number, "")

    def close(self) -> None:
        """Nothing is held open."""

    def _lines(self) -> list[str]:
        try:
            return self._path.read_text(encoding="utf-8", errors="replace").split("\n")
        except FileNotFoundError:
            return []

    def _append(self, line: str) -> None:
        # A leading newline ends a line that a crash left half written.
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(f"\n{line}")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise CannotWrite(
                f"cannot write {self._path}: {error.strerror}; make room, then the same command "
                "goes on"
            ) from None


def open_ledger(folder: Path, *, shard: tuple[int, int] | None = None) -> Ledger:
    """Ledger to write to: of the driver of a run folder, or of one of its shards."""
    if shard is not None:
        return LineLedger(folder / "ledger" / f"shard-{shard[0]}-of-{shard[1]}.jsonl")
    try:
        return SqliteLedger(folder / "ledger.sqlite")
    except sqlite3.OperationalError:
        # Network folders cannot share the memory that WAL needs.
        return LineLedger(folder / "ledger" / "driver.jsonl")


def all_entries(folder: Path) -> dict[tuple[str, int], list[Entry]]:
    """Entries of every ledger in a run folder, for resuming, merging and looking."""
    out: dict[tuple[str, int], list[Entry]] = {}
    for ledger in _every(folder):
        for place, entry in ledger.entries().items():
            out.setdefault(place, []).append(entry)
        ledger.close()
    return out


def all_quarantined(folder: Path) -> dict[int, str]:
    """Images that no driver or shard should try again."""
    out: dict[int, str] = {}
    for ledger in _every(folder):
        out |= ledger.quarantined()
        ledger.close()
    return out


def release_images(folder: Path, numbers: set[int]) -> None:
    """Allow images to be tried again, whichever driver or shard has set them aside.

    Raises
    ------
    CannotWrite
        If the folder cannot be written.
    """
    with closing(open_ledger(folder)) as own:
        own.release(numbers & set(own.quarantined()))
    for path in sorted((folder / "ledger").glob("*.jsonl")):
        shard = LineLedger(path)
        shard.release(numbers & set(shard.quarantined()))


def _every(folder: Path) -> Iterator[Ledger]:
    database = folder / "ledger.sqlite"
    if database.exists():
        with suppress(sqlite3.Error):
            yield SqliteLedger(database, read_only=True)
    for path in sorted((folder / "ledger").glob("*.jsonl")):
        yield LineLedger(path)
