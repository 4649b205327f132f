"""Tables that end every report: what failed, parameters, versions, hashes, columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from layerscope.core.columns import Column
from layerscope.core.run import Failure, TaskRun
from layerscope.report.columns import words
from layerscope.report.values import Section, Skipped, Table

_MOST_LISTED = 40


def failed_inputs(failures: Sequence[Failure]) -> Section | Skipped:
    """List what could not be analysed, and why."""
    title = "Failed inputs"
    if not failures:
        return Skipped(title, "Every input could be analysed.")
    rows = tuple((failure.path or "in memory", failure.reason) for failure in failures)
    return Section(title, tables=(Table(("input", "reason"), rows, code=(0,), widths=(2, 3)),))


def value_tables(parameters: Mapping[str, Any], provenance: Mapping[str, Any]) -> list[Table]:
    """Name and value of what was asked for and of what it was done with."""
    return [
        Table(("name", "value"), rows, caption, widths=(2, 5))
        for caption, values in (("Parameters", parameters), ("Provenance", provenance))
        if (rows := tuple(flat_rows(values)))
    ]


def flat_rows(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of a nested mapping as text, one row each."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat_rows(value, f"{prefix}{name} · ")
        elif isinstance(value, (list, tuple)) and any(isinstance(v, Mapping) for v in value):
            yield from flat_rows({f"{name} {i}": v for i, v in enumerate(value, 1)}, prefix)
        elif isinstance(value, (list, tuple)):
            shown = [str(v) for v in value[:_MOST_LISTED]]
            shown += [f"and {len(value) - _MOST_LISTED} more"] * (len(value) > _MOST_LISTED)
            yield f"{prefix}{name}", ", ".join(shown) or "none"
        else:
            yield f"{prefix}{name}", "not given" if value is None else str(value)


def hash_table(inputs: Sequence[tuple[str, str]]) -> list[Table]:
    """Name and SHA-256 of every input, if there are any."""
    rows = tuple((name, sha256 or "in memory, no file") for name, sha256 in inputs)
    return [Table(("image", "SHA-256"), rows, "Inputs", code=(1,), widths=(2, 5))] if rows else []


def task_record(run: TaskRun, provenance: Mapping[str, Any] | None = None) -> Section:
    """Parameters, versions, notes and hashes: what is needed to repeat the run.

    Parameters
    ----------
    run : TaskRun
    provenance : mapping, optional
        What to show of the run's; default all of it.
    """
    tables = value_tables(run.parameters, run.provenance if provenance is None else provenance)
    names, notes = words(run.images, "image"), words(run.images, "notes")
    noted = tuple((name, text) for name, text in zip(names, notes, strict=True) if text)
    if noted:
        tables.append(Table(("image", "notes"), noted, "Notes", widths=(2, 5)))
    tables += hash_table(tuple(zip(names, words(run.images, "sha256"), strict=True)))
    return Section("Parameters, versions, hashes", tables=tuple(tables))


def closing(run: TaskRun, name: str, columns: Sequence[Column]) -> tuple[Section | Skipped, ...]:
    """Sections that end a report: what failed, the record, and the columns of the table `name`."""
    return failed_inputs(run.failures), task_record(run), column_list(name, columns)


def column_list(name: str, columns: Sequence[Column]) -> Section:
    """Every column of the table `name`."""
    rows = tuple((c.name, c.unit, c.meaning) for c in columns)
    table = Table(("column", "unit", "meaning"), rows, code=(0,), widths=(2, 0.6, 4), folded=True,
                  printed=0)  # fmt: skip
    return Section(f"Columns of {name}.csv", tables=(table,))
