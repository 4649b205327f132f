"""What was seen on one image, in one line for whoever sits at the microscope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_BEST = 2
"""Flakes named in the line of an image."""


@dataclass(frozen=True)
class Sighting:
    """What was seen on one image.

    Attributes
    ----------
    name, status : str
    regions : int
    best : tuple of str
        The one or two most promising ones, in words.
    latency_s : float or None
        From complete to now, overstated by up to the time between two looks; None if the image
        was there before.
    reason : str
        Why it failed, or empty.
    """

    name: str
    status: str
    regions: int
    best: tuple[str, ...]
    latency_s: float | None
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            parts = [f"{self.status}, {self.reason}"]
        else:
            some = "no region" if not self.regions else "1 region"
            parts = [some if self.regions < 2 else f"{self.regions} regions", *self.best]
        if self.latency_s is not None:
            parts.append(f"after {self.latency_s:.1f} s")
        return f"{self.name}: {'; '.join(parts)}"


def best_regions(regions: pd.DataFrame) -> tuple[str, ...]:
    """Name the one or two regions of which most is expected, as `rank_sites` ranks them.

    Parameters
    ----------
    regions : pandas.DataFrame
        Of one image, with the columns of the objects table.
    """
    unit = "um" if regions["inscribed_circle_diameter_um"].notna().any() else "px"
    size = f"inscribed_circle_diameter_{unit}"
    chance = regions["layers_probability"].where(regions["n_layers"] != "unknown", 0.0)
    worth = (chance * regions["score"] * regions[size]).fillna(0.0)
    order = np.lexsort((-regions[size], -worth))[:_BEST]
    return tuple(_in_words(regions.iloc[k], size, unit) for k in order)


def _in_words(region: pd.Series, size: str, unit: str) -> str:
    layers, sure = region["n_layers"], f"p {region['layers_probability']:.2f}"
    what = {"unknown": "unknown layers", "thick": f"thick ({sure})", "1": f"1 layer ({sure})"}
    return f"{what.get(layers, f'{layers} layers ({sure})')} {region[size]:.1f} {unit}"
