"""What can go wrong, as one tree.

Each message says what came, what was expected and what to do.

    LayerscopeError
    ├── InputError            a file or a value from the user cannot be used
    │   ├── UnreadableFile    missing, truncated, of another type
    │   │   └── TooLarge      over the limit on pixels or bytes
    │   ├── CannotWrite       the disk is full, or the folder is not ours to write to
    │   ├── ScaleUnknown      a length was asked for and the image has no pixel size
    │   └── UnknownName       no material, format, model ... of that name; near names are offered
    ├── SourceLost            a live source gives no picture now; it is tried again
    ├── CalibrationRefused    physics and image disagree; absolute layer numbers are withheld
    └── MissingExtra          an optional dependency is not installed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LayerscopeError(Exception):
    """Anything layerscope raises on purpose."""


class InputError(LayerscopeError, ValueError):
    """A file or a value from the user cannot be used."""


class UnreadableFile(InputError):
    """A file that is missing, truncated, of another type, or too large."""


class CardMissing(UnreadableFile):
    """An ONNX file that another program wrote: it does not say what its answers mean."""


class TooLarge(UnreadableFile):
    """A file over the limit on pixels or bytes: refused before it is decoded."""


class CannotWrite(InputError):
    """A file or folder cannot be written: no room, or no permission."""


class ScaleUnknown(InputError):
    """A length was asked of an image without a pixel size."""


class UnknownName(InputError):
    """A name that no registry knows; the message offers the closest ones."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> UnknownName:
        """Build the message for `name`, a `kind` missing from `known`."""
        known = sorted(known)
        folded = {k.casefold(): k for k in known}
        near = [folded[m] for m in difflib.get_close_matches(name.casefold(), folded, 3, 0.5)]
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known)}."
        return cls(f"unknown {kind} {name!r}. {hint}")


class SourceLost(LayerscopeError):
    """A live source gives no picture now; it may later."""


class CalibrationRefused(LayerscopeError):
    """The physics does not explain the colours; absolute numbers are withheld."""


class MissingExtra(LayerscopeError, ImportError):
    """An optional dependency is not installed."""

    @classmethod
    def of(cls, what: str, extra: str) -> MissingExtra:
        """Build the message for feature `what` that needs ``layerscope[extra]``."""
        return cls(f"{what} needs an optional part: pip install 'layerscope[{extra}]'")
