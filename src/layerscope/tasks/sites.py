"""One row per thing on the wafer, from the regions that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope.core.results import THICK, UNKNOWN, BoolArray, Flag, FloatArray, IntArray
from layerscope.core.scan import View
from layerscope.core.stage import StageAffine, StagePosition
from layerscope.errors import InputError
from layerscope.ops.mosaic import Fields
from layerscope.tasks.neighbours import SEAM_PX, Pieces, Regions
from layerscope.tasks.union import Size, reaches_outside, size_of, unite

if TYPE_CHECKING:
    import pandas as pd

_SHOWS_ALL = 0.8
_SEEN_PX = 2.0
_SIZES = (
    ("area", "area_px", "area_um2"),
    ("inscribed_circle_diameter", "inscribed_circle_diameter_px", "inscribed_circle_diameter_um"),
    ("feret_max", "feret_max_px", "feret_max_um"),
)


@dataclass(frozen=True)
class Table:
    """Rows of the objects table by image and region, and what joining needs of them."""

    columns: dict[str, Any]
    regions: Regions

    @classmethod
    def of(cls, views: Sequence[View], objects: pd.DataFrame) -> Table:
        """Sort the rows by image, in the order of `views`, and region.

        Raises
        ------
        InputError
            If two views share a name, or a region's image is no view.
        """
        import pandas as pd

        names = [v.name for v in views]
        if len(set(names)) != len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise InputError(f"two images are named {twice}: expected one name each")
        image = (
            pd.Index(names, dtype="str").get_indexer(pd.Index(objects["image"])).astype(np.int64)
        )
        if (image < 0).any():
            stray = objects["image"].iloc[int(np.argmax(image < 0))]
            raise InputError(f"regions of image {stray}, which is not among the images given")
        order = np.lexsort((objects["region_id"].to_numpy(), image))
        columns = {str(name): objects[name].to_numpy()[order] for name in objects.columns}
        image = image[order]
        shape = np.array([v.shape for v in views], np.int64).reshape(-1, 2)[image]
        box = np.stack(
            [columns[f"bbox_{s}_px"] for s in ("top", "left", "bottom", "right")], axis=1
        )
        # Columns count from the centre of the first pixel, fields from its corner.
        centre = np.stack([columns["centroid_y_px"], columns["centroid_x_px"]], axis=1) + 0.5
        cut = np.concatenate([box[:, :2] <= 0, box[:, 2:] >= shape], axis=1)
        answer = _answers(columns["n_layers"].tolist())
        regions = Regions(image, box, np.asarray(columns["area_px"], float), centre, answer, cut)
        return cls(columns, regions)


def _answers(texts: Sequence[str]) -> IntArray:
    codes = {t: THICK if t == "thick" else int(t) if t.isdigit() else UNKNOWN for t in set(texts)}
    return np.array([codes[t] for t in texts], np.int64)


@dataclass(frozen=True)
class Joined:
    """Which regions are one thing, and the geometry that says so.

    Attributes
    ----------
    group : ndarray of int, (n,)
        Lowest region of each region's thing.
    fields : Fields
        Corrected.
    images : ndarray of int, (k, 2)
        Neighbouring images.
    pieces : Pieces
    slack_px : float
    """

    group: IntArray
    fields: Fields
    images: IntArray
    pieces: Pieces
    slack_px: float


def xy_um(position: StagePosition | None) -> tuple[float, float]:
    """Stage coordinates of an image's centre; NaN without."""
    return (np.nan, np.nan) if position is None else (position.x_um, position.y_um)


def relative_scale(views: Sequence[View]) -> FloatArray:
    """Pixel size of each image over that of most; 1 where unknown."""
    size = np.array([np.nan if v.pixel_size is None else v.pixel_size.um for v in views])
    if not np.isfinite(size).any():
        return np.ones(len(views))
    values, count = np.unique(np.round(size[np.isfinite(size)], 6), return_counts=True)
    return np.asarray(np.nan_to_num(size / values[np.argmax(count)], nan=1.0))


