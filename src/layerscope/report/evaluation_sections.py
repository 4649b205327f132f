"""Sections of the evaluation page: verdict, signs, figures, classes, images, errors, record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from layerscope.core.evaluation import Evaluation, Figure
from layerscope.report import evaluation_figures as draw
from layerscope.report.columns import figures_of, numbers, words
from layerscope.report.record_tables import value_tables
from layerscope.report.scan_text import counted
from layerscope.report.values import Banner, Photo, Plot, Section, Skipped, Table

MEANING: Mapping[str, str] = {
    "ap50_95": "AP50-95, mean over IoU 0.50 to 0.95 (COCO)",
    "ap50_90": "AP50-90, mean over IoU 0.50 to 0.90",
    "ap50": "AP50, outlines that overlap by half",
    "ap75": "AP75",
    "ar": "AR, recall, mean over IoU 0.50 to 0.95",
    "ap_small": "AP of objects below 32 × 32 px",
    "ap_medium": "AP of objects in between",
    "ap_large": "AP of objects above 96 × 96 px",
    "ar_small": "AR of objects below 32 × 32 px",
    "ar_medium": "AR of objects in between",
    "ar_large": "AR of objects above 96 × 96 px",
    "ar_1_per_image": "AR with one object per image",
    "ar_10_per_image": "AR with ten objects per image",
    "pq": "PQ, panoptic quality",
    "sq": "SQ, mean IoU of right objects",
    "rq": "RQ, F1 of objects, mean over classes",
    "object_precision": "precision of objects, IoU > 0.5",
    "object_recall": "recall of objects, IoU > 0.5",
    "object_f1": "F1 of objects, IoU > 0.5",
    "object_class_accuracy": "right class among found objects",
    "object_ece": "calibration error of object scores",
    "mean_iou": "mean IoU over classes",
    "mean_dice": "mean Dice over classes",
    "accuracy": "accuracy of pixels",
    "foreground_iou": "IoU of foreground",
    "foreground_dice": "Dice of foreground",
    "pixel_ece": "calibration error of pixels",
    "iou": "IoU",
    "dice": "Dice",
    "precision": "precision of pixels",
    "recall": "recall of pixels",
    "specificity": "specificity of pixels",
    "fraction_rmse": "area, root mean square error",
    "fraction_mae": "area, mean absolute error",
    "fraction_bias": "area, mean error (answer minus label)",
    "fraction_r2": "area, R² against the labels",
}
"""What figures are called on the page, those of masks and boxes without their prefix."""

_MAIN = ("mask_ap50", "mask_ap50_90", "mask_ap50_95", "box_ap50", "box_ap50_95", "pq",
         "object_precision", "object_recall", "object_f1", "mean_iou", "accuracy",
         "foreground_iou")  # fmt: skip
_TILES = ("mask_ap50", "mask_ap50_90", "object_f1", "mean_iou", "foreground_iou", "accuracy")
_MOST_SCATTERS = 4
_MOST_NAMED = 12
_HEADS = {"f1": "F1", "pq": "PQ", "mean_iou": "mean IoU", "true_fraction": "labelled area",
          "found_fraction": "answered area"}  # fmt: skip


def evaluation_sections(
    evaluation: Evaluation, photos: Sequence[Photo]
) -> tuple[Section | Skipped, ...]:
    """Every section of the page.

    Parameters
    ----------
    evaluation : Evaluation
    photos : sequence of Photo
        Error maps, the worst first.
    """
    return (
        summary(evaluation),
        signs(evaluation),
        main_figures(evaluation),
        _table_section(evaluation, "Objects", _is_object),
        _table_section(evaluation, "Pixels", _is_pixel),
        curves(evaluation),
        areas(evaluation),
        _errors(photos),
        images(evaluation),
        failures(evaluation),
        record(evaluation),
    )


def figure_name(name: str) -> str:
    """Return what a figure is called on the page."""
    for prefix in ("mask", "box"):
        rest = name.removeprefix(f"{prefix}_")
        if rest != name:
            return f"{prefix} {MEANING.get(rest, rest.replace('_', ' '))}"
    return MEANING.get(name, name.replace("_", " "))


def short_name(name: str) -> str:
    """Figure name without its explanation."""
    return figure_name(name).split(",")[0]


def value_with_interval(figure: Figure) -> str:
    """Value and interval: ``0.71 [0.62–0.80]``; – where it is undefined."""
    if not np.isfinite(figure.value):
        return "–"
    digits = _digits(figure.name)
    text = _number(figure.value, digits)
    if np.isfinite(figure.low) and np.isfinite(figure.high):
        between = "–" if figure.low >= 0 else " to "
        text += f" [{_number(figure.low, digits)}{between}{_number(figure.high, digits)}]"
    return text


def _digits(name: str) -> int:
    return 4 if name in ("fraction_rmse", "fraction_mae", "fraction_bias") else 3


def _number(value: float, digits: int) -> str:
    value = round(value, digits) + 0.0  # no minus before a zero
    text = f"{value:.{digits}f}" if abs(value) < 10 else figures_of(value)
    return text.replace("-", "−")


def summary(evaluation: Evaluation) -> Section:
    """Say what was compared, with the few figures that matter."""
    tiles = [(str(len(evaluation.images)), "images"), (str(evaluation.n_groups), "specimens")]
    for name in _TILES:
        figure = evaluation.figure(name)
        if figure is not None and np.isfinite(figure.value):
            tiles.append((f"{figure.value:.2f}", short_name(name)))
    banners = []
    if evaluation.trained_on:
        named = ", ".join(evaluation.trained_on[:_MOST_NAMED])
        more = len(evaluation.trained_on) - _MOST_NAMED
        named += f" and {more} more" if more > 0 else ""
        banners.append(Banner("warning", trained_sentence(evaluation), named))
    if evaluation.failures:
        n = len(evaluation.failures)
        title = f"{counted(n, 'labelled image')} without an answer"
        banners.append(Banner("warning", title, "They count in no figure below. See Failures."))
    return Section("Summary", (summary_sentence(evaluation),), tuple(banners), tuple(tiles[:7]))


def trained_sentence(evaluation: Evaluation) -> str:
    """Say how many images taught the model, and what became of them; empty for none."""
    n, kept = len(evaluation.trained_on), evaluation.parameters.get("keep_trained")
    if not n:
        return ""
    total = len(evaluation.images) + len(evaluation.failures) + (0 if kept else n)
    text = f"{n} of {counted(total, 'image')} {'was' if n == 1 else 'were'} trained on"
    if kept:
        return f"{text} and {'counts' if n == 1 else 'count'}: these figures flatter the model"
    return f"{text} and {'counts' if n == 1 else 'count'} in no figure"


def summary_sentence(evaluation: Evaluation) -> str:
    """One paragraph; the same for a terminal."""
    n, groups = len(evaluation.images), evaluation.n_groups
    text = (
        f"{evaluation.name} on {counted(n, 'labelled image')} of {counted(groups, 'specimen')}, "
        f"classes {', '.join(evaluation.classes[1:])}."
    )
    figure = next(
        (f for f in map(evaluation.figure, _TILES) if f is not None and np.isfinite(f.value)), None
    )
    if figure is None:
        return text
    text += f" {short_name(figure.name)} {value_with_interval(figure)}"
    text += (
        " (95\u00a0% interval over specimens)" if np.isfinite(figure.low) else f" ({figure.note})"
    )
    if np.isfinite(figure.baseline):
        text += f"; {figure.baseline_name} would have {figure.baseline:.3f}"
    return f"{text}."


def signs(evaluation: Evaluation) -> Section:
    """Say what is wrong by the figures, and what helps."""
    if evaluation.signs:
        banners = tuple(Banner("warning", *_parted(line)) for line in evaluation.signs)
        return Section("Signs of failure", banners=banners)
    good = Banner("good", "None", "No sign of failure shows in these figures.")
    return Section("Signs of failure", banners=(good,))


def _parted(line: str) -> tuple[str, str]:
    head, colon, rest = line.partition(": ")
    return (head, rest[:1].upper() + rest[1:]) if colon and len(head) < 170 else ("Look here", line)


def main_figures(evaluation: Evaluation) -> Section | Skipped:
    """Draw main scores with intervals, beside a method that looks at nothing."""
    found = [f for f in map(evaluation.figure, _MAIN) if f is not None and np.isfinite(f.value)]
    if not found:
        return Skipped("Main figures", "None could be made.")
    plot = draw.main_scores(found, [short_name(f.name) for f in found])
    trivial = sorted({f.baseline_name for f in found if f.baseline_name})
    why = sorted({f.note for f in found if f.note})
    caption = f"All classes, n = {counted(len(evaluation.images), 'image')}. "
    caption += f"Trivial method: {', or '.join(trivial)}. " if trivial else ""
    caption += " ".join(w[:1].upper() + w[1:] + "." for w in why)
    return Section("Main figures", plots=(Plot(plot, caption.strip(), wide=True),))


def _is_object(name: str) -> bool:
    return name in ("pq", "sq", "rq") or name.startswith(("mask_", "box_", "object_"))


def _is_pixel(name: str) -> bool:
    return not _is_object(name) and not name.startswith("fraction_")


def _table_section(
    evaluation: Evaluation, title: str, wanted: Callable[[str], bool]
) -> Section | Skipped:
    rows = [f for f in evaluation.figures if wanted(f.name)]
    if not rows:
        what = "objects" if title == "Objects" else "pixels"
        return Skipped(title, f"Labels and answers have no {what} in common to compare.")
    return Section(title, tables=(_figure_table(rows),))


def _figure_table(rows: Sequence[Figure]) -> Table:
    cells = tuple(
        (
            figure_name(f.name),
            f.group or "all",
            value_with_interval(f),
            f"{_number(f.baseline, _digits(f.name))} ({f.baseline_name})"
            if np.isfinite(f.baseline)
            else "–",
            f.note,
        )
        for f in rows
    )
    columns = ("figure", "class", "value [95 %]", "trivial method", "note")
    return Table(columns, cells, numeric=(2,), widths=(3.2, 1.2, 2.0, 2.4, 2.4))


def areas(evaluation: Evaluation) -> Section | Skipped:
    """Share of the image that each class takes."""
    rows = [f for f in evaluation.figures if f.name.startswith("fraction_")]
    if not rows:
        return Skipped("Areas", "No share of the image could be compared.")
    text = (
        "Shares of the labelled pixels, 0 to 1. R² compares with the mean of the labels; below 0 "
        "the answers are worse than that mean. The trivial method is that mean itself."
    )
    return Section("Areas", (text,), tables=(_figure_table(rows),))


def curves(evaluation: Evaluation) -> Section | Skipped:
    """Confusion, precision over recall, reliability and areas as plots."""
    plots = (
        *_confusion_plots(evaluation),
        *_precision_plots(evaluation),
        *_reliability_plots(evaluation),
        *_area_plots(evaluation),
    )
    if not plots:
        return Skipped("Plots", "There is nothing to draw.")
    return Section("Plots", plots=plots)


def _confusion_plots(evaluation: Evaluation) -> list[Plot]:
    text = {
        "objects": "Objects paired by IoU > 0.5 whatever their class; shade: share of the row.",
        "pixels": "Share of the labelled pixels of each class.",
    }
    return [Plot(draw.confusion_table(t), text[t.unit]) for t in evaluation.confusions]


def _precision_plots(evaluation: Evaluation) -> list[Plot]:
    found = [c for c in evaluation.curves if c.kind == "precision_recall"]
    text = "Precision over recall as the least score falls; IoU 0.5."
    return [Plot(draw.precision_recall(found), text)] if found else []


def _reliability_plots(evaluation: Evaluation) -> list[Plot]:
    """Draw whether probabilities are chances."""
    head = "On the dashed line probabilities are chances. "
    ends = "95 % intervals (Wilson)."
    none = "No intervals: neighbouring pixels are no independent answers."
    return [
        Plot(draw.reliability_curve(c), head + (none if c.low is None else ends))
        for c in evaluation.curves
        if c.kind == "reliability"
    ]


def _area_plots(evaluation: Evaluation) -> list[Plot]:
    table, plots = evaluation.image_classes, []
    if "true_fraction" not in table:
        return []
    for name in evaluation.classes[1:][:_MOST_SCATTERS]:
        part = table[table["class"] == name].dropna(subset=["true_fraction", "found_fraction"])
        if len(part):
            pair = numbers(part, "true_fraction"), numbers(part, "found_fraction")
            text = f"One dot per image, n = {len(part)}; on the dashed line both agree."
            plots.append(Plot(draw.fraction_scatter(*pair, name), text))
    return plots


def _errors(photos: Sequence[Photo]) -> Section | Skipped:
    title = "Where the errors are"
    if not photos:
        return Skipped(title, "Labels and answers are no pixels that could be drawn.")
    text = (
        "The worst images first; all are in errors/. Right: labelled and answered alike. False: "
        "answered only. Missed: labelled only."
    )
    return Section(title, (text,), photos=tuple(photos))


def images(evaluation: Evaluation) -> Section:
    """Table of all images."""
    table = evaluation.images
    columns = [c for c in table.columns if c not in ("image", "group")]
    names, groups = words(table, "image"), words(table, "group")
    known = {"image": names} | ({"specimen": groups} if groups != names else {})
    cells = list(known.values())
    for name in columns:
        whole = name in ("right", "false", "missed")
        values = numbers(table, name)
        cells.append([_cell(v, whole) for v in values])
    rows = tuple(zip(*cells, strict=True))
    heads = (*known, *(_HEADS.get(c, c.replace("_", " ")) for c in columns))
    numeric = tuple(range(len(known), len(heads)))
    caption = "images.csv has the same; image_classes.csv has every class of every image."
    return Section("Images", tables=(Table(heads, rows, caption, numeric=numeric),))


def _cell(value: float, whole: bool) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.0f}" if whole else f"{value:.3f}"


def failures(evaluation: Evaluation) -> Section | Skipped:
    """Labelled images that got no answer."""
    if not evaluation.failures:
        return Skipped("Failures", "Every labelled image was answered.")
    rows = tuple((f.path, f.reason) for f in evaluation.failures)
    return Section("Failures", tables=(Table(("image", "reason"), rows, code=(0,)),))


def record(evaluation: Evaluation) -> Section:
    """Parameters, versions and notes."""
    tables = value_tables(evaluation.parameters, evaluation.provenance)
    if evaluation.notes:
        notes = tuple((note,) for note in evaluation.notes)
        tables.insert(0, Table(("notes",), notes))
    return Section("Parameters, versions, notes", tables=tuple(tables))
