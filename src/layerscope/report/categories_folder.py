"""The folder that a categories run leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from layerscope.core.categories import (
    ANSWER_COLUMNS,
    IMAGE_COLUMNS,
    PROBABILITY_COLUMNS,
    UNKNOWN,
    CategoryResult,
    CategoryRun,
)
from layerscope.io.label_sheets import write_label_sheet
from layerscope.report.categories_pictures import contact_sheet, draw_answers
from layerscope.report.categories_sections import CategoryGlance, category_sections
from layerscope.report.columns import words
from layerscope.report.run_folder import RunFolder, RunTable
from layerscope.report.values import Section, Skipped

_PANEL_PX = 340
_PICTURE_PX = 520


class CategoriesFolder(RunFolder[CategoryResult, CategoryRun, CategoryGlance]):
    """Tables, label sheet, overview and report of ``run_categories``."""

    title = "Categories"
    listed = ("answers",)

    def rank(self, result: CategoryResult) -> int:
        """Those with most unknown answers first."""
        return -_unknown(result)

    def look(self, result: CategoryResult) -> CategoryGlance:
        """Pictures and all answers."""
        return CategoryGlance(
            result.name,
            tuple(
                (a.question, a.answer, f"{a.probability:.2f}" if a.probabilities else "–", a.why)
                for a in result.answers
            ),
            _unknown(result),
            draw_answers(result, longest_px=_PICTURE_PX, told=False),
            draw_answers(result, longest_px=_PANEL_PX),
        )

    def tables(self, run: CategoryRun) -> Sequence[RunTable]:
        """Answers, probabilities and images."""
        return (
            RunTable("categories", run.answers, ANSWER_COLUMNS),
            RunTable("probabilities", run.probabilities, PROBABILITY_COLUMNS),
            RunTable("images", run.images, IMAGE_COLUMNS),
        )

    def write_more(self, run: CategoryRun) -> None:
        """Write the overview, and answers as a label sheet, to be corrected and learned from."""
        if self._gallery.shown:
            overview = contact_sheet([glance.panel for glance in self._gallery.shown])
            self._write_picture(".", "overview", overview)
        asked = [q.name for q in run.questionnaire.questions]
        rows: dict[str, list[str]] = {}
        files = dict(zip(words(run.images, "image"), words(run.images, "path"), strict=True))
        for image, question, answer in zip(
            *(words(run.answers, c) for c in ("image", "question", "answer")), strict=True
        ):
            cells = rows.setdefault(Path(files[image]).name or image, [""] * len(asked))
            cells[asked.index(question)] = "" if answer == UNKNOWN else answer
        write_label_sheet(self._target / "sheet.csv", run.questionnaire, rows)

    def asked(self, run: CategoryRun) -> Mapping[str, Any]:
        """Return the questionnaire."""
        return {"questionnaire": run.questionnaire.as_mapping()}

    def sections(
        self, run: CategoryRun, shown: Sequence[CategoryGlance]
    ) -> Sequence[Section | Skipped]:
        """Return what the report says."""
        return category_sections(run, shown)


def _unknown(result: CategoryResult) -> int:
    return sum(a.answer == UNKNOWN for a in result.answers)
