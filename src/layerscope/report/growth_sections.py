"""A growth study in the report of a coverage run, and as files beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from layerscope.io.atomic import write_bytes
from layerscope.io.tables import write_table
from layerscope.report.figures import to_png
from layerscope.report.growth_figures import axis_label, correlation_chart, growth_trends
from layerscope.report.run_files import FileStems, make_folder
from layerscope.report.values import Banner, Plot, Section, Table
from layerscope.tasks.growth import GrowthStudy


def growth_sections(study: GrowthStudy) -> tuple[Section, ...]:
    """Trends over every condition, then the samples.

    Parameters
    ----------
    study : GrowthStudy
    """
    return _trends(study), _samples(study)


def write_growth(study: GrowthStudy, folder: Path) -> None:
    """Write ``images.csv``, ``samples.csv``, ``trends.csv`` and a picture per condition.

    Raises
    ------
    CannotWrite
        If the disk refuses.
    """
    make_folder(folder)
    for name, table in (
        ("images", study.images), ("samples", study.samples), ("trends", study.trends)
    ):  # fmt: skip
        write_table(table, folder / f"{name}.csv")
    stems = FileStems()
    for condition in study.conditions:
        png = to_png(growth_trends(study, condition))
        write_bytes(folder / f"{stems.of(condition)}.png", png)
    if _has_trends(study):
        write_bytes(
            folder / f"{stems.of('rank_correlations')}.png", to_png(correlation_chart(study))
        )


def _has_trends(study: GrowthStudy) -> bool:
    return bool(study.trends["rank_correlation"].notna().any())


def _trends(study: GrowthStudy) -> Section:
    n_samples, n_images = study.samples["sample"].nunique(), len(study.images)
    caption = (
        f"{n_samples} samples of {n_images} images. A sample is the mean of its images with a "
        "95 % t interval; images behind it. Rank correlation: Spearman, 95 % interval; the line, "
        "of Theil and Sen, is drawn where the interval leaves out zero."
    )
    plots = [
        Plot(growth_trends(study, condition), caption if i == 0 else "", wide=True)
        for i, condition in enumerate(study.conditions)
    ]
    if _has_trends(study):
        plots.append(Plot(correlation_chart(study), "Rank correlations with 95 % intervals.", True))
    banners = tuple(Banner("note", "Read with care", note) for note in study.notes)
    return Section("Growth", banners=banners, plots=tuple(plots))


def _samples(study: GrowthStudy) -> Section:
    rows = tuple(
        (
            str(row["sample"]),
            axis_label(str(row["quantity"])),
            str(row["n_images"]),
            _figure(float(row["value"]), float(row["low"]), float(row["high"])),
            str(row["off_trend"]).replace("|", ", ") or "–",
        )
        for row in study.samples.to_dict("records")
    )
    columns = ("sample", "quantity", "images", "mean [95 %]", "off the trend of")
    return Section("Samples", tables=(Table(columns, rows, numeric=(2,)),))


def _figure(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return "–"
    between = f" [{low:.3g} to {high:.3g}]" if np.isfinite(low) else ""
    return f"{value:.3g}{between}"
