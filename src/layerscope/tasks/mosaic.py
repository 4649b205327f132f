"""Flakes of a mosaic that is too large to be analysed whole, tile by tile.

    survey = survey_mosaic(mosaic)                       # once: substrate, noise, thresholds
    parts = [find_in_tile(mosaic, t, survey) for t in survey.tiles()]   # in any order, anywhere
    detections = stitch(parts, survey.tiles())

The answer is that of one window as large as the mosaic, to the last bit, except for regions of
clusters longer than `Survey.whole_px`, which are found in pieces; see `ops.tiles`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray, CropMasks, Detections, Flag, IntArray
from layerscope.errors import InputError
from layerscope.io.mosaic import Mosaic
from layerscope.ops.channels import FloatImage, channel_max
from layerscope.ops.optical import LEVELS, Background, analysis_levels
from layerscope.ops.patchwork import CELL_PX, cells_of, fit_mosaic, surface_at
from layerscope.ops.regions import Thresholds, measure_thresholds, off_substrate
from layerscope.ops.stitching import join, stitch
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
from layerscope.tasks.flakes import Rules, View, find_in_view, provenance_of

_BAND_PX = 512
_PATCH_PX = 1536
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


def find_flakes_tiled(
    mosaic: Mosaic,
    *,
    tile_px: int = 2048,
    halo_px: int = 256,
    whole_px: int = 4096,
    substrate_level: npt.ArrayLike | None = None,
    min_area_px: int = 200,
    binning: int = 2,
    rules: Rules | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Detections, Background]:
    """Find flakes and the bare substrate on a mosaic, in memory that does not grow with it.

    Parameters
    ----------
    mosaic : Mosaic
    tile_px, halo_px : int
        Side of a tile, and how far it looks beyond. Neither changes the result.
    whole_px : int
        Connected flakes longer than this are found in pieces and united.
    substrate_level : array_like, (3,), optional
        As in `find_flakes`.
    min_area_px : int
    binning : int
        1, 2, 4 or 8. Not chosen from the size, as for one field: a mosaic has the pixels of one.
    rules : Rules, optional
    progress : callable, optional
        Called with tiles done and tiles in all.

    Returns
    -------
    Detections
        As of `find_flakes`; masks in mosaic coordinates.
    Background

    Raises
    ------
    InputError
        If a parameter is out of range; `UnreadableFile` if the mosaic is damaged.
    """
    survey = survey_mosaic(
        mosaic, tile_px=tile_px, halo_px=halo_px, whole_px=whole_px,
        substrate_level=substrate_level, min_area_px=min_area_px, binning=binning, rules=rules,
    )  # fmt: skip
    tiles, parts = survey.tiles(), []
    for i, tile in enumerate(tiles):
        parts.append(find_in_tile(mosaic, tile, survey))
        if progress is not None:
            progress(i + 1, len(tiles))
    return stitch(parts, tiles), survey.background


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
    cells, valid = _cells(mosaic, binning)
    background = fit_mosaic(cells, valid, substrate_level)
    draft = Survey(
        mosaic.shape, background, Thresholds(np.ones(3), np.ones(3), 4, 4),
        np.zeros((0, 4), np.int64), binning, min_area_px, tile_px, halo_px, whole_px,
        rules or Rules(),
    )  # fmt: skip
    measured = _measured(mosaic, draft)
    longest = halo_px // binning - 2 * MARGIN_PX
    return replace(measured, long=long_clusters(_cluster_bands(mosaic, measured), longest))


def find_in_tile(mosaic: Mosaic, tile: Tile, survey: Survey) -> Detections:
    """Regions of the clusters that belong to one tile.

    Parameters
    ----------
    mosaic : Mosaic
    tile : Tile
    survey : Survey
        Of this mosaic.

    Returns
    -------
    Detections
        In mosaic coordinates. Regions of clusters that begin in the tile's core, whole; of clusters
        longer than `Survey.whole_px`, the pieces that lie in core and halo and touch the core.
    """
    core = _binned(tile.core, survey.binning)
    sides = survey.long[:, 2:] - survey.long[:, :2]
    giant = sides.max(axis=1, initial=0) > survey.whole_px // survey.binning
    own = core.holds(survey.long[:, 0], survey.long[:, 1])
    parts = [_find_short(mosaic, core, survey)]
    for box in survey.long[own & ~giant]:
        look = _look(mosaic, _around(box, survey), survey)
        parts.append(_find(look, look.is_at(box), survey))
    if any((Window(*b) & core).size_px for b in survey.long[giant].tolist()):
        parts.append(_find_pieces(mosaic, tile, survey.long[giant], survey.long[~giant], survey))
    return join(parts)


@dataclass(frozen=True, eq=False)
class _Look:
    """One window of a mosaic, ready for the finder. `window` is in binned pixels."""

    window: Window
    micrograph: Micrograph
    levels: FloatImage
    bare: FloatImage
    clusters: Clusters

    @property
    def boxes(self) -> IntArray:
        """Boxes of the clusters in the binned mosaic."""
        corner = [self.window.top, self.window.left]
        return self.clusters.boxes + np.array(corner * 2)

    def is_at(self, box: IntArray) -> BoolArray:
        """Which clusters have exactly this box."""
        return np.asarray((self.boxes == box).all(axis=1))

    def is_whole(self, shape: tuple[int, int]) -> BoolArray:
        """Which clusters end inside the window, away from where it cuts the mosaic."""
        w, boxes = self.window, self.boxes
        low = np.array([w.top + MARGIN_PX if w.top else 0, w.left + MARGIN_PX if w.left else 0])
        high = np.array(
            [
                w.bottom - MARGIN_PX if w.bottom < shape[0] else shape[0],
                w.right - MARGIN_PX if w.right < shape[1] else shape[1],
            ]
        )
        inside = (boxes[:, :2] >= low).all(axis=1) & (boxes[:, 2:] <= high).all(axis=1)
        return np.asarray(inside)


def _binned(window: Window, binning: int) -> Window:
    return Window(*(getattr(window, n) // binning for n in ("top", "left", "bottom", "right")))


def _aligned(window: Window) -> Window:
    top, left = (n // ALIGN_PX * ALIGN_PX for n in (window.top, window.left))
    return replace(window, top=top, left=left)


def _around(box: IntArray, survey: Survey) -> Window:
    window = Window(*box.tolist())
    return _aligned(window.grown(MARGIN_PX, MARGIN_PX, survey.binned_shape))


def _read(mosaic: Mosaic, window: Window, binning: int) -> Micrograph:
    """Full-resolution pixels under a binned window, with the remainder at the mosaic's border."""
    height, width = mosaic.shape
    bottom = height if window.bottom == height // binning else window.bottom * binning
    right = width if window.right == width // binning else window.right * binning
    return mosaic.read(window.top * binning, window.left * binning, bottom, right)


