"""The particles table: one row per particle, unit in each column name."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerscope.core.columns import BOX, Column, glossary_of
from layerscope.core.micrograph import PixelSize
from layerscope.core.particles import Particles
from layerscope.core.results import Detections, Flag, RegionSignal
from layerscope.measure import particle_shapes
from layerscope.measure.catalog import MEASUREMENTS
from layerscope.measure.declare import Measurement
from layerscope.measure.number_density import border_weights
from layerscope.measure.particle_signal import Beam, Grey, ThicknessLimits, measure_beam
from layerscope.measure.table import columns_of, flag_texts, measured_columns
from layerscope.ops.tone import tone_curve

if TYPE_CHECKING:
    import pandas as pd

_FROM_FLAKES = (
    "centroid_y", "centroid_x", "area", "equivalent_diameter", "perimeter", "feret_max",
    "feret_min", "circularity", "solidity", "aspect_ratio", "inscribed_circle_diameter",
    "hole_count",
)  # fmt: skip
_IDENTITY = (
    Column("image", "", "str", "Name of the image."),
    Column("particle_id", "", "int64", "Number of the particle in its image, from 1."),
    Column("aggregate_id", "", "int64", "Number of its aggregate; particles that touch share it."),
    Column("aggregate_size", "", "int64", "Particles in that aggregate, itself included."),
    Column("score", "", "float64", "How sure that it is a particle, 0 to 1."),
    Column("flags", "", "str", "Quality flags, joined by |."),
    Column("touches_border", "", "bool", "Cut by the border: sizes are lower bounds."),
    Column("border_weight", "", "float64", "Particles it stands for, others being cut; 0: none."),
)  # fmt: skip
_HOLES = (
    Column("over_holes_px", "px", "int64", "Of the area, over holes of the support."),
    Column("over_holes_um2", "um2", "float64", "The same."),
)
_BEAM = (
    Column("transmission", "", "float64", "Share of the beam that passes, against what is behind."),
    Column("transmission_se", "", "float64", "Its standard error."),
    Column("mass_thickness", "", "float64", "-ln of it: thickness in mean free paths."),
    Column("mass_thickness_se", "", "float64", "Its standard error."),
    Column("thickness_class", "", "str", "thin, medium, thick, or unknown where it is not sure."),
    Column("texture_entropy", "", "float64", "Bits per pixel of its grey values on 64 levels."),
    Column("fold_share", "", "float64", "Share of its inside under narrow dark ridges."),
    Column("folds", "", "int64", "Such ridges at least four times as long as wide."),
)


def measure_particles(
    particles: Particles,
    grey: Grey | None,
    *,
    pixel_size: PixelSize | None,
    image: str = "",
    border: str = "weighted",
    limits: ThicknessLimits | None = None,
) -> tuple[pd.DataFrame, str]:
    """Measure every particle.

    Parameters
    ----------
    particles : Particles
    grey : ndarray of float32, (H, W), or None
        Proportional to the beam; None leaves transmission, texture and folds empty.
    pixel_size : PixelSize or None
        None leaves the columns in micrometres empty and flags each row `scale_unknown`.
    image : str
        Name of the image, for the first column.
    border : str
        How particles that the border cuts are treated; a name in `number_density.BORDER`.
    limits : ThicknessLimits, optional

    Returns
    -------
    table : pandas.DataFrame
        One row per particle; `particle_glossary` explains the columns.
    reference : str
        What transmission is measured against; empty where there is nothing.

    Raises
    ------
    InputError
        If the picture has another shape or `border` is not known.
    """
    import pandas as pd

    columns = _identity(particles, image, border, pixel_size)
    columns |= measured_columns(
        _detections(particles), pixel_size, particle_measurements(), tone_curve("linear")
    )
    columns |= _over_holes(particles, pixel_size)
    beam = None if grey is None else measure_beam(particles, grey, limits)
    columns |= _beam_columns(beam, len(particles))
    table = pd.DataFrame(
        {c.name: pd.Series(columns[c.name], dtype=c.dtype) for c in particle_columns()}
    )
    return table, beam.reference if beam else ""


@cache
def particle_measurements() -> tuple[Measurement, ...]:
    """List what is measured on a mask: some columns of flakes, and the size and edge."""
    own = [m for m in vars(particle_shapes).values() if isinstance(m, Measurement)]
    return (*(MEASUREMENTS[name] for name in _FROM_FLAKES), *own)


@cache
def particle_columns() -> tuple[Column, ...]:
    """Every column of the particles table, in order."""
    measured = (c for m in particle_measurements() for c in columns_of(m))
    return (*_IDENTITY, *BOX, *measured, *_HOLES, *_BEAM)


def particle_glossary() -> pd.DataFrame:
    """Name, unit and meaning of every column of the particles table."""
    return glossary_of(particle_columns())


def _identity(
    particles: Particles, image: str, border: str, pixel_size: PixelSize | None
) -> dict[str, Any]:
    n, boxes = len(particles), particles.masks.boxes
    height, width = particles.masks.shape
    cut = (particles.flags & Flag.TOUCHES_BORDER) != 0
    flags = particles.flags | (0 if pixel_size else int(Flag.SCALE_UNKNOWN))
    columns: dict[str, Any] = {
        "image": [image] * n,
        "particle_id": np.arange(1, n + 1),
        "aggregate_id": particles.aggregate,
        "aggregate_size": np.bincount(particles.aggregate)[particles.aggregate],
        "score": particles.score,
        "flags": flag_texts(flags),
        "touches_border": cut,
        "border_weight": border_weights(boxes, cut, (0, 0, height, width), border),
    }
    return columns | {c.name: boxes[:, i] for i, c in enumerate(BOX)}


def _detections(particles: Particles) -> Detections:
    n = len(particles)
    rgb, one = np.full((n, 3), np.nan), np.full(n, np.nan)
    signal = RegionSignal(rgb, rgb, rgb, rgb, rgb, np.zeros(n, np.int64), one, one)
    return Detections(
        particles.masks, particles.score, particles.flags, np.arange(1, n + 1), signal
    )  # fmt: skip


def _over_holes(particles: Particles, pixel_size: PixelSize | None) -> dict[str, npt.NDArray[Any]]:
    holes = particles.pixels.holes
    counts = [np.count_nonzero(holes[where] & crop) for where, crop in particles.masks]
    over = np.array(counts, np.int64)
    um2 = np.asarray(over * (np.nan if pixel_size is None else pixel_size.um**2), float)
    return {"over_holes_px": over, "over_holes_um2": um2}


def _beam_columns(beam: Beam | None, n: int) -> dict[str, Any]:
    if beam is not None:
        return {c.name: getattr(beam, c.name) for c in _BEAM}
    empty: dict[str, Any] = {"str": ["unknown"] * n, "int64": np.zeros(n, np.int64)}
    return {c.name: empty.get(c.dtype, np.full(n, np.nan)) for c in _BEAM}
