"""Sections of an assessment that are of the whole set: findings, descriptors, distributions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from layerscope.core.categories import Question, Questionnaire
from layerscope.core.results import FloatArray
from layerscope.errors import InputError
from layerscope.report.assessment_descriptors import (
    Descriptor,
    class_shares,
    share_text,
    whole_population,
)
from layerscope.report.assessment_quantities import (
    AGGREGATES,
    CRUMPLING,
    GROUPS,
    REFERENCES,
    SIZE,
    THICKNESS,
)
from layerscope.report.assessment_runs import ImageSet, RunFolder
from layerscope.report.categories_sections import answer_bars, count_answers
from layerscope.report.columns import figures_of, numbers, words
from layerscope.report.particles_figures import (
    shape_figure,
    size_distribution_figure,
    thickness_figure,
)
from layerscope.report.scan_text import counted
from layerscope.report.values import Banner, Plot, Section, Skipped, Table

_WIDE = 0.2  # half of an interval over its value, beyond which the summary says so
_FEW_IMAGES = 5


@dataclass(frozen=True)
class Particulars:
    """What the laboratory says of the document; nothing of it is looked up or guessed.

    Attributes
    ----------
    sample, laboratory, operator, reference, date : str
        Empty where not given.
    """

    sample: str = ""
    laboratory: str = ""
    operator: str = ""
    reference: str = ""
    date: str = ""

    @property
    def title(self) -> str:
        """Title of the document."""
        return f"Characterisation for risk assessment: {self.sample or 'sample not named'}"


def identification(told: Particulars, data: ImageSet, number: str) -> Section:
    """Who, what, from which files; lines to sign on."""
    rows = (
        ("sample", told.sample or "not given"),
        ("laboratory", told.laboratory or "not given"),
        ("operator", told.operator or "not given"),
        ("reference", told.reference or "not given"),
        ("date", told.date or "not given"),
        ("document number", f"{number} (from the hashes of what it is made of)"),
        ("made of", ", ".join(run.name for run in data.runs)),
        ("images", _images_line(data)),
    )
    signed = (("prepared by", "", ""), ("", "", ""), ("reviewed by", "", ""), ("", "", ""))
    return Section(
        "Identification",
        tables=(
            Table(("item", "entry"), rows, widths=(1, 4)),
            Table(("", "name, signature", "date"), signed, widths=(1, 3, 1)),
        ),
    )


def _images_line(data: ImageSet) -> str:
    sizes = np.array([i.pixel_size_nm for i in data.images])
    known = sizes[np.isfinite(sizes)]
    if not len(known):
        return f"{counted(len(data.images), 'image')}, none with a known pixel size"
    sources = sorted({i.scale_source for i in data.images if i.scale_source})
    span = f"{known.min():.3g} nm"
    if known.max() > known.min():
        span = f"{known.min():.3g} to {known.max():.3g} nm"
    bare = f"; {len(sizes) - len(known)} without" if len(known) < len(sizes) else ""
    return (
        f"{counted(len(data.images), 'image')}, {span} per pixel "
        f"(from: {', '.join(sources) or 'not recorded'}){bare}"
    )


def findings(data: ImageSet, found: Sequence[Descriptor]) -> Section:
    """Return the main figures, and what must be known before they are used."""
    of = {d.quantity.key: d for d in found}
    tiles = [(str(len(data.images)), "image" if len(data.images) == 1 else "images")]
    if "count" in of:
        tiles.append((of["count"].text, "particles"))
    if "lateral_size_median" in of and np.isfinite(of["lateral_size_median"].value):
        d = of["lateral_size_median"]
        tiles.append((f"{figures_of(d.value)} {d.unit}", "median lateral size"))
    for key, name in (("share_thin", "thin"), ("aggregated_share", "in aggregates")):
        if key in of and np.isfinite(of[key].value):
            tiles.append((f"{100 * of[key].value:.0f} %", name))
    return Section(
        "Findings", tuple(_sentences(data, of)), banners=tuple(_warnings(data, of)),
        tiles=tuple(tiles),
    )  # fmt: skip


def _sentences(data: ImageSet, of: dict[str, Descriptor]) -> Iterator[str]:
    d = of.get("lateral_size_median")
    if d is not None and np.isfinite(d.value):
        low, high = of["lateral_size_lower_quartile"], of["lateral_size_upper_quartile"]
        yield (
            f"{SIZE}: median {d.text} {d.unit} (95 % interval in brackets), half of the particles "
            f"between {figures_of(low.value)} and {figures_of(high.value)} {d.unit}; "
            f"{d.n} whole particles."
        )
    thickness = [of[k] for k in ("share_thin", "share_medium", "share_thick", "share_unknown")
                 if k in of and of[k].value > 0]  # fmt: skip
    if thickness:
        listed = ", ".join(f"{t.quantity.label.lower()} {t.text}" for t in thickness)
        yield f"{THICKNESS}: {listed}."
    for group, key in ((CRUMPLING, "with_folds"), (AGGREGATES, "aggregated_share")):
        if key in of and np.isfinite(of[key].value):
            yield f"{group}: {of[key].quantity.definition}: {of[key].text}."
    phases = data.of_kind("phases")
    if phases is not None:
        shares = [(n, e) for n, _, e in class_shares(phases) if np.isfinite(e.value)]
        listed = ", ".join(f"{n} {share_text(*e[:3])}" for n, e in shares)
        yield f"Phases, mean share of an image: {listed}."
    yield (
        "All figures are of the images and of nothing else: what a sample holds depends on how it "
        "was taken, dispersed and put on the grid, which images cannot tell."
    )


def _warnings(data: ImageSet, of: dict[str, Descriptor]) -> Iterator[Banner]:
    doubtful = sum(bool(image.doubts) for image in data.images)
    failed = sum(len(run.failures) for run in data.runs)
    if doubtful or failed or data.conflicts:
        yield Banner(
            "warning",
            "Read the quality flags before the figures",
            f"{counted(doubtful, 'doubtful image')}, {counted(failed, 'failed input')}, "
            f"{counted(len(data.conflicts), 'name')} of different files.",
        )
    size = of.get("lateral_size_median")
    if size is not None and size.bounded and size.high - size.low > 2 * _WIDE * size.value:
        yield Banner(
            "warning",
            "The median lateral size is not known well",
            f"Its 95 % interval is {size.text} {size.unit}. More fields, chosen without looking, "
            "make it narrower.",
        )
    if len(data.images) < _FEW_IMAGES:
        yield Banner(
            "warning",
            f"{counted(len(data.images), 'image')}",
            "Fewer than five: intervals that draw particles, not images, say how certain a figure "
            "is for these places, not for the sample.",
        )
    if not of:
        yield Banner(
            "note", "No particles run", "Sizes, thickness and aggregates need one: layerscope run "
            "--task particles.",
        )  # fmt: skip


def descriptors(found: Sequence[Descriptor]) -> tuple[Section | Skipped, ...]:
    """Give a table per risk-relevant property: figure, interval, n, definition, why it matters."""
    if not found:
        return (Skipped("Descriptors", "No particles run was given."),)
    groups = [(g, [d for d in found if d.quantity.group == g]) for g in GROUPS]
    return tuple(_group(name, rows, first=k == 0) for k, (name, rows) in enumerate(groups) if rows)


def _group(name: str, rows: Sequence[Descriptor], *, first: bool) -> Section:
    cells = tuple(
        (d.quantity.label, d.text, d.unit, f"{d.n} {d.of}", d.how, d.quantity.definition)
        for d in rows
    )
    columns = ("descriptor", "value [95 %]", "unit", "n", "interval, or why none", "what it is")
    why = tuple(dict.fromkeys(d.quantity.relevance for d in rows))
    table = Table(columns, cells, numeric=(1,), widths=(1.6, 1.9, 0.7, 1.1, 1.9, 2.6))
    return Section(
        f"Descriptors: {name.lower()}",
        tuple(f"Why it matters: {text}" for text in why),
        tables=(table,),
        new_page=first,
    )


def distributions(data: ImageSet) -> Section | Skipped:
    """Sizes with the log-normal, thickness classes, shapes."""
    title, run = "Distributions", data.of_kind("particles")
    if run is None or not len(run.tables["particles"]):
        return Skipped(title, "There is no particle.")
    table = run.tables["particles"]
    weights = numbers(table, "border_weight")
    plots = []
    if (weights > 0).any():
        plots.append(_sizes_plot(run, weights))
    names = words(table, "thickness_class")
    shapes = shape_figure(numbers(table, "lateral_aspect"), numbers(table, "solidity"))
    plots += [
        Plot(thickness_figure(names), f"n = {len(names)} particles, 95 % intervals (Wilson)."),
        Plot(shapes, f"n = {len(names)} particles. Solidity: area over that of the convex hull."),
    ]
    return Section(title, plots=tuple(plots), new_page=True)


def _sizes_plot(run: RunFolder, weights: FloatArray) -> Plot:
    table = run.tables["particles"]
    um = numbers(table, "lateral_size_um")
    unit = "µm" if np.isfinite(um).all() else "px"
    sizes = um if unit == "µm" else numbers(table, "lateral_size_px")
    fit = {str(r["quantity"]): float(r["value"]) for r in whole_population(run).to_dict("records")}
    mu, sigma = (fit.get(f"lognormal_{name}", np.nan) for name in ("mu", "sigma"))
    p = fit.get("lognormal_p", np.nan)
    fits = "" if not np.isfinite(p) else (
        f" Shapiro and Wilk: p = {p:.2g}, the sizes "
        + ("agree with a log-normal." if p >= 0.05 else "are not log-normal.")
    )  # fmt: skip
    caption = (
        f"n = {np.count_nonzero(weights)} whole particles, weighted for those that the border "
        f"hides; ticks are single particles.{fits}"
    )
    figure = size_distribution_figure(sizes, weights, mu, sigma, unit=unit)
    return Plot(figure, caption, wide=True)


def phases(data: ImageSet) -> Section | Skipped:
    """Mean share of each class over the images."""
    title, run = "Phases", data.of_kind("phases")
    if run is None:
        return Skipped(title, "No phases run was given.")
    rows = tuple((name, share_text(*e[:3]), str(n), e.interval) for name, n, e in class_shares(run))
    table = Table(("class", "mean share [95 %]", "images", "interval, or why none"), rows,
                  "Images count alike. Shares of single images are on their pages.",
                  numeric=(1, 2), widths=(2, 2, 1, 3))  # fmt: skip
    return Section(title, tables=(table,))


def categories(data: ImageSet) -> Section | Skipped:
    """How often each answer was given to each guiding question."""
    title, run = "Guiding questions", data.of_kind("categories")
    if run is None:
        return Skipped(title, "No categories run was given.")
    table, plots = run.tables["categories"], []
    for question in questions_of(run):
        rows = table[table["question"] == question.name]
        names, counts = count_answers(
            question.answers, words(rows, "answer"), numbers(rows, "probability").tolist()
        )
        caption = f"{question.text} n = {len(rows)} images, counted and not a sample: no interval."
        plots.append(Plot(answer_bars(question.name, names, counts), caption))
    return Section(title, plots=tuple(plots))


def questions_of(run: RunFolder) -> tuple[Question, ...]:
    """Questions of a categories run, as its record has them.

    Raises
    ------
    InputError
        If the record has none.
    """
    told = run.document.get("questionnaire")
    if not isinstance(told, Mapping):
        raise InputError(f"{run.path}: no questionnaire in run.json; run the analysis again")
    return Questionnaire.from_mapping(told).questions


def limits() -> Section:
    """Say what the figures do not say."""
    return Section(
        "Limits",
        (
            "An image shows the projection of a particle: height, curling and what lies under "
            "another particle are not seen. Lateral sizes are those of the particles as they lie "
            "on the support.",
            "Thickness classes come from the beam that passes and assume one material of one "
            "density; they are no count of layers. ISO/TS 21356-1 asks for layers by AFM, Raman or "
            "diffraction; how many flakes it asks for is to be read there.",
            "Intervals cover the chance of which particles or images were seen, and for areas the "
            "error of the model on held-out images. They do not cover how the sample was taken, "
            "nor a model that meets another kind of image than it learned from.",
            "This document describes; it makes no statement on hazard, exposure or risk.",
        ),
    )


def references() -> Section:
    """Rules and papers that the descriptors cite."""
    table = Table(("cited as", "source"), REFERENCES, widths=(1.2, 5), printed=len(REFERENCES))
    return Section("Rules and literature cited", tables=(table,))
