"""One page per image: what it shows, what was measured, what was answered, who changed what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.errors import LayerscopeError
from layerscope.report.assessment_descriptors import UNITS, share_text, text_of
from layerscope.report.assessment_quantities import OF_KEY
from layerscope.report.assessment_record import EditHistory, flags_of
from layerscope.report.assessment_runs import (
    AssessedImage,
    ImageSet,
    RunFolder,
    read_overlay,
    rows_of,
)
from layerscope.report.columns import figures_of, numbers
from layerscope.report.panels import Rgb, picture_of, with_scale_bar
from layerscope.report.scan_text import counted
from layerscope.report.values import Banner, Photo, Section, Table

_PHOTO_PX = 760
_SHOWN = (
    "count", "count_at_border", "density", "lateral_size_median", "lateral_aspect_median",
    "share_thin", "share_medium", "share_thick", "share_unknown", "fold_share_median",
    "edge_dimension_median", "aggregated_share", "coverage", "porosity",
)  # fmt: skip


def image_pages(data: ImageSet, history: EditHistory | None) -> Iterator[Section]:
    """Return a section per image, in the order of their names.

    Parameters
    ----------
    data : ImageSet
    history : EditHistory or None
    """
    for image in data.images:
        yield _page(image, data, history)


def _page(image: AssessedImage, data: ImageSet, history: EditHistory | None) -> Section:
    photos = tuple(_photos(image, data))
    tables = [t for k, run in enumerate(data.runs) for t in _tables(run, image, k)]
    return Section(
        f"Image {image.name}",
        tuple(_facts(image, history)),
        banners=tuple(_banners(image, data)),
        photos=photos,
        tables=tuple(tables),
        new_page=True,
        photos_in_row=min(max(len(photos), 2), 3),  # so that most images take one page
    )


def _banners(image: AssessedImage, data: ImageSet) -> Iterator[Banner]:
    found = list(flags_of(image, data))
    doubts = [what for kind, what in found if kind == "doubt"]
    if doubts:
        yield Banner("warning", "Look at this image", f"{'. '.join(doubts)}.")
    for kind, what in found:
        if kind != "doubt":
            yield Banner("note", kind.capitalize(), f"{what}.")


def _facts(image: AssessedImage, history: EditHistory | None) -> Iterator[str]:
    height, width = image.shape
    scale = "pixel size unknown"
    if np.isfinite(image.pixel_size_nm):
        across = image.pixel_size_nm * width / 1000
        scale = (
            f"{figures_of(image.pixel_size_nm, 4)} nm per pixel ({image.scale_source}), "
            f"{figures_of(across)} µm across"
        )
    yield f"{width} × {height} px, {scale}."
    yield f"SHA-256 {image.sha256 or 'none: it was in memory'}."
    if history is None:
        return
    mine = history.of_image(image.sha256)
    people = ", ".join(sorted({row.who for row in mine}))
    yield f"Edited by hand: {counted(len(mine), 'edit')} by {people}." if mine else (
        "Edited by hand: not according to the log."
    )  # fmt: skip


def _photos(image: AssessedImage, data: ImageSet) -> Iterator[Photo]:
    plain = _original(image)
    if plain is not None:
        yield Photo(plain, "As it was recorded.")
    for k, run in enumerate(data.runs):
        path = run.picture(image.in_run[k]) if k in image.in_run else None
        if path is not None:
            yield Photo(_shrunk(read_overlay(path)), f"{run.kind.capitalize()}.")


def _original(image: AssessedImage) -> Rgb | None:
    """Return the image itself, if its file is still there and still the same."""
    from layerscope.io import read

    if not image.path or not image.sha256:
        return None
    try:
        found: Micrograph = read(image.path)
    except LayerscopeError:
        return None
    if found.sha256 != image.sha256:
        return None
    panel = _shrunk(picture_of(found))
    zoom = panel.shape[1] / found.shape[1]
    size = None
    if np.isfinite(image.pixel_size_nm):
        side = image.pixel_size_nm / zoom
        size = PixelSize(side, side, image.scale_source)
    return with_scale_bar(panel, size, int(np.clip(round(max(panel.shape[:2]) / 42) + 4, 12, 30)))


def _shrunk(picture: Rgb) -> Rgb:
    zoom = _PHOTO_PX / max(picture.shape[:2])
    if zoom >= 1:
        return picture
    size = tuple(max(1, round(n * zoom)) for n in picture.shape[1::-1])
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _tables(run: RunFolder, image: AssessedImage, position: int) -> Iterator[Table]:
    if position not in image.in_run:
        return
    if run.kind == "phases":
        yield _areas(run, image, position)
    if run.kind == "particles":
        yield _figures(run, image, position)
    if run.kind == "categories":
        yield _answers(run, image, position)


def _areas(run: RunFolder, image: AssessedImage, position: int) -> Table:
    rows = rows_of(run, "areas", image, position)
    none = "none: the model was never tried on held-out images"
    cells = tuple(
        (
            str(r["class"]),
            share_text(r["fraction"], r["fraction_low"], r["fraction_high"]),
            text_of(r["area_um2"], r["area_low_um2"], r["area_high_um2"]),
            "95 %, errors on held-out images" if np.isfinite(r["fraction_low"]) else none,
        )
        for r in rows.to_dict("records")
    )
    return Table(("phase", "share [95 %]", "area, µm² [95 %]", "interval"), cells, numeric=(1, 2),
                 widths=(2, 2, 2.4, 3))  # fmt: skip


def _figures(run: RunFolder, image: AssessedImage, position: int) -> Table:
    rows = rows_of(run, "population", image, position).to_dict("records")
    of: dict[str, Sequence[str]] = {}
    for r in rows:
        quantity = OF_KEY.get(str(r["quantity"]))
        if quantity is not None and quantity.key in _SHOWN:
            value = text_of(r["value"], r["low"], r["high"], quantity)
            unit = UNITS.get(str(r["unit"]), str(r["unit"]))
            of[quantity.key] = (quantity.label, value, unit, str(r["interval"]))
    cells = tuple(tuple(of[key]) for key in _SHOWN if key in of)
    n = len(rows_of(run, "particles", image, position))
    return Table(("particles", "value [95 %]", "unit", "interval, or why none"), cells,
                 f"{counted(n, 'particle')}; their rows are in the workbook.", numeric=(1,),
                 widths=(2.2, 2, 0.6, 3.2))  # fmt: skip


def _answers(run: RunFolder, image: AssessedImage, position: int) -> Table:
    rows = rows_of(run, "categories", image, position)
    cells = tuple(
        (
            str(r["question"]),
            str(r["answer"]) if p == p else "not visible",
            f"{p:.2f}" if p == p else "–",
            str(r["why"] or "–"),
        )
        for r, p in zip(rows.to_dict("records"), numbers(rows, "probability"), strict=True)
    )
    return Table(("question", "answer", "probability", "why not"), cells, numeric=(2,),
                 widths=(2, 3, 1, 3))  # fmt: skip
