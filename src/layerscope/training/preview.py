"""A picture of what training will see: patches as they are, and as augmentation makes them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE, DataSet, Example
from layerscope.core.micrograph import PixelSize
from layerscope.draw import draw_scale_bar, to_rgb8
from layerscope.errors import InputError
from layerscope.io.annotated.output import mask_of
from layerscope.io.atomic import write_bytes
from layerscope.ops.augment import NO_AUGMENTATION, Augmentation
from layerscope.training.data import load_arrays
from layerscope.training.patches import Patch, PatchSource

Rgb = npt.NDArray[np.uint8]

# Okabe and Ito (2008), without black: told apart with every common colour blindness.
_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
_INK = "#22303c"
_TILE_PX = 360
_TILE_IN = 1.55
_MOST_IN_KEY = 12


def preview_augmentation(
    dataset: DataSet,
    path: Path,
    *,
    size_px: int = 256,
    rows: int = 4,
    columns: int = 5,
    augmentation: Augmentation | None = None,
    seed: int = 0,
) -> None:
    """Write a picture with a row per image: a patch as it is, then augmented ones.

    Boxes without mask are outlined as boxes.

    Parameters
    ----------
    dataset : DataSet
        The images shown are drawn by `seed`, those with objects first.
    path : Path
        PNG or PDF.
    size_px : int
        Side of a patch.
    rows, columns : int
        Images, and augmented patches of each.
    augmentation : Augmentation, optional
        Default: that of training, with mosaics and pasted objects in some patches.
    seed : int

    Raises
    ------
    InputError
        If the data set is empty, the suffix is not one of these, or an image cannot be read.
    """
    kind = path.suffix.casefold()[1:]
    if kind not in ("png", "pdf"):
        raise InputError(f"{path.name}: the preview is written as .png or .pdf")
    if not len(dataset):
        raise InputError("no image to preview")
    shown = _chosen(dataset, rows, seed)
    wanted = augmentation or replace(Augmentation(), mosaic_share=0.15, paste_share=0.3)
    patches = _patches(shown, size_px, columns, wanted, seed)
    write_bytes(path, _figure(shown, patches, size_px, kind))


def _chosen(dataset: DataSet, rows: int, seed: int) -> DataSet:
    """Return some examples, by name; boxes become areas, so that patches are drawn near them."""
    order = np.random.default_rng([seed, 0x9E1]).permutation(len(dataset)).tolist()
    order.sort(key=lambda i: dataset.examples[i].instances == ())
    shown = dataset.take(sorted(order[:rows]))
    return replace(shown, examples=tuple(_boxes_filled(e) for e in shown.examples))


def _boxes_filled(example: Example) -> Example:
    if example.load_labels is not None or not example.instances:
        return example
    filled = tuple(replace(i, mask=mask_of(i)) for i in example.instances)
    return replace(example, instances=filled)


def _patches(
    shown: DataSet, size_px: int, columns: int, augmentation: Augmentation, seed: int
) -> list[list[Patch]]:
    """Per image: a patch near an object as it is, and augmented ones."""
    rows = []
    for step, (image, labels) in enumerate(zip(*load_arrays(shown), strict=True)):
        plain = PatchSource([image], [labels], size_px, NO_AUGMENTATION, seed, None, 1.0)
        source = PatchSource([image], [labels], size_px, augmentation, seed, None, 0.8)
        rows.append([plain.patch(step, 0), *(source.patch(step, i) for i in range(columns))])
    return rows


def _figure(shown: DataSet, patches: Sequence[Sequence[Patch]], size_px: int, kind: str) -> bytes:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = len(patches[0])
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 8, "text.color": _INK}):
        size = (_TILE_IN * columns + 0.2, _TILE_IN * len(patches) + 1.0)
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(patches), columns, squeeze=False)
        for row, example, tiles in zip(axes, shown.examples, patches, strict=True):
            for column, (ax, patch) in enumerate(zip(row, tiles, strict=True)):
                ax.imshow(_tile(patch, _scale(example, size_px) if column == 0 else None))
                ax.set_axis_off()
            row[0].set_title(_shortened(example.name), fontsize=6, loc="left", pad=2)
        _write_around(figure, axes, shown, size_px)
        out = io.BytesIO()
        none = {"Software": None} if kind == "png" else {"CreationDate": None, "Producer": None}
        figure.savefig(out, format=kind, dpi=200, metadata=none)
    return out.getvalue()


def _write_around(figure: Any, axes: Any, shown: DataSet, size_px: int) -> None:
    """Heading over the whole, and the key of colours below it."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch as Swatch

    figure.suptitle(
        f"Patches of {size_px} x {size_px} px: left as in the image, the others as training sees "
        "them",
        fontsize=9,
        ha="left",
        x=0.01,
    )
    names = shown.classes[1 : _MOST_IN_KEY + 1]
    lines = [Line2D([], [], color=_COLOURS[i % len(_COLOURS)], lw=2.5) for i in range(len(names))]
    swatch = Swatch(facecolor="#d0d0d0", edgecolor="#404040", hatch="////", lw=0)
    figure.legend(
        [*lines, swatch],
        [*names, "not labelled: no loss"],
        loc="outside lower left",
        ncols=min(6, len(names) + 1),
        frameon=False,
        fontsize=8,
    )


def _tile(patch: Patch, pixel_size: PixelSize | None) -> Rgb:
    """Patch with the outline of every class, stripes where nobody labelled, and a scale bar."""
    image, labels = patch
    rgb = to_rgb8(image if image.shape[2] == 3 else image[..., 0], 1.0)
    size = (_TILE_PX, _TILE_PX)
    out = cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC)
    marks = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    striped = (marks == IGNORE) & (np.add.outer(np.arange(_TILE_PX), np.arange(_TILE_PX)) % 12 < 3)
    out[striped] = 64
    for value in np.unique(marks[(marks > 0) & (marks != IGNORE)]).tolist():
        area = (marks == value).astype(np.uint8)
        lines, _ = cv2.findContours(area, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(out, lines, -1, (255, 255, 255), 5, cv2.LINE_AA)
        cv2.drawContours(
            out, lines, -1, _rgb(_COLOURS[(value - 1) % len(_COLOURS)]), 3, cv2.LINE_AA
        )
    return out if pixel_size is None else draw_scale_bar(out, pixel_size)


def _scale(example: Example, size_px: int) -> PixelSize | None:
    """Pixel size of a tile that shows `size_px` pixels of the image."""
    if example.pixel_size_nm is None:
        return None
    nm = example.pixel_size_nm * size_px / _TILE_PX
    return PixelSize(nm, nm, "data set")


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _shortened(name: str) -> str:
    return name if len(name) <= 30 else f"{name[:14]}...{name[-13:]}"
