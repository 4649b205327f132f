"""Grown crystals as a network of objects finds them, with what `tasks.crystals` says of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from layerscope.core.coverage import Coverage, LabelMap
from layerscope.core.evaluation import Objects
from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray, Detections
from layerscope.errors import InputError
from layerscope.measure.crystal_shapes import classify_shapes
from layerscope.measure.domains import Domains, find_domains
from layerscope.ops.instances import LabelArray
from layerscope.ops.optical import fit_background
from layerscope.tasks.crystals import Crystals


class ObjectModel(Protocol):
    """What is asked: `models.yolo.YoloModel`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, without a background."""

    def find(self, image: npt.NDArray[np.generic]) -> Objects:
        """Objects of an image, the most probable first."""


@dataclass(frozen=True, eq=False)
class NamedCrystals:
    """Crystals, and what a model calls each.

    Attributes
    ----------
    micrograph : Micrograph
    domains : Domains
        One per crystal; their score is the model's.
    classes : tuple of str
    """

    micrograph: Micrograph
    domains: Domains
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.classes)

    @cached_property
    def crystals(self) -> Crystals:
        """The same with shapes and substrate, which take twice the time of all else."""
        masks, (height, width) = self.domains.detections.masks, self.micrograph.shape
        return Crystals(
            self.domains,
            classify_shapes(masks, self.domains.cut),
            Detections.empty((height, width)),
            np.zeros(0, np.int64),
            fit_background(self.micrograph),
        )


def find_crystals_learned(
    micrograph: Micrograph, model: ObjectModel, *, min_area_px: int = 150
) -> NamedCrystals:
    """Find the grown crystals of an image with a network.

    Where masks overlap the smaller one lies on top: a core in its crystal is a crystal by itself.

    Parameters
    ----------
    micrograph : Micrograph
        Optical; grey or RGB, any bit depth. `Micrograph.excluded` is left out.
    model : ObjectModel
    min_area_px : int
        Smallest crystal.

    Raises
    ------
    InputError
        If `min_area_px` is below 1.
    """
    if min_area_px < 1:
        raise InputError(f"min_area_px {min_area_px}: expected 1 or more")
    found = model.find(_pixels(micrograph))
    valid = np.ones(micrograph.shape, bool)
    if micrograph.excluded is not None:
        valid = ~micrograph.excluded
    number = np.where(valid, _painted(found), 0)
    domains = find_domains(
        _coverage(number > 0, valid), split=_Numbered(number), min_area_px=min_area_px
    )
    masks = domains.detections.masks
    owner = np.array([int(number[where][crop][0]) - 1 for where, crop in masks], np.int64)
    domains = replace(domains, detections=replace(domains.detections, score=found.score[owner]))
    names = tuple(model.classes[k - 1] for k in found.class_index[owner])
    return NamedCrystals(micrograph, domains, names)


@dataclass(frozen=True, eq=False)
class _Numbered:
    """Parts a film into the objects that were numbered; a `measure.domains.Splitter`."""

    number: LabelArray

    def __call__(self, mask: BoolArray, min_area_px: int) -> LabelArray:
        return np.where(mask, self.number, 0).astype(np.int32)


def _pixels(micrograph: Micrograph) -> npt.NDArray[np.generic]:
    if micrograph.data.dtype == np.uint8 and micrograph.white_level == 255:
        return micrograph.data
    share = micrograph.data.astype(np.float32) / np.float32(micrograph.white_level)
    return np.clip(np.nan_to_num(share), 0, 1, dtype=np.float32)


def _painted(found: Objects) -> LabelArray:
    """Paint the number of the object of each pixel, from 1; the smaller one lies on top."""
    order = np.argsort(-found.masks.area_px, kind="stable")
    return found.masks.take(order).labels((order + 1).tolist())


def _coverage(film: BoolArray, valid: BoolArray) -> Coverage:
    label_map = LabelMap(film.view(np.uint8), ("substrate", "film"), valid)
    return Coverage(float(label_map.fractions()[1]), 0.0, 1.0, "objects", label_map)
