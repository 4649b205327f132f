"""Questions about a whole micrograph, and the answers that were given to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

from layerscope.core.columns import Column
from layerscope.core.run import TaskResult, TaskRun
from layerscope.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

NA = "NA"
"""Answer that says that the question makes no sense here, or cannot be answered at this scale."""

UNKNOWN = "unknown"
"""In place of an answer that is not probable enough."""

NOT_ASKED = -1
"""Position of the answer where nobody gave one."""

Range = tuple[float, float]

_CAMERA_PIXEL_NM = 15_000.0


@dataclass(frozen=True)
class View:
    """How large things are on an image.

    Attributes
    ----------
    magnification : float or None
        Times, e.g. 50 000.
    pixel_size_nm : float or None
    source : str
        Where the magnification comes from.
    """

    magnification: float | None = None
    pixel_size_nm: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("magnification", "pixel_size_nm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} {value}: expected a positive number")

    def scale(self, kind: str) -> float:
        """Return the number that a model is given, NaN if unknown.

        Parameters
        ----------
        kind : str
            One of `SCALES`. A pixel size is turned into the magnification at which a camera with
            pixels of 15 um has it: models see numbers of one kind.
        """
        if kind == "magnification" and self.magnification is not None:
            return self.magnification
        if kind == "pixel_size" and self.pixel_size_nm is not None:
            return _CAMERA_PIXEL_NM / self.pixel_size_nm
        return math.nan


SCALES = ("magnification", "pixel_size", "none")
"""What a model may be told of the scale, see `View.scale`."""


@dataclass(frozen=True)
class Question:
    """One question and what may be answered.

    Attributes
    ----------
    name : str
        Short; a column of label sheets.
    text : str
        As a person is asked.
    answers : tuple of str
        Two or more; `NA` among them where labellers may say so.
    magnification : tuple of float, optional
        Smallest and largest at which it can be answered; None: at any.
    pixel_size_nm : tuple of float, optional
        The same for images of which only the pixel size is known.
    spellings : mapping of str to str
        What else sheets have in place of an answer.
    """

    name: str
    text: str
    answers: tuple[str, ...]
    magnification: Range | None = None
    pixel_size_nm: Range | None = None
    spellings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"question {self.name!r}"
        if not self.name.strip() or ":" in self.name:
            raise InputError(f"{where}: expected a name without a colon")
        if len(self.answers) < 2 or len({_folded(a) for a in self.answers}) < len(self.answers):
            raise InputError(f"{where}: expected two or more different answers")
        if UNKNOWN in self.answers or "" in self.answers:
            raise InputError(f"{where}: {UNKNOWN!r} and nothing at all cannot be answers")
        for cell, answer in self.spellings.items():
            if answer not in self.answers:
                raise InputError(f"{where}: {cell!r} is spelt for {answer!r}, which is no answer")
        for name in ("magnification", "pixel_size_nm"):
            limits = getattr(self, name)
            if limits is not None and not 0 < limits[0] <= limits[1]:
                raise InputError(f"{where}: {name} {list(limits)}; expected smallest and largest")

    def why_hidden(self, view: View) -> str:
        """Why the question cannot be answered at the scale of `view`; empty: it can.

        The magnification decides, else the pixel size. Where neither is known it may be asked.
        """
        if view.magnification is not None and self.magnification is not None:
            shown, limits, unit = view.magnification, self.magnification, "x"
        elif view.magnification is None and None not in (view.pixel_size_nm, self.pixel_size_nm):
            assert view.pixel_size_nm is not None
            assert self.pixel_size_nm is not None
            shown, limits, unit = view.pixel_size_nm, self.pixel_size_nm, " nm per pixel"
        else:
            return ""
        low, high = limits
        if low <= shown <= high:
            return ""
        bound = f"from {low:g}" if shown < low else f"up to {high:g}"
        return f"not visible at this magnification: {shown:g}{unit}, answered {bound}{unit}"

    def position(self, cell: str) -> int | None:
        """Position of the answer that a cell of a sheet means, None if it means none of them.

        Case, spaces and signs do not matter; `spellings` count as well.
        """
        known = {_folded(a): i for i, a in enumerate(self.answers)}
        told = {_folded(c): self.answers.index(a) for c, a in self.spellings.items()}
        return (told | known).get(_folded(cell))


def _folded(text: str) -> str:
    """Letters, digits and the signs that tell numbers apart, in lower case."""
    plain = text.casefold().replace("–", "-").replace("−", "-")  # dashes of word processors
    return "".join(c for c in plain if c.isalnum() or c in "<>-+")


@dataclass(frozen=True)
class Questionnaire:
    """What is asked of every image.

    Attributes
    ----------
    name, title : str
    questions : tuple of Question
    """

    name: str
    title: str
    questions: tuple[Question, ...]

    def __post_init__(self) -> None:
        names = [_folded(q.name) for q in self.questions]
        if not names or len(set(names)) < len(names):
            raise InputError(f"questionnaire {self.name!r}: expected questions of different names")

    @property
    def classes(self) -> tuple[str, ...]:
        """All answers in one row, ``question: answer``: the outputs of a model."""
        return tuple(f"{q.name}: {a}" for q in self.questions for a in q.answers)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Where the answers to each question lie in `classes`."""
        ends = [0]
        for question in self.questions:
            ends.append(ends[-1] + len(question.answers))
        return tuple(slice(a, b) for a, b in pairwise(ends))

    def find(self, heading: str) -> int | None:
        """Position of the question that a column's heading means: its name or its text."""
        wanted = _folded(heading)
        for i, question in enumerate(self.questions):
            if wanted in (_folded(question.name), _folded(question.text)):
                return i
        return None

    def keep(self, answers: Sequence[Sequence[int]]) -> Questionnaire:
        """Return it with these answers of each question only; a question without any is left out.

        Parameters
        ----------
        answers : sequence of sequence of int
            Positions, per question.
        """
        kept = []
        for question, chosen in zip(self.questions, answers, strict=True):
            left = tuple(question.answers[i] for i in chosen)
            if left:
                told = {c: a for c, a in question.spellings.items() if a in left}
                kept.append(replace(question, answers=left, spellings=told))
        return replace(self, questions=tuple(kept))

    def as_mapping(self) -> dict[str, Any]:
        """As a model card keeps it."""
        return {
            "name": self.name,
            "title": self.title,
            "question": [
                {
                    "name": q.name,
                    "text": q.text,
                    "answers": list(q.answers),
                    **({"magnification": list(q.magnification)} if q.magnification else {}),
                    **({"pixel_size_nm": list(q.pixel_size_nm)} if q.pixel_size_nm else {}),
                    **({"spellings": dict(q.spellings)} if q.spellings else {}),
                }
                for q in self.questions
            ],
        }

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any], name: str = "") -> Self:
        """Read what `as_mapping` or a TOML file holds.

        Raises
        ------
        InputError
            If it is no questionnaire; the message says what is wrong.
        """
        asked = content.get("question")
        if not isinstance(asked, list) or not all(isinstance(q, dict) for q in asked):
            raise InputError(f"questionnaire {name!r}: expected [[question]] once or more")
        own = str(content.get("name", name))
        questions = tuple(_question(q, own) for q in asked)
        return cls(own, str(content.get("title", own)), questions)


