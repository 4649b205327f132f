"""Sections of the coverage report: numbers, then images, the doubtful first, then the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from layerscope.core.coverage import CoverageRun, Terrace
from layerscope.core.results import FloatArray
from layerscope.report import figures
from layerscope.report.columns import figures_of, numbers, percent_text, value_text, words
from layerscope.report.coverage_figures import angle_histogram, coverage_dots, value_histogram
from layerscope.report.coverage_glance import Glance
from layerscope.report.gallery import doubt_banners
from layerscope.report.record_tables import failed_inputs, hash_table, value_tables
from layerscope.report.scan_numbers import median_bounds
from layerscope.report.scan_text import counted
from layerscope.report.values import Banner, Photo, Plot, Section, Skipped, Table

if TYPE_CHECKING:
    from layerscope.tasks.growth import GrowthStudy


def coverage_sections(
    run: CoverageRun,
    glances: Sequence[Glance],
    history: Mapping[str, Sequence[str]],
    study: GrowthStudy | None = None,
) -> tuple[Section | Skipped, ...]:
    """Every section of the report.

    Parameters
    ----------
    run : CoverageRun
    glances : sequence of Glance
        Images to show, in the order of the gallery.
    history : mapping of str to sequence of str
        By name of the image, what was done to it, in words.
    study : GrowthStudy, optional
        Adds the sections of `growth_sections`.
    """
    return (
        summary(run),
        per_image(run),
        images(run),
        domains(run),
        *_growth(study),
        *(shown(glance) for glance in glances),
        treatment(run, history),
        failed_inputs(run.failures),
        record(run),
    )


def _growth(study: GrowthStudy | None) -> Sequence[Section]:
    if study is None:
        return ()
    from layerscope.report.growth_sections import growth_sections

    return growth_sections(study)


def coverage_title(run: CoverageRun) -> str:
    """Title of the report."""
    material = run.parameters.get("material")
    return f"Coverage of {material}" if material else "Coverage"


def summary(run: CoverageRun) -> Section:
    """How many images, how much they are covered, how many need a look."""
    coverage, doubtful = _told(run), _doubtful(run)
    n, failed = len(run.images), len(run.failures)
    tiles = [(str(n), "image" if n == 1 else "images")]
    if failed:
        tiles.append((str(failed), "failed"))
    if np.isfinite(coverage).any():
        median = f"{100 * np.nanmedian(coverage):.1f} %"
        tiles.append((median, "coverage" if n == 1 else "median coverage"))
    tiles.append((str(doubtful), "doubtful"))
    banners = (_doubt_banner(doubtful, n),) if doubtful else ()
    return Section("Summary", (summary_sentence(run),), banners=banners, tiles=tuple(tiles))


def _told(run: CoverageRun) -> FloatArray:
    """Coverage of each image; NaN also where the interval is everything, from bare to covered."""
    coverage, low, high = _columns(run, "coverage", "coverage_low", "coverage_high")
    return np.where((low <= 0) & (high >= 1), np.nan, coverage)


def _doubtful(run: CoverageRun) -> int:
    return sum(map(bool, words(run.images, "doubts")))


def _doubt_banner(doubtful: int, n: int) -> Banner:
    title = f"{doubtful} of {counted(n, 'image')} {'is' if doubtful == 1 else 'are'} doubtful"
    return Banner(
        "warning",
        title,
        "The method itself says that it may be wrong there. Look at these images, which come first "
        "below, before using their numbers.",
    )


def summary_sentence(run: CoverageRun) -> str:
    """One paragraph with all that matters; the same for a terminal."""
    n, failed = len(run.images), len(run.failures)
    if not n:
        return f"No image was analysed; {counted(failed, 'input')} failed."
    text = f"{counted(n, 'image')} analysed, {failed or 'none'} failed. "
    values = _told(run)
    known = np.isfinite(values)
    if not known.any():
        return (
            text + ("Its coverage cannot" if n == 1 else "The coverage of none can") + " be told."
        )
    if not known.all():
        text += f"That of {counted(int((~known).sum()), 'image')} cannot be told. "
    if n == 1:
        low, high = (numbers(run.images, f"coverage_{end}")[0] for end in ("low", "high"))
        return f"{text}Coverage {percent_text(values[0], low, high)} (95 % interval)."
    middle, low, high = median_bounds(values)
    between = f"[{100 * low:.1f}–{100 * high:.1f}]" if np.isfinite(low) else ""
    why = "" if between else " (no interval: fewer than six images)"
    least, most = 100 * np.nanmin(values), 100 * np.nanmax(values)
    text += f"Median coverage {100 * middle:.1f} % {between}".rstrip()
    return (
        f"{text}{why}, from {least:.1f} to {most:.1f} % over {counted(int(known.sum()), 'image')}; "
        "the images differ by their samples as well as by error."
    )


def per_image(run: CoverageRun) -> Section | Skipped:
    """Dot and interval of every image."""
    title = "Coverage of each image"
    if not len(run.images):
        return Skipped(title, "No image was analysed.")
    if len(run.images) == 1:
        return Skipped(title, "There is one image, and its coverage is above.")
    doubts = np.array([bool(d) for d in words(run.images, "doubts")])
    coverage, low, high = _columns(run, "coverage", "coverage_low", "coverage_high")
    figure = coverage_dots(words(run.images, "image"), coverage, low, high, doubts)
    caption = (
        f"Coverage with its 95 % interval, n = {len(doubts)}, in the order of names. Open "
        "diamonds: the method doubts its own answer."
    )
    return Section(title, plots=(Plot(figure, caption, wide=True),))


def _columns(run: CoverageRun, *names: str) -> list[FloatArray]:
    return [numbers(run.images, name) for name in names]


def images(run: CoverageRun) -> Section | Skipped:
    """Table of all images."""
    title = "Images"
    table = run.images
    if not len(table):
        return Skipped(title, "No image was analysed.")
    ends = _columns(run, "coverage", "coverage_low", "coverage_high")
    steps = _columns(run, "step_nm", "step_low_nm", "step_high_nm")
    layers = [figures_of(v, 1) for v in numbers(table, "layers_max")]
    rows = tuple(
        zip(
            words(table, "image"),
            [percent_text(*row) for row in zip(*ends, strict=True)],
            layers,
            [value_text(*row) for row in zip(*steps, strict=True)],
            words(table, "method"),
            [text or "–" for text in words(table, "by_method")],
            [text or "none" for text in words(table, "doubts")],
            strict=True,
        )
    )
    columns = ("image", "coverage [95 %]", "layers", "step, nm [95 %]", "answer of",
               "every method", "doubts")  # fmt: skip
    caption = (
        "Layers: the most that were seen; it is a count and has no interval. Step: height of one "
        "layer, – where it was not measured. What other methods say has no interval here: it only "
        "checks the answer."
    )
    return Section(
        title,
        tables=(Table(columns, rows, caption, numeric=(1, 2, 3),
                      widths=(2.3, 2.4, 1.0, 2.6, 1.4, 1.9, 3.6)),),
    )  # fmt: skip


def domains(run: CoverageRun) -> Section | Skipped:
    """Sizes of the film's domains over all images."""
    title = "Domains"
    if not len(run.domains):
        return Skipped(title, "No domains were measured.")
    area, unit = numbers(run.domains, "area_um2"), "µm²"
    if not np.isfinite(area).any():
        area, unit = numbers(run.domains, "area_px"), "px"
    usable = area[np.isfinite(area) & (area > 0)]
    if not len(usable):
        return Skipped(title, "The table of domains holds no area.")
    n, (middle, low, high) = len(usable), median_bounds(usable)
    figure = figures.histogram(usable, title=f"Area, n = {n}", label=f"area of a domain ({unit})")
    figure.axes[0].set_ylabel("domains")
    ends = f"[{figures_of(low)}–{figures_of(high)}]" if np.isfinite(low) else "(no interval: n < 6)"
    text = (
        f"{counted(n, 'domain')} on {counted(len(set(words(run.domains, 'image'))), 'image')}; "
        f"median area {figures_of(middle)} {unit} {ends}. All images count together."
    )
    plots = (Plot(figure, f"Domains by area in {unit}, n = {n}."), *_orientation(run))
    return Section(title, (text,), plots=plots)


