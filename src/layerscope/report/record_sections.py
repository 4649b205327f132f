"""The record of a run: images, failures, parameters and hashes, glossary."""

from __future__ import annotations

import numpy as np

from layerscope.core.run import ImageResult, RunResult
from layerscope.report.columns import MEANING, count_flakes, figures_of, of_image, plain_flag, words
from layerscope.report.pictures import Pictures, shrink
from layerscope.report.ranking import rank_flakes
from layerscope.report.record_tables import failed_inputs, hash_table, value_tables
from layerscope.report.values import Photo, Section, Skipped, Table

N_THUMBNAILS = 6
THUMBNAIL_PX = 1100


def images(run: RunResult, pictures: Pictures) -> Section | Skipped:
    """List every image, and show overlays of the most interesting ones."""
    title = "Images"
    if not run.images:
        return Skipped(title, "No image was analysed.")
    rows = tuple(_image_row(image, run) for image in run.images)
    columns = ("image", "setup", "size, px", "pixel size", "flakes", "regions", "notes")
    table = Table(columns, rows, "Every image that was analysed.", numeric=(1, 4, 5),
                  widths=(3.2, 0.9, 1.6, 2.4, 1, 1.1, 4))  # fmt: skip
    photos = tuple(p for p in (_thumbnail(i, pictures) for i in _interesting(run)) if p)
    text = ("Overlays: the images with the most promising flakes.",) if photos else ()
    return Section(title, text, photos=photos, tables=(table,))


def _image_row(image: ImageResult, run: RunResult) -> tuple[str, ...]:
    mine = of_image(run.objects, image.name)
    scale = "unknown"
    if image.pixel_size is not None:
        scale = f"{figures_of(image.pixel_size.um, 4)} µm ({image.pixel_size.source})"
    size = f"{image.shape[1]} × {image.shape[0]}"
    notes = "; ".join(image.notes) or "–"
    flakes = str(count_flakes(mine))
    return image.name, str(image.setup), size, scale, flakes, str(len(mine)), notes


def _interesting(run: RunResult) -> list[ImageResult]:
    """Images by the summed merit of their three best flakes."""
    if not len(run.objects) or "image" not in run.objects:
        return []
    best = rank_flakes(run.objects).groupby("image", sort=False).head(3)
    merit = best.groupby("image")["merit"].sum()
    found = [image for image in run.images if image.name in merit.index]
    return sorted(found, key=lambda image: (-merit[image.name], image.name))[:N_THUMBNAILS]


def _thumbnail(image: ImageResult, pictures: Pictures) -> Photo | None:
    from layerscope.draw import draw_flakes

    rgb = pictures.get(image.name)
    if isinstance(rgb, str):
        return None
    overlay = draw_flakes(rgb, image.detections, pixel_size=image.pixel_size)
    return Photo(shrink(np.asarray(overlay, np.uint8), THUMBNAIL_PX), image.name)


def failures(run: RunResult, pictures: Pictures) -> Section | Skipped:
    """List what could not be analysed, and why."""
    return failed_inputs(run.failures)


def record(run: RunResult, pictures: Pictures) -> Section:
    """Give parameters, versions and hashes: what is needed to repeat the run."""
    tables = (
        *value_tables(run.parameters, run.provenance),
        *hash_table([(image.name, image.sha256) for image in run.images]),
    )
    text = () if tables else ("Nothing was recorded.",)
    return Section("Parameters, versions, hashes", text, tables=tables)


def glossary(run: RunResult, pictures: Pictures) -> Section:
    """Explain columns and flags."""
    from layerscope.measure.table import glossary as column_glossary

    table = column_glossary()
    known = set(run.objects.columns) or set(table["column"])
    cells = zip(words(table, "column"), words(table, "unit"), words(table, "meaning"), strict=True)
    rows = tuple((name, unit or "–", meaning) for name, unit, meaning in cells if name in known)
    flags = tuple((plain_flag(name), meaning) for name, meaning in MEANING.items())
    columns = Table(("column", "unit", "meaning"), rows, "Columns of the objects table", code=(0,),
                    widths=(3.4, 0.9, 6))  # fmt: skip
    return Section(
        "Glossary",
        tables=(Table(("flag", "meaning"), flags, "Flags", widths=(2, 6)), columns),
    )
