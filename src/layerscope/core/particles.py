"""Particles on a support: what is one, which pixels are its own, and which tables they end in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope.core.columns import IMAGE_FACTS, Column
from layerscope.core.results import BoolArray, CropMasks, FloatArray, IntArray
from layerscope.core.run import DoubtedResult, TaskRun
from layerscope.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class PixelClasses:
    """What is told of each pixel before particles are told apart.

    Attributes
    ----------
    objects : ndarray of bool, (H, W)
        A particle is there.
    holes : ndarray of bool, (H, W)
        The support has a hole there; under a particle both may be True.
    valid : ndarray of bool, (H, W)
        False where the picture is no specimen: burnt-in bars, values that nobody gave.
    """

    objects: BoolArray
    holes: BoolArray
    valid: BoolArray

    def __post_init__(self) -> None:
        shapes = {self.objects.shape, self.holes.shape, self.valid.shape}
        if len(shapes) > 1 or self.objects.ndim != 2:
            raise InputError(f"masks of {sorted(shapes)}: expected one plane for all three")

    @property
    def support(self) -> BoolArray:
        """Pixels (H, W) of bare support: no particle, no hole."""
        return self.valid & ~self.objects & ~self.holes


DRAWS = 1000
"""Of what held-out images say of a model, in a `CountDraws`."""


@dataclass(frozen=True, eq=False)
class CountDraws:
    """How many particles there are, as far as held-out images can tell.

    Draw i of every image goes with draw i of what the model's held-out images say of it, so that
    images add up although they are wrong together.

    Attributes
    ----------
    expected, variance : ndarray, (DRAWS,)
        Of the number, given the draw.
    """

    expected: FloatArray
    variance: FloatArray

    def __add__(self, other: CountDraws) -> CountDraws:
        """Count of both."""
        return CountDraws(self.expected + other.expected, self.variance + other.variance)

    def interval(self) -> tuple[float, float, float]:
        """Return the expected number, and the ends of its 95 % interval."""
        noise = np.random.default_rng(1).standard_normal(len(self.expected))
        low, high = np.quantile(self.expected + noise * np.sqrt(self.variance), (0.025, 0.975))
        # A whole number stands for half a step around it.
        return (
            float(self.expected.mean()),
            max(float(np.ceil(low - 0.5)), 0.0),
            float(max(np.floor(high + 0.5), 0)),
        )


@dataclass(frozen=True, eq=False)
class Particles:
    """Which particles are in one image; one row per particle.

    Attributes
    ----------
    masks : CropMasks
        The whole particle, also where it lies over a hole of the support; they may overlap.
    score : ndarray, (n,)
        0 to 1, how sure that it is one; 1 where a person or the truth says so.
    aggregate : ndarray of int, (n,)
        From 1; particles that touch share it.
    flags : ndarray of int, (n,)
        `core.results.Flag` bits.
    pixels : PixelClasses
    provenance : mapping
        Where they come from: a model, label pictures or the classical way, with its settings.
    count : CountDraws or None
        How many there are, where held-out images of a model tell; else those that were found.
    """

    masks: CropMasks
    score: FloatArray
    aggregate: IntArray
    flags: IntArray
    pixels: PixelClasses
    provenance: Mapping[str, Any] = field(default_factory=dict)
    count: CountDraws | None = None

    def __post_init__(self) -> None:
        n = len(self.masks)
        if not n == len(self.score) == len(self.aggregate) == len(self.flags):
            raise InputError(
                f"{n} masks but {len(self.score)} scores, {len(self.aggregate)} aggregates and "
                f"{len(self.flags)} flags"
            )
        if self.masks.shape != self.pixels.objects.shape:
            raise InputError(f"masks of {self.masks.shape} on {self.pixels.objects.shape} pixels")

    def __len__(self) -> int:
        return len(self.masks)

    def take(self, index: IntArray) -> Particles:
        """Rows at the integer positions `index`; aggregates are numbered anew."""
        kept = self.aggregate[index]
        renumbered = np.unique(kept, return_inverse=True)[1].astype(np.int64) + 1
        return Particles(
            self.masks.take(index), self.score[index], renumbered, self.flags[index], self.pixels,
            self.provenance,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class ParticleResult(DoubtedResult):
    """One image with its particles.

    Attributes
    ----------
    particles : Particles
    table : pandas.DataFrame
        One row per particle.
    population : pandas.DataFrame
        Figures of the image with intervals, a row each.
    """

    particles: Particles
    table: pd.DataFrame
    population: pd.DataFrame


@dataclass(frozen=True, eq=False)
class ParticleRun(TaskRun):
    """Everything that a particles run found; its `images` have `PARTICLE_IMAGE_COLUMNS`.

    Attributes
    ----------
    particles : pandas.DataFrame
        One row per particle, sorted by image; `measure.particles.particle_columns`.
    population : pandas.DataFrame
        One row per figure, `POPULATION_COLUMNS`: every image, and ``all`` of them.
    """

    particles: pd.DataFrame
    population: pd.DataFrame


PARTICLE_IMAGE_COLUMNS: tuple[Column, ...] = (
    Column("image", "", "str", "Name of the image, unique in the run."),
    Column("particles", "", "int64", "Particles in the particles table."),
    Column("at_border", "", "int64", "Of them, cut by the border."),
    Column("aggregates", "", "int64", "Groups of two or more that touch."),
    Column("coverage", "", "float64", "Share of the valid area under particles."),
    Column("hole_share", "", "float64", "Share of the valid area that is a hole of the support."),
    Column("reference", "", "str", "What transmission is measured against, or empty."),
    *IMAGE_FACTS,
)

POPULATION_COLUMNS: tuple[Column, ...] = (
    Column("image", "", "str", "Name of the image; all: every image of the run."),
    Column("quantity", "", "str", "What the figure is."),
    Column("unit", "", "str", "Its unit; empty for a pure number."),
    Column("value", "", "float64", "The figure."),
    Column("low", "", "float64", "Lower end of its 95 % interval."),
    Column("high", "", "float64", "Upper end of its 95 % interval."),
    Column("interval", "", "str", "How the interval was made, or why there is none."),
)
