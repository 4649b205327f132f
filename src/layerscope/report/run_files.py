"""What the folders of runs have in common: names of files, and values that JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

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


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(name): plain(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (int, str, bool)) or value is None else str(value)