def _orientation(run: CoverageRun) -> tuple[Plot, ...]:
    """How the crystals lie: grown in register with the substrate, they share one direction."""
    name = "facet_direction_mod60_deg"
    angle = numbers(run.domains, name) if name in run.domains else np.zeros(0)
    angle = angle[np.isfinite(angle)]
    if not len(angle):
        return ()
    figure = angle_histogram(angle)
    return (Plot(figure, "Straight edges of the domains, against the rows of the scan."),)


def shown(glance: Glance) -> Section:
    """One image: what it looks like, where the film is, how its values are spread."""
    return Section(
        f"{glance.name}: {glance.coverage}",
        () if glance.histogram else ("No pixel has a value.",),
        banners=doubt_banners(glance.doubts),
        plots=_histogram(glance),
        photos=(
            Photo(glance.plain, _plain_caption(glance)),
            Photo(glance.outlined, _film_caption(glance)),
        ),
        tables=(_terrace_table(glance.terraces),) if glance.terraces else (),
    )


def _film_caption(glance: Glance) -> str:
    return "Outline of the film" + (", coloured by layers." if glance.terraces else ".")


def _plain_caption(glance: Glance) -> str:
    what = "Grey" if glance.unit == "intensity" else f"Levelled values in {glance.unit}"
    zero = "; 0 is the median of the substrate" if glance.unit == "nm" else ""
    return f"{what}; colours span the middle 99 % of the values{zero}."


