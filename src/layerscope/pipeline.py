"""The path of the data, from files to a table. Read this first.

    each image:  read -> scale -> find flakes
    whole set:   which colour is substrate, which images share a setup -> calibrate the physics
    each image:  count layers -> measure

Single images are independent of each other up to the grouping; what needs the whole set comes
after. Nothing here depends on the order of the images or on a clock: the same input gives the
same table, byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope import __version__
from layerscope.core.calibration import Calibration
from layerscope.core.micrograph import Micrograph, Modality, PixelSize, parse_length_nm
from layerscope.core.results import Detections, Flag, FloatArray, IntArray
from layerscope.core.run import Failure, ImageResult, Progress, RunResult
from layerscope.errors import InputError, LayerscopeError
from layerscope.io import MAX_PIXELS, read
from layerscope.io.labels import Labels, assign_labels
from layerscope.io.mosaic import is_mosaic, open_mosaic
from layerscope.io.sources import Source, name_sources
from layerscope.measure import measure
from layerscope.ops.illumination import FlatField
from layerscope.ops.optical import Background
from layerscope.ops.scale import (
    TableSource,
    as_magnifications,
    mask_annotations,
    resolve_pixel_size,
)
from layerscope.ops.setups import Substrates, group_setups
from layerscope.ops.tone import ToneCurve, tone_curve
from layerscope.physics.calibration import OXIDE_SD_NM
from layerscope.physics.materials import load
from layerscope.physics.thin_film import Stack
from layerscope.tasks.finders import Finder
from layerscope.tasks.flakes import find_flakes
from layerscope.tasks.layers import (
    calibrate_setups,
    check_calibration,
    count_by_head,
    count_by_physics,
    is_crystal,
    renumbered,
)
from layerscope.tasks.mosaic import find_flakes_tiled

if TYPE_CHECKING:
    import pandas as pd

    from layerscope.models.heads import LayerHead


@dataclass(frozen=True)
class Scale:
    """Where the pixel size comes from; see `ops.scale.resolve_pixel_size`."""

    pixel_size: str | PixelSize | None = None
    objective: str | None = None
    magnification_table: TableSource | None = None
    scale_bar_length: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no image could make right, before any image is read."""
        if isinstance(self.pixel_size, str):
            PixelSize.parse(self.pixel_size)
        if self.scale_bar_length is not None:
            parse_length_nm(self.scale_bar_length)

    def looked_up(self) -> Scale:
        """Return the same scale with its table read, and the objective looked up in it.

        Raises
        ------
        InputError
            If one of the two is missing; `UnknownName` if the table has no such objective.
        """
        if self.pixel_size is not None or (self.objective or self.magnification_table) is None:
            return self
        table = None if self.objective else as_magnifications(self.magnification_table)
        if table is not None:
            return replace(self, magnification_table=table)
        blank = Micrograph(np.zeros((1, 1), np.uint8))
        found = resolve_pixel_size(
            blank, objective=self.objective, magnification_table=self.magnification_table
        )
        return Scale(found.pixel_size, scale_bar_length=self.scale_bar_length)


@dataclass(frozen=True)
class Optics:
    """What is known about the microscope; see `physics.calibration.calibrate`."""

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
    residue: bool = False

    def __post_init__(self) -> None:
        """Refuse an empty or impossible selection."""
        if self.layers is not None and not 1 <= self.layers[0] <= self.layers[1]:
            raise InputError("layers {}-{}: expected e.g. 1-3".format(*self.layers))


@dataclass(frozen=True)
class Found:
    """One image up to the point where the whole set is needed."""

    source: Source
    sha256: str
    shape: tuple[int, int]
    pixel_size: PixelSize | None
    detections: Detections
    background: Background
    notes: tuple[str, ...]


