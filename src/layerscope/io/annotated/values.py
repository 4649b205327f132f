"""Which value of a label picture means which class.

A told map or ``classes.toml`` decides::

    unlabelled = [254]        # values that mean: nobody labelled this; may be left out
    [classes]
    background = 0
    film = 255

Without one the values that occur decide, and a note says how. 255 is the usual value for "not
labelled", and also what drawing programs write for "yes". It is taken as a class only where nothing
but 0 and 255 occurs in the whole set: a set without any class cannot be meant. Where other gaps
make it unclear, the set is refused.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE, MOST_CLASSES, ClassPixels
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.annotated.draft import BACKGROUND

CLASSES_FILE = "classes.toml"


@dataclass(frozen=True)
class ValueMap:
    """Meaning of the values of label pictures.

    Attributes
    ----------
    classes : tuple of str
        The background first.
    of_value : mapping of int to int
        Value to position in `classes`, or `IGNORE`. Other values are not labelled.
    notes : tuple of str
    """

    classes: tuple[str, ...]
    of_value: Mapping[int, int]
    notes: tuple[str, ...] = ()

    def translate(self, values: npt.NDArray[Any]) -> ClassPixels:
        """Label map (H, W) of a picture's values."""
        if values.dtype == np.uint8:
            table = np.full(256, IGNORE, np.uint8)
            for value, index in self.of_value.items():
                if value < 256:
                    table[value] = index
            return table[values]
        out = np.full(values.shape, IGNORE, np.uint8)
        for value, index in self.of_value.items():
            out[values == value] = index
        return out


def find_values(folder: Path, told: Mapping[str, int] | None, used: Iterable[int]) -> ValueMap:
    """Say what the values of label pictures mean.

    Parameters
    ----------
    folder : Path
        May hold ``classes.toml``.
    told : mapping of str to int, optional
        Class to value; wins over the file.
    used : iterable of int
        Every value that occurs in the set.

    Raises
    ------
    InputError
        If it is not clear, or a value stands for two classes.
    """
    values = sorted(set(used))
    table = folder / CLASSES_FILE
    if told is not None:
        return _named(dict(told), (), values, "the classes told")
    if table.is_file():
        classes, unlabelled = read_classes(table)
        return _named(classes, unlabelled, values, CLASSES_FILE)
    return _guessed(values)


def read_classes(path: Path) -> tuple[dict[str, int], tuple[int, ...]]:
    """Class to value, and the values that mean unlabelled, of ``classes.toml``.

    Raises
    ------
    UnreadableFile
        If it is no TOML.
    InputError
        If it names no classes.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UnreadableFile(f"{path}: no TOML ({error})") from None
    classes = content.get("classes")
    if isinstance(classes, list):
        classes = {name: value for value, name in enumerate(classes)}
    unlabelled = content.get("unlabelled", [])
    unlabelled = unlabelled if isinstance(unlabelled, list) else [unlabelled]
    if not isinstance(classes, dict) or not all(
        isinstance(v, int) and 0 <= v <= 65535 for v in [*classes.values(), *unlabelled]
    ):
        raise InputError(
            f"{path}: expected [classes] with lines such as film = 255, values from 0 to 65535"
        )
    return {str(k): v for k, v in classes.items()}, tuple(unlabelled)


def _named(
    classes: dict[str, int], unlabelled: tuple[int, ...], used: list[int], source: str
) -> ValueMap:
    values = [*classes.values(), *unlabelled]
    twice = sorted({v for v in values if values.count(v) > 1})
    if twice:
        raise InputError(f"{source}: value {twice[0]} has two meanings; give each its own")
    background = next((n for n, v in classes.items() if v == 0), BACKGROUND)
    if background == BACKGROUND and BACKGROUND not in classes and 0 not in unlabelled:
        classes = {BACKGROUND: 0, **classes}
    ordered = (background, *(n for n in classes if n != background))
    _check_number(len(ordered) - 1)
    of_value = {classes[n]: i for i, n in enumerate(ordered) if n in classes}
    of_value |= dict.fromkeys(unlabelled, IGNORE)
    stray = [v for v in used if v not in of_value and v != IGNORE]
    notes = (f"values {_listed(stray)} are in no class of {source}: taken as unlabelled",)
    return ValueMap(ordered, of_value, notes if stray else ())


def _guessed(used: list[int]) -> ValueMap:
    marks = [v for v in used if v > 0]
    if marks == [IGNORE]:
        note = (
            "values are 0 and 255 only: 255 is read as the class foreground; write "
            f"{CLASSES_FILE} with film = 255 to name it"
        )
        return ValueMap((BACKGROUND, "foreground"), {0: 0, IGNORE: 1}, (note,))
    named = [v for v in marks if v != IGNORE]
    _check_number(len(named))
    if IGNORE in marks and named != list(range(1, len(named) + 1)):
        raise InputError(
            f"label values {_listed(used)}: 255 may be a class or mean unlabelled; say it in "
            f"{CLASSES_FILE}: [classes] with lines such as film = 255"
        )
    notes = ["255 is read as unlabelled"] if IGNORE in marks else []
    if named != list(range(1, len(named) + 1)):
        notes.append(
            f"values {_listed(named)} are numbered in their order; {CLASSES_FILE} names them"
        )
    of_value = {0: 0} | {v: i for i, v in enumerate(named, 1)} | {IGNORE: IGNORE}
    return ValueMap((BACKGROUND, *(f"class_{v}" for v in named)), of_value, tuple(notes))


def _check_number(classes: int) -> None:
    if classes > MOST_CLASSES:
        raise InputError(
            f"{classes} values in the label pictures; at most {MOST_CLASSES} can be classes. If "
            "they number objects, read them as instances"
        )


def _listed(values: list[int]) -> str:
    shown = ", ".join(map(str, values[:12]))
    return shown if len(values) <= 12 else f"{shown} ..."
