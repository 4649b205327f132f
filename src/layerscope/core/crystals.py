"""Grown crystals of optical micrographs: what a run of them returns, and its tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy.typing as npt

from layerscope.core.columns import IMAGE_FACTS, Column
from layerscope.core.results import BoolArray, CropMasks
from layerscope.core.run import DoubtedResult, TaskRun

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True, eq=False)
class CrystalResult(DoubtedResult):
    """One image with its crystals.

    Attributes
    ----------
    masks : CropMasks
        One per crystal; they do not overlap.
    cores : tuple of ndarray of bool
        Of each crystal's box: the core of a lateral heterostructure; all False without one.
    film : ndarray of bool, (H, W)
        Covered pixels.
    table : pandas.DataFrame
        One row per crystal.
    """

    masks: CropMasks
    cores: tuple[BoolArray, ...]
    film: npt.NDArray[np.bool_]
    table: pd.DataFrame


@dataclass(frozen=True, eq=False)
class CrystalRun(TaskRun):
    """Everything that a crystals run found; its `images` have `CRYSTAL_IMAGE_COLUMNS`.

    Attributes
    ----------
    crystals : pandas.DataFrame
        One row per crystal, `CRYSTAL_COLUMNS`, sorted by image.
    """

    crystals: pd.DataFrame


def _lengths(stem: str, meaning: str, power: int = 1) -> tuple[Column, Column]:
    """Two columns: in pixels, and in micrometres, which is empty without a pixel size."""
    px = f"{stem}_px", "px" if power == 1 else f"px{power}"
    um = f"{stem}_um{'' if power == 1 else power}", "um" if power == 1 else f"um{power}"
    return Column(*px, "float64", meaning), Column(*um, "float64", meaning)


CRYSTAL_COLUMNS: tuple[Column, ...] = (
    Column("image", "", "str", "Name of the image."),
    Column("crystal_id", "", "int64", "Number of the crystal in its image, from 1."),
    Column("shape", "", "str", "Shape that its outline is nearest to; unknown: the frame cuts it."),
    Column("shape_score", "", "float64", "Probability of that shape."),
    Column("class", "", "str", "What the model calls it; empty: no model."),
    *_lengths("area", "Area of its mask.", 2),
    *_lengths("equivalent_diameter", "Diameter of the disc of equal area."),
    *_lengths("perimeter", "Length of its outline."),
    *_lengths("long_facet", "Mean long facet; triangles, truncated ones and hexagons only."),
    *_lengths("short_facet", "Mean short facet; 0 for a triangle."),
    Column("facet_direction_mod60_deg", "deg", "float64", "Normal of facets, from x, mod 60."),
    Column("facet_direction_mod120_deg", "deg", "float64", "Normal of the long facets, mod 120."),
    Column("misalignment_deg", "deg", "float64", "Turn from the main direction, -30 to 30."),
    Column("touching", "", "bool", "Meets another crystal."),
    Column("solidity", "", "float64", "Area over the convex hull's; 1 minus it: concavity."),
    Column("aspect_ratio", "", "float64", "Length over width."),
    Column("material", "", "str", "Of the whole crystal, or core-shell; empty: not told."),
    Column("layers", "", "Int64", "Layers at its outline; empty: not told."),
    Column("core_material", "", "str", "Inside of a lateral heterostructure, or empty."),
    Column("shell_material", "", "str", "Around it, or empty."),
    Column("core_share", "", "float64", "Area of the core over the crystal's; empty: none."),
    *_lengths("ring_width", "Median distance from the interface to the outline."),
    *_lengths("interface_length", "Length of the interface between core and shell."),
    *_lengths("interface_width", "10 to 90 % of the colour's step across it, optics included."),
    Column("core_certain", "", "bool", "False: by colour alone it may be a second layer too."),
    Column("second_layer_share", "", "float64", "Area under second layers over the crystal's."),
    Column("twist_deg", "deg", "float64", "Turn of the second layer; triangles: 0 is 3R, 60 2H."),
    *_lengths("centroid_y", "Centre of mass, down from the first row."),
    *_lengths("centroid_x", "Centre of mass, right from the first column."),
    Column("border_weight", "", "float64", "Crystals it stands for, others being cut; 0: none."),
    Column("score", "", "float64", "How sure it is that it is a crystal, 0 to 1."),
    Column("flags", "", "str", "Quality flags, joined by |."),
)

SHAPE_NAMES = (
    "triangle", "truncated triangle", "hexagon", "star", "strip", "irregular", "unknown",
)  # fmt: skip
"""Values of the column `shape`; the last are cut by the frame."""


def share_column(shape: str) -> str:
    """Name of the column of the images table with a shape's share of the crystals' area."""
    return f"area_share_{shape.replace(' ', '_')}"


CRYSTAL_IMAGE_COLUMNS: tuple[Column, ...] = (
    Column("image", "", "str", "Name of the image, unique in the run."),
    Column("crystals", "", "int64", "Crystals in the crystals table."),
    Column("at_border", "", "int64", "Of them, cut by the border."),
    Column("coverage", "", "float64", "Share of the valid area under crystals."),
    Column("coverage_low", "", "float64", "Lower end of its 95 % interval, from tiles."),
    Column("coverage_high", "", "float64", "Upper end of its 95 % interval."),
    Column("nucleation_per_mm2", "1/mm2", "float64", "Crystals per area."),
    Column("nucleation_low_per_mm2", "1/mm2", "float64", "Lower end of its 95 % interval."),
    Column("nucleation_high_per_mm2", "1/mm2", "float64", "Upper end of its 95 % interval."),
    Column("border", "", "str", "How crystals that the border cuts are counted."),
    Column("median_area_um2", "um2", "float64", "Median area of whole crystals, border weighted."),
    Column("edge_density_per_um", "um/um2", "float64", "Length of the film's edge per area."),
    Column("coalescence", "", "float64", "Share of the crystals that meet another."),
    Column("coalescence_low", "", "float64", "Lower end of its 95 % interval (Wilson)."),
    Column("coalescence_high", "", "float64", "Upper end of its 95 % interval."),
    *(
        Column(share_column(s), "", "float64", f"Share of the crystals' area, from masks: {s}.")
        for s in SHAPE_NAMES
    ),
    Column("main_direction_deg", "deg", "float64", "Of the facets' normals, from x, mod 60."),
    Column("alignment", "", "float64", "1: all facets parallel; 0: any direction."),
    Column("alignment_low", "", "float64", "Lower end of its 95 % interval, bootstrap."),
    Column("alignment_high", "", "float64", "Upper end of its 95 % interval."),
    Column("alignment_p", "", "float64", "Chance of such alignment among random ones (Rayleigh)."),
    Column("heterostructures", "", "int64", "Crystals with a core and a shell."),
    *IMAGE_FACTS,
)
