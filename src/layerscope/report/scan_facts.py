"""A scan as its report sees it: what several sections need, computed once."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from layerscope.core.columns import Column
from layerscope.core.micrograph import PixelSize
from layerscope.core.results import BoolArray, FloatArray
from layerscope.core.scan import IMAGE_COLUMNS, SITE_COLUMNS, STATUS_MEANING, ScanResult, Status
from layerscope.core.stage import StageAffine
from layerscope.errors import InputError
from layerscope.report.columns import answers, numbers, words
from layerscope.report.pictures import Pictures
from layerscope.report.ranking import ROOM_PX, ROOM_UM
from layerscope.report.scan_numbers import union_area
from layerscope.tasks.revisit import rank_sites

if TYPE_CHECKING:
    import pandas as pd

Outlines = Callable[[str, int], "BoolArray | None"]
"""``(image, region_id) -> mask`` of the region within its bounding box, or None if not kept."""

_DIGITS = re.compile(r"(\d+)")


class Picture:
    """The file of one image, as `Pictures` reads it again."""

    def __init__(self, name: str, path: str, shape: tuple[int, int], sha256: str):
        self.name, self.path, self.shape, self.sha256 = name, path, shape, sha256


class Scan:
    """A `ScanResult` with what its report derives from it.

    Parameters
    ----------
    result : ScanResult
    outlines : callable, optional
        Gives the mask of a region; without it pictures show the bounding box.

    Raises
    ------
    InputError
        If the images or the sites lack a column that the report cannot do without, or a status
        is none of `Status`.
    """

    def __init__(self, result: ScanResult, outlines: Outlines | None = None):
        _require(result.images, IMAGE_COLUMNS, "images")
        _require(result.sites, SITE_COLUMNS, "sites")
        unknown = sorted(set(result.images["status"]) - set(STATUS_MEANING))
        if unknown:
            raise InputError(f"images table: status {unknown[0]!r}, expected one of "
                             f"{', '.join(STATUS_MEANING)}")  # fmt: skip
        self.result, self.outlines = result, outlines

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row per input in the order of names, numbers in them read as numbers."""
        table = self.result.images
        keys = [_natural(name) for name in words(table, "image")]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return table.iloc[order].reset_index(drop=True)

    @cached_property
    def failed(self) -> BoolArray:
        """Which inputs were not looked at."""
        return np.array([Status(s).failed for s in self.images["status"]], bool)

    @property
    def analysed(self) -> pd.DataFrame:
        """Rows of the images that were looked at."""
        return self.images[~self.failed]

    @cached_property
    def place(self) -> dict[str, int]:
        """Row of each image by its name."""
        return {name: i for i, name in enumerate(words(self.images, "image"))}

    @cached_property
    def sites(self) -> pd.DataFrame:
        """Regions on the wafer with the probabilities of the image where they are best seen."""
        sites, objects = self.result.sites, self.result.objects
        keys = ["image", "region_id"]
        if not len(sites) or not set(keys) <= set(objects):
            return sites
        wanted = re.compile(r"p_\w+|thickness_nm|uniformity|bbox_\w+_px|setup")
        extra = [c for c in objects if wanted.fullmatch(str(c)) and c not in sites]
        seen = objects[[*keys, *extra]].drop_duplicates(keys)
        return sites.merge(seen, on=keys, how="left", validate="many_to_one")

    @cached_property
    def answers(self) -> npt.NDArray[np.object_]:
        """Answer per site as text (n,): ``1``, ``2`` ..., ``thick``, ``unknown``."""
        return np.array(answers(self.sites), dtype=object)

    @cached_property
    def scaled(self) -> bool:
        """Whether sizes of the sites are in micrometres."""
        return bool(np.isfinite(numbers(self.sites, "area_um2")).any())

    @property
    def unit(self) -> str:
        """``µm`` or ``px``."""
        return "µm" if self.scaled else "px"

    @cached_property
    def circle(self) -> FloatArray:
        """Largest inscribed circle per site (n,), in `unit`."""
        return numbers(self.sites, f"inscribed_circle_diameter_{'um' if self.scaled else 'px'}")

    @cached_property
    def area(self) -> FloatArray:
        """Area per site (n,), in `unit` squared."""
        return numbers(self.sites, "area_um2" if self.scaled else "area_px")

    @property
    def room(self) -> float:
        """Circle, in `unit`, from which a flake counts as roomy in the sentences."""
        return ROOM_UM if self.scaled else ROOM_PX

    @cached_property
    def complete(self) -> BoolArray:
        """Which sites lie whole within the scanned images."""
        return np.asarray(self.sites["complete"].to_numpy(), bool)

    @cached_property
    def flakes_per_image(self) -> FloatArray:
        """Flakes seen on each image (n_images,), NaN where it failed."""
        objects = self.result.objects
        seen = np.zeros(len(self.images))
        if {"image", "flake_id"} <= set(objects):
            pairs = objects[["image", "flake_id"]].drop_duplicates()
            for name, count in pairs["image"].value_counts().items():
                if (row := self.place.get(str(name))) is not None:
                    seen[row] = count
        return np.where(self.failed, np.nan, seen)

    @cached_property
    def flakes(self) -> int:
        """Distinct flakes on the wafer."""
        return int(self.sites["flake_id"].nunique())

    @cached_property
    def best(self) -> pd.DataFrame:
        """Rows of `sites`, one per flake: few layers first, those of one number as `rank_sites`.

        So the first ones are those of a revisit list of monolayers, under the same numbers.
        """
        ranked = rank_sites(self.sites, one_per_flake=False)
        last = {"thick": len(ranked) + 100, "unknown": len(ranked) + 101}
        layers = [last[a] if a in last else int(a) for a in answers(ranked)]
        ranked = ranked.iloc[np.argsort(np.array(layers, np.int64), kind="stable")]
        return ranked.drop_duplicates("flake_id").drop(columns="rank")

    @cached_property
    def positions(self) -> FloatArray:
        """Stage position of every image (n_images, 2) in um, NaN where unknown."""
        return np.column_stack([numbers(self.images, f"stage_{a}_um") for a in "xy"])

    @property
    def placed(self) -> bool:
        """Whether any image has a stage position."""
        return bool(np.isfinite(self.positions).all(axis=1).any())

    @cached_property
    def affine(self) -> StageAffine | None:
        """How images lie on the stage: as fitted, else with axes assumed from the pixel size."""
        if self.result.affine is not None:
            return self.result.affine
        um = numbers(self.images, "pixel_size_um")
        if not np.isfinite(um).any():
            return None
        nm = float(np.nanmedian(um)) * 1e3
        return StageAffine.from_pixel_size(PixelSize(nm, nm, "median"))

    @cached_property
    def half_px(self) -> FloatArray:
        """Half of each image's width and height (n, 2), in pixels of the affine; NaN unknown."""
        half = np.column_stack([numbers(self.images, f"{a}_px") for a in ("width", "height")]) / 2
        if np.isfinite(half).any():
            # A failed image has no size of its own; the map needs one.
            half = np.where(np.isfinite(half) & (half > 0), half, np.nanmedian(half, axis=0))
        if self.affine is None:
            return half
        um = numbers(self.images, "pixel_size_um")
        own = np.sqrt(abs(float(np.linalg.det(self.affine.matrix))))
        return half * np.where(np.isfinite(um), um / own, 1.0)[:, None]

    @cached_property
    def scanned_um2(self) -> float:
        """Area that the analysed images show, overlaps counted once; NaN without a scale."""
        ok = ~self.failed
        um = numbers(self.images, "pixel_size_um")[ok]
        if self.affine is None or not ok.any() or not np.isfinite(um).all():
            return float("nan")
        if not np.isfinite(self.positions[ok]).all():
            return float((4 * self.half_px[ok].prod(axis=1)).sum() * self._um2_per_px)
        centre = np.linalg.solve(self.affine.matrix, self.positions[ok].T).T
        # Whole pixels: rounding moves an edge by half a pixel of a thousand and makes it quick.
        ends = (centre - self.half_px[ok], centre + self.half_px[ok])
        return union_area(np.rint(np.hstack(ends))) * self._um2_per_px

    @property
    def _um2_per_px(self) -> float:
        return abs(float(np.linalg.det(self.affine.matrix))) if self.affine is not None else np.nan

    @cached_property
    def pictures(self) -> Pictures:
        """Files of the images that were analysed, read again when asked for."""
        table = self.analysed
        height, width = numbers(table, "height_px"), numbers(table, "width_px")
        cells = zip(words(table, "image"), words(table, "path"), words(table, "sha256"),
                    np.nan_to_num(height), np.nan_to_num(width), strict=True)  # fmt: skip
        return Pictures([Picture(n, p, (int(h), int(w)), sha) for n, p, sha, h, w in cells])


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key by which image 10 stands after image 9."""
    parts = _DIGITS.split(name)
    return [(p.isdigit(), int(p) if p.isdecimal() else 0, p) for p in parts]


def _require(table: pd.DataFrame, columns: tuple[Column, ...], what: str) -> None:
    missing = [c.name for c in columns if c.name not in table]
    if missing:
        raise InputError(f"the {what} table of a scan lacks the column {missing[0]!r}")
