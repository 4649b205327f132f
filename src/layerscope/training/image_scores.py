"""Scores of single images, as rows of two tables: one per image, one per image and class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope.measure.scores_panoptic import detection_scores, panoptic_quality
from layerscope.measure.scores_pixels import (
    PIXEL_SCORES,
    accuracy,
    class_scores,
    mean_over_classes,
)
from layerscope.training.tally import Tally

if TYPE_CHECKING:
    import pandas as pd


def image_scores(tally: Tally, classes: Sequence[str]) -> Mapping[str, Any]:
    """Row of one image; only what could be compared."""
    row: dict[str, Any] = {"image": tally.name, "group": tally.group}
    if tally.objects is not None:
        counts = tally.objects.counts
        right, false, missed, _ = counts.sum(axis=0)
        row |= {"right": int(right), "false": int(false), "missed": int(missed)}
        scores = detection_scores(counts.sum(axis=0))
        row |= dict(zip(("precision", "recall", "f1"), map(float, scores), strict=True))
        row["pq"] = float(mean_over_classes(panoptic_quality(counts)[:, 0]))
    if tally.pixels is not None:
        row["mean_iou"] = float(mean_over_classes(class_scores(tally.pixels)[:, 0]))
        row["accuracy"] = float(accuracy(tally.pixels))
    if tally.fraction is not None:
        covered = tally.fraction.sum(axis=1)
        row |= {"true_fraction": float(covered[0]), "found_fraction": float(covered[1])}
    return row


def image_table(tallies: Sequence[Tally], classes: Sequence[str]) -> pd.DataFrame:
    """One row per image."""
    import pandas as pd

    return pd.DataFrame([dict(image_scores(t, classes)) for t in tallies])


def class_table(tallies: Sequence[Tally], classes: Sequence[str]) -> pd.DataFrame:
    """One row per image and class; pixels of the background are a class, too."""
    import pandas as pd

    rows = [_class_row(t, i, name) for t in tallies for i, name in enumerate(classes)]
    return pd.DataFrame([row for row in rows if len(row) > 3])


def _class_row(tally: Tally, index: int, name: str) -> dict[str, Any]:
    row: dict[str, Any] = {"image": tally.name, "group": tally.group, "class": name}
    if tally.pixels is not None:
        scores = class_scores(tally.pixels)[index]
        row |= dict(zip(PIXEL_SCORES, map(float, scores), strict=True))
        row["accuracy"] = _binary_accuracy(np.asarray(tally.pixels, float), index)
    if index and tally.fraction is not None:
        true, found = tally.fraction[:, index - 1]
        row |= {"true_fraction": float(true), "found_fraction": float(found)}
    if index and tally.objects is not None:
        counts = tally.objects.counts[index - 1]
        row |= dict(zip(("right", "false", "missed"), map(int, counts), strict=False))
        row["pq"] = float(panoptic_quality(counts)[0])
    return row


def _binary_accuracy(table: np.ndarray[Any, np.dtype[np.float64]], index: int) -> float:
    """Share of pixels on the right side of class `index` or not."""
    wrong = table[index].sum() + table[:, index].sum() - 2 * table[index, index]
    return float(1 - wrong / table.sum()) if table.sum() else float("nan")
