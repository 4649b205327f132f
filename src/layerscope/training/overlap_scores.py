"""A model whose classes overlap against labelled images: figures per class, per image, together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope.core.evaluation import Comparison
from layerscope.core.examples import DataSet, Example
from layerscope.core.results import FloatArray
from layerscope.core.run import Failure
from layerscope.errors import InputError, LayerscopeError
from layerscope.measure.scores_bootstrap import group_weights, interval_of, why_no_interval
from layerscope.measure.scores_masks import MASK_FIGURES, MaskCounts, mean_figure
from layerscope.models.file import Model
from layerscope.tasks.phases import cut_masks, require_phases

if TYPE_CHECKING:
    import pandas as pd

OnMask = Callable[[str, Comparison], None]

_BACKGROUND = "other"


@dataclass(frozen=True, eq=False)
class MaskEvaluation:
    """What came out.

    Attributes
    ----------
    model : str
    classes : tuple of str
    images : pandas.DataFrame
        One row per image and class: known pixels, `MASK_FIGURES`; NaN where 0 / 0.
    figures : pandas.DataFrame
        One row per class, and per mean over classes (class empty), of each figure: value of all
        pixels, low and high (95 %, specimens drawn again), and baseline: the class everywhere.
    note : str
        Why there is no interval, or empty.
    failures : tuple of Failure
    """

    model: str
    classes: tuple[str, ...]
    images: pd.DataFrame
    figures: pd.DataFrame
    note: str
    failures: tuple[Failure, ...] = ()


def evaluate_masks(
    model: Model,
    data: DataSet,
    *,
    on_mask: OnMask = lambda name, comparison: None,
    progress: Callable[[int, int, str], None] | None = None,
) -> MaskEvaluation:
    """Compare the masks of a model with those of labelled images.

    Parameters
    ----------
    model : Model
        Of overlapping classes, from ``layerscope train phases --overlapping``.
    data : DataSet
        With all classes of the model; others do not count.
    on_mask : callable
        Given the name of a class and both sides of an image, for each.
    progress : callable, optional
        Called with images done, images in all, and the name of the last one.

    Raises
    ------
    InputError
        If the model gives one class per pixel, a class is not labelled, or no image can be read.
    """
    card = require_phases(model.card)
    lost = [c for c in card.classes if c not in data.classes[1:]]
    if card.output != "labels" or lost:
        told = f"no labels of {lost[0]!r}" if lost else "one class per pixel"
        raise InputError(f"{card.name!r} cannot be judged by masks that overlap: {told}")
    parts: list[MaskCounts] = []
    kept: list[Example] = []
    failures = []
    for done, example in enumerate(data.examples, 1):
        try:
            parts.append(_examine(model, example, data, on_mask))
            kept.append(example)
        except LayerscopeError as error:
            failures.append(Failure(str(example.path), str(error)))
        if progress is not None:
            progress(done, len(data), example.name)
    if not parts:
        raise InputError(f"none of {len(data)} images can be used: {failures[0].reason}")
    groups = [e.group for e in kept]
    return MaskEvaluation(
        card.name,
        card.classes,
        _image_table(kept, parts, card.classes),
        _figure_table(parts, groups, card.classes),
        why_no_interval(groups),
        tuple(failures),
    )


def _examine(model: Model, example: Example, data: DataSet, on_mask: OnMask) -> MaskCounts:
    card, image = model.card, example.read_image()
    order = [data.classes.index(c) - 1 for c in card.classes]
    truth = example.class_masks(len(data.classes) - 1)[..., order]
    cuts = np.array([card.thresholds.get(c, 0.5) for c in card.classes], np.float32)
    found = cut_masks(model.predict(image, example.pixel_size_nm), cuts)
    counts = MaskCounts.compare(found, truth)
    for k, name in enumerate(card.classes):
        scores = {f: float(counts.figure(f)[k]) for f in MASK_FIGURES}
        on_mask(
            name,
            Comparison(
                example.name, example.group, image, truth[..., k], found[..., k].astype(np.uint8),
                (_BACKGROUND, name), example.pixel_size_nm, scores,
            ),
        )  # fmt: skip
    return counts


def _image_table(
    examples: Sequence[Example], parts: Sequence[MaskCounts], classes: Sequence[str]
) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for example, part in zip(examples, parts, strict=True):
        values = {f: part.figure(f) for f in MASK_FIGURES}
        for k, name in enumerate(classes):
            row: dict[str, Any] = {
                "image": example.name, "group": example.group, "class": name
            }  # fmt: skip
            row |= {"known_px": int(part.known[k])}
            rows.append(row | {f: float(v[k]) for f, v in values.items()})
    return pd.DataFrame(rows)


def _figure_table(
    parts: Sequence[MaskCounts], groups: Sequence[str], classes: Sequence[str]
) -> pd.DataFrame:
    """All pixels together, so that an image with little of a class decides little."""
    import pandas as pd

    stacked = np.array([list(vars(p).values()) for p in parts], float)
    weights = group_weights(groups)
    drawn = np.einsum("bn,nfk->bfk", weights, stacked)
    whole = stacked.sum(axis=0)
    there = whole[0] + whole[2]
    everywhere = MaskCounts(there, whole[1] + whole[3], 0 * there, 0 * there)
    enough = not why_no_interval(groups)
    rows = []
    for figure in MASK_FIGURES:
        values = _with_mean(MaskCounts(*whole).figure(figure))
        base = _with_mean(everywhere.figure(figure))
        again = np.array([_with_mean(MaskCounts(*d).figure(figure)) for d in drawn])
        low, high = interval_of(again) if enough else (np.full(len(values), np.nan),) * 2
        rows += [
            {"figure": figure, "class": name, "value": value, "low": a, "high": b, "baseline": c}
            for name, value, a, b, c in zip((*classes, ""), values, low, high, base, strict=True)
        ]
    return pd.DataFrame(rows)


def _with_mean(values: FloatArray) -> FloatArray:
    return np.append(values, mean_figure(values))
