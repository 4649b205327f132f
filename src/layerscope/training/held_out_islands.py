"""What held-out images say of islands: which are a particle, and how many particles are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE
from layerscope.core.particles import PixelClasses
from layerscope.core.results import CropMasks
from layerscope.tasks.particle_counts import IslandModel, Matched, island_features
from layerscope.tasks.particle_sources import is_hole
from layerscope.tasks.particles import MIN_AREA_PX, Grey, Separation, islands_of
from layerscope.tasks.phases import cut_masks

_LEAST_SHARE = 0.1
"""Of a particle, below which an island only grazes it."""


@dataclass(frozen=True, eq=False)
class HeldOutImage:
    """An image that a network had not seen, and what it said of it.

    Attributes
    ----------
    grey : ndarray of float32, (H, W)
    probability : ndarray, (H, W, K)
    truth : ndarray of uint8, (H, W, K)
        0, 1 and `IGNORE`.
    """

    grey: Grey
    probability: npt.NDArray[Any]
    truth: npt.NDArray[np.uint8]


def learn_islands(
    images: Sequence[HeldOutImage], thresholds: Mapping[str, float], coarser: float = 1.0
) -> dict[str, Any]:
    """Learn what the islands of each class are worth.

    Parameters
    ----------
    images : sequence of HeldOutImage
    thresholds : mapping of str to float
        Of each class, in the order of the maps.
    coarser : float
        Side of a pixel of the images over that of a pixel that the network sees, so that the
        smallest particle is as large as it is in the images.

    Returns
    -------
    dict of str to dict
        `IslandModel.as_metrics` of each class that is no hole.
    """
    rules = Separation(min_area_px=max(1, round(MIN_AREA_PX * coarser**2)))
    found = {}
    for k, name in enumerate(thresholds):
        if is_hole(name):
            continue
        cuts = np.array(list(thresholds.values()), np.float32)
        holes = [i for i, other in enumerate(thresholds) if is_hole(other)]
        learned = IslandModel.fit([_matched(one, k, holes, cuts, rules) for one in images])
        found[name] = learned.as_metrics()
    return found


def _matched(
    one: HeldOutImage, k: int, holes: list[int], cuts: npt.NDArray[np.float32], rules: Separation
) -> Matched:
    """Islands of class `k` in an image, and which of them are a particle."""
    masks, known = cut_masks(one.probability, cuts), np.asarray(one.truth[..., k] != IGNORE)
    everywhere, real = np.ones(known.shape, bool), np.asarray(one.truth == 1)
    empty, bare = (np.asarray(m[..., holes].any(axis=2)) for m in (masks, real))
    islands = islands_of(PixelClasses(masks[..., k], empty, everywhere), one.grey, rules)
    true = islands_of(PixelClasses(real[..., k], bare, known), one.grey, rules)
    # Where nobody knows what is there, nothing is learned.
    judged = np.array([known[where][crop].mean() >= 0.5 for where, crop in islands], bool)
    islands = islands.take(np.flatnonzero(judged))
    first = first_islands(islands, true)
    particle = np.isin(np.arange(len(islands)), first)
    features = island_features(islands, one.probability[..., k], rules.min_area_px)
    return Matched(features, particle, len(true) - int(particle.sum()))


def first_islands(islands: CropMasks, true: CropMasks) -> npt.NDArray[np.int64]:
    """Island that holds most of each particle, (n,); -1 where none holds a tenth of it.

    Parameters
    ----------
    islands, true : CropMasks
        None of them overlaps another.
    """
    overlap = np.zeros((len(true) + 1, len(islands) + 1), np.int64)
    np.add.at(overlap, (true.labels().ravel(), islands.labels().ravel()), 1)
    shared = overlap[1:, 1:]
    if not shared.size:
        return np.full(len(true), -1)
    best = shared.argmax(axis=1)
    most = shared.max(axis=1)
    return np.where(most >= _LEAST_SHARE * true.area_px, best, -1)