_SMALLEST_SIDE_PX = 32
_DARKEST_SUBSTRATE = 0.012  # three of 255 levels: quantisation alone is then 10 % of the contrast


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
    finder: Finder = find_flakes,
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
    finder : callable
        From `tasks.finders.choose_finder`; the classical one by default, and always on mosaics.
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
    scale, optics, wanted = (scale or Scale()).looked_up(), optics or Optics(), wanted or Wanted()
    if calibration is not None:
        check_calibration(calibration, crystal, stack, max_layers, optics.tone)

    find = partial(
        find_in, scale=scale, optics=optics, wanted=wanted, max_pixels=max_pixels, finder=finder
    )
    found, failures = _find_all(name_sources(images), find, progress)
    found, setup = _agree_on_substrate(found, find)
    found, known = _with_labels(found, labels)

    detections, levels = [f.detections for f in found], [f.background.level for f in found]
    if head is not None:
        detections = [count_by_head(d, head, crystal, max_layers) for d in detections]
    else:
        calibration = calibration or calibrate_setups(
            detections, levels, setup, crystal, stack, known=known, tone=optics.tone,
            oxide_sd_nm=optics.oxide_sd_nm, max_layers=max_layers, na=optics.na,
        )  # fmt: skip
        detections = [
            count_by_physics(d, level, int(s), calibration, optics.tone)
            for d, level, s in zip(detections, levels, setup, strict=True)
        ]
    results = tuple(
        finish(f, d, int(s), wanted) for f, d, s in zip(found, detections, setup, strict=True)
    )
    tone = optics.tone or tone_curve(calibration.tone if calibration else "linear")
    provenance = {"version": __version__, "schema": 1}
    objects = _table(results, tone)
    if labels is not None:
        objects = with_truth(objects, _labelled(results, labels))
    parameters = {
        "material": crystal.name,
        "substrate": str(stack),
        "max_layers": max_layers,
        "tone": tone.name,
        "layers_from": head.name if head is not None else "physics",
        **_finder_said(found),
        **_asked(optics, wanted),
    }
    return RunResult(results, objects, calibration, tuple(failures), parameters, provenance)


def _finder_said(found: Sequence[Found]) -> dict[str, Any]:
    """Name the finder and its model where it was not the classical one."""
    said = [f.detections.provenance for f in found]
    return {
        name: ", ".join(sorted({str(p[name]) for p in said if name in p}))
        for name in ("finder", "model", "model_sha256")
        if any(name in p for p in said)
    }


def _asked(optics: Optics, wanted: Wanted) -> dict[str, Any]:
    """List the settings as the report prints them."""
    return {
        "na": optics.na,
        "oxide_sd_nm": optics.oxide_sd_nm,
        "flat_field": optics.flat_field.source if optics.flat_field else "from each image",
        "min_area_px": wanted.min_area_px,
        "min_area_um2": wanted.min_area_um2,
        "layers": "all" if wanted.layers is None else "{}-{}".format(*wanted.layers),
        "residue": "kept" if wanted.residue else "left out",
    }


def find_in(
    source: Source,
    *,
    scale: Scale,
    optics: Optics,
    wanted: Wanted,
    max_pixels: int = MAX_PIXELS,
    substrates: Substrates | None = None,
    substrate_level: FloatArray | None = None,
    on_tile: Callable[[], None] = lambda: None,
    finder: Finder = find_flakes,
) -> Found:
    """Read one image, give it its scale, and find its flakes; no layer numbers yet.

    Parameters
    ----------
    source : Source
    scale, optics, wanted, max_pixels
        As in `run`.
    substrates : Substrates, optional
        What a sample of the set says; an image that is not sure of its own substrate follows it.
    substrate_level : ndarray, (3,), optional
        The bare substrate of this image, where the caller knows it.
    on_tile : callable, optional
        Called now and then while a mosaic, a TIFF of over 60 MPix, is worked on.
    finder : callable
        As in `run`.
    """
    if source.micrograph is None and is_mosaic(source.path):
        found = _find_in_mosaic(source, scale, wanted, substrate_level, on_tile)
        if finder is find_flakes:
            return found
        return replace(found, notes=(*found.notes, "a mosaic: found by the classical finder"))
    image = source.micrograph or read(source.path, max_pixels=max_pixels)
    if image.modality != Modality.OPTICAL:
        raise InputError(
            f"{image.name}: a scan of heights, not an optical micrograph; use --task coverage"
        )
    if min(image.shape) < _SMALLEST_SIDE_PX:
        height, width = image.shape
        raise InputError(
            f"{image.name}: {width} x {height} px; expected {_SMALLEST_SIDE_PX} px or more a side"
        )
    return find_on(
        mask_annotations(_scaled(image, scale)),
        source,
        optics=optics,
        wanted=wanted,
        substrates=substrates,
        substrate_level=substrate_level,
        finder=finder,
    )


