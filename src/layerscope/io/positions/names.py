"""Stage positions from the names of image files: coordinates, or rows and columns of a grid."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from layerscope.core.stage import StagePosition
from layerscope.errors import InputError, UnknownName
from layerscope.io.labels import image_key
from layerscope.io.positions.content import micrometres, number, one_line

_NUMBER, _COUNT = r"[-+]?\d+(?:\.\d+)?", r"\d+"
_UNITS = ("nm", "um", "mm")
_FIELDS = {
    **{f"{axis}_{unit}": _NUMBER for axis in "xyz" for unit in _UNITS},
    **dict.fromkeys(("x", "y", "z"), _NUMBER),
    **dict.fromkeys(("row", "col", "index"), _COUNT),
}
_FIELD = re.compile(r"\{([^{}]*)\}|(\*)")
_PITCH = re.compile(rf"({_NUMBER})(?:\s*[x×]\s*({_NUMBER}))?\s*([a-zµμ]+)", re.IGNORECASE)
_LENGTH = r"(?:[nuµμm]m)?"
_Fields = dict[str, str | None]
_COMMON: tuple[tuple[str, str], ...] = (
    (
        "x{x}_y{y}",
        rf"(?<![a-z])x[_= ]?(?P<x>{_NUMBER})(?P<unit>{_LENGTH})[_, -]*"
        rf"(?<![a-z0-9])y[_= ]?(?P<y>{_NUMBER})(?P=unit)(?![\d.])",
    ),
    (
        "r{row}_c{col}",
        r"(?<![a-z])r(?:ow)?[_=-]?(?P<row>\d+)[_, -]*c(?:ol(?:umn)?)?[_=-]?(?P<col>\d+)",
    ),
    (
        "c{col}_r{row}",
        r"(?<![a-z])c(?:ol(?:umn)?)?[_=-]?(?P<col>\d+)[_, -]*r(?:ow)?[_=-]?(?P<row>\d+)",
    ),
    # Micro-Manager's tile creator: column first.
    ("Pos_{col}_{row}", r"(?<![a-z])pos_(?P<col>\d{3,})_(?P<row>\d{3,})"),
)
"""Patterns that are tried when none is given, first match first; letter case does not matter."""


@dataclass(frozen=True)
class Grid:
    """How rows and columns, or a running number, lie on the stage.

    Attributes
    ----------
    pitch_x_um, pitch_y_um : float
        From one column, and one row, to the next; negative where the stage runs the other way.
    columns : int or None
        Images per row; needed for a running number.
    snake : bool
        Every second row was taken backwards, and the number counts along the path.
    first : int or None
        The number of the first image, row and column; None: 0 if any name has a 0, else 1.
    """

    pitch_x_um: float
    pitch_y_um: float
    columns: int | None = None
    snake: bool = False
    first: int | None = None

    def __post_init__(self) -> None:
        if not all(0 < abs(p) < float("inf") for p in (self.pitch_x_um, self.pitch_y_um)):
            raise InputError(f"pitch {self.pitch_x_um} x {self.pitch_y_um} um: expected not zero")
        if self.columns is not None and self.columns < 1:
            raise InputError(f"{self.columns} columns: expected 1 or more")

    @classmethod
    def parse(
        cls, pitch: str, columns: int | None = None, snake: bool = False, first: int | None = None
    ) -> Grid:
        """Grid with a pitch such as ``400um`` or ``400x-300um``, x before y."""
        match = _PITCH.fullmatch(pitch.strip())
        if match is None:
            raise InputError(f"pitch {pitch!r}: expected e.g. 400um, or 400x300um for x and y")
        x, y, unit = match.groups()
        scale_um = micrometres(unit)
        return cls(float(x) * scale_um, float(y or x) * scale_um, columns, snake, first)


@dataclass(frozen=True)
class NamedPositions:
    """Positions that the names of images give.

    Attributes
    ----------
    positions : tuple of StagePosition or None
        One per name; None where the pattern does not match.
    pattern : str
        The pattern that was used.
    unit : str
        Unit of the numbers in the names, or ``"row and column"``, ``"running number"``.
    notes : tuple of str
    """

    positions: tuple[StagePosition | None, ...]
    pattern: str
    unit: str
    notes: tuple[str, ...] = ()


def positions_from_names(
    names: Sequence[str],
    pattern: str | None = None,
    *,
    unit: str | None = None,
    grid: Grid | None = None,
) -> NamedPositions:
    r"""Take stage positions from file names.

    Parameters
    ----------
    names : sequence of str
        With or without folder and image suffix; both are left out.
    pattern : str, optional
        A template that fits the whole name, with fields in braces and ``*`` for anything:
        ``*_{x_um}_{y_um}``, ``tile_{row}_{col}``, ``img{index}``. Or a regular expression with
        named groups of the same names, found anywhere: ``_(?P<x_mm>[-\d.]+)_(?P<y_mm>[-\d.]+)$``.
        Plain ``x``, ``y``, ``z`` need `unit`, or a group ``unit``. Without a pattern the common
        ones are tried, and one that fits every name is used.
    unit : str, optional
        Unit of x, y, z where the names say none; it is never guessed.
    grid : Grid, optional
        Needed for rows and columns, and for a running number.

    Returns
    -------
    NamedPositions
        In um. Says which pattern was used, and in which unit.

    Raises
    ------
    InputError
        If no name fits, no common pattern fits all, or the unit or the grid is missing;
        `UnknownName` for a field that does not exist.
    """
    stems = [image_key(name) for name in names]
    chosen = _common(stems) if pattern is None else (pattern, _compile(pattern))
    if not stems or chosen is None:
        return NamedPositions((None,) * len(stems), pattern or "", unit or "")
    shown, regex = chosen
    matches = [regex.search(stem) for stem in stems]
    fields = [m.groupdict() if m else None for m in matches]
    known = [f for f in fields if f is not None]
    if not known:
        raise InputError(
            f"pattern {shown!r} fits no name, e.g. {one_line(stems[0])!r}; put * for what varies"
        )
    notes = _missed(names, fields)
    if "x" in regex.groupindex or any(f"x_{u}" in regex.groupindex for u in _UNITS):
        said = {_unit_of(f, unit, shown) for f in known}
        places = [None if f is None else _coordinates(f, unit, shown) for f in fields]
        return NamedPositions(tuple(places), shown, ", ".join(sorted(said)), notes)
    if grid is None:
        raise InputError(f"pattern {shown!r} gives places in a grid; say its pitch in um")
    return _in_grid(fields, shown, grid, notes)


def _compile(pattern: str) -> re.Pattern[str]:
    text = pattern if "(?P<" in pattern else rf"\A{_of_template(pattern)}\Z"
    try:
        regex = re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise InputError(f"pattern {pattern!r}: {error}") from None
    for name in regex.groupindex:
        if name not in _FIELDS and name != "unit":
            raise UnknownName.of("field", name, _FIELDS)
    groups = set(regex.groupindex)
    axes = {name.partition("_")[0] for name in groups}
    if not any(needed <= axes for needed in ({"x", "y"}, {"row", "col"}, {"index"})):
        raise InputError(f"pattern {pattern!r}: expected x and y, row and col, or index")
    return regex


def _of_template(template: str) -> str:
    parts, at = [], 0
    for m in _FIELD.finditer(template):
        parts.append(re.escape(template[at : m.start()]))
        name, at = m.group(1), m.end()
        if name is None:
            parts.append(".*?")
        elif name in _FIELDS:
            # Two fields in a row would share the digits of one number in any way.
            parts.append(rf"(?P<{name}>{_FIELDS[name]})(?!\d)")
        else:
            raise UnknownName.of("field", name, _FIELDS)
    return "".join(parts) + re.escape(template[at:])


def _common(stems: Sequence[str]) -> tuple[str, re.Pattern[str]] | None:
    """First common pattern that fits every name."""
    best, fitted, missed = "", 0, ""
    for shown, text in _COMMON:
        regex = re.compile(text, re.IGNORECASE)
        fits = [regex.search(stem) is not None for stem in stems]
        if all(fits):
            return (shown, regex) if stems else None
        if sum(fits) > fitted:
            best, fitted, missed = shown, sum(fits), stems[fits.index(False)]
    why = (
        f"{best!r} fits {fitted} of {len(stems)} and not {one_line(missed)!r}"
        if fitted
        else f"{one_line(stems[0])!r} fits none of {', '.join(shown for shown, _ in _COMMON)}"
    )
    raise InputError(f"no position in the file names: {why}; give a pattern")


def _unit_of(fields: _Fields, unit: str | None, shown: str) -> str:
    """Return the unit of x and y in one name."""
    by_field = {name.partition("_")[2] for name in fields if name[:2] in ("x_", "y_")}
    plain = {"x", "y"} & set(fields)
    if len(by_field) > 1 or (by_field and plain):
        raise InputError(f"pattern {shown!r} gives x and y in different units")
    if by_field:
        return by_field.pop()
    said = fields.get("unit") or unit
    if not said:
        raise InputError(
            f"pattern {shown!r} finds x={fields['x']}, y={fields['y']} without a unit; "
            "say which, e.g. um"
        )
    micrometres(said)
    return "um" if said in ("µm", "μm") else said


def _coordinates(fields: _Fields, unit: str | None, shown: str) -> StagePosition:
    own = _unit_of(fields, unit, shown)
    lengths: dict[str, float] = {}
    for name, text in fields.items():
        axis, _, said = name.partition("_")
        if axis in ("x", "y", "z") and text:
            lengths[axis] = number(text, name) * micrometres(said or own)
    if not {"x", "y"} <= set(lengths):
        raise InputError(f"pattern {shown!r} leaves x or y empty")
    return StagePosition(lengths["x"], lengths["y"], lengths.get("z"))


def _in_grid(
    fields: Sequence[_Fields | None], shown: str, grid: Grid, notes: tuple[str, ...]
) -> NamedPositions:
    counted = [None if f is None else {k: int(v) for k, v in f.items() if v} for f in fields]
    numbers = [v for f in counted if f is not None for v in f.values()]
    first = grid.first if grid.first is not None else min(1, min(numbers))
    if min(numbers) < first:
        raise InputError(f"pattern {shown!r} finds {min(numbers)}, before the first ({first})")
    running = any(f is not None and "index" in f for f in counted)
    columns = grid.columns or _columns(counted, first, running)
    places = [None if f is None else _cell(f, first, columns, grid) for f in counted]
    counting = f"counted from {first}" + (", snake" if grid.snake else "")
    unit = "running number" if running else "row and column"
    return NamedPositions(tuple(places), shown, unit, (*notes, counting))


def _columns(counted: Sequence[dict[str, int] | None], first: int, running: bool) -> int:
    if running:
        raise InputError("a running number needs the number of columns of the grid")
    return max(f["col"] for f in counted if f is not None) - first + 1


def _cell(fields: dict[str, int], first: int, columns: int, grid: Grid) -> StagePosition:
    if "index" in fields:
        row, col = divmod(fields["index"] - first, columns)
    else:
        row, col = fields["row"] - first, fields["col"] - first
    if grid.snake and row % 2:
        col = columns - 1 - col
    return StagePosition(float(col * grid.pitch_x_um), float(row * grid.pitch_y_um))


def _missed(names: Sequence[str], fields: Sequence[_Fields | None]) -> tuple[str, ...]:
    missed = [name for name, f in zip(names, fields, strict=True) if f is None]
    return (f"names that do not fit: {len(missed)}, first {one_line(missed[0])}",) if missed else ()
