"""How well masks that may overlap agree with the truth, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.errors import InputError

MASK_FIGURES = ("iou", "dice", "precision", "recall", "specificity")


@dataclass(frozen=True, eq=False)
class MaskCounts:
    """Known pixels of each class, by truth and answer; all (K,).

    Attributes
    ----------
    hit, wrong, missed, spared : ndarray of int
        True positives, false positives, false negatives, true negatives.
    """

    hit: IntArray
    wrong: IntArray
    missed: IntArray
    spared: IntArray

    @classmethod
    def compare(cls, found: BoolArray, truth: npt.NDArray[np.uint8]) -> MaskCounts:
        """Count the pixels of one image.

        Parameters
        ----------
        found : ndarray of bool, (H, W, K)
        truth : ndarray of uint8, (H, W, K)
            0, 1, and `IGNORE` where nobody knows.

        Raises
        ------
        InputError
            If the shapes differ.
        """
        if found.shape != truth.shape or found.ndim != 3:
            raise InputError(f"masks {found.shape} beside truth {truth.shape}: expected (H, W, K)")
        yes, no = truth == 1, truth == 0
        pairs = ((found, yes), (found, no), (~found, yes), (~found, no))
        return cls(*(np.count_nonzero(a & b, axis=(0, 1)) for a, b in pairs))

    @classmethod
    def together(cls, parts: Sequence[MaskCounts]) -> MaskCounts:
        """Sum over images."""
        rows = [[p.hit, p.wrong, p.missed, p.spared] for p in parts]
        return cls(*np.sum(rows, axis=0))

    @property
    def known(self) -> IntArray:
        """Pixels that count."""
        return self.hit + self.wrong + self.missed + self.spared

    def figure(self, name: str) -> FloatArray:
        """One of `MASK_FIGURES` for each class, (K,); NaN where it is 0 / 0.

        IoU and Dice of a class that is neither there nor found are NaN, not 1: an empty image
        proves nothing.
        """
        tp, fp, fn, tn = (np.asarray(v, float) for v in vars(self).values())
        part, whole = {
            "iou": (tp, tp + fp + fn),
            "dice": (2 * tp, 2 * tp + fp + fn),
            "precision": (tp, tp + fp),
            "recall": (tp, tp + fn),
            "specificity": (tn, tn + fp),
        }[name]
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(whole > 0, part / whole, np.nan))


def mean_figure(values: FloatArray) -> float:
    """Mean over classes that have a figure; NaN where none has."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
