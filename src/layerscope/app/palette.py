"""Classes that a person paints: name, value, colour."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from layerscope.errors import InputError

# Okabe and Ito (2008), distinct with every common colour blindness. Flakes green, holes vermilion.
COLOURS = (
    "#009e73", "#d55e00", "#56b4e9", "#f0e442", "#cc79a7", "#e69f00", "#0072b2", "#ffffff",
    "#999999",
)  # fmt: skip

_USUAL = (
    ("flake", "gfm", "graphene", "particle"),
    ("hole", "holes", "vacuum"),
    ("film", "support", "background", "substrate", "carbon"),
)
"""Names that get the first, second and third colour wherever they stand in the list."""

MOST = len(COLOURS)
"""Classes on a page: each has a colour of its own, and a key from 1 to 9."""

_HEX = re.compile(r"#[0-9a-f]{6}")
_LONGEST = 40


@dataclass(frozen=True)
class PaintClass:
    """One class.

    Attributes
    ----------
    name : str
    value : int
        Of its pixels, from 1.
    colour : str
        ``#rrggbb``.
    """

    name: str
    value: int
    colour: str


def paint_classes(names: Iterable[str], colours: Sequence[str] = ()) -> tuple[PaintClass, ...]:
    """Classes with the values 1, 2, 3 ...

    Parameters
    ----------
    names : iterable of str
    colours : sequence of str
        Of the first ones; the others get free ones of `COLOURS`.

    Raises
    ------
    InputError
        For names that are empty, twice, too long or too many, or what is no colour.
    """
    clean = [" ".join(name.split()) for name in names]
    if not 1 <= len(clean) <= MOST:
        raise InputError(f"{len(clean)} classes: expected 1 to {MOST}")
    folded = [name.casefold() for name in clean]
    if "" in folded or len(set(folded)) < len(folded) or max(map(len, clean)) > _LONGEST:
        raise InputError(
            f"classes {', '.join(map(repr, clean))}: expected different names, up to "
            f"{_LONGEST} letters each"
        )
    chosen = [c.casefold() for c in colours][: len(clean)]
    if wrong := [c for c in chosen if not _HEX.fullmatch(c)]:
        raise InputError(f"colour {wrong[0]!r}: expected e.g. #009e73")
    usual = {n: c for names, c in zip(_USUAL, COLOURS, strict=False) for n in names}
    kept = {usual[n] for n in folded[len(chosen) :] if n in usual}
    for name in folded[len(chosen) :]:
        wished = usual.get(name, "")
        free = [c for c in COLOURS if c not in chosen and c not in kept] or list(COLOURS)
        chosen.append(wished if wished and wished not in chosen else free[0])
    return tuple(
        PaintClass(name, value, colour)
        for value, (name, colour) in enumerate(zip(clean, chosen, strict=True), 1)
    )
