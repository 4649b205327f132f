"""Pictures to check a prepared data set by: masks over the image, probabilities, pixel counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from layerscope.core.coverage import LabelMap
from layerscope.core.prepared import PreparedImage
from layerscope.core.segmentation import ClassArea, ClassMasks, PhaseResult
from layerscope.report.columns import numbers, words
from layerscope.report.figures import GREY, as_hex, new_figure, styled
from layerscope.report.panels import (
    Rgb,
    font_px,
    framed,
    shades,
    with_scale_bar,
    zoomed,
)
from layerscope.report.phases_pictures import draw_phases, phase_colour
from layerscope.report.rims import rims_of

if TYPE_CHECKING:
    import pandas as pd

OVERLAY_PX = 900
_MAP_PX = 640
_MAP = "cividis"
"""Lightness rises evenly, with every common colour blindness too."""
_LINE: tuple[int, int, int] = (255, 255, 255)
_MOST_BARS = 60


def phases_of(image: PreparedImage) -> LabelMap | ClassMasks:
    """Masks of a prepared image as phases: a class each, or masks that overlap."""
    if image.overlapping:
        cuts = image.thresholds or (1.0,) * len(image.classes)
        return ClassMasks(image.masks, image.classes, image.known, cuts)
    labels = image.masks.argmax(axis=2).astype(np.uint8)
    return LabelMap(labels, image.classes, image.known)


def draw_prepared(image: PreparedImage) -> Rgb:
    """Image tinted by its masks, with a key and a scale bar; not labelled pixels are dotted."""
    areas = tuple(
        ClassArea(name, 1 << k if image.overlapping else k, row["pixels"], row["share"])
        for k, (name, row) in enumerate(zip(image.classes, image.counts, strict=True))
    )
    result = PhaseResult(image.name, "", "", image.micrograph, phases_of(image), areas)
    return draw_phases(result, OVERLAY_PX, (image.name,))


def draw_probabilities(image: PreparedImage) -> list[tuple[str, Rgb]]:
    """Map of each class's probability, with a line at its threshold; none without probabilities."""
    if image.probability is None:
        return []
    return [
        (name, _map(image, k, name))
        for k, name in enumerate(image.classes)
        if not image.thresholds or np.isfinite(image.thresholds[k])
    ]


def _map(image: PreparedImage, index: int, name: str) -> Rgb:
    assert image.probability is not None
    values = image.probability[..., index]
    zoom = _MAP_PX / max(values.shape)
    size = (max(1, round(values.shape[1] * zoom)), max(1, round(values.shape[0] * zoom)))
    way = cv2.INTER_AREA if zoom < 1 else cv2.INTER_NEAREST
    shown = np.clip(cv2.resize(np.ascontiguousarray(values), size, interpolation=way), 0, 1)
    panel = shades(_MAP)[np.rint(255 * shown).astype(np.uint8)]
    title = [f"{image.name}: probability of {name}"]
    if image.thresholds:
        cut = image.thresholds[index]
        rims = rims_of(shown >= cut)
        cv2.drawContours(panel, rims, -1, (0, 0, 0), 2, cv2.LINE_AA)
        cv2.drawContours(panel, rims, -1, _LINE, 1, cv2.LINE_AA)
        title.append(f"line: threshold {cut:g}")
    font = font_px(panel)
    panel = with_scale_bar(panel, zoomed(image.micrograph.pixel_size, zoom), font)
    return framed(panel, title, (shades(_MAP), (0.0, 1.0), ""), [], font)


@styled
def count_bars(counts: pd.DataFrame) -> Any:
    """Stacked bar of the shares of the classes for each image.

    Parameters
    ----------
    counts : pandas.DataFrame
        `core.prepared.COUNT_COLUMNS`.
    """
    every = list(dict.fromkeys(words(counts, "image")))
    names = every[:_MOST_BARS]
    classes = list(dict.fromkeys(words(counts, "class")))
    overlapping = bool(counts.groupby("image")["share"].sum().sub(1).abs().max() > 1e-6)
    figure, (ax,) = new_figure(7.2, 1.1 + 0.22 * len(names))
    place, left = np.arange(len(names))[::-1], np.zeros(len(names))
    height = 0.8 / len(classes) if overlapping else 0.75
    for k, name in enumerate(classes):
        rows = counts[counts["class"] == name].set_index("image")
        share = 100 * numbers(rows.loc[names], "share")
        colour = phase_colour(1 << k if overlapping else k)
        ink = as_hex(colour) if colour else "#d9dee2"
        shift = (k - (len(classes) - 1) / 2) * height if overlapping else 0
        ax.barh(place - shift, share, height=height, left=None if overlapping else left, color=ink,
                edgecolor="white", linewidth=0.4, label=name)  # fmt: skip
        left = left + share
    ax.set_yticks(place, [n if len(n) < 30 else f"{n[:14]}…{n[-13:]}" for n in names])
    more = f"; the first {len(names)} of {len(every)} images" if len(every) > len(names) else ""
    ax.set(
        xlabel=f"share of the labelled pixels (%){more}",
        xlim=(0, 100),
        ylim=(-0.6, len(names) - 0.4),
    )
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.grid(visible=False, axis="y")
    figure.legend(loc="outside upper left", ncols=min(len(classes), 5))
    return figure
