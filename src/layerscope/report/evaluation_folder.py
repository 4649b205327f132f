"""The folder that an evaluation leaves behind: figures, tables, error maps and a page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from layerscope.core.evaluation import Comparison, Evaluation
from layerscope.errors import CannotWrite
from layerscope.io.atomic import write_bytes
from layerscope.io.tables import write_table
from layerscope.report.coverage_pictures import encode_png
from layerscope.report.evaluation_pictures import Rgb, draw_errors
from layerscope.report.evaluation_sections import evaluation_sections
from layerscope.report.pictures import shrink
from layerscope.report.values import Photo

N_GALLERY = 8
"""Error maps on the page; all are in the folder."""

_MAP_PX, _PAGE_PX = 1400, 900
_LONGEST_STEM = 180  # bytes: file systems allow 255, and temporary names add some
_FORBIDDEN = frozenset('/\\:*?"<>|')


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
        self._target = Path(folder)
        try:
            (self._target / "errors").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotWrite(
                f"cannot write to {folder}: {error.strerror}; choose another -o"
            ) from None
        self._shown: list[_Shown] = []
        self._stems: set[str] = set()

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
        path = self._target / "errors" / f"{self._stem(comparison.name)}.png"
        write_bytes(path, encode_png(picture))
        kept = [*self._shown, _Shown(score, comparison.name, shrink(picture, _PAGE_PX))]
        self._shown = sorted(kept, key=lambda shown: shown[:2])[:N_GALLERY]

    def _stem(self, name: str) -> str:
        """Name of an image's file: unique whatever the file system makes of case and signs."""
        safe = "".join("_" if c in _FORBIDDEN or not c.isprintable() else c for c in name)
        safe = safe.encode()[:_LONGEST_STEM].decode(errors="ignore").strip(" .") or "image"
        stem, k = safe, 2
        while stem.casefold() in self._stems:
            stem, k = f"{safe}-{k}", k + 1
        self._stems.add(stem.casefold())
        return stem

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
    text = json.dumps(_plain(document), indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def _scores(scores: Mapping[str, float]) -> str:
    named = {"f1": "F1 of objects", "mean_iou": "mean IoU", "accuracy": "accuracy"}
    parts = [
        f"{t} {scores[k]:.2f}" for k, t in named.items() if math.isfinite(scores.get(k, np.nan))
    ]
    return ", ".join(parts)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (float, np.floating)):
        return float(f"{float(value):.7g}") if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value if isinstance(value, (int, str, bool)) or value is None else str(value)
