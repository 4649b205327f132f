"""Label sheets: a row per image, a column per question, as .csv or .xlsx.

The file name is the key. What cannot be matched is told per column and never guessed; an empty
cell means that nobody was asked.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from layerscope.core.categories import NOT_ASKED, Questionnaire
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.labels import image_key
from layerscope.io.tables import write_table
from layerscope.io.xlsx import read_xlsx

KEYS = ("image", "file", "filename", "file name", "file_name", "name", "micrograph")
"""Headings of the column of file names; the first column, where there is none of them."""

MAGNIFICATION = ("magnification", "mag")
GROUP = ("specimen", "group", "sample", "material")

_MOST_BYTES = 50_000_000
_SHOWN = 3


@dataclass(frozen=True)
class SheetColumn:
    """How well one column could be read.

    Attributes
    ----------
    question : str
    heading : str
        As the sheet has it.
    matched, unmatched, empty : int
        Cells with an answer, with something else, and with nothing.
    examples : tuple of str
        What else, up to three.
    """

    question: str
    heading: str
    matched: int = 0
    unmatched: int = 0
    empty: int = 0
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        line = f"{self.question}: {self.matched} matched, {self.unmatched} unmatched"
        told = f" ({', '.join(repr(e) for e in self.examples)})" if self.examples else ""
        return f"{line}{told}, {self.empty} empty"


@dataclass(frozen=True)
class LabelSheet:
    """What a person answered.

    Attributes
    ----------
    questionnaire : Questionnaire
    answers : mapping of str to tuple of int
        Key of the image -> position of each answer, `NOT_ASKED` where there is none.
    names : mapping of str to str
        Key of the image -> file name as the sheet has it.
    groups : mapping of str to str
        Key -> specimen, where the sheet has that column.
    magnifications : mapping of str to float
        The same of the magnification.
    columns : tuple of SheetColumn
        One per question that the sheet has.
    notes : tuple of str
        What was left out and why, one line each.
    source : str
        Name of the file.
    """

    questionnaire: Questionnaire
    answers: Mapping[str, tuple[int, ...]]
    names: Mapping[str, str]
    groups: Mapping[str, str] = field(default_factory=dict)
    magnifications: Mapping[str, float] = field(default_factory=dict)
    columns: tuple[SheetColumn, ...] = ()
    notes: tuple[str, ...] = ()
    source: str = ""

    def of(self, image: str) -> tuple[int, ...]:
        """Answers about an image, by its name or path."""
        nothing = (NOT_ASKED,) * len(self.questionnaire.questions)
        return self.answers.get(key_of(image), nothing)

    def report(self, images: Iterable[str] = ()) -> list[str]:
        """Lines about every column and, given the `images`, about the file names.

        Parameters
        ----------
        images : iterable of str
            Names or paths of the images that there are.
        """
        lines = [f"{self.source}: {len(self.answers)} rows", *map(str, self.columns), *self.notes]
        there = {key_of(i): i for i in images}
        if there:
            lost = [n for k, n in self.names.items() if k not in there]
            bare = sorted(Path(i).name for k, i in there.items() if k not in self.answers)
            lines.append(
                f"files: {len(self.names) - len(lost)} matched, {len(lost)} rows without an image"
                f"{_some(lost)}, {len(bare)} images without a row{_some(bare)}"
            )
        return lines


def key_of(image: str) -> str:
    """Return what names of one image have in common: no folder, no suffix, no case."""
    return image_key(image.strip()).casefold()


def read_label_sheet(path: str | Path, questionnaire: Questionnaire) -> LabelSheet:
    """Read a label sheet.

    Parameters
    ----------
    path : path
        ``.csv`` (UTF-8; comma, semicolon or tab) or ``.xlsx``, ``.xlsm`` (its first sheet).
    questionnaire : Questionnaire
        Its names or texts are the headings; other columns are told and left out.

    Raises
    ------
    UnreadableFile
        If it is no such file.
    InputError
        If it has no row, or no column of the questionnaire.
    """
    source = Path(path).name
    rows = [r for r in _cells(Path(path)) if any(c.strip() for c in r)]
    if len(rows) < 2:
        raise InputError(f"{source}: expected headings and a row per image")
    head, body = [c.strip() for c in rows[0]], rows[1:]
    asked = {}
    for place, heading in enumerate(head):
        found = questionnaire.find(heading)
        if found is not None and found not in asked:
            asked[found] = place
    if not asked:
        names = ", ".join(q.name for q in questionnaire.questions)
        raise InputError(f"{source}: no column of {questionnaire.name!r}; expected {names}")
    return _Reading(questionnaire, head, asked, source).read(body)


def _cells(path: Path) -> list[list[str]]:
    if path.suffix.casefold() in (".xlsx", ".xlsm"):
        return read_xlsx(path)
    if path.suffix.casefold() not in (".csv", ".tsv", ".txt"):
        raise InputError(f"{path.name}: expected a sheet as .csv or .xlsx")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UnreadableFile(f"{path.name}: over {_MOST_BYTES // 1_000_000} MB; no sheet is")
        text = path.read_text("utf-8-sig")
    except OSError as reason:
        raise UnreadableFile(f"{path}: {reason.strerror}") from None
    except UnicodeDecodeError:
        raise UnreadableFile(f"{path.name}: not UTF-8; save it as CSV UTF-8 or .xlsx") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as reason:
        raise UnreadableFile(f"{path.name}: {reason}; save it again as .csv") from None


class _Reading:
    """One sheet under way."""

    def __init__(
        self, questionnaire: Questionnaire, head: Sequence[str], asked: dict[int, int], source: str
    ):
        self.questionnaire, self.asked, self.source = questionnaire, asked, source
        folded = [h.casefold() for h in head]
        self.head = head
        self.key = next((folded.index(k) for k in KEYS if k in folded), 0)
        taken = {self.key, *asked.values()}
        self.magnification = _place(folded, MAGNIFICATION, taken)
        self.group = _place(folded, GROUP, taken)
        known = taken | {self.magnification, self.group}
        self.others = [h for i, h in enumerate(head) if i not in known and h]
        self.wrong: dict[int, list[str]] = {i: [] for i in asked}
        self.notes: list[str] = []

    def read(self, body: Sequence[Sequence[str]]) -> LabelSheet:
        answers: dict[str, tuple[int, ...]] = {}
        names: dict[str, str] = {}
        groups: dict[str, str] = {}
        magnifications: dict[str, float] = {}
        empty = dict.fromkeys(self.asked, 0)
        for row in body:
            name = _at(row, self.key)
            if not name:
                self.notes.append("a row without a file name is left out")
                continue
            key, given = key_of(name), self._answers(row, empty)
            answers[key] = self._joined(answers.get(key), given, name)
            names[key] = name
            if group := _at(row, self.group):
                groups[key] = group
            if (times := self._times(row, name)) is not None:
                magnifications[key] = times
        if self.others:
            self.notes.append(f"columns that are no question: {', '.join(self.others)}")
        return LabelSheet(
            self.questionnaire, answers, names, groups, magnifications,
            self._columns(answers, empty), tuple(self.notes), self.source,
        )  # fmt: skip

    def _answers(self, row: Sequence[str], empty: dict[int, int]) -> tuple[int, ...]:
        given = [NOT_ASKED] * len(self.questionnaire.questions)
        for i, place in self.asked.items():
            cell = _at(row, place)
            if not cell:
                empty[i] += 1
                continue
            found = self.questionnaire.questions[i].position(cell)
            if found is None:
                self.wrong[i].append(cell)
            else:
                given[i] = found
        return tuple(given)

    def _joined(
        self, before: tuple[int, ...] | None, given: tuple[int, ...], name: str
    ) -> tuple[int, ...]:
        """Two rows of one image: what they disagree on was not answered."""
        if before is None or before == given:
            return given
        both = [(a, b) for a, b in zip(before, given, strict=True)]
        if any(a != b and NOT_ASKED not in (a, b) for a, b in both):
            self.notes.append(f"{name} has rows that disagree: those answers are left out")
        return tuple(
            a if a == b or b == NOT_ASKED else b if a == NOT_ASKED else NOT_ASKED for a, b in both
        )

    def _times(self, row: Sequence[str], name: str) -> float | None:
        cell = _at(row, self.magnification).casefold().rstrip("x×").replace(" ", "")
        if not cell:
            return None
        try:
            times = float(cell.removesuffix("k")) * (1000 if cell.endswith("k") else 1)
        except ValueError:
            times = 0.0
        if not 0 < times < float("inf"):
            self.notes.append(f"{name}: magnification {cell!r} is no number")
            return None
        return times

    def _columns(
        self, answers: Mapping[str, tuple[int, ...]], empty: Mapping[int, int]
    ) -> tuple[SheetColumn, ...]:
        columns = []
        for i, place in sorted(self.asked.items()):
            matched = sum(given[i] != NOT_ASKED for given in answers.values())
            wrong = self.wrong[i]
            examples = tuple(dict.fromkeys(wrong))[:_SHOWN]
            name = self.questionnaire.questions[i].name
            columns.append(
                SheetColumn(name, self.head[place], matched, len(wrong), empty[i], examples)
            )
        return tuple(columns)


def _place(folded: Sequence[str], names: Sequence[str], taken: set[int]) -> int | None:
    found = [folded.index(n) for n in names if n in folded]
    return next((i for i in found if i not in taken), None)


def _at(row: Sequence[str], place: int | None) -> str:
    return row[place].strip() if place is not None and place < len(row) else ""


def _some(names: Sequence[str]) -> str:
    return f" (e.g. {', '.join(names[:_SHOWN])})" if names else ""


def write_label_sheet(
    path: str | Path, questionnaire: Questionnaire, rows: Mapping[str, Sequence[str]]
) -> None:
    """Write a sheet as CSV, for a spreadsheet or for `read_label_sheet`.

    Parameters
    ----------
    path : path
    questionnaire : Questionnaire
    rows : mapping of str to sequence of str
        File name -> a cell per question; empty where there is no answer.
    """
    import pandas as pd

    names = [q.name for q in questionnaire.questions]
    table = pd.DataFrame.from_dict(dict(rows), orient="index", columns=names, dtype="str")
    write_table(table.rename_axis("image").reset_index(), path)