def find_on(
    image: Micrograph,
    source: Source,
    *,
    optics: Optics,
    wanted: Wanted,
    substrates: Substrates | None = None,
    substrate_level: FloatArray | None = None,
    finder: Finder = find_flakes,
) -> Found:
    """`find_in` once the image is read, has its scale, and its annotations are excluded.

    Parameters
    ----------
    image : Micrograph
    source : Source
        Where it is from.
    optics, wanted, substrates, substrate_level, finder
        As in `find_in`.
    """
    notes = [str(n) for n in image.metadata.get("notes", ())]
    min_area_px, own = _smallest_area(image.pixel_size, wanted)
    find = partial(finder, image, flat_field=optics.flat_field, min_area_px=min_area_px)
    detections, background = find(substrate_level=substrate_level)
    level = substrates.credible(background) if substrates is not None else None
    if level is not None:
        detections, background = find(substrate_level=level)
    if background.level.max() < _DARKEST_SUBSTRATE:
        raise InputError(f"{image.name}: the substrate is black; expose longer, or crop the image")
    said, size = (*notes, *own), image.pixel_size
    return Found(source, image.sha256, image.shape, size, detections, background, said)


def _find_in_mosaic(
    source: Source,
    scale: Scale,
    wanted: Wanted,
    substrate_level: FloatArray | None,
    on_tile: Callable[[], None],
) -> Found:
    """Find on one huge picture, tile by tile, as if it were whole."""
    with open_mosaic(source.path) as mosaic:
        on_tile()
        corner = mosaic.read(0, 0, *(min(n, 64) for n in mosaic.shape))
        size = _scaled(replace(corner, metadata=mosaic.metadata), scale).pixel_size
        min_area_px, own = _smallest_area(size, wanted)
        detections, background = find_flakes_tiled(
            mosaic,
            substrate_level=substrate_level,
            min_area_px=min_area_px,
            progress=lambda *_: on_tile(),
        )
        notes = (*mosaic.metadata.get("notes", ()), *own, "read in tiles: no flat field is used")
    return Found(source, mosaic.sha256, mosaic.shape, size, detections, background, notes)


def _scaled(image: Micrograph, scale: Scale) -> Micrograph:
    return resolve_pixel_size(
        image,
        pixel_size=scale.pixel_size,
        objective=scale.objective,
        magnification_table=scale.magnification_table,
        scale_bar_length=scale.scale_bar_length,
    )


def _smallest_area(size: PixelSize | None, wanted: Wanted) -> tuple[int, tuple[str, ...]]:
    """Smallest region in px, and what to say about the scale."""
    if size is not None:
        told = wanted.min_area_um2 > 0
        return max(1, round(wanted.min_area_um2 / size.um**2)) if told else wanted.min_area_px, ()
    notes = ["no pixel size: lengths and areas in px only"]
    if wanted.min_area_um2 > 0:
        notes.append(f"no pixel size: the smallest area is {wanted.min_area_px} px, not in um2")
    return wanted.min_area_px, tuple(notes)


