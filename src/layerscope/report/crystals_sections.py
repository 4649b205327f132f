"""Sections of the report of a crystals run: numbers, shapes, images, heterostructures, method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from layerscope.core.crystals import CRYSTAL_COLUMNS, CrystalRun
from layerscope.measure.number_density import BORDER
from layerscope.report.columns import figures_of, numbers, percent_text, value_text, words
from layerscope.report.crystals_figures import direction_figure, shape_figure, size_figure
from layerscope.report.gallery import Glance, shown
from layerscope.report.objects import (
    SHOWN_ROWS,
    flag_words,
    folded_table,
    largest_first,
    look_banners,
    sizes_of,
)
from layerscope.report.record_tables import closing
from layerscope.report.scan_text import counted
from layerscope.report.values import Plot, Section, Skipped, Table

_SIZE = "equivalent_diameter"


def crystal_sections(run: CrystalRun, glances: Sequence[Glance]) -> tuple[Section | Skipped, ...]:
    """Every section of the report.

    Parameters
    ----------
    run : CrystalRun
    glances : sequence of Glance
        Images to show, in the order of the gallery.
    """
    return (
        summary(run),
        shapes_and_sizes(run),
        named(run),
        directions(run),
        images(run),
        heterostructures(run),
        *(shown(glance, "Crystals") for glance in glances),
        largest(run),
        method(run),
        *closing(run, "crystals", CRYSTAL_COLUMNS),
    )


def summary(run: CrystalRun) -> Section:
    """How many crystals of which size, and what needs a look."""
    n, table = len(run.images), run.crystals
    tiles = [(str(n), "image" if n == 1 else "images"), (str(len(table)), "crystals")]
    sizes, unit, _ = sizes_of(table, _SIZE)
    whole = numbers(table, "border_weight") > 0
    if whole.any():
        middle = f"{figures_of(float(np.median(sizes[whole])))} {unit}"
        tiles.append((middle, "median diameter"))
    cores = int(table["core_share"].notna().sum())
    if cores:
        tiles.append((str(cores), "with core and shell"))
    cut = int(numbers(run.images, "at_border").sum())
    text = (
        f"{counted(len(table), 'crystal')} on {counted(n, 'image')}, {cut} cut by the border; "
        f"{counted(len(run.failures), 'input')} failed."
    )
    lacking = "lengths in px only, no density. Give one: --pixel-size 0.15um."
    banners = look_banners(run.images, lacking)
    return Section("Summary", (text,), banners=banners, tiles=tuple(tiles))


def shapes_and_sizes(run: CrystalRun) -> Section | Skipped:
    """Area per shape and the distribution of sizes, side by side."""
    title = "Shapes and sizes"
    if not len(run.crystals):
        return Skipped(title, "There is no crystal.")
    names, area = words(run.crystals, "shape"), numbers(run.crystals, "area_px")
    scaled = numbers(run.crystals, "area_um2")
    area = scaled if np.isfinite(scaled).all() else area
    plots = [Plot(shape_figure(names, area), "Area from masks; in brackets the number of them.")]
    weights = numbers(run.crystals, "border_weight")
    if (weights > 0).any():
        sizes, unit, _ = sizes_of(run.crystals, _SIZE)
        caption = (
            f"n = {np.count_nonzero(weights)} crystals that count, weighted for those that the "
            "border cuts."
        )
        plots.append(Plot(size_figure(sizes, weights, unit=unit), caption))
    return Section(title, plots=tuple(plots))


def named(run: CrystalRun) -> Section | Skipped:
    """Say what the model calls the crystals: number, area, how sure."""
    title = "Classes of the model"
    names = np.array(words(run.crystals, "class"), str)
    if not (names != "").any():
        return Skipped(title, "No model named the crystals.")
    area, score = numbers(run.crystals, "area_px"), numbers(run.crystals, "score")
    rows = tuple(
        (
            str(name),
            str(int(here.sum())),
            f"{100 * area[here].sum() / area.sum():.1f}",
            figures_of(float(score[here].mean()), 2),
        )
        for name in sorted(set(names.tolist()))
        for here in [names == name]
    )
    caption = "Area from masks. Score: how sure the model is, on average."
    return Section(title, tables=(
        Table(("class", "n", "share of the area, %", "score"), rows, caption, numeric=(1, 2, 3)),
    ))  # fmt: skip


def directions(run: CrystalRun) -> Section | Skipped:
    """How far facets are parallel in each image."""
    title = "Alignment"
    turn = numbers(run.crystals, "misalignment_deg")
    turn = turn[np.isfinite(turn)]
    if not len(turn):
        return Skipped(title, "No whole crystal shows the direction of its lattice.")
    text = (
        "The direction of a crystal is that of its facets' normals modulo 60 degrees; the main "
        "direction is the mean of its image. An order of 1 means parallel facets; that of n random "
        "crystals is about 0.89 over the square root of n, so look at p, the chance of such an "
        "order among random ones."
    )
    caption = f"n = {len(turn)} triangles, hexagons and stars, all images."
    return Section(title, (text,), plots=(Plot(direction_figure(turn), caption, wide=True),))


def images(run: CrystalRun) -> Section | Skipped:
    """One row of figures per image, with intervals."""
    title = "Image by image"
    if not len(run.images):
        return Skipped(title, "No image was measured.")
    rows = tuple(
        (
            str(r["image"]),
            str(r["crystals"]),
            percent_text(*(r[f"coverage{end}"] for end in ("", "_low", "_high"))),
            value_text(*(r[f"nucleation{end}_per_mm2"] for end in ("", "_low", "_high"))),
            percent_text(*(r[f"coalescence{end}"] for end in ("", "_low", "_high"))),
            value_text(*(r[f"alignment{end}"] for end in ("", "_low", "_high"))),
            figures_of(r["alignment_p"], 2),
        )
        for r in run.images.to_dict("records")
    )
    columns = ("image", "n", "covered", "per mm²", "meet another", "alignment", "p")
    border = BORDER[str(run.parameters.get("border", "weighted"))].replace("domains", "crystals")
    caption = f"[95 %]. Density: {border}. Every figure is in images.csv."
    widths = (1.4, 0.4, 1.7, 1.9, 1.8, 1.9, 0.7)
    return Section(title, tables=(
        Table(columns, rows, caption, numeric=(1, 2, 3, 4, 5, 6), widths=widths),
    ))  # fmt: skip


def heterostructures(run: CrystalRun) -> Section | Skipped:
    """Crystals with a core and a shell."""
    title = "Lateral heterostructures"
    table = run.crystals[run.crystals["core_share"].notna()]
    if not len(table):
        return Skipped(title, "No crystal has a core of another colour at the same height.")
    scaled = bool(np.isfinite(numbers(table, "ring_width_um")).all())
    unit, shown_unit = ("um", "µm") if scaled else ("px", "px")
    cells = zip(
        words(table, "image"), words(table, "crystal_id"), words(table, "core_material"),
        words(table, "shell_material"),
        *([figures_of(v) for v in numbers(table, column)] for column in (
            "core_share", f"ring_width_{unit}", f"interface_length_{unit}",
            f"interface_width_{unit}",
        )),
        strict=True,
    )  # fmt: skip
    columns = ("image", "id", "core", "shell", "core share", f"ring, {shown_unit}",
               f"interface, {shown_unit}", f"10–90 %, {shown_unit}")  # fmt: skip
    caption = (
        "Core share: area of the core over that of the crystal. 10–90 %: of the colour's step "
        "across the interface, an upper limit, as the blur of the optics is part of it."
    )
    rows = tuple(list(cells)[:SHOWN_ROWS])
    if len(table) > len(rows):
        caption += f" The first {len(rows)} of {len(table)}; all are in crystals.csv."
    return Section(title, tables=(
        Table(columns, rows, caption, numeric=(1, 4, 5, 6, 7), widths=(1.6, 0.4, 1, 1, 1, 1, 1, 1)),
    ))  # fmt: skip


def largest(run: CrystalRun) -> Section | Skipped:
    """Table of the largest crystals; all of them are in crystals.csv."""
    title = "Crystals"
    if not len(run.crystals):
        return Skipped(title, "There is no crystal.")
    sizes, unit, end = sizes_of(run.crystals, _SIZE)
    table = run.crystals.iloc[largest_first(sizes)]
    figures = ("shape_score", f"{_SIZE}_{end}", f"long_facet_{end}", f"short_facet_{end}",
               "facet_direction_mod60_deg")  # fmt: skip
    cells = [
        *(words(table, column) for column in ("image", "crystal_id", "shape")),
        *([figures_of(v) for v in numbers(table, column)] for column in figures),
        words(table, "material"),
        flag_words(table),
    ]
    columns = ("image", "id", "shape", "score", f"diameter, {unit}", f"long facet, {unit}",
               f"short facet, {unit}", "direction, °", "material", "flags")  # fmt: skip
    caption = f"The {len(table)} largest of {len(run.crystals)}; all are in crystals.csv."
    widths = (1.6, 0.4, 1.4, 0.7, 0.9, 0.9, 0.9, 0.9, 1.2, 1.4)
    return Section(title, tables=(
        folded_table(columns, cells, caption, (1, 3, 4, 5, 6, 7), widths),
    ))  # fmt: skip


def method(run: CrystalRun) -> Section:
    """Where crystals, shapes and cores come from."""
    materials = ", ".join(map(str, run.parameters.get("materials", ())))
    told = (
        f"Materials are told among {materials} by the colours of all regions of an image together, "
        "oxide and camera being unknown within limits; empty: no answer is sure."
        if materials
        else "No materials were given: a second layer is told from a core by its colour alone."
    )
    text = (
        "Crystals are regions that differ from bare substrate; touching ones are parted at corners "
        "of their outline where both parts then have a shape.",
        "The shape is the nearest of templates by the outline, where it meets no other crystal. "
        "Facets are those of the smallest hexagon with angles of 120 degrees around.",
        "A core has another colour, and less than a quarter of its rim at the outline.",
        told,
    )
    return Section("How it was measured", text)
