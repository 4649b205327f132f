"""The document for a risk assessment: several runs of one set of images joined into one report.

    data = read_runs(["phases", "particles", "categories"])
    write_assessment(data, "report", Particulars(sample="GO-12"))

PDF to hand over, HTML to read, a workbook to compute with, JSON for programs. The same runs and
words give the same bytes; its number is the hash of all that it is made of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscope import __version__
from layerscope.errors import CannotWrite
from layerscope.io.atomic import write_bytes
from layerscope.io.xlsx_book import Cell, Sheet, write_xlsx
from layerscope.report.assessment_descriptors import Descriptor, class_shares, describe
from layerscope.report.assessment_pages import image_pages
from layerscope.report.assessment_record import (
    EditHistory,
    edits,
    flag_rows,
    flags,
    hashes,
    models,
    thresholds,
)
from layerscope.report.assessment_runs import ImageSet, RunFolder
from layerscope.report.assessment_sections import (
    Particulars,
    categories,
    descriptors,
    distributions,
    findings,
    identification,
    limits,
    phases,
    references,
)
from layerscope.report.run_files import plain
from layerscope.report.values import Section, Skipped

if TYPE_CHECKING:
    import pandas as pd

_NUMBER_DIGITS = 12


def document_number(data: ImageSet, told: Particulars, history: EditHistory | None = None) -> str:
    """Twelve digits that change with any file, any word and any edit the document is made of."""
    made_of = {
        "runs": [[run.kind, *map(list, run.hashes)] for run in data.runs],
        "told": asdict(told),
        "edits": history.chain if history else "",
        "version": __version__,
    }
    text = json.dumps(made_of, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_NUMBER_DIGITS]


def assessment_sections(
    data: ImageSet, told: Particulars, history: EditHistory | None = None
) -> tuple[Section | Skipped, ...]:
    """Every section of the document, in its order.

    Parameters
    ----------
    data : ImageSet
    told : Particulars
    history : EditHistory, optional
    """
    found = describe(data)
    return (
        identification(told, data, document_number(data, told, history)),
        findings(data, found),
        *descriptors(found),
        distributions(data),
        phases(data),
        categories(data),
        flags(data),
        limits(),
        references(),
        *models(data),
        thresholds(data),
        edits(history, data),
        *image_pages(data, history),
        hashes(data),
    )


def write_assessment(
    data: ImageSet,
    folder: str | Path,
    told: Particulars | None = None,
    history: EditHistory | None = None,
) -> Path:
    """Write ``report.pdf``, ``report.html``, ``report.xlsx`` and ``report.json``.

    Parameters
    ----------
    data : ImageSet
    folder : path
        Made if missing; a report in it is replaced.
    told : Particulars, optional
    history : EditHistory, optional

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    CannotWrite
        If the disk refuses.
    """
    from layerscope.report.html import page_html
    from layerscope.report.pdf import pdf_bytes

    told, target = told or Particulars(), Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cannot write {target}: {error.strerror}; give another -o") from None
    sections, number = (
        assessment_sections(data, told, history),
        document_number(data, told, history),
    )
    page = page_html(told.title, sections, version=__version__)
    write_bytes(target / "report.html", page.encode())
    pdf = pdf_bytes(told.title, sections, version=__version__, numbered=f"document {number}")
    write_bytes(target / "report.pdf", pdf)
    write_xlsx(target / "report.xlsx", workbook(data, told, history))
    write_bytes(target / "report.json", _as_json(data, told, history))
    return target


def workbook(
    data: ImageSet, told: Particulars, history: EditHistory | None = None
) -> tuple[Sheet, ...]:
    """Sheets of the workbook: descriptors, the runs' tables, flags, edits, hashes."""
    number = document_number(data, told, history)
    about = [*asdict(told).items(), ("document number", number), ("layerscope", __version__)]
    sheets = [
        Sheet("about", ("what", "value"), about),
        Sheet("descriptors", _DESCRIPTOR_COLUMNS, [_cells(d) for d in describe(data)]),
        *(_phases_sheet(run) for run in data.runs if run.kind == "phases"),
        *(_table_sheet(run, name) for run in data.runs for name in run.tables),
        Sheet("flags", ("image or input", "kind", "what"), list(flag_rows(data))),
        Sheet("hashes", ("what", "name", "sha256"), _hash_rows(data)),
    ]
    if history is not None:
        rows = [(r.when, r.who, r.image, r.sha256, r.what, _counts(r.before), _counts(r.after))
                for r in history.rows]  # fmt: skip
        columns = ("when", "who", "image", "sha256", "what", "pixels before", "pixels after")
        sheets.append(Sheet("edits", columns, rows))
    return tuple(sheets)


