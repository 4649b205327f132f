"""One driver per run folder."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from pathlib import Path
from types import TracebackType

from layerscope.batch.settings import GIVEN
from layerscope.errors import CannotWrite, InputError
from layerscope.io.atomic import write_bytes


class RunLock:
    """Held while a driver works on a run folder, or on one shard of it.

    An open transaction of SQLite is the one lock that is in the standard library, works on every
    system and ends with its process, however that dies.

    Parameters
    ----------
    folder : Path
    name : str
        ``driver``, or the shard's.
    wait_s : float
        How long to wait for another to end.

    Raises
    ------
    InputError
        On entering, if another driver holds it.
    """

    def __init__(self, folder: Path, name: str = "driver", *, wait_s: float = 0.2):
        self._path, self._who = folder / f".{name}.lock", folder / f".{name}.json"
        self._wait_s = wait_s
        self._base: sqlite3.Connection | None = None

    def __enter__(self) -> RunLock:
        try:
            self._base = _locked(self._path, self._wait_s)
        except sqlite3.DatabaseError as error:
            if _is_busy(error):
                raise self._refusal() from None
            raise CannotWrite(
                f"cannot write to {self._path.parent}: {error}; choose another -o"
            ) from None
        who = {"host": socket.gethostname(), "pid": os.getpid()}
        write_bytes(self._who, json.dumps(who).encode())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._who.unlink(missing_ok=True)
        if self._base is not None:
            self._base.close()

    def is_held(self) -> bool:
        """Whether some driver is at work."""
        if not self._path.exists():
            return False
        try:
            _locked(self._path, 0.0).close()
        except sqlite3.DatabaseError as error:
            return _is_busy(error)
        return False

    def require_free(self) -> None:
        """Raise InputError if some driver is at work."""
        if self.is_held():
            raise self._refusal()

    def _refusal(self) -> InputError:
        return InputError(
            f"{self._path.parent} is being worked on by {self._holder()}: wait for it, or stop it"
        )

    def _holder(self) -> str:
        try:
            who = json.loads(self._who.read_text())
            return f"process {who['pid']} on {who['host']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"


def sweep(folder: Path) -> None:
    """Remove what writers that were killed have left behind, unless a shard is writing now.

    A worker of a driver that is gone may still be writing: it then finds its file gone, and ends.
    """
    shards = (p.name[1:].removesuffix(".lock") for p in folder.glob(".shard-*.lock"))
    if any(RunLock(folder, name).is_held() for name in shards):
        return
    for place in (folder, folder / "parts", folder / GIVEN):
        for left in place.glob(".*.tmp"):
            left.unlink(missing_ok=True)


def _locked(path: Path, wait_s: float) -> sqlite3.Connection:
    base = sqlite3.connect(path, timeout=wait_s, isolation_level=None)
    try:
        base.execute("PRAGMA journal_mode=MEMORY")
        base.execute("BEGIN EXCLUSIVE")
    except sqlite3.DatabaseError:
        base.close()
        raise
    return base


def _is_busy(error: sqlite3.DatabaseError) -> bool:
    return "locked" in str(error)
