"""How much of a surface is covered: the answer, its interval, and how much to believe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerscope.core.columns import Column
from layerscope.core.results import BoolArray, FloatArray
from layerscope.core.run import TaskResult, TaskRun
from layerscope.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A class for every pixel.

    Attributes
    ----------
    labels : ndarray of uint8, (H, W)
        Index into `classes`; meaningless where `valid` is False.
    classes : tuple of str
        Names, e.g. ``("substrate", "1 layer", "2 layers")``.
    valid : ndarray of bool, (H, W)
        False where the picture is no specimen or the value is unknown: counted in nothing.
    probability : ndarray of float32, (H, W, K), or None
        Per class; rows add to one.
    spread : ndarray of float32, (H, W, K), or None
        Standard deviation of the probability between the networks of an ensemble.
    """

    labels: npt.NDArray[np.uint8]
    classes: tuple[str, ...]
    valid: BoolArray
    probability: npt.NDArray[np.float32] | None = None
    spread: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.labels.shape != self.valid.shape or self.labels.ndim != 2:
            raise InputError(f"labels {self.labels.shape} but valid {self.valid.shape}")
        if self.valid.any() and int(self.labels[self.valid].max()) >= len(self.classes):
            raise InputError(f"label {int(self.labels[self.valid].max())} has no class name")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.labels.shape[0], self.labels.shape[1]

    def fractions(self) -> FloatArray:
        """Share of the valid pixels that each class has, (K,); NaN where no pixel is valid."""
        counts = np.bincount(self.labels[self.valid], minlength=len(self.classes))
        return np.asarray(counts / counts.sum() if counts.sum() else np.full(len(counts), np.nan))


@dataclass(frozen=True)
class Terrace:
    """One level of a layered film.

    Attributes
    ----------
    n_layers : int
        0 is the substrate.
    height_nm, height_low_nm, height_high_nm : float
        Above the substrate, with its 95 % interval.
    fraction : float
        Share of the valid area.
    """

    n_layers: int
    height_nm: float
    height_low_nm: float
    height_high_nm: float
    fraction: float


@dataclass(frozen=True, eq=False)
class Coverage:
    """Covered share of one image.

    Attributes
    ----------
    fraction : float
        Covered share of the valid area, 0 to 1; NaN where it is not known.
    low, high : float
        95 % interval.
    method : str
        Name of the method that the answer is from.
    film : LabelMap
        Substrate and film, or substrate and layers.
    by_method : mapping of str to float
        What every method that was tried says.
    terraces : tuple of Terrace
        Where heights are known; empty otherwise.
    step_nm, step_low_nm, step_high_nm : float
        Height of one layer, with its 95 % interval; NaN where it was not measured.
    doubts : tuple of str
        Why a person should look at this image, one line each; empty: none.
    provenance : mapping
    """

    fraction: float
    low: float
    high: float
    method: str
    film: LabelMap
    by_method: Mapping[str, float] = field(default_factory=dict)
    terraces: tuple[Terrace, ...] = ()
    step_nm: float = float("nan")
    step_low_nm: float = float("nan")
    step_high_nm: float = float("nan")
    doubts: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = np.isfinite(self.fraction)
        if known and not 0 <= self.low <= self.fraction <= self.high <= 1:
            raise InputError(
                f"coverage {self.fraction} is not within its interval {self.low} to {self.high}"
            )


@dataclass(frozen=True, eq=False)
class SurfaceResult(TaskResult):
    """One scan or picture, analysed.

    Attributes
    ----------
    micrograph : Micrograph
        Cropped and levelled; its history says what was done.
    coverage : Coverage
    domains : pandas.DataFrame
        One row per domain; empty where domains were not measured.
    film : pandas.DataFrame or None
        The film in figures with intervals, where it was summarised.
    """

    coverage: Coverage
    domains: pd.DataFrame
    film: pd.DataFrame | None = None


@dataclass(frozen=True, eq=False)
class CoverageRun(TaskRun):
    """Everything that a coverage run found; its `images` have `COVERAGE_COLUMNS`.

    Attributes
    ----------
    domains : pandas.DataFrame
        One row per domain, sorted by image.
    films : pandas.DataFrame or None
        Figures of every film with intervals, a row each, where films were summarised.
    """

    domains: pd.DataFrame
    films: pd.DataFrame | None = None


COVERAGE_COLUMNS: tuple[Column, ...] = (
    Column("image", "", "str", "Name of the image, unique in the run."),
    Column("coverage", "", "float64", "Covered share of the valid area, 0 to 1."),
    Column("coverage_low", "", "float64", "Lower end of its 95 % interval."),
    Column("coverage_high", "", "float64", "Upper end of its 95 % interval."),
    Column("method", "", "str", "Method that the answer is from."),
    Column("by_method", "", "str", "What every method that was tried says."),
    Column("doubts", "", "str", "Why a person should look at it, or empty."),
    Column("layers_max", "", "Int64", "Most layers seen; empty where heights are unknown."),
    Column("step_nm", "nm", "float64", "Height of one layer."),
    Column("step_low_nm", "nm", "float64", "Lower end of its 95 % interval."),
    Column("step_high_nm", "nm", "float64", "Upper end of its 95 % interval."),
    Column("layers_fraction", "", "str", "Share of the area per layer number, 0 first."),
    Column("domains", "", "Int64", "Domains in the domains table."),
    Column("height_px", "px", "int64", "Rows of the analysed part."),
    Column("width_px", "px", "int64", "Columns of the analysed part."),
    Column("valid_share", "", "float64", "Share of those pixels that was counted."),
    Column("pixel_size_nm", "nm", "float64", "Side of a pixel; empty if unknown."),
    Column("pixel_size_source", "", "str", "Where that figure comes from."),
    Column("area_um2", "um2", "float64", "Valid area; empty without a pixel size."),
    Column("value_unit", "", "str", "What a pixel's value is: nm, or intensity of a picture."),
    Column("levelling", "", "str", "What was taken off before, or empty."),
    Column("notes", "", "str", "Warnings, joined by '; '."),
    Column("path", "", "str", "File."),
    Column("sha256", "", "str", "Of its bytes."),
)
