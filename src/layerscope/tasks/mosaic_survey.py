"""What all tiles of a mosaic have in common: bare substrate, thresholds, flakes not to be cut.

A mosaic is read through twice. The first pass keeps the mean of every 8 x 8 px, on which the
substrate is chosen and fitted; patches give noise and thresholds; the second pass looks for the
clusters that are longer than a tile's halo.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray, IntArray
from layerscope.errors import InputError
from layerscope.io.mosaic import Mosaic
from layerscope.ops.channels import FloatImage, channel_max
from layerscope.ops.optical import LEVELS, Background, analysis_levels
from layerscope.ops.patchwork import CELL_PX, cells_of, fit_mosaic, surface_at
from layerscope.ops.regions import Thresholds, measure_thresholds, off_substrate
from layerscope.ops.substrate import pixel_noise
from layerscope.ops.tiles import (
    ALIGN_PX,
    MARGIN_PX,
    Clusters,
    Mask,
    Tile,
    Window,
    label_clusters,
    link,
    long_clusters,
    plan_tiles,
)
from layerscope.tasks.flakes import Rules

_BAND_PX = 512
_FIELD_PX = 2048
_PATCH_PX = 1024
_PATCHES = 4
_BLANK_LEVEL = 2.0
_BLANK_PX = 12
"""Where all channels are below this level over squares of this side there is no picture: programs
that stitch fields fill with black what no field covers."""


@dataclass(frozen=True, eq=False)
class Survey:
    """What all tiles of a mosaic have in common. Lengths in full-resolution px unless said.

    Attributes
    ----------
    shape : tuple of int
        Of the mosaic.
    background : Background
        One surface value per cell of `CELL_PX`.
    limits : Thresholds
    long : ndarray of int, (n, 4)
        Boxes, in binned pixels, of the clusters that may not fit into core and halo.
    binning, min_area_px : int
    tile_px, halo_px : int
    whole_px : int
        Clusters longer than this are found in pieces.
    rules : Rules
    """

    shape: tuple[int, int]
    background: Background
    limits: Thresholds
    long: IntArray
    binning: int
    min_area_px: int
    tile_px: int
    halo_px: int
    whole_px: int
    rules: Rules

    def tiles(self) -> tuple[Tile, ...]:
        """Return the tiles, row by row."""
        return plan_tiles(self.shape, self.tile_px, self.halo_px)

    @property
    def binned_shape(self) -> tuple[int, int]:
        """Height and width of the mosaic at the analysis resolution."""
        return self.shape[0] // self.binning, self.shape[1] // self.binning

    def binned(self, window: Window) -> Window:
        """Return a window of the mosaic at the analysis resolution."""
        b = self.binning
        return Window(window.top // b, window.left // b, window.bottom // b, window.right // b)


def survey_mosaic(
    mosaic: Mosaic,
    *,
    tile_px: int = 2048,
    halo_px: int = 256,
    whole_px: int = 4096,
    substrate_level: npt.ArrayLike | None = None,
    min_area_px: int = 200,
    binning: int = 2,
    rules: Rules | None = None,
) -> Survey:
    """Read a mosaic through twice, for its substrate and for the flakes that tiles would cut.

    Parameters
    ----------
    mosaic, tile_px, halo_px, whole_px, substrate_level, min_area_px, binning, rules
        As in `find_flakes_tiled`.
    """
    if binning not in (1, 2, 4, 8) or min_area_px < 1:
        raise InputError(
            f"binning {binning}, min_area_px {min_area_px}: expected 1, 2, 4 or 8, and 1 or more"
        )
    if halo_px < 4 * MARGIN_PX * binning or whole_px < halo_px or tile_px % (ALIGN_PX * binning):
        raise InputError(
            f"tile {tile_px}, halo {halo_px}, whole {whole_px}: expected a multiple of "
            f"{ALIGN_PX * binning}, {4 * MARGIN_PX * binning} or more, and the halo or more"
        )
    if min(mosaic.shape) < CELL_PX * 4:
        raise InputError(f"{mosaic.name}: smaller than {CELL_PX * 4} px; use find_flakes")
    plan_tiles(mosaic.shape, tile_px, halo_px)
    background = fit_mosaic(*_cells(mosaic, binning), substrate_level)
    background, limits = _measured(mosaic, background, binning, min_area_px)
    bands = _cluster_bands(mosaic, background, limits, binning)
    long = long_clusters(bands, halo_px // binning - 2 * MARGIN_PX)
    return Survey(
        mosaic.shape, background, limits, long, binning, min_area_px, tile_px, halo_px, whole_px,
        rules or Rules(),
    )  # fmt: skip


def read_window(mosaic: Mosaic, window: Window, binning: int) -> Micrograph:
    """Full-resolution pixels under a binned window, with the remainder at the mosaic's border."""
    height, width = mosaic.shape
    bottom = height if window.bottom == height // binning else window.bottom * binning
    right = width if window.right == width // binning else window.right * binning
    return mosaic.read(window.top * binning, window.left * binning, bottom, right)


