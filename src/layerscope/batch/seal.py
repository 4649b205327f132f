"""Documents of a run folder that know whether they are whole: JSON with a checksum of itself.

A bit that flips in a number leaves a file that parses; only a checksum tells it from the truth.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

_CHECK = "check"


def digest(document: Any) -> str:
    """SHA-256 of a JSON document, the same whatever the order of its keys."""
    # ASCII, because names of files need not be valid UTF-8.
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def seal(document: dict[str, Any], *, indent: int | None = None) -> str:
    """JSON that holds the document and its checksum; on one line, or indented for people."""
    sealed = {_CHECK: digest(document)[:16], **document}
    return json.dumps(sealed, indent=indent, separators=None if indent else (",", ":"))


def unseal(text: str | bytes) -> dict[str, Any]:
    """Document of a text that `seal` wrote.

    Raises
    ------
    ValueError
        If it is not whole and right.
    """
    document = json.loads(text)
    if not isinstance(document, dict) or document.pop(_CHECK, None) != digest(document)[:16]:
        raise ValueError("its checksum is wrong")
    return document
