"""A file of positions, opened as far as needed: bytes, text, JSON or XML. Nothing is executed."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from layerscope.core.micrograph import parse_length_nm
from layerscope.core.stage import StagePosition
from layerscope.errors import InputError, UnreadableFile

MAX_BYTES = 200_000_000
MAX_XML_CHARACTERS = 10_000_000
MAX_XML_DEPTH = 64
_CHUNK = 65536
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f]")
_XML_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")
# Entities are the road to reading local files and to exhausting memory; no microscope writes any.
_DECLARES_TYPE = re.compile(r"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)
_WEB_PAGE = re.compile(r"\s*<(!doctype\s+html|html)", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """A position and the image file that it belongs to, "" where the list does not say."""

    position: StagePosition
    file: str = ""


@dataclass(frozen=True)
class PositionList:
    """Stage positions as a file lists them.

    Attributes
    ----------
    positions : tuple of StagePosition
        In the order of the file.
    files : tuple of str
        Image that each belongs to, as written; "" where the file does not say.
    format : str
        Name of the format it was read from.
    notes : tuple of str
        What was left out, converted or taken for granted, one line each.
    stages : tuple of str
        Names of the stage and of the focus drive, "" where unknown: a list that goes back to the
        same Micro-Manager must use the same names.
    """

    positions: tuple[StagePosition, ...]
    files: tuple[str, ...]
    format: str
    notes: tuple[str, ...] = ()
    stages: tuple[str, str] = ("", "")

    def __post_init__(self) -> None:
        if len(self.positions) != len(self.files):
            raise InputError(f"{len(self.positions)} positions but {len(self.files)} file names")

    @classmethod
    def of(
        cls,
        entries: Iterable[Entry],
        form: str,
        notes: Iterable[str] = (),
        stages: tuple[str, str] = ("", ""),
    ) -> PositionList:
        """List of `entries` in their order."""
        kept = tuple(entries)
        files = tuple(e.file for e in kept)
        return cls(tuple(e.position for e in kept), files, form, tuple(notes), stages)

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True)
class Content:
    """A regular file; each form of it is made once, when a format first asks.

    Attributes
    ----------
    path : Path
    unit : str or None
        Unit of the lengths that the file gives without one.
    """

    path: Path
    unit: str | None = None

    @property
    def extension(self) -> str:
        """Suffix in lower case, with the dot."""
        return self.path.suffix.casefold()

    @cached_property
    def head(self) -> bytes:
        """First 4 kB.

        Raises
        ------
        UnreadableFile
            If it is no regular file, empty, or too large to be a list of positions.
        """
        try:
            status = self.path.stat()
            if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
                raise UnreadableFile("not a regular file; expected a list of positions")
            with self.path.open("rb") as stream:
                head = stream.read(4096)
        except OSError as error:
            raise UnreadableFile(f"{error.strerror or 'cannot be read'}") from None
        except ValueError:  # a NUL in the name
            raise UnreadableFile("not a file name") from None
        if not head.strip(b"\0 \t\r\n"):
            raise UnreadableFile("empty; save it again")
        if not head.startswith(_TIFF) and status.st_size > MAX_BYTES:
            raise UnreadableFile(f"{status.st_size} bytes, over the limit of {MAX_BYTES}")
        return head

    @property
    def is_tiff(self) -> bool:
        """Whether it is an image whose header may hold the position."""
        return self.head.startswith(_TIFF)

    @cached_property
    def text(self) -> str:
        """The whole file as text, "" if it is none."""
        if self.is_tiff:
            return ""
        text = decode_text(self.path.read_bytes())
        return "" if _NO_TEXT.search(text) else text

    @cached_property
    def document(self) -> Any:
        """Parsed JSON; None if the file does not start like JSON.

        Raises
        ------
        UnreadableFile
            If it starts like JSON and is damaged.
        """
        if not self.text.lstrip().startswith(("{", "[")):
            return None
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, ValueError) else "nested too deep"
            raise UnreadableFile(f"damaged or unfinished JSON ({reason}); save it again") from None

    @cached_property
    def root(self) -> ElementTree.Element | None:
        """Root element of XML; None if the file does not start like XML.

        Raises
        ------
        UnreadableFile
            As `parse_xml`.
        """
        if not self.text.lstrip().startswith("<"):
            return None
        if _WEB_PAGE.match(self.text):
            raise UnreadableFile("a web page, not a list of positions")
        return parse_xml(self.text)


class _ShallowBuilder(ElementTree.TreeBuilder):
    """Stops at a depth that no list has: 10 MB of nested tags take seconds and a gigabyte."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def start(self, tag: Any, attrs: dict[Any, Any], /) -> ElementTree.Element:
        self._depth += 1
        if self._depth > MAX_XML_DEPTH:
            raise UnreadableFile(f"XML nested deeper than {MAX_XML_DEPTH} elements: refused")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> ElementTree.Element:
        self._depth -= 1
        return super().end(tag)


def decode_text(data: bytes) -> str:
    """Text in UTF-8 or UTF-16, with or without its mark, else as Windows writes it.

    The declaration inside an XML file is not asked: files that say UTF-16 and are UTF-8 exist.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings: tuple[str, ...] = ("utf-16",)
    elif data[:2] in (b"<\0", b"\0<"):
        encodings = ("utf-16-le" if data[:1] == b"<" else "utf-16-be",)
    else:
        encodings = ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return ""


def parse_xml(text: str) -> ElementTree.Element:
    """Root element of an XML text without document type or entities.

    Raises
    ------
    UnreadableFile
        If it is over 10 million characters, declares a document type or entities, is nested deeper
        than 64 elements, or is damaged.
    """
    if len(text) > MAX_XML_CHARACTERS:
        raise UnreadableFile(
            f"XML of {len(text)} characters, over the limit of {MAX_XML_CHARACTERS}"
        )
    if _DECLARES_TYPE.search(text):
        raise UnreadableFile("XML with a document type or entities: refused as unsafe")
    parser = ElementTree.XMLParser(target=_ShallowBuilder())
    try:
        body = _XML_DECLARATION.sub("", text, count=1)
        for at in range(0, len(body), _CHUNK):  # so that a refusal ends the work at once
            parser.feed(body[at : at + _CHUNK])
        root: ElementTree.Element = parser.close()
        return root
    except UnreadableFile:
        raise
    except (ElementTree.ParseError, ValueError) as error:
        raise UnreadableFile(f"damaged or unfinished XML ({error}); save it again") from None


def local_name(element: ElementTree.Element) -> str:
    """Tag of `element` without its namespace."""
    return element.tag.rpartition("}")[2]


def number(value: Any, where: str) -> float:
    """Finite number from a number or its text.

    Raises
    ------
    UnreadableFile
        If there is none; the line starts with `where`.
    """
    try:
        found = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = float("nan")
    if not abs(found) < float("inf"):
        shown = "nothing" if value in (None, "") else repr(value)[:40]
        raise UnreadableFile(f"{where} is {shown}; expected a number")
    return found


def micrometres(unit: str) -> float:
    """Micrometres in one `unit`, e.g. 1000 for mm.

    Raises
    ------
    InputError
        If `unit` is no unit of length.
    """
    try:
        return parse_length_nm(f"1 {unit}") * 1e-3
    except InputError:
        raise InputError(f"unit {unit!r}: expected a unit of length such as um or mm") from None


def one_line(text: Any, limit: int = 60) -> str:
    """`text` without line breaks, cut for a message."""
    flat = " ".join(str(text).split())
    return flat if len(flat) <= limit else f"{flat[:limit]}..."
