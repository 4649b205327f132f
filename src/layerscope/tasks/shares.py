"""How far the share of a class may be off: learned from images that the model had not seen.

Counting the pixels of a class is biased as its classifier is, and counting more pixels does not
help. So the interval of a share is that of the next image's error, as held-out images showed it:
error over scale is compared between images, where the scale of an image is the variance that the
model itself expects of one of its pixels, mean of p (1 - p), with a floor. With error/scale
z of the held-out images, each specimen counting once, the interval is

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
    """

    rms: tuple[float, ...]
    specimens: int
    images: int

    @classmethod
    def measure(
        cls, found: FloatArray, true: FloatArray, scale: FloatArray, groups: Sequence[str]
    ) -> Self:
        """Compare shares of held-out images with the truth.

        Parameters
        ----------
        found, true : ndarray, (N, K)
            Shares of each class.
        scale : ndarray, (N, K)
            From `expected_variance`.
        groups : sequence of str, (N,)
            Specimen of each image.

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
        return cls(tuple(float(f"{v:.5g}") for v in rms), len(names), len(groups))

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
        return {"rms": list(self.rms), "specimens": self.specimens, "images": self.images}

    @classmethod
    def from_metrics(cls, kept: Mapping[str, Any] | None, classes: int) -> Self | None:
        """Read what a card keeps; None if it keeps nothing that can be used."""
        try:
            rms = tuple(float(v) for v in (kept or {})["rms"])
            found = cls(rms, int((kept or {})["specimens"]), int((kept or {})["images"]))
        except (KeyError, TypeError, ValueError):
            return None
        return found if len(rms) == classes and np.isfinite(rms).all() else None


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
