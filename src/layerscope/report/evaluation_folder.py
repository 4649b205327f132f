"""The folder that an evaluation leaves behind: figures, tables, error maps and a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from layerscope.core.evaluation import Comparison, Evaluation
from layerscope.io.atomic import write_bytes
from layerscope.io.tables import write_table
from layerscope.report.evaluation_pictures import draw_errors
from layerscope.report.evaluation_sections import evaluation_sections
from layerscope.report.panels import Rgb, encode_png
from layerscope.report.pictures import shrink
from layerscope.report.run_files import FileStems, json_bytes, make_folder
from layerscope.report.values import Photo

N_GALLERY = 8
"""Error maps on the page; all are in the folder."""

_MAP_PX, _PAGE_PX = 1400, 900
_DIGITS = 7  # more depend on the machine that adds up


class _Shown(NamedTuple):
    """An error map on the page, the worst first."""

    score: float
    name: str
    pixels: Rgb


class EvaluationFolder:
    """Writes the folder: ``evaluate(..., on_image=folder)``, then ``folder.finish``.

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
        self._shown: list[_Shown] = []
        self._stems = FileStems()

    def __call__(self, comparison: Comparison) -> None:
        """Draw and write the error map of one image.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        score = next(
            (v for k in ("f1", "mean_iou") if math.isfinite(v := comparison.scores.get(k, np.nan))),
            1.0,
        )
        picture = draw_errors(
            comparison, longest_px=_MAP_PX, title=(comparison.name, _scores(comparison.scores))
        )
        if picture is None:
            return
        path = self._target / "errors" / f"{self._stems.of(comparison.name)}.png"
        write_bytes(path, encode_png(picture))
        kept = [*self._shown, _Shown(score, comparison.name, shrink(picture, _PAGE_PX))]
        self._shown = sorted(kept, key=lambda shown: shown[:2])[:N_GALLERY]

    def finish(self, evaluation: Evaluation) -> Path:
        """Write figures, tables and page, and return the folder.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        import pandas as pd

        from layerscope.report.html import page_html

        figures = pd.DataFrame([asdict(f) for f in evaluation.figures])
        write_table(figures, self._target / "figures.csv")
        write_table(evaluation.images, self._target / "images.csv")
        write_table(evaluation.image_classes, self._target / "image_classes.csv")
        write_bytes(self._target / "evaluation.json", evaluation_json(evaluation))
        photos = [Photo(shown.pixels) for shown in self._shown]
        sections = evaluation_sections(evaluation, photos)
        version = str(evaluation.provenance.get("version", ""))
        page = page_html(f"Evaluation of {evaluation.name}", sections, version=version)
        write_bytes(self._target / "evaluation.html", page.encode())
        return self._target


def evaluation_json(evaluation: Evaluation) -> bytes:
    """Everything but the pictures, as JSON; what is not finite becomes null."""
    document = {
        "name": evaluation.name,
        "classes": evaluation.classes,
        "specimens": evaluation.n_groups,
        "figures": [asdict(f) for f in evaluation.figures],
        "confusions": [asdict(c) for c in evaluation.confusions],
        "curves": [asdict(c) for c in evaluation.curves],
        "signs": evaluation.signs,
        "images": evaluation.images.to_dict("records"),
        "image_classes": evaluation.image_classes.to_dict("records"),
        "failures": [asdict(f) for f in evaluation.failures],
        "trained_on": evaluation.trained_on,
        "notes": evaluation.notes,
        "parameters": evaluation.parameters,
        "provenance": evaluation.provenance,
    }
    return json_bytes(document, _DIGITS)


def _scores(scores: Mapping[str, float]) -> str:
    named = {"f1": "F1 of objects", "mean_iou": "mean IoU", "accuracy": "accuracy"}
    parts = [
        f"{t} {scores[k]:.2f}" for k, t in named.items() if math.isfinite(scores.get(k, np.nan))
    ]
    return ", ".join(parts)
