"""One image on the path: read, scaled, searched, and at the end its regions chosen.

What needs the whole set, the setups and their calibration, lies between `find_in` and `finish`:
`pipeline.run` has it for a set in memory, `batch` for scans, `live` for what comes by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from layerscope.core.micrograph import Micrograph, Modality, PixelSize, parse_length_nm
from layerscope.core.results import Detections, Flag, FloatArray, IntArray
from layerscope.core.run import ImageResult
from layerscope.errors import InputError
from layerscope.io import MAX_PIXELS, read
from layerscope.io.mosaic import is_mosaic, open_mosaic
from layerscope.io.sources import Source
from layerscope.ops.illumination import FlatField
from layerscope.ops.optical import Background
from layerscope.ops.scale import (
    TableSource,
    as_magnifications,
    mask_annotations,
    resolve_pixel_size,
)
from layerscope.ops.setups import Substrates
from layerscope.ops.tone import ToneCurve
from layerscope.physics.calibration import OXIDE_SD_NM
from layerscope.tasks.finders import Finder
from layerscope.tasks.flakes import find_flakes
from layerscope.tasks.layers import is_crystal, renumbered
from layerscope.tasks.mosaic import find_flakes_tiled


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


def unsure(found: Found) -> Found:
    """Say of an image that its substrate is not certain, on each of its regions."""
    flags = found.detections.flags | int(Flag.SUBSTRATE_UNCERTAIN)
    notes = (*found.notes, "which colour is the bare substrate is not certain")
    return replace(found, detections=replace(found.detections, flags=flags), notes=notes)


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
