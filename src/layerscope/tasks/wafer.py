"""From regions of many images to things on the wafer: each counted once, with stage coordinates.

Images overlap, so that one flake is seen up to four times, and borders cut flakes in two. Which
regions are one thing is decided in `tasks.joining`; here they become one row each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from layerscope.core.scan import SITE_COLUMNS, View
from layerscope.core.stage import StageAffine
from layerscope.errors import InputError
from layerscope.ops.mosaic import Fields
from layerscope.tasks.joining import join_regions
from layerscope.tasks.neighbours import (
    Neighbourhood,
    Pieces,
    Regions,
    find_neighbours,
    measure_offsets,
)
from layerscope.tasks.sites import Joined, Table, describe_sites, relative_scale, xy_um

if TYPE_CHECKING:
    import pandas as pd

STAGE_ERROR_UM = 10.0
"""How far a stage may stop from where it says, unless told."""

_SAME_SCALE = 0.02


def locate_sites(
    views: Sequence[View],
    objects: pd.DataFrame,
    affine: StageAffine | None,
    *,
    stage_error_um: float = STAGE_ERROR_UM,
) -> pd.DataFrame:
    """Count each region of the wafer once, and say where it is.

    Parameters
    ----------
    views : sequence of View
        In any order.
    objects : pandas.DataFrame
        Their regions, as `measure.measure` gives them, in any order.
    affine : StageAffine or None
        None: no region gets stage coordinates, each is a site of its own.
    stage_error_um : float
        Largest error of a stage position.

    Returns
    -------
    pandas.DataFrame
        `core.scan.SITE_COLUMNS`, sorted by image and region. Images without a position, or of
        another magnification than most, are joined with nothing.

    Raises
    ------
    InputError
        If two views share a name, or a region's image is no view.
    """
    import pandas as pd

    views = sorted(views, key=lambda v: v.name)
    table = Table.of(views, objects)
    joined = _join(views, table.regions, affine, stage_error_um)
    sites = describe_sites(views, table, joined, affine)
    return pd.DataFrame(
        {
            c.name: pd.Series(sites[c.name], dtype="str")
            if c.dtype == "str"
            else np.asarray(sites[c.name], c.dtype)
            for c in SITE_COLUMNS
        },
        copy=False,
    )


def _join(
    views: Sequence[View], regions: Regions, affine: StageAffine | None, stage_error_um: float
) -> Joined:
    fields = _lay_fields(views, affine)
    slack_px = stage_error_um / affine.pixel_size_um if affine is not None else 0.0
    near = find_neighbours(regions, fields, slack_px)
    pieces = _keep_pieces(views, fields, regions, near)
    fields = fields.moved(measure_offsets(regions, fields, near, pieces, slack_px))
    group = join_regions(regions, fields, near, pieces)
    return Joined(group, fields, near.images, pieces, slack_px)


def _lay_fields(views: Sequence[View], affine: StageAffine | None) -> Fields:
    """Images as rectangles in common pixels; no place without position or at another scale."""
    size = np.array([v.shape for v in views], float).reshape(-1, 2)
    if affine is None:
        return Fields(np.full_like(size, np.nan), size)
    stage = np.array([xy_um(v.position) for v in views]).reshape(-1, 2)
    centre = np.linalg.solve(affine.matrix, stage.T).T[:, ::-1]
    other = np.abs(relative_scale(views) - 1) > _SAME_SCALE
    centre[other] = np.nan
    return Fields(centre - size / 2, size)


def _keep_pieces(
    views: Sequence[View], fields: Fields, regions: Regions, near: Neighbourhood
) -> Pieces:
    """Masks of the regions that may be joined, and of those that a border cuts."""
    wanted = np.zeros(len(regions.image), bool)
    wanted[near.regions.ravel()] = True
    wanted |= regions.cut.any(axis=1) & np.isfinite(fields.corner_px[regions.image, 0])
    pieces = Pieces(fields.size_px.astype(np.int64))
    start = np.searchsorted(regions.image, np.arange(len(views) + 1))
    for i, view in enumerate(views):
        index = np.flatnonzero(wanted[start[i] : start[i + 1]])
        if len(index):
            masks = view.masks()
            if len(masks) != start[i + 1] - start[i]:
                raise InputError(
                    f"{view.name}: {len(masks)} masks but {start[i + 1] - start[i]} rows of objects"
                )
            pieces.keep(index + start[i], index, i, masks)
    return pieces
