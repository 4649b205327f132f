"""The folder that a run leaves behind: tables, masks, overlays, report, and how they came about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope.core.run import ImageResult, Progress, RunResult
from layerscope.draw import draw_flakes, to_rgb8
from layerscope.errors import InputError
from layerscope.io import read
from layerscope.io.annotations import write_coco, write_geojson, write_instances, write_layers
from layerscope.io.atomic import write_bytes
from layerscope.io.calibration import write_calibration
from layerscope.io.mosaic import is_mosaic
from layerscope.io.tables import write_table
from layerscope.measure import glossary
from layerscope.report.overview import overview_of

if TYPE_CHECKING:
    from layerscope.core.micrograph import Micrograph

_JPEG_QUALITY = 88


def write_run(
    run: RunResult,
    folder: str | Path,
    *,
    images: dict[str, Micrograph] | None = None,
    report: bool = True,
    progress: Progress | None = None,
) -> Path:
    """Write everything that a run found.

    Parameters
    ----------
    run : RunResult
    folder : path
        Made if missing; files of an earlier run in it are replaced.
    images : mapping of str to Micrograph, optional
        Pixels of images that were in memory, by name; the others are read again.
    report : bool
        Whether to write ``report.html`` and ``report.pdf``.
    progress : callable, optional
        Called with images done, images in all, and a name.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """
    target = Path(folder)
    _make_folders(target)
    write_table(run.objects, target / "objects.csv")
    write_table(run.objects, target / "objects.parquet", units=_units())
    write_coco(target / "annotations.coco.json", run.images, run.provenance)
    write_bytes(target / "run.json", _run_json(run))
    if run.calibration is not None:
        write_calibration(target / "calibration.toml", run.calibration)
    rows = dict(list(run.objects.groupby("image", sort=False)))
    for i, image in enumerate(run.images):
        _write_image(image, target, rows.get(image.name), (images or {}).get(image.name))
        if progress is not None:
            progress(i + 1, len(run.images), image.name)
    if report:
        from layerscope.report import build_sections, render_html, render_pdf

        sections = build_sections(run, images)
        render_html(run, target / "report.html", sections=sections)
        render_pdf(run, target / "report.pdf", sections=sections)
    return target


def _make_folders(target: Path) -> None:
    try:
        for name in ("masks", "layers", "geojson", "overlays"):
            (target / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {target}: {error.strerror}; choose another -o") from None


def _units() -> dict[str, str]:
    table = glossary()
    return dict(zip(table["column"], table["unit"], strict=True))


def _write_image(image: ImageResult, target: Path, rows: Any, pixels: Micrograph | None) -> None:
    numbers = [] if rows is None else rows.select_dtypes("number").to_dict("records")
    write_geojson(
        target / "geojson" / f"{image.name}.geojson",
        image.detections,
        image=image.name,
        measurements=numbers,
    )
    shown, size, labels = image.detections, image.pixel_size, None
    if pixels is None and is_mosaic(image.path):
        # Label images as large as a mosaic would not fit into memory; GeoJSON and COCO have them.
        micrograph, shown, size = overview_of(image)
        labels = [""] * len(shown)  # as large as ten flakes; the outlines' colours tell the layers
    else:
        micrograph = pixels or read(image.path)
        write_instances(target / "masks" / f"{image.name}.png", shown.masks)
        write_layers(target / "layers" / f"{image.name}.png", shown)
    rgb = to_rgb8(micrograph.data, micrograph.white_level)
    picture = draw_flakes(rgb, shown, pixel_size=size, labels=labels)
    write_bytes(target / "overlays" / f"{image.name}.jpg", _jpeg(picture))


def _jpeg(picture: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    import simplejpeg

    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=_JPEG_QUALITY)
    return encoded


def _run_json(run: RunResult) -> bytes:
    setups = run.calibration.setups if run.calibration else ()
    document = {
        "provenance": dict(run.provenance),
        "parameters": dict(run.parameters),
        "images": [_image_json(i) for i in run.images],
        "setups": [{"status": s.status, "reasons": list(s.reasons)} for s in setups],
        "failures": [{"path": f.path, "reason": f.reason} for f in run.failures],
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _image_json(image: ImageResult) -> dict[str, Any]:
    size = image.pixel_size
    return {
        "name": image.name,
        "path": image.path,
        "sha256": image.sha256,
        "shape_px": list(image.shape),
        "pixel_size_um": None if size is None else round(size.um, 9),
        "pixel_size_source": None if size is None else size.source,
        "setup": image.setup,
        "regions": len(image.detections),
        "notes": list(image.notes),
    }