_KEYS = {"name", "text", "answers", "magnification", "pixel_size_nm", "spellings"}


def _question(content: Mapping[str, Any], where: str) -> Question:
    unknown = sorted(set(content) - _KEYS)
    name, answers = content.get("name"), content.get("answers")
    if unknown:
        raise InputError(f"questionnaire {where!r}: {unknown[0]!r}; expected {', '.join(_KEYS)}")
    if not isinstance(name, str) or not isinstance(answers, list):
        raise InputError(f"questionnaire {where!r}: a question needs a name and a list of answers")
    spellings = content.get("spellings", {})
    if not isinstance(spellings, dict) or not all(isinstance(a, str) for a in answers):
        raise InputError(f"questionnaire {where!r}, {name}: expected answers and spellings as text")
    return Question(
        name,
        str(content.get("text", name)),
        tuple(answers),
        _range(content.get("magnification"), f"{where!r}, {name}"),
        _range(content.get("pixel_size_nm"), f"{where!r}, {name}"),
        {str(k): str(v) for k, v in spellings.items()},
    )


def _range(value: Any, where: str) -> Range | None:
    if value is None:
        return None
    numbers = isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value)
    if not numbers or len(value) != 2:
        raise InputError(f"questionnaire {where}: {value!r}; expected [smallest, largest]")
    return float(value[0]), float(value[1])


@dataclass(frozen=True)
class Answered:
    """What was answered to one question about one image.

    Attributes
    ----------
    question : str
    answer : str
        One of its answers, `NA` or `UNKNOWN`.
    why : str
        Why there is no answer; empty where there is one.
    probabilities : tuple of (str, float)
        Every answer that was possible; empty where the question was not put.
    """

    question: str
    answer: str
    why: str = ""
    probabilities: tuple[tuple[str, float], ...] = ()

    @property
    def probability(self) -> float:
        """Of the most probable answer; NaN where the question was not put."""
        return max((p for _, p in self.probabilities), default=float("nan"))


@dataclass(frozen=True, eq=False)
class CategoryResult(TaskResult):
    """One image and all answers.

    Attributes
    ----------
    view : View
    answers : tuple of Answered
        One per question, in their order.
    """

    view: View
    answers: tuple[Answered, ...]


@dataclass(frozen=True, eq=False)
class CategoryRun(TaskRun):
    """Everything that a categories run found; its `images` have `IMAGE_COLUMNS`.

    Attributes
    ----------
    answers : pandas.DataFrame
        One row per image and question, `ANSWER_COLUMNS`.
    probabilities : pandas.DataFrame
        One row per image, question and possible answer, `PROBABILITY_COLUMNS`.
    questionnaire : Questionnaire
    """

    answers: pd.DataFrame
    probabilities: pd.DataFrame
    questionnaire: Questionnaire


IMAGE_COLUMNS: tuple[Column, ...] = (
    Column("image", "", "str", "Name of the image, unique in the run."),
    Column("magnification", "", "float64", "Times; empty if unknown."),
    Column("magnification_source", "", "str", "Where that figure comes from."),
    Column("pixel_size_nm", "nm", "float64", "Side of a pixel; empty if unknown."),
    Column("height_px", "px", "int64", "Rows."),
    Column("width_px", "px", "int64", "Columns."),
    Column("notes", "", "str", "Warnings, joined by '; '."),
    Column("path", "", "str", "File."),
    Column("sha256", "", "str", "Of its bytes."),
)

ANSWER_COLUMNS: tuple[Column, ...] = (
    Column("image", "", "str", "Name of the image, unique in the run."),
    Column("question", "", "str", "Name of the question."),
    Column("answer", "", "str", "The answer, NA, or unknown."),
    Column("why", "", "str", "Why there is no answer, or empty."),
    Column("probability", "", "float64", "Of the most probable answer; empty if not asked."),
    Column("most_probable", "", "str", "That answer, also where it was not given."),
)

PROBABILITY_COLUMNS: tuple[Column, ...] = (
    Column("image", "", "str", "Name of the image, unique in the run."),
    Column("question", "", "str", "Name of the question."),
    Column("answer", "", "str", "One of its answers."),
    Column("probability", "", "float64", "Calibrated, 0 to 1; they add to 1 per question."),
)
