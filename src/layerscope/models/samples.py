"""Labelled contrasts that heads learn from; each row knows its region and its image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray, IntArray
from layerscope.errors import InputError

# Class widths measured over six published setups: per channel, and as a share of the contrast.
CLASS_SD = np.array([0.010, 0.010, 0.018])
CLASS_SD_SHARE = 0.05

MOST_LAYERS = 200
"""No head counts further."""


@dataclass(frozen=True)
class Samples:
    """Contrasts with their layer number; one row per pixel or per region.

    Attributes
    ----------
    contrast, contrast_se : ndarray, (n, 3)
        Linear-light contrast R, G, B and its standard error (0 for pixels).
    layers : ndarray of int, (n,)
        Layer number; 0 is bare substrate.
    group : ndarray of int, (n,)
        Image, as a position in `group_names`.
    region : ndarray of int, (n,)
        Rows of one region share a number that no other region has.
    group_names : tuple of str
    notes : tuple of str
        What was left out and why, one line each.
    """

    contrast: FloatArray
    contrast_se: FloatArray
    layers: IntArray
    group: IntArray
    region: IntArray
    group_names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.layers)
        if self.contrast.shape != (n, 3) or self.contrast_se.shape != (n, 3):
            raise InputError(
                f"{n} layer numbers but contrast {self.contrast.shape} and contrast_se "
                f"{self.contrast_se.shape}: expected ({n}, 3)"
            )
        if len(self.group) != n or len(self.region) != n:
            raise InputError(
                f"{n} layer numbers, {len(self.group)} groups, {len(self.region)} regions"
            )
        if not np.all(np.isfinite(self.contrast)) or np.any(self.layers < 0):
            raise InputError("samples: expected finite contrast and layer numbers from 0")

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def n_groups(self) -> int:
        """Number of images."""
        return len(self.group_names)

    @classmethod
    def from_regions(
        cls,
        contrast: npt.ArrayLike,
        contrast_se: npt.ArrayLike,
        layers: npt.ArrayLike,
        groups: Sequence[str],
    ) -> Samples:
        """Build from measured regions, such as those that `io.labels.assign_labels` labelled.

        Parameters
        ----------
        contrast, contrast_se : array_like, (n, 3)
        layers : array_like of int, (n,)
            0 where a region has no label: it is left out, as are rows without a finite contrast.
        groups : sequence of str, (n,)
            Name of the image of each region.
        """
        c, se = np.asarray(contrast, float), np.asarray(contrast_se, float)
        number = np.asarray(layers, np.int64)
        if len(groups) != len(number):
            raise InputError(f"{len(number)} layer numbers but {len(groups)} image names")
        use = (number > 0) & np.isfinite(c).all(axis=1) & np.isfinite(se).all(axis=1)
        names = sorted({g for g, keep in zip(groups, use, strict=True) if keep})
        place = np.array(
            [names.index(g) if keep else -1 for g, keep in zip(groups, use, strict=True)]
        )
        group = place.astype(np.int64)[use]
        return cls(c[use], se[use], number[use], group, np.arange(len(group)), tuple(names))

    @classmethod
    def concatenate(cls, parts: Sequence[Samples]) -> Samples:
        """All rows of `parts`; images of the same name are one image."""
        names = tuple(sorted({name for p in parts for name in p.group_names}))
        group, region, used = [], [], 0
        for p in parts:
            renamed = np.array([names.index(n) for n in p.group_names], np.int64)
            group.append(renamed[p.group] if len(p) else p.group)
            region.append(p.region + used)
            used += int(p.region.max(initial=-1)) + 1
        if not parts:
            rgb, none = np.zeros((0, 3)), np.zeros(0, np.int64)
            return cls(rgb, rgb, none, none, none, ())
        return cls(
            np.concatenate([p.contrast for p in parts]),
            np.concatenate([p.contrast_se for p in parts]),
            np.concatenate([p.layers for p in parts]),
            np.concatenate(group),
            np.concatenate(region),
            names,
            tuple(note for p in parts for note in p.notes),
        )

    def take(self, index: IntArray) -> Samples:
        """Rows at the integer positions `index`; all group names stay."""
        columns = ("contrast", "contrast_se", "layers", "group", "region")
        return replace(self, **{name: getattr(self, name)[index] for name in columns})

    def n_regions(self, layers: int) -> int:
        """Regions of one layer number."""
        return len(np.unique(self.region[self.layers == layers]))

    def region_means(self) -> Samples:
        """One row per region: mean contrast, and the standard error of that mean."""
        numbers, first, inverse = np.unique(self.region, return_index=True, return_inverse=True)
        count = np.bincount(inverse, minlength=len(numbers))[:, None]

        def mean(values: FloatArray) -> FloatArray:
            sums = [np.bincount(inverse, v, minlength=len(numbers)) for v in values.T]
            return np.asarray(np.transpose(sums) / np.maximum(count, 1), float)

        contrast = mean(self.contrast)
        scatter2 = mean((self.contrast - contrast[inverse]) ** 2) / np.maximum(count - 1, 1)
        error = np.sqrt(scatter2 + mean(self.contrast_se**2) / count)
        rows = self.take(first)
        return replace(rows, contrast=contrast, contrast_se=error)


def class_sd(mean: FloatArray) -> FloatArray:
    """Width that a layer class of mean contrast `mean` (..., 3) has before its own data speak."""
    return np.asarray(np.hypot(CLASS_SD, CLASS_SD_SHARE * mean), float)


def describe(samples: Samples, description: Mapping[str, str]) -> dict[str, object]:
    """Account of the training data for a head's card."""
    regions = {int(k): samples.n_regions(int(k)) for k in np.unique(samples.layers)}
    return {
        **description,
        "n_images": len(np.unique(samples.group)),
        "n_samples": len(samples),
        "regions_per_layer": {str(k): n for k, n in regions.items()},
        "notes": list(samples.notes),
    }
