"""The path of a height map or picture of a grown film, from files to coverage. Read this first.

    each image:  read -> crop a picture, level heights -> cover -> domains
    whole set:   one table of images, one of domains

Every image stands for itself: nothing is fitted to the set, so that one bad scan spoils no other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope import __version__
from layerscope.core.coverage import COVERAGE_COLUMNS, Coverage, CoverageRun, SurfaceResult
from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.core.run import Failure, Progress
from layerscope.io import MAX_PIXELS, read
from layerscope.io.sources import Source, name_sources
from layerscope.io.spm import read_spm
from layerscope.measure.domains import find_domains, measure_domains
from layerscope.ops.surface import level
from layerscope.physics.materials import load
from layerscope.tasks.coverage import find_coverage
from layerscope.tasks.image_by_image import each, image_facts, stacked, table_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Question:
    """What is asked of every image.

    Attributes
    ----------
    material : str or None
        Crystal of the film; gives the height of one layer.
    method : str
        A name in `tasks.coverage.METHODS`, or ``auto``.
    threshold : float or None
        By hand, in the unit of the values.
    film : {"bright", "dark"} or None
        Side of the substrate that the film lies on; None: found out.
    max_layers : int
    levelling : str
        A name in `ops.surface.LEVELLERS`; ``none`` for heights that are level already.
    channel : str or None
        Of a scan with several; None: the height.
    pixel_size : str or None
        For example ``"9.77nm"``, where the file has none.
    z_range_nm : float or None
        Heights from end to end of the colour bar of exported pictures, where no label says it.
    width_um : float or None
        Width of exported pictures, where neither scale bar nor axis says it.
    max_pixels : int
    """

    material: str | None = None
    method: str = "auto"
    threshold: float | None = None
    film: str | None = None
    max_layers: int = 4
    levelling: str = "auto"
    channel: str | None = None
    pixel_size: str | None = None
    z_range_nm: float | None = None
    width_um: float | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        """Refuse what no image could make right, before any image is read."""
        _ = self.layer_nm
        if self.pixel_size is not None:
            PixelSize.parse(self.pixel_size)

    @property
    def layer_nm(self) -> float | None:
        """Height of one layer, where the material is known."""
        return load(self.material).require_layer_nm() if self.material else None


def run_coverage(
    images: Iterable[str | os.PathLike[str] | Micrograph],
    question: Question | None = None,
    *,
    summarise: bool = False,
    on_result: Callable[[SurfaceResult], None] | None = None,
    progress: Progress | None = None,
) -> CoverageRun:
    """Find how much of each surface is covered.

    Parameters
    ----------
    images : iterable of path or Micrograph
        Scans, exported pictures, folders of them, or micrographs in memory.
    question : Question, optional
    summarise : bool
        Also give each film in figures (`measure.domain_summary.summarise_film`), as a growth study
        needs; 0.3 s of CPU per image.
    on_result : callable, optional
        Given every image's `SurfaceResult` with its pixels, which the run itself does not keep.
    progress : callable, optional
        Called with images done, images in all, and the name of the last one.

    Returns
    -------
    CoverageRun
        A bad image is no error: it is listed in its `failures`.
    """
    question, sources = question or Question(), name_sources(images)
    rows: list[dict[str, Any]] = []
    domains: list[pd.DataFrame] = []
    films: list[pd.DataFrame] = []
    failures: list[Failure] = []
    covered = partial(cover, question=question, summarise=summarise)
    for result in each(sources, covered, failures, progress):
        rows.append(_row(result))
        domains.append(result.domains)
        films += [] if result.film is None else [result.film]
        if on_result is not None:
            on_result(result)
    return CoverageRun(
        table_of(rows, COVERAGE_COLUMNS),
        stacked(domains),
        stacked(films) if summarise else None,
        failures=tuple(failures),
        parameters={"task": "coverage", **asdict(question)},
        provenance={"version": __version__, "schema": 1},
    )


def cover(source: Source, question: Question, *, summarise: bool = False) -> SurfaceResult:
    """Read, prepare and cover one image.

    Raises
    ------
    LayerscopeError
        If it cannot be read, or cannot be covered.
    """
    image = prepare(source, question)
    coverage = find_coverage(
        image,
        method=question.method,
        layer_nm=question.layer_nm,
        threshold=question.threshold,
        max_layers=question.max_layers,
        film=question.film,
    )
    told = (image.metadata.get(key, ()) for key in ("notes", "picture_notes"))
    notes = [str(n) for some in told for n in some]
    if image.pixel_size is None:
        notes.append("no pixel size: nothing per um2")
    heights, size = image.data if image.value_unit == "nm" else None, image.pixel_size
    found = find_domains(coverage, heights)
    domains = measure_domains(found, heights, pixel_size=size, image=source.name)
    film = None
    if summarise:
        from layerscope.measure.domain_summary import summarise_film

        film = summarise_film(domains, found, coverage, heights, pixel_size=size, image=source.name)
    return SurfaceResult(
        source.name, source.path, image.sha256, image, coverage, domains, film, notes=tuple(notes)
    )


def prepare(source: Source, question: Question) -> Micrograph:
    """Read one image, crop a picture to its micrograph, level heights."""
    image = source.micrograph or _read(source, question)
    if question.pixel_size is not None:
        told = PixelSize.parse(question.pixel_size)
        image = image.after("pixel size", {"source": "user"}, pixel_size=told)
    if image.modality == Modality.OPTICAL:  # no scan, so an exported picture of one
        from layerscope.ops.picture import recover_scan

        image = recover_scan(image, z_range_nm=question.z_range_nm, width_um=question.width_um)
    if image.value_unit != "nm" or question.levelling == "none":
        return image
    return level(image, question.levelling)


def _read(source: Source, question: Question) -> Micrograph:
    if question.channel is not None:
        return read_spm(source.path, channel=question.channel)
    return read(source.path, max_pixels=question.max_pixels)


def _row(result: SurfaceResult) -> dict[str, Any]:
    coverage, image = result.coverage, result.micrograph
    size, valid = image.pixel_size, coverage.film.valid
    pixel_um2 = size.x_nm * size.y_nm * 1e-6 if size else np.nan
    return {
        "image": result.name,
        "coverage": coverage.fraction,
        "coverage_low": coverage.low,
        "coverage_high": coverage.high,
        "method": coverage.method,
        "by_method": "; ".join(f"{n} {v:.3f}" for n, v in coverage.by_method.items()),
        "layers_max": _most_layers(coverage),
        "step_nm": coverage.step_nm,
        "step_low_nm": coverage.step_low_nm,
        "step_high_nm": coverage.step_high_nm,
        "layers_fraction": "; ".join(f"{t.n_layers}: {t.fraction:.4f}" for t in coverage.terraces),
        "domains": len(result.domains),
        "area_um2": float(valid.sum()) * pixel_um2,
        "value_unit": image.value_unit,
        "levelling": _levelling(image),
        **image_facts(result, coverage.doubts, float(valid.mean())),
    }


def _most_layers(coverage: Coverage) -> int | None:
    seen = [t.n_layers for t in coverage.terraces if t.fraction > 0]
    return max(seen, default=None)


def _levelling(image: Micrograph) -> str:
    done = [s.parameters for s in image.history if s.name == "level"]
    return "; ".join(str(p.get("method", "")) for p in done)
