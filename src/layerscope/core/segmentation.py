"""What a pixel classifier finds on an image: a class for every pixel, and how much of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerscope.core.columns import IMAGE_FACTS, Column
from layerscope.core.coverage import LabelMap
from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.core.run import DoubtedResult, TaskRun
from layerscope.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class ClassMasks:
    """A mask for every class, which may overlap: a hole under a flake is both.

    Attributes
    ----------
    masks : ndarray of bool, (H, W, K)
    classes : tuple of str
        K names; none of them is a background.
    valid : ndarray of bool, (H, W)
        False where the picture is no specimen: counted in nothing.
    thresholds : tuple of float
        Least probability of each class.
    probability : ndarray of float16 or float32, (H, W, K), or None
        Of each class by itself; rows need not add to one.
    spread : ndarray of float32, (H, W, K), or None
        How far the networks of an ensemble, or orientations, disagree: standard deviation.
    """

    masks: BoolArray
    classes: tuple[str, ...]
    valid: BoolArray
    thresholds: tuple[float, ...]
    probability: npt.NDArray[Any] | None = None
    spread: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.masks.ndim != 3 or self.masks.shape[:2] != self.valid.shape:
            raise InputError(f"masks {self.masks.shape} but valid {self.valid.shape}")
        if not self.masks.shape[2] == len(self.classes) == len(self.thresholds):
            raise InputError(
                f"masks {self.masks.shape}, {len(self.classes)} classes, "
                f"{len(self.thresholds)} thresholds: expected one of each per class"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.valid.shape[0], self.valid.shape[1]

    def counts(self) -> IntArray:
        """Count the valid pixels of each class, (K,)."""
        return np.array([np.count_nonzero(m & self.valid) for m in np.moveaxis(self.masks, 2, 0)])

    def fractions(self) -> FloatArray:
        """Share of the valid pixels that each class has, (K,); NaN where no pixel is valid."""
        whole = np.count_nonzero(self.valid)
        return np.asarray(self.counts() / whole if whole else np.full(len(self.classes), np.nan))

    def combination(self) -> npt.NDArray[np.uint8]:
        """Sum over the classes of a pixel of 1, 2, 4 ... in their order, (H, W).

        Of flake and hole 1 is a flake, 2 a hole, 3 a hole under a flake.

        Raises
        ------
        InputError
            If there are more than seven classes: the sum would not fit a byte.
        """
        if len(self.classes) > 7:
            raise InputError(f"{len(self.classes)} classes that overlap; at most 7 can be shown")
        out = np.zeros(self.shape, np.uint8)
        for k in range(len(self.classes)):
            out |= self.masks[..., k].astype(np.uint8) << np.uint8(k)
        return out


@dataclass(frozen=True)
class ClassArea:
    """How much of one image one class takes.

    Attributes
    ----------
    name : str
        Of the class.
    value : int
        Of its pixels in the label picture.
    pixels : int
    fraction : float
        Share of the valid pixels; NaN where none is valid.
    low, high : float
        95 % interval of the share; NaN where the model was never tried on held-out images.
    """

    name: str
    value: int
    pixels: int
    fraction: float
    low: float = float("nan")
    high: float = float("nan")

    def __post_init__(self) -> None:
        known = np.isfinite([self.fraction, self.low, self.high]).all()
        if known and not 0 <= self.low <= self.fraction <= self.high <= 1:
            raise InputError(
                f"share {self.fraction} of {self.name} is not within {self.low} to {self.high}"
            )


@dataclass(frozen=True, eq=False)
class PhaseResult(DoubtedResult):
    """One image, segmented.

    Attributes
    ----------
    phases : LabelMap or ClassMasks
        A class for every pixel of the file, or a mask for every class, with probabilities.
    areas : tuple of ClassArea
        One per class, in the order of the classes.
    """

    phases: LabelMap | ClassMasks
    areas: tuple[ClassArea, ...]


@dataclass(frozen=True, eq=False)
class PhaseRun(TaskRun):
    """Everything that a phases run found; its `images` have `PHASE_COLUMNS`.

    Attributes
    ----------
    areas : pandas.DataFrame
        One row per image and class, `AREA_COLUMNS`, sorted by image.
    """

    areas: pd.DataFrame


PHASE_COLUMNS: tuple[Column, ...] = (
    Column("image", "", "str", "Name of the image, unique in the run."),
    Column("confidence", "", "float64", "Mean probability of what was said of each pixel."),
    Column("disagreement", "", "float64", "Mean spread between networks of an ensemble, or empty."),
    Column("unsure_share", "", "float64", "Share of pixels that might as well be another class."),
    *IMAGE_FACTS,
)

AREA_COLUMNS: tuple[Column, ...] = (
    Column("image", "", "str", "Name of the image, unique in the run."),
    Column("class", "", "str", "Name of the class."),
    Column("value", "", "int64", "Of its pixels in classes/<image>.png."),
    Column("area_px", "px", "int64", "Pixels of the class."),
    Column("fraction", "", "float64", "Share of the valid pixels, 0 to 1."),
    Column("fraction_low", "", "float64", "Lower end of its 95 % interval."),
    Column("fraction_high", "", "float64", "Upper end of its 95 % interval."),
    Column("area_um2", "um2", "float64", "Area; empty without a pixel size."),
    Column("area_low_um2", "um2", "float64", "Lower end of its 95 % interval."),
    Column("area_high_um2", "um2", "float64", "Upper end of its 95 % interval."),
)