def _histogram(glance: Glance) -> tuple[Plot, ...]:
    if glance.histogram is None:
        return ()
    others = [f"{n} {100 * v:.1f} %" for n, v in glance.by_method.items() if n != glance.method]
    check = f" (as a check, without interval: {', '.join(others)})" if others else ""
    caption = f"Answer of {glance.method}{check}, with its 95 % interval above. "
    caption += "Values of all counted pixels by class (the middle 99.8 %)."
    if glance.histogram.levels:
        caption += (
            " Lines: levels with 95 % intervals. They are measured across the rims, so a hump may "
            "stand beside its line where levelling left a slope."
        )
    elif glance.histogram.threshold is None:
        caption += " The film was drawn along its rims; there is no single threshold."
    return (Plot(value_histogram(glance.histogram), caption, wide=True),)


def _terrace_table(terraces: Sequence[Terrace]) -> Table:
    rows = tuple(
        (
            "substrate" if t.n_layers == 0 else str(t.n_layers),
            "0 by definition" if t.n_layers == 0
            else value_text(t.height_nm, t.height_low_nm, t.height_high_nm),
            f"{100 * t.fraction:.2f} %",
        )
        for t in terraces
    )  # fmt: skip
    caption = "Levels. Shares of single levels have no interval; that of the whole film is above."
    return Table(("layers", "height, nm [95 %]", "share of the area"), rows, caption,
                 numeric=(1, 2))  # fmt: skip


def treatment(run: CoverageRun, history: Mapping[str, Sequence[str]]) -> Section | Skipped:
    """Say what was done to each image before it was covered."""
    title = "What was done to each image"
    if not len(run.images):
        return Skipped(title, "No image was analysed.")
    rows = tuple(
        (name, ". ".join(history.get(name, ())) or "nothing: used as it is", notes or "–")
        for name, notes in zip(words(run.images, "image"), words(run.images, "notes"), strict=True)
    )
    return Section(
        title, tables=(Table(("image", "steps, in their order", "notes"), rows, widths=(2, 5, 3)),)
    )


def record(run: CoverageRun) -> Section:
    """Parameters, versions and hashes: what is needed to repeat the run."""
    inputs = zip(words(run.images, "image"), words(run.images, "sha256"), strict=True)
    tables = (*value_tables(run.parameters, run.provenance), *hash_table(tuple(inputs)))
    return Section("Parameters, versions, hashes", tables=tables)
