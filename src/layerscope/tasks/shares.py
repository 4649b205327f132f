"""How far the share of a class may be off: learned from images that the model had not seen.

Counting the pixels of a class is biased as its classifier is, and counting more pixels does not
help. So the interval of a share is that of the next image's error, as held-out images showed it:
error over scale is compared between images. The scale of an image is the variance that the model
itself expects of one of its pixels, mean of p (1 - p), or of an ensemble the mean disagreement of
its networks over the pixels, if held-out errors follow that better; with a floor. The mean
disagreement is the most that the share can differ between networks, reached where they disagree
everywhere in one direction (triangle inequality). With error/scale z of the held-out images, each
specimen counting once, the interval is

    share -+ t(0.975, G) rms(z) scale sqrt(1 + 1/G),

G being the number of specimens and t Student's quantile: the prediction interval of a normal
variable of known mean 0 (Hahn and Meeker, Statistical Intervals, 1991, section 4.7). A bias of the
classifier widens it, because it is part of the rms. It holds for images of the kind that was held
out, not for others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray
from layerscope.errors import InputError

FLOOR = 0.002
"""Least scale: a fifth of a percent of the image, about the width of a drawn outline."""

SCALES = ("variance", "spread")
"""What the error of an image may be compared with; see `scale_of`."""

_LEVEL = 0.975


@dataclass(frozen=True)
class ShareErrors:
    """What the shares of held-out images were off by.

    Attributes
    ----------
    rms : tuple of float, (K,)
        Of error over scale, per class; specimens count alike.
    specimens : int
    images : int
    by : str
        What the scale is: one of `SCALES`.
    """

    rms: tuple[float, ...]
    specimens: int
    images: int
    by: str = "variance"

    @classmethod
    def measure(
        cls,
        found: FloatArray,
        true: FloatArray,
        scale: FloatArray,
        groups: Sequence[str],
        by: str = "variance",
    ) -> Self:
        """Compare shares of held-out images with the truth.

        Parameters
        ----------
        found, true : ndarray, (N, K)
            Shares of each class.
        scale : ndarray, (N, K)
            From `scale_of`.
        groups : sequence of str, (N,)
            Specimen of each image.
        by : str
            What was asked of `scale_of`.

        Raises
        ------
        InputError
            If there is no image or the shapes differ.
        """
        if not len(groups) or not found.shape == true.shape == scale.shape:
            raise InputError(f"shares of {found.shape}, {true.shape} and scales of {scale.shape}")
        square = ((found - true) / np.maximum(scale, FLOOR)) ** 2
        names = sorted(set(groups))
        member = np.array([[g == name for g in groups] for name in names], float)
        per_group = member @ square / member.sum(axis=1, keepdims=True)
        rms = np.sqrt(per_group.mean(axis=0))
        return cls(tuple(float(f"{v:.5g}") for v in rms), len(names), len(groups), by)

    def log_width(self, scale: FloatArray) -> float:
        """Mean logarithm of the width of the intervals, over images and classes, up to a constant.

        Of normal errors it is minus the logarithm of their likelihood, so that the scale with the
        narrower intervals is the one that errors follow better.

        Parameters
        ----------
        scale : ndarray, (N, K)
        """
        rms = np.log(np.maximum(self.rms, 1e-9))
        return float((rms + np.log(np.maximum(scale, FLOOR))).mean())

    def interval(self, share: FloatArray, scale: FloatArray) -> tuple[FloatArray, FloatArray]:
        """95 % interval of the true shares (K,) of an image, from 0 to 1.

        Parameters
        ----------
        share, scale : ndarray, (K,)
        """
        from scipy.stats import t

        # One specimen says nothing about the next one's.
        if self.specimens < 2:
            return np.full(len(share), np.nan), np.full(len(share), np.nan)
        reach = float(t.ppf(_LEVEL, self.specimens)) * np.sqrt(1 + 1 / self.specimens)
        half = reach * np.array(self.rms) * np.maximum(scale, FLOOR)
        return np.clip(share - half, 0, 1), np.clip(share + half, 0, 1)

    def as_metrics(self) -> dict[str, Any]:
        """Return what a model card keeps."""
        told = {"rms": list(self.rms), "specimens": self.specimens, "images": self.images}
        return told if self.by == "variance" else told | {"by": self.by}

    @classmethod
    def from_metrics(cls, kept: Mapping[str, Any] | None, classes: int) -> Self | None:
        """Read what a card keeps; None if it keeps nothing that can be used."""
        try:
            rms = tuple(float(v) for v in (kept or {})["rms"])
            found = cls(
                rms,
                int((kept or {})["specimens"]),
                int((kept or {})["images"]),
                str((kept or {}).get("by", "variance")),
            )
        except (KeyError, TypeError, ValueError):
            return None
        usable = len(rms) == classes and np.isfinite(rms).all() and found.by in SCALES
        return found if usable else None


def expected_variance(
    probability: npt.NDArray[np.float32], counted: npt.NDArray[np.bool_] | None = None
) -> FloatArray:
    """Mean of p (1 - p) over the pixels, (K,).

    Parameters
    ----------
    probability : ndarray of float32, (..., K)
    counted : ndarray of bool, (...), optional
        Pixels to take; default all.
    """
    rows = probability.reshape(-1, probability.shape[-1])
    if counted is not None:
        rows = rows[counted.ravel()]
    if not len(rows):
        return np.full(probability.shape[-1], np.nan)
    return np.asarray((rows * (1 - rows)).mean(axis=0, dtype=np.float64))


def scale_of(
    by: str,
    probability: npt.NDArray[np.float32],
    spread: npt.NDArray[np.float32] | None,
    counted: npt.NDArray[np.bool_] | None = None,
) -> FloatArray:
    """Scale of the errors of an image's shares, (K,).

    Parameters
    ----------
    by : str
        ``"variance"``: `expected_variance`; ``"spread"``: mean of the spread over the pixels.
    probability, spread : ndarray of float32, (..., K)
        Spread is None of a single network.
    counted : ndarray of bool, (...), optional

    Raises
    ------
    InputError
        If there is no spread and it is asked for.
    """
    if by == "variance":
        return expected_variance(probability, counted)
    if spread is None:
        raise InputError("intervals by spread: the model is no ensemble, its card says it is")
    rows = spread.reshape(-1, spread.shape[-1])
    rows = rows if counted is None else rows[counted.ravel()]
    if not len(rows):
        return np.full(spread.shape[-1], np.nan)
    return np.asarray(rows.mean(axis=0, dtype=np.float64))