def find_blank(levels: FloatImage, binning: int) -> BoolArray | None:
    """Pixels without a picture; None where there are none."""
    dark = (channel_max(levels) < _BLANK_LEVEL).astype(np.uint8)
    side = max(1, _BLANK_PX // binning)
    if np.count_nonzero(dark) < side * side:
        return None
    dark = cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    # Binned pixels on the border are mixed, and the blur reaches one further.
    return cv2.dilate(dark, np.ones((5, 5), np.uint8)) > 0 if dark.any() else None


def link_off_substrate(
    levels: FloatImage,
    bare: FloatImage,
    blank: BoolArray | None,
    limits: Thresholds,
    binning: int,
) -> Mask:
    """Mask of pixels off the substrate, widened so that what sees each other is connected."""
    usable = None if blank is None else np.where(blank, 0, 255).astype(np.uint8)
    return link(off_substrate(levels, bare, limits.differs, usable), binning)


def bare_in(background: Background, window: Window, binning: int) -> FloatImage:
    """Working levels of the bare substrate in a binned window of the mosaic."""
    w = window
    bare = surface_at(background.surface, CELL_PX // binning, w.top, w.left, w.bottom, w.right)
    bare *= np.float32(LEVELS)
    return bare


def _cells(mosaic: Mosaic, binning: int) -> tuple[FloatImage, BoolArray]:
    """Mean levels of the cells of the whole mosaic, and which of them are picture."""
    cell, (height, width) = CELL_PX // binning, (n // binning for n in mosaic.shape)
    cells = np.empty((-(-height // cell), -(-width // cell), 3), np.float32)
    valid = np.ones(cells.shape[:2], bool)
    step = _BAND_PX // binning
    for top in range(0, height, step):
        window = Window(top, 0, min(top + step, height), width)
        levels = analysis_levels(read_window(mosaic, window, binning), binning=binning)
        rows = slice(top // cell, -(-window.bottom // cell))
        cells[rows] = cells_of(levels, cell)
        blank = find_blank(levels, binning)
        if blank is not None:
            valid[rows] = cells_of((~blank).astype(np.float32), cell) == 1
    return cells, valid


def _measured(
    mosaic: Mosaic, background: Background, binning: int, min_area_px: int
) -> tuple[Background, Thresholds]:
    """Noise of pixels and thresholds: medians over patches spread evenly over the mosaic."""
    shape = (mosaic.shape[0] // binning, mosaic.shape[1] // binning)
    patches = []
    for window in _patch_windows(shape, binning):
        part = read_window(mosaic, window, binning)
        levels = analysis_levels(part, binning=binning)
        patches.append((levels, bare_in(background, window, binning)))
    cell = CELL_PX // binning
    noise = np.median([pixel_noise(levels, bare[::cell, ::cell]) for levels, bare in patches], 0)
    drift, area = background.surface_se * LEVELS, max(4, min_area_px // (binning * binning))
    each = [measure_thresholds(levels, bare, noise, drift, area) for levels, bare in patches]
    limits = replace(
        each[0],
        differs=np.median([t.differs for t in each], axis=0),
        flat=np.median([t.flat for t in each], axis=0),
    )
    return replace(background, noise=noise / LEVELS), limits


def _patch_windows(shape: tuple[int, int], binning: int) -> list[Window]:
    """Up to 4 x 4 windows; one that is the whole where that is no larger than a field."""
    side = (_PATCH_PX if max(shape) * binning > _FIELD_PX else _FIELD_PX) // binning
    spans = []
    for length in shape:
        count = min(_PATCHES, -(-length // side))
        size = min(side, length)
        starts = np.linspace(0, length - size, count).astype(int) // ALIGN_PX * ALIGN_PX
        spans.append([(int(s), int(s) + size) for s in starts])
    return [
        Window(top, left, bottom, right) for top, bottom in spans[0] for left, right in spans[1]
    ]


def _cluster_bands(
    mosaic: Mosaic, background: Background, limits: Thresholds, binning: int
) -> Iterator[Clusters]:
    """Clusters of the mosaic in bands of full rows."""
    height, width = mosaic.shape[0] // binning, mosaic.shape[1] // binning
    step = _BAND_PX // binning
    for top in range(0, height, step):
        core = Window(top, 0, min(top + step, height), width)
        seen = core.grown(ALIGN_PX, ALIGN_PX, (height, width))
        levels = analysis_levels(read_window(mosaic, seen, binning), binning=binning)
        bare, blank = bare_in(background, seen, binning), find_blank(levels, binning)
        linked = link_off_substrate(levels, bare, blank, limits, binning)
        yield label_clusters(np.ascontiguousarray(linked[top - seen.top : core.bottom - seen.top]))