def describe_sites(
    views: Sequence[View], table: Table, joined: Joined, affine: StageAffine | None
) -> dict[str, Any]:
    """Columns of the sites, one entry per group, in the order of their best views."""
    regions, columns = table.regions, table.columns
    members = _members(joined.group)
    best, whole = _best_views(regions, joined.group)
    order = np.argsort(best)
    members, best, whole = [members[k] for k in order], best[order], whole[order]
    sizes = {
        k: _united(views, members[k], int(best[k]), regions, joined)
        for k in np.flatnonzero(~whole).tolist()
        if len(members[k]) > 1
    }
    complete = whole | _inside(members, whole, regions, joined)
    split = np.array([_disagree(regions.answer[m]) for m in members], bool)
    site: dict[str, Any] = {
        name: columns[name][best]
        for name in ("image", "region_id", "n_layers", "layers_probability", "score")
    }
    site["site_id"] = np.arange(1, len(best) + 1)
    site["flake_id"] = _flakes(joined.group, regions.image, columns["flake_id"], best)
    site |= _stage_columns(views, regions, best, sizes, affine)
    site["views"] = np.array([len(m) for m in members], np.int64)
    names, numbers = columns["image"], columns["region_id"]
    site["members"] = ["; ".join(f"{names[r]}:{numbers[r]}" for r in m) for m in members]
    site["complete"] = complete
    site["flags"] = _flags(columns["flags"][best], complete, split)
    for k in np.flatnonzero(split).tolist():
        site["n_layers"][k] = "unknown"
        site["layers_probability"][k] = float(np.mean(columns["p_unknown"][members[k]]))
    return site | _size_columns(views, columns, regions, best, sizes)


def _members(group: IntArray) -> list[list[int]]:
    """Regions of each group, ascending; groups by their lowest region."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    return [part.tolist() for part in np.split(order, starts[1:])] if len(group) else []


def _best_views(regions: Regions, group: IntArray) -> tuple[IntArray, BoolArray]:
    """Region that shows most of each group, and whether it shows all; groups as in `_members`.

    A region that no border cuts shows all, unless a cut one is clearly larger: then the finder
    lost a part. Ties go by name and number.
    """
    largest = np.zeros(len(group))
    np.maximum.at(largest, group, regions.area_px)
    whole = regions.whole & (regions.area_px >= _SHOWS_ALL * largest[group])
    order = np.lexsort((np.arange(len(group)), -regions.area_px, ~whole, group))
    best = order[np.flatnonzero(np.diff(group[order], prepend=-1))]
    return best, whole[best]


def _united(
    views: Sequence[View], members: list[int], best: int, regions: Regions, joined: Joined
) -> tuple[Size, Size | None]:
    """Sizes of the united mask, in px and, with a pixel size, in um."""
    rows = [best, *(m for m in members if m != best)]
    images = regions.image[rows]
    corners = joined.fields.corner_px[images] - joined.fields.corner_px[images[0]]
    mask, corner = unite([joined.pieces[r] for r in rows], corners, _gap_px(joined, images))
    in_px = size_of(mask, corner, (1.0, 1.0))
    size = views[images[0]].pixel_size
    if size is None:
        return in_px, None
    return in_px, size_of(mask, corner, (size.y_nm * 1e-3, size.x_nm * 1e-3))


def _gap_px(joined: Joined, images: IntArray) -> int:
    """Widest gap, within the stage's error, between any of the images and its nearest other."""
    pairs = np.array([(a, b) for a in images for b in images if a < b]).reshape(-1, 2)
    if len(pairs) == 0:
        return 0
    gap = -joined.fields.overlap_px(pairs).min(axis=1)
    gap = gap[(gap > 0) & (gap <= joined.slack_px)]
    return int(np.ceil(gap.max())) if len(gap) else 0