_DESCRIPTOR_COLUMNS = (
    "property", "descriptor", "value", "low 95 %", "high 95 %", "unit", "n", "n counts",
    "interval, or why none", "definition", "why it matters", "source",
)  # fmt: skip


def _cells(d: Descriptor) -> tuple[Cell, ...]:
    q = d.quantity
    return (
        q.group, q.label, d.value, d.low, d.high, d.unit or "1", d.n, d.of, d.how, q.definition,
        q.relevance, d.source,
    )  # fmt: skip


def _phases_sheet(run: RunFolder) -> Sheet:
    columns = ("class", "images", "mean share", "low 95 %", "high 95 %", "interval, or why none")
    rows = [(name, n, *estimate) for name, n, estimate in class_shares(run)]
    return Sheet("phases", columns, rows)


def _table_sheet(run: RunFolder, name: str) -> Sheet:
    title = run.kind if name == run.kind else f"{run.kind} {name}"
    title = f"{title} answers" if title == "categories" else title
    table = run.tables[name]
    return Sheet(title, tuple(map(str, table.columns)), _rows(table))


def _rows(table: pd.DataFrame) -> list[tuple[Cell, ...]]:
    columns = [_column(table[name]) for name in table.columns]
    return list(zip(*columns, strict=True)) if columns else []


def _column(values: pd.Series[Any]) -> list[Cell]:
    missing = values.isna().tolist()
    return [None if gone else v for v, gone in zip(values.tolist(), missing, strict=True)]


def _hash_rows(data: ImageSet) -> list[tuple[Cell, ...]]:
    images = [("image", i.name, i.sha256 or "in memory, no file") for i in data.images]
    files = [(run.name, name, sha) for run in data.runs for name, sha in run.hashes]
    return [*images, *files]


def _counts(pixels: Any) -> str:
    return "; ".join(f"{name} {n}" for name, n in pixels.items())


def _as_json(data: ImageSet, told: Particulars, history: EditHistory | None) -> bytes:
    """Return the same as JSON: figures with their ends, definitions, flags and hashes."""
    document = {
        "document": document_number(data, told, history),
        "version": __version__,
        "particulars": asdict(told),
        "runs": [
            {"kind": run.kind, "folder": run.path.name, "files": dict(run.hashes),
             "parameters": run.parameters}
            for run in data.runs
        ],
        "images": [
            {"name": i.name, "sha256": i.sha256, "pixel_size_nm": i.pixel_size_nm,
             "pixel_size_source": i.scale_source, "doubts": list(i.doubts), "notes": list(i.notes)}
            for i in data.images
        ],
        "descriptors": [
            {"property": d.quantity.group, "key": d.quantity.key, "value": d.value, "low": d.low,
             "high": d.high, "unit": d.unit, "n": d.n, "of": d.of, "interval": d.how,
             "definition": d.quantity.definition, "relevance": d.quantity.relevance,
             "source": d.source}
            for d in describe(data)
        ],
        "flags": [{"of": of, "kind": kind, "what": what} for of, kind, what in flag_rows(data)],
        "edits": None if history is None else {"chain": history.chain, "edits": len(history.rows)},
    }  # fmt: skip
    text = json.dumps(plain(document), indent=1, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def summary_lines(found: Sequence[Descriptor]) -> list[str]:
    """Return the main figures for a terminal."""
    shown = ("count", "lateral_size_median", "lateral_aspect_median", "share_thin", "with_folds",
             "aggregated_share")  # fmt: skip
    return [f"{d.quantity.label}: {d.text} {d.unit}".rstrip() for d in found
            if d.quantity.key in shown]  # fmt: skip
