"""Flakes of a mosaic that is too large to be analysed whole, tile by tile.

    survey = survey_mosaic(mosaic)                       # once: substrate, noise, thresholds
    parts = [find_in_tile(mosaic, t, survey) for t in survey.tiles()]   # in any order, anywhere
    detections = stitch(parts, survey.tiles())

The answer is that of one window as large as the mosaic, to the last bit, except for regions of
clusters longer than `Survey.whole_px`, which are found in pieces; see `ops.tiles`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray, CropMasks, Detections, Flag, IntArray
from layerscope.io.mosaic import Mosaic
from layerscope.ops.channels import FloatImage
from layerscope.ops.optical import Background, analysis_levels
from layerscope.ops.stitching import join, stitch
from layerscope.ops.tiles import ALIGN_PX, MARGIN_PX, Clusters, Tile, Window, label_clusters
from layerscope.tasks.flakes import Rules, View, find_in_view, provenance_of
from layerscope.tasks.mosaic_survey import (
    Survey,
    bare_in,
    find_blank,
    link_off_substrate,
    read_window,
    survey_mosaic,
)

__all__ = ["Survey", "find_flakes_tiled", "find_in_tile", "stitch", "survey_mosaic"]


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
    core = survey.binned(tile.core)
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


def _aligned(window: Window) -> Window:
    top, left = (n // ALIGN_PX * ALIGN_PX for n in (window.top, window.left))
    return replace(window, top=top, left=left)


def _around(box: IntArray, survey: Survey) -> Window:
    window = Window(*box.tolist())
    return _aligned(window.grown(MARGIN_PX, MARGIN_PX, survey.binned_shape))


def _look(mosaic: Mosaic, window: Window, survey: Survey) -> _Look:
    b = survey.binning
    micrograph = read_window(mosaic, window, b)
    levels, bare = analysis_levels(micrograph, binning=b), bare_in(survey.background, window, b)
    blank = find_blank(levels, b)
    off = link_off_substrate(levels, bare, blank, survey.limits, b)
    if blank is not None:
        size = micrograph.shape[::-1]
        full = cv2.resize(blank.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        micrograph = replace(micrograph, excluded=full)
    return _Look(window, micrograph, levels, bare, label_clusters(off))


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
    core = survey.binned(tile.core)
    look = _look(mosaic, _aligned(survey.binned(tile.seen)), survey)
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
