"""One driver per run folder."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from pathlib import Path
from types import TracebackType

from layerscope.errors import InputError
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

    Raises
    ------
    InputError
        On entering, if another driver holds it.
    """

    def __init__(self, folder: Path, name: str = "driver"):
        self._path, self._who = folder / f".{name}.lock", folder / f".{name}.json"
        self._base: sqlite3.Connection | None = None

    def __enter__(self) -> RunLock:
        base = sqlite3.connect(self._path, timeout=0.2, isolation_level=None)
        try:
            base.execute("PRAGMA journal_mode=MEMORY")
            base.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            base.close()
            if "locked" not in str(error):
                raise InputError(f"cannot lock {self._path}: {error}; choose another -o") from None
            raise InputError(
                f"{self._path.parent} is being worked on by {self._holder()}: "
                "wait for it, or stop it"
            ) from None
        self._base = base
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
        base = sqlite3.connect(self._path, timeout=0.0, isolation_level=None)
        try:
            base.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return True
        finally:
            base.close()
        return False

    def _holder(self) -> str:
        try:
            who = json.loads(self._who.read_text())
            return f"process {who['pid']} on {who['host']}"
        except (OSError, ValueError, KeyError):
            return "another process"