def _inside(
    members: list[list[int]], whole: BoolArray, regions: Regions, joined: Joined
) -> BoolArray:
    """Find groups that no image shows whole, but that end within the scanned ground."""
    inside = np.zeros(len(members), bool)
    fields = joined.fields
    ends = np.concatenate([joined.images, joined.images[:, ::-1]])
    ends = ends[np.argsort(ends[:, 0], kind="stable")]
    start = np.searchsorted(ends[:, 0], np.arange(len(fields.corner_px) + 1))
    # Where images overlap the regions tell how they lie; across a gap only the stage does.
    abuts = fields.overlap_px(ends).min(axis=1) < SEAM_PX
    slack_px = np.where(abuts, joined.slack_px, _SEEN_PX)
    for k in np.flatnonzero(~whole).tolist():
        rows = members[k]
        inside[k] = np.isfinite(fields.corner_px[regions.image[rows]]).all() and not any(
            reaches_outside(joined.pieces[r], int(i), fields, ends[near, 1], slack_px[near])
            for r, i in zip(rows, regions.image[rows], strict=True)
            for near in [slice(start[i], start[i + 1])]
        )
    return inside


def _disagree(answers: IntArray) -> bool:
    return len(set(answers.tolist()) - {UNKNOWN}) > 1


def _flakes(group: IntArray, image: IntArray, flake_id: IntArray, best: IntArray) -> IntArray:
    """Find the flake (1, 2, ...) of each site: two images' flakes are one if they share a site."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(group)
    _, flake = np.unique(np.stack([image, flake_id]), axis=1, return_inverse=True)
    ends = group, n + flake.reshape(-1)
    graph = coo_array((np.ones(n, np.int8), ends), shape=(2 * n, 2 * n))
    label = connected_components(graph, directed=False)[1][group[best]]
    _, first, number = np.unique(label, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    return np.asarray(rank[number.reshape(-1)])


def _stage_columns(
    views: Sequence[View],
    regions: Regions,
    best: IntArray,
    sizes: dict[int, tuple[Size, Size | None]],
    affine: StageAffine | None,
) -> dict[str, FloatArray]:
    """Where each site is, as the stage would say with the best view's position."""
    image = regions.image[best]
    centre = regions.centre_px[best].copy()
    for k, (size, _) in sizes.items():
        centre[k] = size.y, size.x
    z = [v.position.z_um if v.position else None for v in views]
    z_um = np.array([np.nan if v is None else v for v in z], float)[image]
    if affine is None:
        nowhere = np.full(len(best), np.nan)
        return {"stage_x_um": nowhere, "stage_y_um": nowhere, "stage_z_um": nowhere}
    middle = np.array([v.shape for v in views], float).reshape(-1, 2)[image] / 2
    step = (centre - middle)[:, ::-1] * relative_scale(views)[image, None]
    place = np.array([xy_um(v.position) for v in views]).reshape(-1, 2)[image]
    stage = place + step @ affine.matrix.T
    return {"stage_x_um": stage[:, 0], "stage_y_um": stage[:, 1], "stage_z_um": z_um}


def _size_columns(
    views: Sequence[View],
    columns: dict[str, Any],
    regions: Regions,
    best: IntArray,
    sizes: dict[int, tuple[Size, Size | None]],
) -> dict[str, FloatArray]:
    out = {}
    for name, in_px, in_um in _SIZES:
        out[in_px], out[in_um] = columns[in_px][best].copy(), columns[in_um][best].copy()
        for k, (pixels, microns) in sizes.items():
            out[in_px][k] = getattr(pixels, name)
            out[in_um][k] = np.nan if microns is None else getattr(microns, name)
    return out


def _flags(texts: Sequence[str], complete: BoolArray, split: BoolArray) -> list[str]:
    """Give the flags of the best view; cut by a border only if the site is."""
    known: dict[tuple[str, bool, bool], str] = {}
    for key in set(zip(texts, complete.tolist(), split.tolist(), strict=True)):
        names = set(key[0].split("|")) - {"", "touches_border"}
        names |= set() if key[1] else {"touches_border"}
        names |= {"ambiguous_layers"} if key[2] else set()
        bits = Flag(0)
        for name in names:
            bits |= Flag[name.upper()]
        known[key] = "|".join(bits.names)
    return [known[k] for k in zip(texts, complete.tolist(), split.tolist(), strict=True)]
