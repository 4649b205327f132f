"""What a scan of many images returns: a table of images, one of regions, one of places to go to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from layerscope.core.calibration import Calibration
from layerscope.core.columns import Column
from layerscope.core.micrograph import PixelSize
from layerscope.core.results import CropMasks
from layerscope.core.stage import StageAffine, StagePosition

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class View:
    """One image of a scan.

    Attributes
    ----------
    name : str
        As in the objects table.
    shape : tuple of int
        Height and width in px.
    position : StagePosition or None
    pixel_size : PixelSize or None
    masks : callable
        Gives the masks of its regions, in the order of their numbers. Called at most once, and
        only for images with regions at a border or in an overlap; only those masks are kept.
    """

    name: str
    shape: tuple[int, int]
    position: StagePosition | None
    pixel_size: PixelSize | None
    masks: Callable[[], CropMasks]


class Status(StrEnum):
    """What became of one input. Every input ends in exactly one of these."""

    OK = "ok"
    EMPTY = "ok_empty"
    DECODE = "failed_decode"
    LIMIT = "failed_limit"
    UNUSABLE = "failed_unusable"
    TIMEOUT = "failed_timeout"
    CRASHED = "failed_crash"
    ERROR = "failed_error"

    @property
    def failed(self) -> bool:
        """Whether the image counts as not looked at: it is in no yield and in no coverage."""
        return not self.startswith("ok")


STATUS_MEANING: Mapping[Status, str] = {
    Status.OK: "analysed; regions were found",
    Status.EMPTY: "analysed; nothing on it",
    Status.DECODE: "missing, truncated, damaged or no image",
    Status.LIMIT: "larger than the limit on pixels",
    Status.UNUSABLE: "decoded, but cannot be analysed: too small or black",
    Status.TIMEOUT: "took longer than the limit on one image",
    Status.CRASHED: "killed its worker twice",
    Status.ERROR: "the program failed on it: a fault worth reporting",
}

IMAGE_COLUMNS: tuple[Column, ...] = (
    Column("image", "", "str", "Name of the image, unique in the scan."),
    Column("path", "", "str", "File, with its whole path."),
    Column("status", "", "str", "ok, ok_empty, or why it failed."),
    Column("reason", "", "str", "The failure in one line, or empty."),
    Column("sha256", "", "str", "Of the file's bytes; empty if it could not be read."),
    Column("height_px", "px", "Int64", "Rows."),
    Column("width_px", "px", "Int64", "Columns."),
    Column("pixel_size_um", "um", "float64", "Side of a pixel; empty if unknown."),
    Column("pixel_size_source", "", "str", "Where that figure comes from."),
    Column("setup", "", "Int64", "Images with the same exposure, lamp and substrate share it."),
    Column("background_r", "", "float64", "Level of the bare substrate, red, fraction of white."),
    Column("background_g", "", "float64", "The same, green."),
    Column("background_b", "", "float64", "The same, blue."),
    Column("noise", "", "float64", "Pixel noise of the bare substrate, fraction of white."),
    Column("regions", "", "Int64", "Regions in the objects table."),
    Column("stage_x_um", "um", "float64", "Stage position of the image centre; empty if unknown."),
    Column("stage_y_um", "um", "float64", "The same along y."),
    Column("stage_z_um", "um", "float64", "Focus."),
    Column("notes", "", "str", "Warnings, joined by '; '."),
)

SITE_COLUMNS: tuple[Column, ...] = (
    Column("site_id", "", "int64", "Number of the region on the wafer, from 1."),
    Column("flake_id", "", "int64", "Number of the flake on the wafer; touching regions share it."),
    Column("stage_x_um", "um", "float64", "Stage coordinates of its centre; empty if unknown."),
    Column("stage_y_um", "um", "float64", "The same along y."),
    Column("stage_z_um", "um", "float64", "Focus of the image it is best seen on."),
    Column("image", "", "str", "Image it is best seen on."),
    Column("region_id", "", "int64", "Its region there."),
    Column("views", "", "int64", "Regions of overlapping images that show it, counted once here."),
    Column("members", "", "str", "All of them, as image:region joined by '; '."),
    Column("complete", "", "bool", "Whole: no part lies outside of the scanned images."),
    Column("n_layers", "", "str", "Layers: 1, 2, ... or thick or unknown."),
    Column("layers_probability", "", "float64", "Probability of that answer."),
    Column("score", "", "float64", "Confidence, 0 to 1, that this is a crystal and not residue."),
    Column("area_px", "px", "float64", "Area of the whole region, overlaps counted once."),
    Column("area_um2", "um2", "float64", "The same; empty without a pixel size."),
    Column("inscribed_circle_diameter_px", "px", "float64", "Largest circle inside."),
    Column("inscribed_circle_diameter_um", "um", "float64", "The same."),
    Column("feret_max_px", "px", "float64", "Largest distance across."),
    Column("feret_max_um", "um", "float64", "The same."),
    Column("flags", "", "str", "Quality flags, joined by |."),
)


@dataclass(frozen=True, eq=False)
class ScanResult:
    """Everything that one scan found.

    Attributes
    ----------
    images : pandas.DataFrame
        One row per input, `IMAGE_COLUMNS`, in the order of the scan: by name, later ones after.
    objects : pandas.DataFrame
        One row per region per image, as in a run, sorted by image and region.
    sites : pandas.DataFrame
        One row per region on the wafer, `SITE_COLUMNS`: regions cut by an image border joined,
        repeats in overlaps counted once.
    calibration : Calibration or None
    affine : StageAffine or None
        None where images have no stage position.
    parameters, provenance : mapping
        As in a run; no clock.
    """

    images: pd.DataFrame
    objects: pd.DataFrame
    sites: pd.DataFrame
    calibration: Calibration | None = None
    affine: StageAffine | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
