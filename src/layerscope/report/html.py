"""The report as one HTML file that needs nothing else: no script, no request, no font."""

from __future__ import annotations

import base64
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscope.core.micrograph import Micrograph
from layerscope.core.run import RunResult
from layerscope.core.scan import ScanResult
from layerscope.io.atomic import write_bytes
from layerscope.report.columns import answers, figures_of, numbers, percent, words
from layerscope.report.figures import to_png, to_svg
from layerscope.report.pictures import encode_jpeg
from layerscope.report.values import Photo, Plot, Section, Skipped

if TYPE_CHECKING:
    from jinja2 import Environment


def render_html(
    run: RunResult,
    path: str | os.PathLike[str],
    *,
    micrographs: Mapping[str, Micrograph] | None = None,
    sections: Sequence[Section | Skipped] | None = None,
) -> None:
    """Write the report of `run` as one self-contained HTML file.

    Parameters
    ----------
    run : RunResult
    path : path
        The file to write.
    micrographs : mapping of str to Micrograph, optional
        Images in memory, by name; others are read again from their path.
    sections : sequence of Section or Skipped, optional
        From `build_sections`, to draw once for HTML and PDF.

    Notes
    -----
    The same run gives the same bytes. Everything that came from outside is escaped.
    """
    from layerscope.report.build import build_sections

    parts = build_sections(run, micrographs) if sections is None else sections
    write_bytes(Path(path), report_html(run, parts).encode())


def report_html(run: RunResult, sections: Sequence[Section | Skipped]) -> str:
    """Return the report as HTML text."""
    return page_html(report_title(run), sections, version=str(run.provenance.get("version", "")))


def page_html(title: str, sections: Sequence[Section | Skipped], *, version: str) -> str:
    """Return `sections` under a title as one HTML page."""
    shown = [part for part in sections if isinstance(part, Section)]
    skipped = [part for part in sections if isinstance(part, Skipped)]
    template = _environment().get_template("report.html.j2")
    return template.render(title=title, sections=shown, skipped=skipped, version=version)


def report_title(run: RunResult | ScanResult) -> str:
    """Material and substrate, where known."""
    fit = run.calibration
    material = fit.material if fit else run.parameters.get("material")
    substrate = fit.substrate if fit else run.parameters.get("substrate")
    if not material:
        return "Flakes"
    return f"{material} on {substrate}" if substrate else str(material)


def html_repr(run: RunResult, *, rows: int = 5) -> str:
    """Small HTML of a run for a notebook: warnings, counts and the best `rows` flakes."""
    from layerscope.report.ranking import rank_flakes
    from layerscope.report.sections import summary

    best = rank_flakes(run.objects).head(rows)
    cells = zip(answers(best), numbers(best, "layers_probability"), numbers(best, "area_um2"),
                numbers(best, "area_px"), words(best, "image"), words(best, "region_id"),
                strict=True)  # fmt: skip
    flakes = [
        (image, region, answer, percent(p) if answer != "unknown" else "–",
         f"{figures_of(um2)} µm²" if um2 == um2 else f"{figures_of(px)} px")
        for answer, p, um2, px, image, region in cells
    ]  # fmt: skip
    part = summary(run, None)
    template = _environment().get_template("notebook.html.j2")
    return template.render(title=report_title(run), part=part, flakes=flakes)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("layerscope.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"photo_uri": _photo_uri, "plot_uri": _plot_uri, "anchor": _anchor}
    return environment


def _photo_uri(photo: Photo) -> str:
    return _data_uri("image/jpeg", encode_jpeg(photo.pixels))


def _plot_uri(plot: Plot) -> str:
    if plot.dense:
        return _data_uri("image/png", to_png(plot.figure, dpi=190))
    return _data_uri("image/svg+xml", to_svg(plot.figure))


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _anchor(title: Any) -> str:
    return "".join(c if c.isalnum() else "-" for c in str(title).lower())
