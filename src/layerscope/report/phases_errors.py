"""The folder that an evaluation of overlapping classes leaves: tables, error maps, a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from layerscope.core.evaluation import Comparison
from layerscope.io.atomic import write_bytes
from layerscope.io.tables import write_table
from layerscope.report.columns import numbers, words
from layerscope.report.evaluation_pictures import draw_errors
from layerscope.report.panels import Rgb, encode_png
from layerscope.report.pictures import shrink
from layerscope.report.run_files import FileStems, make_folder
from layerscope.report.values import Banner, Photo, Section, Skipped, Table

if TYPE_CHECKING:
    from layerscope.training.overlap_scores import MaskEvaluation

N_GALLERY = 8
"""Error maps on the page, the worst; all are in the folder."""

_MAP_PX, _PAGE_PX = 1024, 640
_COLUMNS = ("value", "low", "high", "baseline")
_SHOWN = ("iou", "dice", "precision", "recall", "specificity")


class MaskErrorsFolder:
    """Writes the folder: ``evaluate_masks(..., on_mask=folder)``, then ``folder.finish``.

    Parameters
    ----------
    folder : path
        Made if missing; files of an earlier evaluation in it are replaced.

    Raises
    ------
    CannotWrite
        If it cannot be made.
    """

    def __init__(self, folder: str | Path):
        self._target = make_folder(folder, "errors")
        self._stems = FileStems()
        self._shown: list[tuple[float, str, str, Rgb]] = []

    def __call__(self, name: str, comparison: Comparison) -> None:
        """Draw and write the error map of one class of one image.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        iou = comparison.scores["iou"]
        told = f"{name}: IoU {iou:.2f}" if np.isfinite(iou) else f"{name}: neither there nor found"
        picture = draw_errors(comparison, longest_px=_MAP_PX, title=(comparison.name, told))
        assert picture is not None
        stem = self._stems.of(f"{comparison.name}_{name}")
        write_bytes(self._target / "errors" / f"{stem}.png", encode_png(picture))
        if np.isfinite(iou):
            one = (iou, comparison.name, name, shrink(picture, _PAGE_PX))
            self._shown = sorted([*self._shown, one], key=lambda s: s[:3])[:N_GALLERY]

    def finish(self, found: MaskEvaluation) -> Path:
        """Write tables and page, and return the folder.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        from layerscope.report.html import page_html

        write_table(found.figures, self._target / "figures.csv")
        write_table(found.images, self._target / "images.csv")
        gallery = tuple(Photo(p, f"{name}, {of}, IoU {v:.2f}") for v, name, of, p in self._shown)
        sections: list[Section | Skipped] = [*mask_sections(found)]
        if gallery:
            text = "The worst first. Right, false and missed pixels; hatched: nobody knows."
            sections.append(Section("Errors", (text,), photos=gallery))
        page = page_html(f"Evaluation of {found.model}", sections, version="")
        write_bytes(self._target / "evaluation.html", page.encode())
        return self._target


def mask_sections(found: MaskEvaluation) -> tuple[Section | Skipped, ...]:
    """Tables of all pixels together, and of every image."""
    banners = (Banner("note", "No intervals", f"{found.note}."),) if found.note else ()
    whole = Table(
        ("class", *_SHOWN, "IoU if everywhere"),
        tuple(_row(found, name) for name in (*found.classes, "")),
        f"All known pixels of {found.images['image'].nunique()} images together; 95 % intervals "
        "over specimens.",
        numeric=tuple(range(1, 7)),
    )
    texts = [[_figure(v) for v in numbers(found.images, f)] for f in _SHOWN]
    each = Table(
        ("image", "class", *_SHOWN),
        tuple(zip(words(found.images, "image"), words(found.images, "class"), *texts, strict=True)),
        "Empty where a class is neither there nor found.",
        numeric=tuple(range(2, 7)),
    )
    failed = tuple((f.path, f.reason) for f in found.failures)
    lost = (Section("Failed inputs", tables=(Table(("input", "reason"), failed),)),)
    return (
        Section("Figures", banners=banners, tables=(whole,)),
        Section("Every image", tables=(each,)),
        *(lost if failed else ()),
    )


def _row(found: MaskEvaluation, name: str) -> tuple[str, ...]:
    table = found.figures[found.figures["class"] == name]
    ends = zip(words(table, "figure"), *(numbers(table, c) for c in _COLUMNS), strict=True)
    mine = {figure: values for figure, *values in ends}
    cells = []
    for figure in _SHOWN:
        value, low, high, _ = mine[figure]
        between = f" [{low:.2f}–{high:.2f}]" if np.isfinite(low) else ""
        cells.append(f"{_figure(value)}{between}")
    return (name or "mean", *cells, _figure(mine["iou"][3]))


def _figure(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else ""
