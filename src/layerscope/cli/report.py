"""`layerscope report`: run folders of one set of images joined into a document."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerscope.cli.options import OK, SOME_FAILED
from layerscope.errors import UnreadableFile

if TYPE_CHECKING:
    from layerscope.report.assessment_record import EditHistory

_LOG = "edits.jsonl"


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of runs: phases, particles, categories.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the report.")],
    sample: Annotated[str, typer.Option(help="What the images are of.")] = "",
    laboratory: Annotated[str, typer.Option(help="Who made the document.")] = "",
    operator: Annotated[str, typer.Option(help="Who recorded the images.")] = "",
    reference: Annotated[str, typer.Option(help="Number of the order, the dossier ...")] = "",
    date: Annotated[str, typer.Option(help="As it shall stand there; no clock is read.")] = "",
    edits: Annotated[
        Path | None, typer.Option(help="Labelling project or its edits.jsonl: who changed what.")
    ] = None,
) -> None:
    """Join runs of one set of images into a report for risk assessment: PDF, HTML, xlsx, JSON."""
    from layerscope.report.assessment import summary_lines, write_assessment
    from layerscope.report.assessment_descriptors import describe
    from layerscope.report.assessment_record import flag_rows
    from layerscope.report.assessment_runs import read_runs
    from layerscope.report.assessment_sections import Particulars
    from layerscope.report.scan_text import counted

    data = read_runs(runs)
    told = Particulars(sample, laboratory, operator, reference, date)
    write_assessment(data, out, told, None if edits is None else _history(edits))
    typer.echo(f"{counted(len(data.images), 'image')} in {counted(len(data.runs), 'run')}")
    for line in summary_lines(describe(data)):
        typer.echo(f"  {line}")
    severe = [row for row in flag_rows(data) if row[1] != "note"]
    typer.echo(f"{len(severe)} quality flags; report.pdf, .html, .xlsx and .json in {out}/")
    raise typer.Exit(SOME_FAILED if any(run.failures for run in data.runs) else OK)


def _history(path: Path) -> EditHistory:
    """Edits of a log whose chain is whole."""
    from layerscope.labelling.edits import EditLog
    from layerscope.report.assessment_record import EditHistory, EditRow

    file = path / _LOG if path.is_dir() else path
    if not file.is_file():
        raise UnreadableFile(f"{file}: no edit log; expected a labelling project or edits.jsonl")
    log = EditLog(file)
    rows = tuple(
        EditRow(e.when, e.who, e.image, e.sha256, e.what, dict(e.before), dict(e.after))
        for e in log.edits
    )
    return EditHistory(file.name, log.chain, rows, log.notes)


COMMANDS = (report,)
"""Commands of this module."""
