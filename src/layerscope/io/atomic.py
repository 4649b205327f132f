"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from layerscope.errors import CannotWrite


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path` through a temporary file in the same folder.

    A reader, a full disk or a crash never meets half a file.

    Raises
    ------
    CannotWrite
        If the folder is missing or cannot be written.
    """
    with open_atomic(path) as stream:
        stream.write(content)


@contextmanager
def open_atomic(path: str | Path) -> Iterator[BinaryIO]:
    """Open a temporary file that becomes `path` when the block ends well, and vanishes if not.

    Raises
    ------
    CannotWrite
        If the folder is missing or cannot be written.
    """
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    except OSError as reason:
        raise _refusal(target, reason) from None
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files that only their owner reads; results are meant to be shared.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as reason:
        temporary.unlink(missing_ok=True)
        raise _refusal(target, reason) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _refusal(target: Path, reason: OSError) -> CannotWrite:
    full = reason.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice = "make room there" if full else "give another folder"
    return CannotWrite(f"cannot write {target}: {reason.strerror}; {advice}")


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut; Windows has no such call and needs none."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
