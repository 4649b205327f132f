"""Fit a judge of regions to a handful of images on which a person marked the wanted flakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import GroupKFold, StratifiedKFold

from layerscope.core.results import BoolArray, CropMasks, Detections, IntArray
from layerscope.measure.scores_overlap import mask_iou
from layerscope.models.judge import Judge, region_features
from layerscope.models.trees import trees_of

_TREES, _LEAF = 200, 2
_SAME = 0.5
_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Marked:
    """The regions of one labelled image, and which of them are wanted.

    Attributes
    ----------
    rows : ndarray of float32, (n, F)
    wanted : ndarray of bool, (n,)
    """

    rows: npt.NDArray[np.float32]
    wanted: BoolArray

    @classmethod
    def of(
        cls,
        found: Detections,
        terraces: npt.NDArray[np.uint16],
        ignored: npt.NDArray[np.uint8],
    ) -> Marked:
        """Compare regions with marked terraces (H, W); those on ignored pixels teach nothing."""
        unsaid = [bool(ignored[where][crop].mean() > _SAME) for where, crop in found.masks]
        said = found[~np.array(unsaid, bool)]
        iou = mask_iou(said.masks, CropMasks.from_labels(terraces))
        return cls(region_features(said), np.asarray(iou.max(axis=1, initial=0) >= _SAME))


def fit_judge(
    images: Sequence[Marked], groups: Sequence[str], seed: int = 0
) -> tuple[Judge | None, dict[str, float]]:
    """Fit a judge, and say how well it does on what it has not seen.

    Parameters
    ----------
    images : sequence of Marked
        One image may be there several times, by several finders.
    groups : sequence of str
        Specimen or image of each: what is held out together.
    seed : int

    Returns
    -------
    judge : Judge or None
        None if all regions are wanted, or fewer than two: there is nothing to tell apart.
        Extremely randomised trees (Geurts, Ernst and Wehenkel, Mach. Learn. 63, 3 (2006)); its
        threshold is that of the best F1 on held-out regions.
    figures : dict of str to float
        ``held_out_f1`` at that threshold; of one image alone, between its regions.
        ``marked_found`` says how many regions are wanted.
    """
    rows = np.concatenate([m.rows for m in images])
    wanted = np.concatenate([m.wanted for m in images])
    figures = {"marked_found": float(wanted.sum())}
    if not 2 <= wanted.sum() < len(wanted):
        return None, figures
    group = np.repeat(np.unique(groups, return_inverse=True)[1], [len(m.rows) for m in images])
    chance = _held_out(rows, wanted, group, seed)
    least, f1 = _best_cut(chance, wanted)
    forest = _forest(seed).fit(rows, wanted)
    return Judge(trees_of(forest, 2), least), {**figures, "held_out_f1": f1}


def _forest(seed: int) -> ExtraTreesClassifier:
    return ExtraTreesClassifier(_TREES, min_samples_leaf=_LEAF, random_state=seed)


def _held_out(
    rows: npt.NDArray[np.float32], wanted: BoolArray, group: IntArray, seed: int
) -> npt.NDArray[np.float64]:
    """Probability of each region by a forest that has not seen its group."""
    known = len(np.unique(group))
    folds = (
        GroupKFold(min(known, _FOLDS))
        if known > 1
        else StratifiedKFold(min(_FOLDS, int(wanted.sum())), shuffle=True, random_state=seed)
    )
    told = np.zeros(len(rows))
    for seen, unseen in folds.split(rows, wanted, group):
        if 0 < wanted[seen].sum() < len(seen):
            told[unseen] = (
                _forest(seed).fit(rows[seen], wanted[seen]).predict_proba(rows[unseen])[:, 1]
            )
    return told


def _best_cut(chance: npt.NDArray[np.float64], wanted: BoolArray) -> tuple[float, float]:
    """Threshold of the best F1, and that F1."""
    order = np.argsort(-chance, kind="stable")
    right = np.cumsum(wanted[order])
    f1 = 2 * right / (np.arange(1, len(order) + 1) + wanted.sum())
    best = int(np.argmax(f1))
    return float(chance[order[best]]), float(f1[best])
