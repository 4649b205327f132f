"""Regions that a person need only name or correct: proposed, described, and named by examples.

A proposer gives masks of one picture: outlines of the picture (`OutlineProposer`), or a network
(`layerscope.training.sam`). What they are is told from masks that a person named before, by the
nearest neighbours in six features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import CropMasks, FloatArray, IntArray
from layerscope.errors import InputError
from layerscope.measure.scores_overlap import box_iou, mask_iou
from layerscope.models.particle_ranker import Ranker
from layerscope.ops.mask_features import MASK_FEATURES, mask_features
from layerscope.ops.tiles import plan_tiles
from layerscope.tasks.particle_segmentation import SearchSettings, grey_of, segment_particles

REGION = "region"
"""Class of a proposal that nobody named."""


class Proposer(Protocol):
    """Proposes regions of a picture."""

    def propose(self, image: Micrograph) -> tuple[CropMasks, FloatArray]:
        """Masks and how sure each is, 0 to 1, the surest first; they may overlap."""
        ...


@dataclass(frozen=True)
class OutlineProposer:
    """Regions from outlines of the picture at many levels; no weights to fetch.

    Attributes
    ----------
    search : SearchSettings
    ranker : Ranker or None
    """

    search: SearchSettings = field(default_factory=lambda: SearchSettings(least_score=0.25))
    ranker: Ranker | None = None

    def propose(self, image: Micrograph) -> tuple[CropMasks, FloatArray]:
        """Masks and scores, the surest first."""
        masks, score, _ = segment_particles(image, self.search, self.ranker)
        order = np.argsort(-score, kind="stable")
        return masks.take(order), score[order]


def propose_in_tiles(
    image: Micrograph, proposer: Proposer, *, tile_px: int = 1024, halo_px: int = 128
) -> tuple[CropMasks, FloatArray]:
    """Propose on a large picture tile by tile; a smaller one is given whole.

    Parameters
    ----------
    image : Micrograph
    proposer : Proposer
    tile_px, halo_px : int
        Side of a tile, and how far it looks into its neighbours. A region is found whole if it is
        no longer than the halo; of repeats the surest is kept.

    Returns
    -------
    masks, score
        As of `Proposer.propose`.
    """
    if max(image.shape) <= tile_px + 2 * halo_px:
        return proposer.propose(image)
    boxes, crops, scores = [], [], []
    for tile in plan_tiles(image.shape, tile_px, halo_px):
        seen = tile.seen
        where = np.s_[seen.top : seen.bottom, seen.left : seen.right]
        excluded = None if image.excluded is None else image.excluded[where]
        part = image.after("tile", data=np.ascontiguousarray(image.data[where]), excluded=excluded)
        masks, score = proposer.propose(part)
        whole = np.flatnonzero(~_cut(masks, (seen.top, seen.left), image.shape))
        shift = np.array([seen.top, seen.left, seen.top, seen.left])
        boxes.append(masks.boxes[whole] + shift)
        crops += [masks.crops[i] for i in whole]
        scores.append(score[whole])
    every = CropMasks(np.concatenate(boxes), tuple(crops), image.shape)
    return without_repeats(every, np.concatenate(scores), by_mask=True)


def _cut(masks: CropMasks, corner: tuple[int, int], shape: tuple[int, int]) -> IntArray:
    """Which masks a tile cuts where the picture goes on."""
    height, width = masks.shape
    box, (top, left) = masks.boxes, corner
    found = (box[:, 0] <= 0) & (top > 0)
    found |= (box[:, 1] <= 0) & (left > 0)
    found |= (box[:, 2] >= height) & (top + height < shape[0])
    found |= (box[:, 3] >= width) & (left + width < shape[1])
    return np.asarray(found)


def without_repeats(
    masks: CropMasks, score: FloatArray, *, most_overlap: float = 0.7, by_mask: bool = False
) -> tuple[CropMasks, FloatArray]:
    """Keep the surest of masks whose boxes overlap by more than `most_overlap`, sorted by score.

    Parameters
    ----------
    masks : CropMasks
    score : ndarray, (n,)
    most_overlap : float
        Intersection over union; 0.7 as published for automatic masks.
    by_mask : bool
        Compare the masks themselves where the boxes overlap so much.
    """
    order = np.argsort(-score, kind="stable")
    kept: list[int] = []
    for i in order.tolist():
        rows = np.array(kept, np.int64)
        near = rows[box_iou(masks.boxes[[i]], masks.boxes[rows])[0] > most_overlap]
        if by_mask and len(near):
            one = masks.take(np.array([i]))
            near = near[mask_iou(one, masks.take(near))[0] > most_overlap]
        if not len(near):
            kept.append(i)
    return masks.take(np.array(kept, np.int64)), score[kept]


@dataclass(frozen=True, eq=False)
class NearestMasks:
    """Names of masks from the nearest named ones.

    The published settings of the nine nearest, weighted by the inverse of their distance; a hole
    only if its share of the votes is 0.6.

    Attributes
    ----------
    features : ndarray, (m, 6)
        Of the named masks.
    names : tuple of str, (m,)
    least : mapping of str to float
        Least share of the votes of a class, else the next best is taken.
    neighbours : int
    """

    features: FloatArray
    names: tuple[str, ...]
    least: tuple[tuple[str, float], ...] = (("hole", 0.6),)
    neighbours: int = 9

    def __post_init__(self) -> None:
        if len(self.features) != len(self.names) or not len(self.names):
            raise InputError(f"{len(self.features)} masks with {len(self.names)} names")
        if self.features.shape[1] != len(MASK_FEATURES) or self.neighbours < 1:
            raise InputError(
                f"features {self.features.shape}, {self.neighbours} neighbours: expected "
                f"{len(MASK_FEATURES)} columns and one neighbour or more"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, sorted."""
        return tuple(sorted(set(self.names)))

    def probabilities(self, features: FloatArray) -> FloatArray:
        """Share of the votes for each of `classes`, (n, K)."""
        middle, spread = self.features.mean(axis=0), self.features.std(axis=0) + 1e-9
        known, asked = (self.features - middle) / spread, (features - middle) / spread
        away = np.sqrt(((asked[:, None] - known) ** 2).sum(axis=2))
        nearest = np.argsort(away, axis=1, kind="stable")[:, : self.neighbours]
        weight = 1 / np.maximum(np.take_along_axis(away, nearest, axis=1), 1e-9)
        index = np.array([self.classes.index(name) for name in self.names])[nearest]
        votes = np.stack([(weight * (index == k)).sum(axis=1) for k in range(len(self.classes))], 1)
        return np.asarray(votes / np.maximum(votes.sum(axis=1, keepdims=True), 1e-300))

    def name(self, features: FloatArray) -> tuple[str, ...]:
        """Name each of `features` (n, 6)."""
        votes = self.probabilities(features)
        least = np.array([dict(self.least).get(name, 0.0) for name in self.classes])
        allowed = np.where(votes >= least, votes, -1.0)
        # Where no class has what it needs, the most votes decide.
        chosen = np.where(allowed.max(axis=1) >= 0, allowed.argmax(axis=1), votes.argmax(axis=1))
        return tuple(self.classes[k] for k in chosen.tolist())


def features_of(image: Micrograph, masks: CropMasks) -> FloatArray:
    """Features (n, 6) of masks of `image`; see `ops.mask_features`."""
    return mask_features(grey_of(image), masks)


def teach_names(
    examples: Sequence[tuple[FloatArray, Sequence[str]]], *, neighbours: int = 9
) -> NearestMasks:
    """Learn names from images of named masks: features (n, 6) and a name for each.

    Raises
    ------
    InputError
        If there is no named mask.
    """
    features = [part for part, _ in examples if len(part)]
    names = tuple(name for _, part in examples for name in part)
    if not features:
        raise InputError("no named mask to learn from")
    return NearestMasks(np.concatenate(features), names, neighbours=neighbours)
