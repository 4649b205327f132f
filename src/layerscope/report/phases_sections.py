"""Sections of the report of a phases run: numbers, images, what the model is, the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from layerscope.core.segmentation import PhaseRun
from layerscope.report.columns import figures_of, numbers, percent_text, words
from layerscope.report.coverage_figures import coverage_dots
from layerscope.report.gallery import Glance, shown
from layerscope.report.record_tables import failed_inputs, task_record
from layerscope.report.scan_numbers import median_bounds
from layerscope.report.scan_text import counted
from layerscope.report.values import Banner, Plot, Section, Skipped, Table


def area_text(fraction: float, low: float, high: float) -> str:
    """Share with its interval: ``40.0 % [39.3–40.4]``, or that it has none."""
    if np.isfinite(fraction) and not np.isfinite(low):
        return f"{100 * fraction:.1f} % (no interval)"
    return percent_text(fraction, low, high)


def phase_sections(run: PhaseRun, glances: Sequence[Glance]) -> tuple[Section | Skipped, ...]:
    """Every section of the report.

    Parameters
    ----------
    run : PhaseRun
    glances : sequence of Glance
        Images to show, in the order of the gallery.
    """
    return (
        summary(run),
        *per_class(run),
        areas(run),
        *(shown(glance, "Classes") for glance in glances),
        model(run),
        failed_inputs(run.failures),
        task_record(run),
    )


def summary(run: PhaseRun) -> Section:
    """How many images, how much of each class, how many images need a look."""
    n, failed = len(run.images), len(run.failures)
    doubtful = sum(map(bool, words(run.images, "doubts")))
    tiles = [(str(n), "image" if n == 1 else "images")]
    if failed:
        tiles.append((str(failed), "failed"))
    for name in _classes(run):
        share = numbers(_of_class(run, name), "fraction")
        if np.isfinite(share).any():
            tiles.append((f"{100 * np.nanmean(share):.1f} %", f"{name}, mean"))
    tiles.append((str(doubtful), "doubtful"))
    apart = " Classes overlap: a pixel may count in several." if _overlap(run) else ""
    text = (
        f"{counted(n, 'image')} segmented, {failed or 'none'} failed. Shares are of the counted "
        f"pixels of an image; images count alike in a mean.{apart}"
        if n
        else f"No image was segmented; {counted(failed, 'input')} failed."
    )
    banners = []
    if doubtful:
        title = f"{doubtful} of {counted(n, 'image')} {'is' if doubtful == 1 else 'are'} doubtful"
        banners.append(Banner("warning", title, "Look at these images, which come first below."))
    if n and not np.isfinite(numbers(run.areas, "fraction_low")).any():
        banners.append(
            Banner(
                "warning",
                "No intervals",
                "The model was never tried on specimens that it had not seen, so nothing is known "
                "about its errors. Train it on images of two specimens or more.",
            )
        )
    return Section("Summary", (text,), banners=tuple(banners), tiles=tuple(tiles))


def _classes(run: PhaseRun) -> list[str]:
    return list(dict.fromkeys(words(run.areas, "class")))


def _of_class(run: PhaseRun, name: str) -> Any:
    return run.areas[run.areas["class"] == name]


def per_class(run: PhaseRun) -> tuple[Section | Skipped, ...]:
    """Dot and interval of every image, a figure for each class but the first."""
    if not len(run.images):
        return (Skipped("Shares of the classes", "No image was segmented."),)
    doubts = np.array([bool(d) for d in words(run.images, "doubts")])
    names = _classes(run) if _overlap(run) else _classes(run)[1:]
    return tuple(_class_section(run, name, doubts) for name in names)


def _overlap(run: PhaseRun) -> bool:
    """Whether the classes may overlap; then none of them is a background."""
    card = run.provenance.get("model")
    return isinstance(card, Mapping) and card.get("output") == "labels"


def _class_section(run: PhaseRun, name: str, doubts: Any) -> Section:
    table = _of_class(run, name)
    share, low, high = (
        numbers(table, c) for c in ("fraction", "fraction_low", "fraction_high")
    )  # fmt: skip
    known = np.isfinite(low)
    figure = coverage_dots(
        words(table, "image"), share, np.where(known, low, share), np.where(known, high, share),
        doubts,
    )  # fmt: skip
    figure.axes[0].set_xlabel(f"share of {name} (%)".replace("$", r"\$"))
    between = "with its 95 % interval" if known.any() else "without interval"
    caption = (
        f"Share of {name} {between}, n = {len(table)}, in the order of names. Open diamonds: the "
        "model is less sure than on any image that it was tried on."
    )
    return Section(
        f"Share of {name}", _median_line(share), plots=(Plot(figure, caption, wide=True),)
    )


def _median_line(share: Any) -> tuple[str, ...]:
    known = share[np.isfinite(share)]
    if len(known) < 2:
        return ()
    middle, low, high = (100 * v for v in median_bounds(known))
    if not np.isfinite(low):
        return (f"Median {middle:.1f} % (no interval: fewer than six images).",)
    return (
        f"Median {middle:.1f} % [{low:.1f}–{high:.1f}]: the images differ by their specimens as "
        "well as by error.",
    )


def areas(run: PhaseRun) -> Section | Skipped:
    """Table of all images and classes."""
    title = "Areas"
    table = run.areas
    if not len(table):
        return Skipped(title, "No image was segmented.")
    ends = [numbers(table, c) for c in ("fraction", "fraction_low", "fraction_high")]
    um2 = [numbers(table, c) for c in ("area_um2", "area_low_um2", "area_high_um2")]
    rows = tuple(
        zip(
            words(table, "image"),
            words(table, "class"),
            [str(int(v)) for v in numbers(table, "value")],
            [area_text(*row) for row in zip(*ends, strict=True)],
            [_um2_text(*row) for row in zip(*um2, strict=True)],
            strict=True,
        )
    )
    caption = (
        "Value: of the pixels of the class in classes/. Intervals: 95 %, from how far the shares "
        "of held-out images were off; they hold for images of the same kind."
    )
    columns = ("image", "class", "value", "share [95 %]", "area, µm² [95 %]")
    widths = (2.4, 1.6, 0.8, 2.4, 3.2)
    return Section(title, tables=(Table(columns, rows, caption, numeric=(2, 3, 4), widths=widths),))


def _um2_text(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return "no scale"
    ends = f" [{figures_of(low)}–{figures_of(high)}]" if np.isfinite(low) else ""
    return f"{figures_of(value)}{ends}"


def model(run: PhaseRun) -> Section | Skipped:
    """Say what the model is and how good it was on specimens that it had not seen."""
    title, card = "Model", run.provenance.get("model")
    if not isinstance(card, Mapping):
        return Skipped(title, "The run has no model card.")
    metrics = card.get("metrics", {})
    rows = [
        (name, f"{iou:.3f}", f"{metrics.get('dice', {}).get(name, float('nan')):.3f}")
        for name, iou in metrics.get("iou", {}).items()
    ]
    text = [f"{card.get('name')}: {card.get('network')} on {card.get('normalisation')} images."]
    text += _members_text(card)
    tables = []
    if rows:
        text.append(
            f"Mean IoU {metrics['mean_iou']:.3f} on {metrics['held_out_images']} images, each held "
            f"out by {metrics.get('held_out_by', 'specimen')}; "
            f"{'the class everywhere' if _overlap(run) else 'always the most frequent class'}: "
            f"{metrics['mean_iou_majority']:.3f}."
        )
        tables.append(Table(("class", "IoU", "Dice"), tuple(rows), "Held out.", numeric=(1, 2)))
    else:
        text.append("It was not tried on held-out images.")
    return Section(title, tuple(text), tables=tuple(tables))


def _members_text(card: Mapping[str, Any]) -> list[str]:
    """Say what an ensemble is, and whether its intervals follow its disagreement."""
    members = card.get("settings", {}).get("members", 1)
    if members == 1:
        return []
    by = card.get("metrics", {}).get("share_errors", {}).get("by")
    scale = "how far they disagree" if by == "spread" else "how unsure they are together"
    return [
        f"{members} networks, trained apart, answer together. Intervals follow {scale} on an "
        "image, which held-out errors followed best; images.csv has their disagreement."
    ]
