"""Columns of the domains table."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from layerscope.core.columns import BOX, Column, glossary_of
from layerscope.measure import hexagonal
from layerscope.measure.catalog import MEASUREMENTS
from layerscope.measure.declare import Measurement
from layerscope.measure.table import columns_of

if TYPE_CHECKING:
    import pandas as pd

_FROM_FLAKES = (
    "centroid_y",
    "centroid_x",
    "area",
    "equivalent_diameter",
    "perimeter",
    "feret_max",
    "feret_min",
    "inscribed_circle_diameter",
    "aspect_ratio",
    "circularity",
    "solidity",
    "hole_count",
)
_IDENTITY = (
    Column("image", "", "str", "Name of the image."),
    Column("domain_id", "", "int64", "Number of the domain in its image, from 1."),
    Column("island_id", "", "int64", "Number of its island; touching domains of a layer share it."),
    Column("parent_id", "", "int64", "Domain below that it lies on; 0: the substrate."),
    Column("n_layers", "", "int64", "Layer number: 1 on the substrate, 2 on the first layer."),
    Column("flags", "", "str", "Quality flags, joined by |."),
    Column("touches_border", "", "bool", "Cut by the border: sizes are lower bounds."),
    Column("border_weight", "", "float64", "Domains it stands for, others being cut; 0: none."),
)  # fmt: skip
_PLACES = (
    Column("nearest_centre_px", "px", "float64", "Distance to the nearest centre of its layer."),
    Column("nearest_centre_um", "um", "float64", "Distance to the nearest centre of its layer."),
)
HEIGHTS = (
    Column("step_height_nm", "nm", "float64", "Height above the level below, close around."),
    Column("step_height_se_nm", "nm", "float64", "Its standard error, from the spread of blocks."),
    Column("height_nm", "nm", "float64", "Height above the substrate: all steps below it."),
    Column("height_se_nm", "nm", "float64", "Its standard error."),
    Column("volume_px2_nm", "px2 nm", "float64", "Volume above the level below: pixels times nm."),
    Column("volume_um3", "um3", "float64", "The same; upper layers are included."),
)  # fmt: skip


@cache
def domain_measurements() -> tuple[Measurement, ...]:
    """List what is measured on a mask: some columns of flakes, and the shape of crystals."""
    gap = MEASUREMENTS["nearest_flake_distance"]
    nearest = replace(
        gap,
        name="nearest_edge",
        description="Gap to the edge of the nearest other domain of its layer; 0 where they touch.",
    )
    shapes = [m for m in vars(hexagonal).values() if isinstance(m, Measurement)]
    return (*(MEASUREMENTS[name] for name in _FROM_FLAKES), *shapes, nearest)


@cache
def domain_columns() -> tuple[Column, ...]:
    """Every column of the domains table, in order."""
    measured = (c for m in domain_measurements() for c in columns_of(m))
    return (*_IDENTITY, *BOX, *measured, *_PLACES, *HEIGHTS)


def domain_glossary() -> pd.DataFrame:
    """Name, unit and meaning of every column of the domains table."""
    return glossary_of(domain_columns())
