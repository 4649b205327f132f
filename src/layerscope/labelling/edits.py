"""The edit log: who changed which label when, line by line, never rewritten.

    log = EditLog("project/edits.jsonl")
    log.append(Edit(when, "anna", "grid_03", sha256, "stroke", before, after, stroke.as_json()))

Every line is one JSON object and ends with a chained hash: of itself and of the hash before it. A
line that a power cut left half-written is skipped and told; a line that was changed, removed or
put in later breaks the chain, and the log says where.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from layerscope.errors import CannotWrite, InputError, UnreadableFile

KINDS = (
    "stroke", "clear", "undo", "redo", "import", "accept", "withdraw", "thresholds", "classes",
)  # fmt: skip
"""What an edit can be."""

_CHAIN = "chain"
_CHAIN_DIGITS = 16
_START = "0" * _CHAIN_DIGITS


@dataclass(frozen=True)
class Edit:
    """One thing that a person did.

    Attributes
    ----------
    when : str
        As the caller's clock says, ISO 8601 in UTC.
    who : str
    image : str
        Name in the project; empty for what concerns all images.
    sha256 : str
        Of the image file.
    what : str
        One of `KINDS`.
    before, after : mapping of str to int
        Pixels of each class in the layer that was changed.
    detail : mapping
        What is needed to do it again, e.g. the points of a stroke.
    """

    when: str
    who: str
    image: str
    sha256: str
    what: str
    before: Mapping[str, int] = field(default_factory=dict)
    after: Mapping[str, int] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.what not in KINDS:
            raise InputError(f"edit {self.what!r}; expected {', '.join(KINDS)}")

    def as_line(self, chain: str) -> tuple[str, str]:
        """Return the line, without its end, and its own link of the chain.

        Parameters
        ----------
        chain : str
            Of the line before.
        """
        body = json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))
        link = _link(chain, asdict(self))
        return f'{body[:-1]},"{_CHAIN}":"{link}"}}', link

    @classmethod
    def from_line(cls, line: bytes, chain: str) -> tuple[Self | None, str]:
        """Read one line.

        Returns
        -------
        Edit or None
            None if the line is not a whole JSON object.
        str
            Its link of the chain.

        Raises
        ------
        ValueError
            If it is whole but does not follow on the line with the link `chain`.
        """
        try:
            document = json.loads(line)
            link = document.pop(_CHAIN)
            edit = cls(**document)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None, chain
        if link != _link(chain, document):
            raise ValueError("its chain is broken")
        return edit, link


class EditLog:
    """An append-only file of edits.

    Parameters
    ----------
    path : path
        Made with the first edit.

    Raises
    ------
    UnreadableFile
        If a line was changed, removed or put in after it was written.

    Attributes
    ----------
    notes : tuple of str
        What was skipped, one line each.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self._path = Path(path)
        content = _content(self._path)
        self._size, self._ends_whole = len(content), content.endswith(b"\n") or not content
        self._edits, self._chain, self.notes = _read(content, self._path)

    @property
    def edits(self) -> tuple[Edit, ...]:
        """Every edit, oldest first."""
        return tuple(self._edits)

    @property
    def chain(self) -> str:
        """Link of the last line: whoever wrote it down can tell that nothing was changed since."""
        return self._chain

    def append(self, edit: Edit) -> Edit:
        """Write one edit; it survives a power cut once this returns.

        Raises
        ------
        CannotWrite
            If the disk refuses; then the edit is not in the log, not even in part.
        """
        line, link = edit.as_line(self._chain)
        whole = (("" if self._ends_whole else "\n") + line + "\n").encode()
        try:
            with self._path.open("ab") as stream:
                if stream.tell() > self._size:  # what an earlier refusal may have left
                    stream.truncate(self._size)
                stream.write(whole)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            with suppress(OSError):
                os.truncate(self._path, self._size)
            raise CannotWrite(
                f"cannot write {self._path}: {error.strerror}; the last edit is not saved"
            ) from None
        self._size, self._ends_whole, self._chain = self._size + len(whole), True, link
        self._edits.append(edit)
        return edit


def edits_of(edits: Iterable[Edit], image: str) -> list[Edit]:
    """Edits of one image, oldest first."""
    return [edit for edit in edits if edit.image == image]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UnreadableFile(f"cannot read {path}: {error.strerror}") from None


def _read(content: bytes, path: Path) -> tuple[list[Edit], str, tuple[str, ...]]:
    edits: list[Edit] = []
    torn: list[int] = []
    chain = _START
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line:
            continue
        try:
            edit, chain = Edit.from_line(line, chain)
        except ValueError:
            where = f"{torn[-1]} or {number}" if torn else str(number)
            raise UnreadableFile(
                f"{path}: line {where} was changed, or lines before it are missing; restore the "
                "file, or move it away to start from the pictures in labels/ and scribbles/"
            ) from None
        if edit is None:
            torn.append(number)
        else:
            edits.append(edit)
    notes = tuple(f"{path.name}: line {n} was cut short and is skipped" for n in torn)
    return edits, chain, notes


def _link(chain: str, document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256((chain + text).encode()).hexdigest()[:_CHAIN_DIGITS]
