"""What the folders of runs have in common: making them, names of files, JSON, the report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from layerscope.errors import CannotWrite
from layerscope.io.atomic import write_bytes
from layerscope.report.values import Section, Skipped

_LONGEST_STEM = 180  # bytes: file systems allow 255, and temporary names add some
_FORBIDDEN = frozenset('/\\:*?"<>|')


class FileStems:
    """Names of files of images: unique whatever the file system makes of case and signs."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, name: str) -> str:
        """Stem for the next image, which is called `name`."""
        safe = "".join("_" if c in _FORBIDDEN or not c.isprintable() else c for c in name)
        safe = safe.encode()[:_LONGEST_STEM].decode(errors="ignore").strip(" .") or "image"
        stem, k = safe, 2
        while stem.casefold() in self._taken:
            stem, k = f"{safe}-{k}", k + 1
        self._taken.add(stem.casefold())
        return stem


def make_folder(folder: str | Path, *inside: str) -> Path:
    """Make the folder of a run, and those `inside` of it.

    Raises
    ------
    CannotWrite
        If that is not possible.
    """
    target = Path(folder)
    try:
        for name in inside or (".",):
            (target / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(
            f"cannot write to {folder}: {error.strerror}; choose another -o"
        ) from None
    return target


def write_pages(
    folder: Path, title: str, sections: Sequence[Section | Skipped], *, version: str
) -> None:
    """Write ``report.html`` and ``report.pdf``.

    Raises
    ------
    CannotWrite
        If the disk refuses.
    """
    from layerscope.report.html import page_html
    from layerscope.report.pdf import pdf_bytes

    page = page_html(title, sections, version=version)
    write_bytes(folder / "report.html", page.encode())
    write_bytes(folder / "report.pdf", pdf_bytes(title, sections, version=version))


def json_bytes(document: Mapping[str, Any], digits: int | None = None) -> bytes:
    """Write a document as JSON; what is not finite becomes null.

    Parameters
    ----------
    document : mapping
        Numbers, texts, arrays, lists and mappings of them; other values as their text.
    digits : int, optional
        Significant ones of numbers that are not whole; default all.
    """
    text = json.dumps(plain(document, digits), indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def plain(value: Any, digits: int | None = None) -> Any:
    """Return `value` as JSON can hold it; see `json_bytes`."""
    if isinstance(value, Mapping):
        return {str(name): plain(v, digits) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, digits) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist(), digits)
    if isinstance(value, np.generic):
        return plain(value.item(), digits)
    if isinstance(value, float) and math.isfinite(value):
        return value if digits is None else float(f"{value:.{digits}g}")
    kept = isinstance(value, (int, str, bool)) or value is None
    return value if kept else None if isinstance(value, float) else str(value)