def _blank(levels: FloatImage, binning: int) -> BoolArray | None:
    """Pixels without a picture; None where there are none."""
    dark = (channel_max(levels) < _BLANK_LEVEL).astype(np.uint8)
    side = max(1, _BLANK_PX // binning)
    if np.count_nonzero(dark) < side * side:
        return None
    dark = cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    # Binned pixels on the border are mixed, and the blur reaches one further.
    return cv2.dilate(dark, np.ones((5, 5), np.uint8)) > 0 if dark.any() else None


def _look(mosaic: Mosaic, window: Window, survey: Survey) -> _Look:
    b = survey.binning
    micrograph = _read(mosaic, window, b)
    levels, bare = analysis_levels(micrograph, binning=b), _bare(survey, window)
    blank = _blank(levels, b)
    off = _linked(levels, bare, blank, survey)
    if blank is not None:
        size = micrograph.shape[::-1]
        full = cv2.resize(blank.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        micrograph = replace(micrograph, excluded=full)
    return _Look(window, micrograph, levels, bare, label_clusters(off))


def _linked(levels: FloatImage, bare: FloatImage, blank: BoolArray | None, survey: Survey) -> Mask:
    """Mask of pixels off the substrate, widened so that what sees each other is connected."""
    usable = None if blank is None else np.where(blank, 0, 255).astype(np.uint8)
    off = off_substrate(levels, bare, survey.limits.differs, usable)
    return link(off, survey.binning)


def _bare(survey: Survey, window: Window) -> FloatImage:
    cell = CELL_PX // survey.binning
    surface = survey.background.surface
    bare = surface_at(surface, cell, window.top, window.left, window.bottom, window.right)
    bare *= np.float32(LEVELS)
    return bare


def _find(look: _Look, chosen: BoolArray, survey: Survey) -> Detections:
    """Regions of the chosen clusters, in mosaic coordinates."""
    b = survey.binning
    if not chosen.any():
        said = provenance_of(
            look.micrograph.sha256, survey.background, b, survey.min_area_px, None, survey.rules
        )
        return Detections.empty(survey.shape, said)
    usable = look.clusters.only(chosen)
    view = View(
        look.levels, look.bare, survey.background, usable, b, limits=survey.limits
    )  # fmt: skip
    found = find_in_view(look.micrograph, view, survey.min_area_px, survey.rules)
    corner = np.array([look.window.top * b, look.window.left * b] * 2)
    masks = CropMasks(found.masks.boxes + corner, found.masks.crops, survey.shape)
    return replace(found, masks=masks)


def _find_short(mosaic: Mosaic, core: Window, survey: Survey) -> Detections:
    """Regions of the clusters that begin in the core and are no longer than the halo."""
    halo = survey.halo_px // survey.binning
    look = _look(mosaic, _aligned(core.grown(MARGIN_PX, halo, survey.binned_shape)), survey)
    boxes = look.boxes
    short = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) <= halo - 2 * MARGIN_PX
    own = core.holds(boxes[:, 0], boxes[:, 1]) & short & look.is_whole(survey.binned_shape)
    return _find(look, own, survey)


def _find_pieces(
    mosaic: Mosaic, tile: Tile, giants: IntArray, others: IntArray, survey: Survey
) -> Detections:
    """Pieces, in core and halo, of clusters that are too long to be looked at whole."""
    core = _binned(tile.core, survey.binning)
    look = _look(mosaic, _aligned(_binned(tile.seen, survey.binning)), survey)
    cut = ~look.is_whole(survey.binned_shape)
    for box in giants:
        cut |= look.is_at(box)
    cut[[i for i, b in enumerate(look.boxes.tolist()) if not (Window(*b) & core).size_px]] = False
    for box in others.tolist():
        if cut.any() and (Window(*box) & core).size_px:
            cut[_numbers_of(mosaic, np.array(box), look, survey) - 1] = False
    found = _find(look, cut, survey)
    found = found[_touching(found.masks, tile.core)]
    height, width = survey.shape
    at_border = (found.masks.boxes[:, :2] == 0).any(axis=1)
    at_border |= (found.masks.boxes[:, 2:] == (height, width)).any(axis=1)
    flags = np.where(at_border, found.flags, found.flags & ~int(Flag.TOUCHES_BORDER))
    return replace(found, flags=flags)


def _numbers_of(mosaic: Mosaic, box: IntArray, look: _Look, survey: Survey) -> IntArray:
    """Numbers, in `look`, of the clusters that are part of the one with this box."""
    other = _look(mosaic, _around(box, survey), survey)
    common = other.window & look.window
    rows, columns = [slice(common.top, common.bottom), slice(common.left, common.right)]
    there = other.clusters.only(other.is_at(box))[
        rows.start - other.window.top : rows.stop - other.window.top,
        columns.start - other.window.left : columns.stop - other.window.left,
    ]
    here = look.clusters.labels[
        rows.start - look.window.top : rows.stop - look.window.top,
        columns.start - look.window.left : columns.stop - look.window.left,
    ]
    numbers = np.unique(here[there > 0]).astype(np.int64)
    return numbers[numbers > 0]


def _touching(masks: CropMasks, core: Window) -> BoolArray:
    """Which masks have a pixel in the core."""
    out = np.zeros(len(masks), bool)
    for i, (box, crop) in enumerate(zip(masks.boxes.tolist(), masks.crops, strict=True)):
        w = Window(*box) & core
        if w.size_px:
            top, left = box[:2]
            out[i] = crop[w.top - top : w.bottom - top, w.left - left : w.right - left].any()
    return out


def _cells(mosaic: Mosaic, binning: int) -> tuple[FloatImage, BoolArray]:
    """Mean levels of the cells of the whole mosaic, and which of them are picture."""
    cell, height = CELL_PX // binning, mosaic.shape[0] // binning
    cells, valid = [], []
    step = _BAND_PX // binning
    for top in range(0, height, step):
        window = Window(top, 0, min(top + step, height), mosaic.shape[1] // binning)
        levels = analysis_levels(_read(mosaic, window, binning), binning=binning)
        cells.append(cells_of(levels, cell))
        blank = _blank(levels, binning)
        seen = np.ones(levels.shape[:2], np.float32) if blank is None else (~blank).astype("f4")
        valid.append(cells_of(seen, cell) == 1)
    return np.concatenate(cells), np.concatenate(valid)


def _measured(mosaic: Mosaic, draft: Survey) -> Survey:
    """Noise and thresholds: the median over patches spread evenly over the mosaic."""
    b = draft.binning
    patches = [_patch(mosaic, draft, w) for w in _patch_windows(draft.binned_shape, b)]
    cell = CELL_PX // b
    noise = np.median([pixel_noise(levels, bare[::cell, ::cell]) for levels, bare in patches], 0)
    drift = draft.background.surface_se * LEVELS
    area = max(4, draft.min_area_px // (b * b))
    each = [measure_thresholds(levels, bare, noise, drift, area) for levels, bare in patches]
    limits = replace(
        each[0],
        differs=np.median([t.differs for t in each], axis=0),
        flat=np.median([t.flat for t in each], axis=0),
    )
    background = replace(draft.background, noise=noise / LEVELS)
    return replace(draft, background=background, limits=limits)


def _patch_windows(shape: tuple[int, int], binning: int) -> list[Window]:
    """Up to 4 x 4 windows; one that is the whole where that is no larger than a patch."""
    side = _PATCH_PX // binning
    spans = []
    for length in shape:
        count = min(_PATCHES, -(-length // side))
        size = min(side, length)
        starts = np.linspace(0, length - size, count).astype(int) // ALIGN_PX * ALIGN_PX
        spans.append([(int(s), int(s) + size) for s in starts])
    return [
        Window(top, left, bottom, right) for top, bottom in spans[0] for left, right in spans[1]
    ]


def _patch(mosaic: Mosaic, draft: Survey, window: Window) -> tuple[FloatImage, FloatImage]:
    levels = analysis_levels(_read(mosaic, window, draft.binning), binning=draft.binning)
    return levels, _bare(draft, window)


def _cluster_bands(mosaic: Mosaic, survey: Survey) -> Iterator[Clusters]:
    """Clusters of the mosaic in bands of full rows."""
    height, width = survey.binned_shape
    step = _BAND_PX // survey.binning
    for top in range(0, height, step):
        core = Window(top, 0, min(top + step, height), width)
        seen = core.grown(ALIGN_PX, ALIGN_PX, (height, width))
        levels = analysis_levels(_read(mosaic, seen, survey.binning), binning=survey.binning)
        linked = _linked(levels, _bare(survey, seen), _blank(levels, survey.binning), survey)
        mine = linked[top - seen.top : core.bottom - seen.top]
        yield label_clusters(np.ascontiguousarray(mine))
