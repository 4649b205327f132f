"""The folder that a categories run leaves behind."""

from __future__ import annotations

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
from layerscope.io.atomic import write_bytes
from layerscope.io.label_sheets import write_label_sheet
from layerscope.io.tables import write_table
from layerscope.report.categories_pictures import contact_sheet, draw_answers
from layerscope.report.categories_sections import N_GALLERY, CategoryGlance, category_sections
from layerscope.report.columns import words
from layerscope.report.coverage_pictures import encode_png
from layerscope.report.run_files import json_bytes, make_folder

_PANEL_PX = 340
_PICTURE_PX = 520


class CategoriesFolder:
    """Writes a run's folder: ``run_categories(..., on_result=folder)``, ``folder.finish``.

    Of each image only what the report shows is kept, and of that the `N_GALLERY` most urgent.

    Parameters
    ----------
    folder : path
        Made if missing; files of an earlier run in it are replaced.

    Raises
    ------
    CannotWrite
        If it cannot be made.
    """

    def __init__(self, folder: str | Path):
        self._target = make_folder(folder)
        self._glances: list[CategoryGlance] = []

    def __call__(self, result: CategoryResult) -> None:
        """Keep what the report shows of one image, if it is among the most urgent so far."""
        unknown = sum(a.answer == UNKNOWN for a in result.answers)
        full = len(self._glances) >= N_GALLERY
        if full and (-unknown, result.name) > self._glances[-1].urgency:
            return
        kept = [*self._glances, _glance_at(result, unknown)]
        self._glances = sorted(kept, key=lambda glance: glance.urgency)[:N_GALLERY]

    def finish(self, run: CategoryRun) -> Path:
        """Write tables, sheet, overview, ``run.json`` and the report; return the folder.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        parts = (
            ("categories", run.answers, ANSWER_COLUMNS),
            ("probabilities", run.probabilities, PROBABILITY_COLUMNS),
            ("images", run.images, IMAGE_COLUMNS),
        )
        for name, table, columns in parts:
            units = {c.name: c.unit for c in columns}
            write_table(table, self._target / f"{name}.csv")
            write_table(table, self._target / f"{name}.parquet", units=units)
        self._write_sheet(run)
        if self._glances:
            sheet = contact_sheet([glance.panel for glance in self._glances])
            write_bytes(self._target / "overview.png", encode_png(sheet))
        write_bytes(self._target / "run.json", _run_json(run))
        self._write_report(run)
        return self._target

    def _write_sheet(self, run: CategoryRun) -> None:
        """Answers in the form of a label sheet, to be corrected and learned from."""
        asked = [q.name for q in run.questionnaire.questions]
        rows: dict[str, list[str]] = {}
        files = dict(zip(words(run.images, "image"), words(run.images, "path"), strict=True))
        for image, question, answer in zip(
            *(words(run.answers, c) for c in ("image", "question", "answer")), strict=True
        ):
            cells = rows.setdefault(Path(files[image]).name or image, [""] * len(asked))
            cells[asked.index(question)] = "" if answer == UNKNOWN else answer
        write_label_sheet(self._target / "sheet.csv", run.questionnaire, rows)

    def _write_report(self, run: CategoryRun) -> None:
        from layerscope.report.html import page_html
        from layerscope.report.pdf import pdf_bytes

        sections = category_sections(run, self._glances)
        version = str(run.provenance.get("version", ""))
        page = page_html("Categories", sections, version=version)
        write_bytes(self._target / "report.html", page.encode())
        pdf = pdf_bytes("Categories", sections, version=version)
        write_bytes(self._target / "report.pdf", pdf)


def _glance_at(result: CategoryResult, unknown: int) -> CategoryGlance:
    return CategoryGlance(
        result.name,
        tuple(
            (a.question, a.answer, f"{a.probability:.2f}" if a.probabilities else "–", a.why)
            for a in result.answers
        ),
        unknown,
        draw_answers(result, longest_px=_PICTURE_PX, told=False),
        draw_answers(result, longest_px=_PANEL_PX),
    )


def _run_json(run: CategoryRun) -> bytes:
    tables = {
        name: table.astype(object).where(table.notna(), None).to_dict("records")
        for name, table in (("images", run.images), ("answers", run.answers))
    }
    document: dict[str, Any] = {
        "provenance": run.provenance,
        "parameters": run.parameters,
        "questionnaire": run.questionnaire.as_mapping(),
        **tables,
        "failures": [{"path": f.path, "reason": f.reason} for f in run.failures],
    }
    return json_bytes(document)