def _find_all(
    sources: Sequence[Source], find: Callable[[Source], Found], progress: Progress | None
) -> tuple[list[Found], list[Failure]]:
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
    found: list[Found], find: Callable[..., Found]
) -> tuple[list[Found], IntArray]:
    """Group into setups; images whose substrate the set disagrees with are looked at again."""
    setup, revised = group_setups([f.background for f in found])
    again = [
        f if level is None else find(f.source, substrate_level=level)
        for f, level in zip(found, revised, strict=True)
    ]
    return [f if f.background.confident else unsure(f) for f in again], setup


def unsure(found: Found) -> Found:
    """Say of an image that its substrate is not certain, on each of its regions."""
    flags = found.detections.flags | int(Flag.SUBSTRATE_UNCERTAIN)
    notes = (*found.notes, "which colour is the bare substrate is not certain")
    return replace(found, detections=replace(found.detections, flags=flags), notes=notes)


def _with_labels(
    found: list[Found], labels: Labels | None
) -> tuple[list[Found], list[IntArray] | None]:
    if labels is None:
        return found, None
    assigned = [assign_labels(labels, f.source.name, f.detections) for f in found]
    noted = [replace(f, notes=(*f.notes, *a.notes)) for f, a in zip(found, assigned, strict=True)]
    return noted, [a.layers for a in assigned]


def finish(found: Found, detections: Detections, setup: int, wanted: Wanted) -> ImageResult:
    """Keep the regions that are wanted, once their layers are counted.

    Parameters
    ----------
    found : Found
    detections : Detections
        Its regions with layers.
    setup : int
    wanted : Wanted
    """
    rows, note = choose(detections, wanted)
    detections = renumbered(detections[rows])
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
        (*found.notes, *note),
    )


def choose(detections: Detections, wanted: Wanted) -> tuple[IntArray, tuple[str, ...]]:
    """Rows of the regions that are wanted, and what to say of the others."""
    keep = np.ones(len(detections), bool)
    notes: tuple[str, ...] = ()
    if not wanted.residue:
        keep = is_crystal(detections)
        left_out = int(np.count_nonzero(~keep))
        if left_out:
            notes = (f"{left_out} regions that look like residue, rims or blur left out",)
    if wanted.layers is not None and detections.layers is not None:
        low, high = wanted.layers
        numbers = detections.layers.n_layers
        keep &= (numbers >= low) & (numbers <= high)
    return np.flatnonzero(keep), notes


def _table(results: Sequence[ImageResult], tone: ToneCurve) -> pd.DataFrame:
    import pandas as pd

    tables = [
        measure(r.detections, pixel_size=r.pixel_size, image=r.name, tone=tone, setup=r.setup)
        for r in results
        if len(r.detections)
    ]
    if not tables:
        return measure(Detections.empty((1, 1)), pixel_size=None)
    return pd.concat(tables, ignore_index=True)


def _labelled(results: Sequence[ImageResult], labels: Labels) -> dict[str, IntArray]:
    return {r.name: assign_labels(labels, r.name, r.detections).layers for r in results}


def with_truth(objects: pd.DataFrame, layers: Mapping[str, IntArray]) -> pd.DataFrame:
    """Add the column ``layers_true``, which the report's reliability section compares with.

    Parameters
    ----------
    objects : pandas.DataFrame
        Rows of one image together, in the order of its regions.
    layers : mapping of str to ndarray of int
        True layer numbers per image and region; 0 where unknown.
    """
    import pandas as pd

    names = objects["image"].unique()
    known = np.concatenate([np.zeros(0, np.int64), *(layers[name] for name in names)])
    named = [str(n) if f"p_{n}L" in objects else "thick" for n in known]
    text = [t if n > 0 else None for t, n in zip(named, known, strict=True)]
    return objects.assign(layers_true=pd.Series(text, dtype="str"))
