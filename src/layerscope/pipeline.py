"""The path of the data, from files to a table. Read this first.

    read -> calibrate the scale -> find flakes -> (whole set) group setups -> calibrate the physics
         -> count layers -> measure

Single images are independent of each other up to the grouping; what needs the whole set (which
colour is substrate, what the camera is) comes after. Nothing here depends on the order of the
images or on a clock: the same input gives the same table, byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope import __version__
from layerscope.core.calibration import Calibration
from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.results import (
    THICK,
    UNKNOWN,
    Detections,
    Flag,
    FloatArray,
    IntArray,
    LayerPosterior,
    RegionSignal,
)
from layerscope.core.run import Failure, ImageResult, RunResult
from layerscope.errors import InputError, LayerscopeError
from layerscope.io import MAX_PIXELS, read
from layerscope.io.labels import Labels, assign_labels
from layerscope.io.sources import Source, name_sources
from layerscope.measure import measure
from layerscope.ops.illumination import FlatField
from layerscope.ops.optical import Background, group_setups
from layerscope.ops.scale import mask_annotations, resolve_pixel_size
from layerscope.ops.tone import ToneCurve, contrast, tone_curve
from layerscope.physics.calibration import OXIDE_SD_NM, calibrate
from layerscope.physics.materials import Material, load
from layerscope.physics.thickness import count_layers
from layerscope.physics.thin_film import Stack
from layerscope.tasks.flakes import find_flakes

if TYPE_CHECKING:
    import pandas as pd

    from layerscope.models.heads import LayerHead

Progress = Callable[[int, int, str], None]
"""Called with images done, images in all, and the name of the last one."""

Count = Callable[[Detections, int, Background], LayerPosterior]

_NOT_A_TERRACE = Flag.RESIDUE | Flag.EDGE_STRIP | Flag.OUT_OF_FOCUS | Flag.MIXED_LAYERS


@dataclass(frozen=True)
class Scale:
    """Where the pixel size comes from; see `ops.scale.resolve_pixel_size`."""

    pixel_size: str | PixelSize | None = None
    objective: str | None = None
    magnification_table: str | Mapping[str, str] | None = None
    scale_bar_length: str | None = None


@dataclass(frozen=True)
class Optics:
    """What is known about the microscope."""

    tone: ToneCurve | None = None
    na: float = 0.45
    oxide_sd_nm: float = OXIDE_SD_NM
    flat_field: FlatField | None = None


@dataclass(frozen=True)
class Wanted:
    """Which regions to keep in the result."""

    min_area_px: int = 200
    min_area_um2: float = 0.0
    layers: tuple[int, int] | None = None


@dataclass(frozen=True)
class _Found:
    """One image up to the point where the whole set is needed."""

    source: Source
    sha256: str
    shape: tuple[int, int]
    pixel_size: PixelSize | None
    detections: Detections
    background: Background
    notes: tuple[str, ...] = ()
    known: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))


def run(
    images: Iterable[str | os.PathLike[str] | Micrograph],
    *,
    material: str,
    substrate: str,
    scale: Scale | None = None,
    optics: Optics | None = None,
    wanted: Wanted | None = None,
    calibration: Calibration | None = None,
    labels: Labels | None = None,
    head: LayerHead | None = None,
    max_layers: int = 10,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> RunResult:
    """Find and measure the flakes of a set of optical micrographs.

    Parameters
    ----------
    images : iterable of path or Micrograph
        Files, folders or images in memory. Files that cannot be read are listed in the result.
    material, substrate : str
        For example ``"graphene"`` and ``"SiO2(90nm)/Si"``.
    scale : Scale, optional
        Without a pixel size everything is in px.
    optics : Optics, optional
    wanted : Wanted, optional
    calibration : Calibration, optional
        From an earlier run on the same microscope; otherwise made from these images.
    labels : Labels, optional
        Layer numbers that a person gave to some flakes; they sharpen the calibration.
    head : LayerHead, optional
        A classifier trained on labelled flakes, used instead of the physics.
    max_layers : int
        Longest layer number that is told apart from thick.
    max_pixels : int
        Larger images are refused before they are decoded.
    progress : callable, optional

    Returns
    -------
    RunResult

    Raises
    ------
    InputError
        If the material, the substrate or a setting is unknown. A bad image is no error: it is
        listed in `RunResult.failures`.
    """
    crystal, stack = load(material), Stack.parse(substrate)
    crystal.require_layer_nm()
    if not 1 <= max_layers <= 30:
        raise InputError(f"max_layers {max_layers}: expected 1 to 30")
    scale, optics, wanted = scale or Scale(), optics or Optics(), wanted or Wanted()
    sources = name_sources(images)
    find = partial(_find, scale=scale, optics=optics, wanted=wanted, max_pixels=max_pixels)

    found, failures = _find_all(sources, find, progress)
    found, setup = _agree_on_substrate(found, find)
    found = [_label(f, labels) for f in found]
    count: Count
    if head is not None:
        count = partial(_ask_head, head=head, crystal=crystal, max_layers=max_layers)
    else:
        calibration = calibration or _calibrate(found, setup, crystal, stack, optics, max_layers)
        count = partial(_ask_physics, calibration=calibration, tone=optics.tone)
    tone = optics.tone or tone_curve(calibration.tone if calibration else "linear")
    results = [_finish(f, int(s), count, wanted) for f, s in zip(found, setup, strict=True)]
    provenance = {"layerscope": __version__, "schema": 1}
    parameters = {
        "material": crystal.name,
        "substrate": str(stack),
        "max_layers": max_layers,
        "tone": tone.name,
        "na": optics.na,
        "oxide_sd_nm": optics.oxide_sd_nm,
        "flat_field": optics.flat_field.source if optics.flat_field else "from each image",
        "layers_from": head.name if head is not None else "physics",
        "min_area_px": wanted.min_area_px,
        "min_area_um2": wanted.min_area_um2,
        "layers": "all" if wanted.layers is None else "{}-{}".format(*wanted.layers),
    }
    objects = _objects(results, tone, max_layers)
    return RunResult(tuple(results), objects, calibration, tuple(failures), parameters, provenance)


def _find(
    source: Source,
    *,
    scale: Scale,
    optics: Optics,
    wanted: Wanted,
    max_pixels: int,
    substrate_level: FloatArray | None = None,
) -> _Found:
    image = source.micrograph or read(source.path, max_pixels=max_pixels)
    image = resolve_pixel_size(
        image,
        pixel_size=scale.pixel_size,
        objective=scale.objective,
        magnification_table=scale.magnification_table,
        scale_bar_length=scale.scale_bar_length,
    )
    image = mask_annotations(image)
    detections, background = find_flakes(
        image,
        substrate_level=substrate_level,
        flat_field=optics.flat_field,
        min_area_px=_min_area_px(wanted, image.pixel_size),
    )
    notes = [] if image.pixel_size else ["no pixel size: lengths and areas in px only"]
    notes += [str(n) for n in image.metadata.get("notes", ())]
    return _Found(
        source, image.sha256, image.shape, image.pixel_size, detections, background, tuple(notes)
    )


def _min_area_px(wanted: Wanted, pixel_size: PixelSize | None) -> int:
    if pixel_size is None:
        return wanted.min_area_px
    return max(wanted.min_area_px, int(wanted.min_area_um2 / pixel_size.um**2))


def _find_all(
    sources: Sequence[Source], find: Callable[[Source], _Found], progress: Progress | None
) -> tuple[list[_Found], list[Failure]]:
    found, failures = [], []
    for i, source in enumerate(sources):
        try:
            found.append(find(source))
        except LayerscopeError as error:
            failures.append(Failure(source.path, str(error)))
        if progress is not None:
            progress(i + 1, len(sources), source.name)
    return found, failures


def _agree_on_substrate(
    found: list[_Found], find: Callable[..., _Found]
) -> tuple[list[_Found], IntArray]:
    """Group into setups; images whose substrate the set disagrees with are looked at again."""
    setup, revised = group_setups([f.background for f in found])
    again = [
        f if level is None else find(f.source, substrate_level=level)
        for f, level in zip(found, revised, strict=True)
    ]
    unsure = Flag.SUBSTRATE_UNCERTAIN
    return [f if f.background.confident else _flagged(f, unsure) for f in again], setup


def _flagged(found: _Found, flag: Flag) -> _Found:
    marked = replace(found.detections, flags=found.detections.flags | int(flag))
    note = "which colour is the bare substrate is not certain"
    return replace(found, detections=marked, notes=(*found.notes, note))


def _label(found: _Found, labels: Labels | None) -> _Found:
    if labels is None:
        return replace(found, known=np.zeros(len(found.detections), np.int64))
    assigned = assign_labels(labels, found.source.name, found.detections)
    return replace(found, known=assigned.layers, notes=(*found.notes, *assigned.notes))


def _calibrate(
    found: list[_Found],
    setup: IntArray,
    material: Material,
    stack: Stack,
    optics: Optics,
    max_layers: int,
) -> Calibration:
    signals, backgrounds, known = [], [], []
    for number in range(int(setup.max(initial=-1)) + 1):
        members = [f for f, s in zip(found, setup, strict=True) if s == number]
        clean = [_clean(f.detections) | (f.known > 0) for f in members]
        rows = [np.flatnonzero(c) for c in clean]
        parts = [f.detections.signal.take(r) for f, r in zip(members, rows, strict=True)]
        signals.append(RegionSignal.concatenate(parts))
        known.append(np.concatenate([f.known[r] for f, r in zip(members, rows, strict=True)]))
        backgrounds.append(np.median([f.background.level for f in members], axis=0))
    return calibrate(
        signals,
        backgrounds,
        material,
        stack,
        labels=known,
        tone=optics.tone,
        oxide_sd_nm=optics.oxide_sd_nm,
        max_layers=max_layers,
        na=optics.na,
    )


def _clean(detections: Detections) -> Any:
    """Regions whose colour is that of one terrace, fit to calibrate with."""
    suspect = (detections.flags & int(_NOT_A_TERRACE)) != 0
    return ~suspect & (detections.score >= 0.5) & (detections.signal.core_px >= 60)


def _ask_physics(
    detections: Detections,
    setup: int,
    background: Background,
    *,
    calibration: Calibration,
    tone: ToneCurve | None,
) -> LayerPosterior:
    known = min(setup, len(calibration.setups) - 1)
    same = np.allclose(calibration.setups[known].background, background.level, rtol=0.2)
    nearest = known if same else calibration.nearest(background.level)
    return count_layers(detections.signal, calibration, nearest, tone=tone)


def _ask_head(
    detections: Detections,
    setup: int,
    background: Background,
    *,
    head: LayerHead,
    crystal: Material,
    max_layers: int,
) -> LayerPosterior:
    value, error = contrast(detections.signal, tone_curve("linear"))
    return head.predict(value, error, max_layers=max_layers, layer_nm=crystal.layer_nm)


def _finish(
    found: _Found,
    setup: int,
    count: Count,
    wanted: Wanted,
) -> ImageResult:
    layers = count(found.detections, setup, found.background)
    detections = found.detections.with_layers(layers, _layer_flags(layers))
    if wanted.layers is not None:
        low, high = wanted.layers
        detections = detections[(layers.n_layers >= low) & (layers.n_layers <= high)]
    if found.pixel_size is None:
        detections = replace(detections, flags=detections.flags | int(Flag.SCALE_UNKNOWN))
    return ImageResult(
        found.source.name,
        found.source.path,
        found.sha256,
        found.shape,
        found.pixel_size,
        found.background.level,
        setup,
        detections,
        found.notes,
    )


def _layer_flags(layers: LayerPosterior) -> IntArray:
    withheld = np.array([bool(w) for w in layers.withheld], bool)
    thin = layers.probability[:, :-2].sum(axis=1) > 0.5
    ambiguous = (layers.n_layers == UNKNOWN) & thin & ~withheld
    branched = (layers.n_layers == THICK) & np.array([len(b) > 1 for b in layers.branches_nm], bool)
    flags = np.zeros(len(layers), np.int64)
    flags[ambiguous | branched] |= int(Flag.AMBIGUOUS_LAYERS)
    flags[withheld] |= int(Flag.LAYERS_WITHHELD)
    return flags


def _objects(results: list[ImageResult], tone: ToneCurve, max_layers: int) -> pd.DataFrame:
    import pandas as pd

    tables = [
        measure(r.detections, pixel_size=r.pixel_size, image=r.name, tone=tone, setup=r.setup)
        for r in results
        if len(r.detections)
    ]
    if not tables:
        return measure(Detections.empty((1, 1)), pixel_size=None)
    return pd.concat(tables, ignore_index=True)
