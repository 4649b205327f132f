"""What a study leaves on disk."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscope.experiments.figure import draw_finding
from layerscope.experiments.study import Finding
from layerscope.experiments.summary import comparison_table, mean_table, reading, trial_table
from layerscope.io.atomic import write_bytes
from layerscope.io.tables import write_table
from layerscope.report.figures import to_png, to_svg

if TYPE_CHECKING:
    import pandas as pd

FILES = (
    "trials.csv", "means.csv", "comparisons.csv", "result.json", "plot.png", "plot.svg",
    "reading.txt",
)  # fmt: skip


def write_finding(finding: Finding, folder: Path) -> str:
    """Write `FILES`, and tables of published figures, into `folder`; same finding, same bytes.

    Returns
    -------
    str
        The reading, as in ``reading.txt``.
    """
    means, compared = mean_table(finding), comparison_table(finding)
    text = reading(finding, means, compared)
    beside = finding.study.beside
    tables = {"trials": trial_table(finding), "means": means, "comparisons": compared}
    tables |= beside.tables(finding) if beside else {}
    for name, table in tables.items():
        write_table(table, folder / f"{name}.csv")
    result: dict[str, Any] = {
        "study": finding.study.name,
        "question": finding.study.question,
        "seeds": len(finding.trials),
        "seeds_wanted": finding.wanted,
        "plan": finding.plan,
        **{name: _records(table) for name, table in tables.items()},
        "reading": text,
    }
    content = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(folder / "result.json", (content + "\n").encode())
    figure = beside.draw(finding) if beside else draw_finding(finding)
    write_bytes(folder / "plot.png", to_png(figure))
    write_bytes(folder / "plot.svg", to_svg(figure))
    write_bytes(folder / "reading.txt", text.encode())
    return text


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain values; what is not known is null."""
    return [
        {str(k): None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
        for row in table.to_dict("records")
    ]
