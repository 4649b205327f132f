"""Sections of the report of a particles run: numbers, sizes, images, how it was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from layerscope.core.particles import ParticleRun
from layerscope.measure.number_density import BORDER
from layerscope.measure.particles import particle_columns
from layerscope.report.columns import figures_of, numbers, value_text, words
from layerscope.report.gallery import Glance, shown
from layerscope.report.objects import (
    flag_words,
    folded_table,
    largest_first,
    look_banners,
    sizes_of,
)
from layerscope.report.particles_figures import (
    shape_figure,
    size_distribution_figure,
    thickness_figure,
)
from layerscope.report.record_tables import closing
from layerscope.report.scan_text import counted
from layerscope.report.values import Banner, Plot, Section, Skipped, Table

_UNITS = {"um": "µm", "um2": "µm²", "1/um2": "1/µm²", "px": "px", "1/px2": "1/px²", "px2": "px²"}
_NAMES = {
    "count_expected": "particles that there are, expected",
    "lateral_size_median": "lateral size, median",
    "lateral_size_lower_quartile": "lateral size, lower quartile",
    "lateral_size_upper_quartile": "lateral size, upper quartile",
    "lateral_size_iqr": "lateral size, interquartile range",
    "lateral_size_mean": "lateral size, mean",
    "lognormal_mu": "log-normal µ",
    "lognormal_sigma": "log-normal σ",
    "lognormal_median": "log-normal median",
    "lognormal_p": "log-normal, p-value",
}
_FEW = 300


def particle_sections(run: ParticleRun, glances: Sequence[Glance]) -> tuple[Section | Skipped, ...]:
    """Every section of the report.

    Parameters
    ----------
    run : ParticleRun
    glances : sequence of Glance
        Images to show, in the order of the gallery.
    """
    return (
        summary(run),
        sizes(run),
        thickness_and_shape(run),
        figures(run),
        *(shown(glance, "Particles") for glance in glances),
        largest(run),
        method(run),
        *closing(run, "particles", particle_columns()),
    )


def headline(run: ParticleRun) -> dict[str, tuple[float, float, float, str]]:
    """Figures of the whole run by quantity: value, ends of the interval, unit."""
    names = words(run.population, "image")
    whole = "all" if "all" in names else (names[0] if names else "")
    rows = run.population[run.population["image"] == whole].to_dict("records")
    return {r["quantity"]: (r["value"], r["low"], r["high"], r["unit"]) for r in rows}


def summary(run: ParticleRun) -> Section:
    """How many particles of what size, and what needs a look."""
    n, of = len(run.images), headline(run)
    tiles = [
        (str(n), "image" if n == 1 else "images"), (str(len(run.particles)), "particles")
    ]  # fmt: skip
    for quantity, name in (
        ("lateral_size_median", "median lateral size"),
        ("lateral_size_iqr", "interquartile range"),
        ("density", "density"),
    ):
        value, *_, unit = of.get(quantity, (np.nan, np.nan, np.nan, ""))
        if np.isfinite(value):
            tiles.append((f"{figures_of(value)} {_UNITS.get(unit, unit)}", name))
    for quantity in ("coverage", "porosity"):
        value = of.get(quantity, (np.nan,))[0]
        if np.isfinite(value) and (quantity == "coverage" or value > 0):
            name = "of the support is holes" if quantity == "porosity" else "covered"
            tiles.append((f"{100 * value:.1f} %", name))
    cut = int(run.particles["touches_border"].sum())
    text = (
        f"{counted(len(run.particles), 'particle')} on {counted(n, 'image')}, {cut} of them cut by "
        f"the border; {len(run.failures) or 'no'} failed "
        f"{'input' if len(run.failures) == 1 else 'inputs'}. A hole of the support is never a "
        "particle, and a particle over a hole keeps its whole area."
        if n else f"No image was measured; {counted(len(run.failures), 'input')} failed."
    )  # fmt: skip
    return Section("Summary", (text,), banners=_banners(run), tiles=tuple(tiles))


def _banners(run: ParticleRun) -> tuple[Banner, ...]:
    banners = look_banners(run.images, "sizes in px only. Give one: --pixel-size 0.52nm.")
    n = len(run.particles)
    if not 0 < n < _FEW:
        return banners
    text = (
        "The interval of the median says how far these decide; image more fields for a narrower "
        "one."
    )
    return (*banners, Banner("note", f"{n} particles", text))


def sizes(run: ParticleRun) -> Section | Skipped:
    """Distribution of the lateral size with the log-normal through it."""
    title = "Lateral size"
    weights = numbers(run.particles, "border_weight")
    if not (weights > 0).any():
        return Skipped(title, "No particle lies wholly inside of an image.")
    values, unit, _ = sizes_of(run.particles, "lateral_size")
    of = headline(run)
    figure = size_distribution_figure(
        values, weights, of["lognormal_mu"][0], of["lognormal_sigma"][0], unit=unit
    )
    caption = (
        f"n = {np.count_nonzero(weights)} whole particles, weighted for those that the border "
        "cuts; ticks are single particles. Lateral size: mean of the longest extent and the width "
        "across it."
    )
    return Section(title, _size_lines(run), plots=(Plot(figure, caption, wide=True),))


def _size_lines(run: ParticleRun) -> tuple[str, ...]:
    of = headline(run)
    unit = _UNITS.get(of["lateral_size_median"][3], "")
    median, low, high = (
        of[f"lateral_size_{q}"] for q in ("median", "lower_quartile", "upper_quartile")
    )
    lines = [
        f"Median {value_text(*median[:3])} {unit}; half of the particles lie between "
        f"{figures_of(low[0])} and {figures_of(high[0])} {unit}."
    ]
    p = of["lognormal_p"][0]
    if np.isfinite(p):
        fits = "agree with" if p >= 0.05 else "do not follow"
        lines.append(f"The sizes {fits} a log-normal (Shapiro and Wilk, p = {p:.2g}).")
    return tuple(lines)


def thickness_and_shape(run: ParticleRun) -> Section | Skipped:
    """Thickness classes and shapes, side by side."""
    title = "Thickness and shape"
    if not len(run.particles):
        return Skipped(title, "There is no particle.")
    names = words(run.particles, "thickness_class")
    aspect, solid = numbers(run.particles, "lateral_aspect"), numbers(run.particles, "solidity")
    plots = (
        Plot(thickness_figure(names), f"n = {len(names)}, with 95 % intervals (Wilson)."),
        Plot(shape_figure(aspect, solid), "Solidity: area over that of the convex hull."),
    )
    told = run.parameters
    text = (
        "Thickness is told from the beam that passes, against vacuum over a hole and against the "
        f"support elsewhere: thin below {told.get('thin_below')} mean free paths, medium below "
        f"{told.get('medium_below')}, thick above; unknown where the 95 % interval lies in more "
        "than one class, or the particle is no darker than what is behind it. The signal is taken "
        "as proportional to the beam."
    )
    return Section(title, (text,), plots=plots)


def figures(run: ParticleRun) -> Section | Skipped:
    """Table of all figures of the run with their intervals, and one of the images."""
    title = "Figures"
    if not len(run.population):
        return Skipped(title, "No image was measured.")
    names = list(dict.fromkeys(words(run.population, "image")))
    whole = _figures_of(run, "all" if "all" in names else names[0])
    return Section(title, tables=(whole, _by_image(run)) if len(names) > 1 else (whole,))


def _figures_of(run: ParticleRun, name: str) -> Table:
    part = run.population[run.population["image"] == name].to_dict("records")
    rows = tuple(
        (
            _NAMES.get(r["quantity"], r["quantity"].replace("_", " ")),
            _figure_text(r["quantity"], r["value"], r["low"], r["high"]),
            _UNITS.get(r["unit"], r["unit"].replace("um", "µm")),
            r["interval"],
        )
        for r in part
    )
    caption = "All images together." if name == "all" else name
    columns = ("quantity", "value [95 %]", "unit", "interval")
    return Table(columns, rows, caption, numeric=(1,), widths=(2.2, 1.8, 0.7, 3))


def _figure_text(quantity: str, value: float, low: float, high: float) -> str:
    if quantity in ("count", "count_at_border"):
        return f"{value:.0f}"
    return value_text(value, low, high)


def _by_image(run: ParticleRun) -> Table:
    shown_of = ("count", "lateral_size_median", "density", "coverage", "porosity")
    rows = []
    for name in dict.fromkeys(words(run.images, "image")):
        part = run.population[run.population["image"] == name].to_dict("records")
        of = {r["quantity"]: r for r in part}
        cells = [
            _figure_text(q, of[q]["value"], of[q]["low"], of[q]["high"]) for q in shown_of
        ]  # fmt: skip
        unit = _UNITS.get(of["lateral_size_median"]["unit"], "")
        rows.append((name, *cells, unit))
    columns = ("image", "n", "median size", "density", "coverage", "porosity", "unit")
    caption = "Image by image [95 %]; every figure of each is in population.csv."
    widths = (1.6, 0.6, 2, 2, 2, 2, 0.7)
    return Table(columns, tuple(rows), caption, numeric=(1, 2, 3, 4, 5), widths=widths)


def largest(run: ParticleRun) -> Section | Skipped:
    """Table of the largest particles; all of them are in particles.csv."""
    title = "Particles"
    if not len(run.particles):
        return Skipped(title, "There is no particle.")
    sizes, unit, end = sizes_of(run.particles, "lateral_size")
    rows = largest_first(sizes)
    table = run.particles.iloc[rows]
    area, squared = ("area_um2", "µm²") if end == "um" else ("area_px", "px")
    cells = [
        words(table, "image"),
        [str(int(v)) for v in numbers(table, "particle_id")],
        [figures_of(v) for v in sizes[rows]],
        *([figures_of(v) for v in numbers(table, column)] for column in (
            area, "lateral_aspect", "solidity",
        )),
        words(table, "thickness_class"),
        flag_words(table),
    ]  # fmt: skip
    columns = ("image", "id", f"size, {unit}", f"area, {squared}", "length / width", "solidity",
               "thickness", "flags")  # fmt: skip
    caption = f"The {len(rows)} largest of {len(run.particles)}; all are in particles.csv."
    widths = (2.2, 0.5, 0.9, 1.0, 0.9, 0.9, 1.0, 1.8)
    return Section(title, tables=(
        folded_table(columns, cells, caption, (1, 2, 3, 4, 5), widths),
    ))  # fmt: skip


def method(run: ParticleRun) -> Section:
    """Where the particles come from, and the rules that count them."""
    said = run.provenance
    border = str(run.parameters.get("border", "weighted"))
    ways = {
        "model": "Pixels of particles and holes are a phases model's.",
        "labels": "Pixels of particles and holes are those of label pictures.",
        "picture": "Particles are outlines of the picture at many grey levels, ranked by a forest "
        "that pictures of other laboratories taught; holes are not told from the support.",
    }
    text = (
        ways.get(str(said.get("from")), ""),
        f"Border: {BORDER[border].replace('domains', 'particles')}.",
        "Lateral size is that of ISO/TS 21356-1: the mean of the longest extent and of the width "
        "across it at a right angle.",
    )
    return Section("How it was measured", tuple(filter(None, text)))
