"""An image with its masks, made ready to learn from, and how they came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerscope.core.columns import Column
from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray
from layerscope.core.run import Failure
from layerscope.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """One image and a mask per class.

    Attributes
    ----------
    name : str
    micrograph : Micrograph
        Already of the size of the masks.
    masks : ndarray of bool, (H, W, K)
    known : ndarray of bool, (H, W)
        False where nobody said what is there.
    classes : tuple of str
        K names; of classes that exclude each other the first is the background.
    overlapping : bool
        Whether a pixel may be of several classes.
    thresholds : tuple of float, (K,), or empty
        Least probability of each class, where the masks come from probabilities.
    probability : ndarray of float32, (H, W, K), or None
    counts : tuple of mapping, (K,)
        Figures of each class, `COUNT_COLUMNS` without the names.
    sources : tuple of (str, str)
        Files that it was made from, and the SHA-256 of each.
    notes : tuple of str
    """

    name: str
    micrograph: Micrograph
    masks: BoolArray
    known: BoolArray
    classes: tuple[str, ...]
    overlapping: bool
    thresholds: tuple[float, ...] = ()
    probability: npt.NDArray[np.float32] | None = None
    counts: tuple[Mapping[str, Any], ...] = ()
    sources: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        expected = (*self.micrograph.shape, len(self.classes))
        if self.masks.shape != expected or self.known.shape != expected[:2]:
            raise InputError(
                f"{self.name}: masks {self.masks.shape}, known {self.known.shape}; expected "
                f"{expected}"
            )
        if not self.overlapping and not (self.masks.sum(axis=2) == self.known).all():
            raise InputError(f"{self.name}: masks that exclude each other overlap or leave gaps")


@dataclass(frozen=True, eq=False)
class Preparation:
    """Everything but the pictures of a data set that was made.

    Attributes
    ----------
    counts : pandas.DataFrame
        One row per image and class, `COUNT_COLUMNS`.
    pairing : pandas.DataFrame
        One row per image and per mask without one, `PAIRING_COLUMNS`.
    failures : tuple of Failure
    parameters, provenance : mapping
        No clock.
    """

    counts: pd.DataFrame
    pairing: pd.DataFrame
    failures: tuple[Failure, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


COUNT_COLUMNS: tuple[Column, ...] = (
    Column("image", "", "str", "Name of the image."),
    Column("class", "", "str", "Name of the class."),
    Column("threshold", "", "float64", "Least probability; empty where masks were given."),
    Column("pixels_before", "px", "int64", "At the size of the source."),
    Column("pixels", "px", "int64", "In the finished mask."),
    Column("share", "", "float64", "Of the known pixels."),
    Column("filled", "px", "int64", "Taken from void pixels nearest to it."),
    Column("opened", "px", "int64", "Specks and threads that the opening took away."),
    Column("shared", "px", "int64", "Also of another class."),
    Column("unknown", "px", "int64", "Pixels of the image that nobody labelled."),
)

PAIRING_COLUMNS: tuple[Column, ...] = (
    Column("name", "", "str", "Name that images and masks are paired by."),
    Column("status", "", "str", "paired, no mask, no image, or refused."),
    Column("image", "", "str", "File of the image, or empty."),
    Column("masks", "", "str", "Files of the masks, joined by '; '."),
    Column("why", "", "str", "Why it was left out, or empty."),
)
