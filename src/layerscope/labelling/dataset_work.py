"""The masks of one image on their way to a data set: put together, filled, opened, counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.prepared import PreparedImage
from layerscope.core.results import BoolArray, IntArray
from layerscope.labelling.dataset_masks import (
    check_overlap,
    fill_voids,
    masks_above,
    open_class,
    resize_masks,
)
from layerscope.labelling.dataset_settings import PrepareSettings
from layerscope.labelling.dataset_sources import Told

_MOST_VOID = 0.5  # more was hardly left open by a threshold: somebody painted a few strokes


@dataclass
class MaskWork:
    """Masks of one image on their way, and what every step did to each class."""

    masks: BoolArray
    known: BoolArray
    settings: PrepareSettings
    thresholds: tuple[float, ...]
    probability: Any
    before: IntArray
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, name: str, told: Sequence[Told], settings: PrepareSettings, shape: tuple[int, int]
    ) -> MaskWork:
        """Put together what the sources say, at the size `shape`."""
        names, exclusive = settings.read_classes, not settings.overlapping
        cuts = tuple(settings.thresholds.of(name, c) for c in names)
        parts, known, maps = [], np.ones(shape, bool), []
        for i, one in enumerate(told):
            mine = cuts if len(told) == 1 else cuts[i : i + 1]
            masks = one.labels
            if one.probability is not None:
                masks = masks_above(one.probability, mine, overlapping=not exclusive)
                maps.append(one.probability)
            assert masks is not None
            parts.append(masks)
            if one.known is not None:
                known &= resize_masks(one.known[..., None], shape)[..., 0]
        before = np.concatenate([np.count_nonzero(p, axis=(0, 1)) for p in parts])
        whole = np.concatenate([resize_masks(p, shape) for p in parts], axis=2)
        probability = _resized_maps(maps, shape) if len(maps) == len(told) else None
        several = not settings.sources[0].name
        if exclusive and several:
            known = np.asarray(whole.any(axis=2))
        out = cls(whole, known, settings, cuts if maps else (), probability, before)
        out._to_classes()
        return out

    def _to_classes(self) -> None:
        """Leave the background out, or put it in, as the data set has it."""
        names, wanted = self.settings.read_classes, self.settings.classes
        kept = [names.index(n) for n in wanted if n in names]
        if self.settings.overlapping:
            check_overlap(self.masks[..., kept], wanted, self.settings.both)
        else:
            check_overlap(self.masks, names, ())
        self.masks, self.before = self.masks[..., kept], self.before[kept]
        self.thresholds = tuple(self.thresholds[k] for k in kept) if self.thresholds else ()
        if self.probability is not None:
            self.probability = self.probability[..., kept]
        if len(wanted) > len(names):
            rest = self.known & ~self.masks.any(axis=2)
            self.masks = np.concatenate([rest[..., None], self.masks], axis=2)
            self.before = np.r_[np.count_nonzero(rest), self.before]
            self.thresholds = (float("nan"), *self.thresholds) if self.thresholds else ()
            if self.probability is not None:
                none = np.clip(1 - self.probability.sum(axis=2), 0, 1)
                self.probability = np.concatenate([none[..., None], self.probability], axis=2)

    def finish(self, image: Micrograph, name: str) -> PreparedImage:
        """Fill, open, count."""
        added = self._fill()
        opened = self._open()
        if image.excluded is not None:
            self.known = self.known & ~image.excluded
        self.masks = self.masks & self.known[..., None]
        return PreparedImage(
            name, image, self.masks, self.known, self.settings.classes, self.settings.overlapping,
            self.thresholds, self.probability, self._counts(added, opened),
            notes=tuple(self.notes),
        )  # fmt: skip

    def _fill(self) -> IntArray:
        none = np.zeros(self.masks.shape[2], np.int64)
        if self.settings.overlapping or self.settings.sources[0].name:
            return none
        void = ~self.known
        if self.settings.fill == "background":
            self.masks = self.masks.copy()
            self.masks[void, 0] = True
            none[0] = np.count_nonzero(void)
            self.known = np.ones(void.shape, bool)
            return none
        if self.settings.fill == "unlabelled":
            return none
        if void.mean() > _MOST_VOID:
            self.notes.append(
                f"{void.mean():.0%} of the pixels were of no class and took that of the nearest "
                "labelled one; of a few strokes use --fill unlabelled"
            )
        filled = fill_voids(self.masks, self.settings.fill_within_px)
        self.masks, self.known = filled.masks, np.asarray(filled.masks.any(axis=2))
        return filled.added

    def _open(self) -> IntArray:
        lost = np.zeros(self.masks.shape[2], np.int64)
        for k, name in enumerate(self.settings.classes):
            radius, had = self.settings.opening_px.get(name, 0), self.masks[..., k]
            if radius:
                exclusive = not self.settings.overlapping
                self.masks = open_class(self.masks, k, radius, exclusive=exclusive)
                lost[k] = np.count_nonzero(had & ~self.masks[..., k])
        if not self.settings.overlapping:
            self.known = np.asarray(self.masks.any(axis=2))
        return lost

    def _counts(self, added: IntArray, opened: IntArray) -> tuple[dict[str, Any], ...]:
        whole = max(int(np.count_nonzero(self.known)), 1)
        shared = self.masks.sum(axis=2) > 1
        rows = []
        for k, name in enumerate(self.settings.classes):
            pixels = int(np.count_nonzero(self.masks[..., k]))
            rows.append({
                "class": name,
                "threshold": self.thresholds[k] if self.thresholds else np.nan,
                "pixels_before": int(self.before[k]),
                "pixels": pixels,
                "share": pixels / whole,
                "filled": int(added[k]),
                "opened": int(opened[k]),
                "shared": int(np.count_nonzero(self.masks[..., k] & shared)),
                "unknown": int(np.count_nonzero(~self.known)),
            })  # fmt: skip
        return tuple(rows)


def resize(image: Micrograph, shape: tuple[int, int]) -> Micrograph:
    """Image of another size; its pixel size goes with it.

    Parameters
    ----------
    image : Micrograph
    shape : tuple of int
        Height and width, px.
    """
    if image.shape == shape:
        return image
    smaller = shape[0] * shape[1] < image.shape[0] * image.shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    data = cv2.resize(image.data, shape[::-1], interpolation=way)
    size, excluded = image.pixel_size, image.excluded
    if size is not None:
        y, x = (old / new for old, new in zip(image.shape, shape, strict=True))
        size = PixelSize(size.y_nm * y, size.x_nm * x, f"{size.source}, resized")
    if excluded is not None:
        excluded = resize_masks(excluded[..., None], shape)[..., 0]
    return image.after("resize", {"shape": shape}, data=data, pixel_size=size, excluded=excluded)


def _resized_maps(maps: Sequence[Any], shape: tuple[int, int]) -> Any:
    whole = np.concatenate(list(maps), axis=2)
    if whole.shape[:2] == shape:
        return whole
    planes = [
        cv2.resize(np.ascontiguousarray(p), shape[::-1], interpolation=cv2.INTER_LINEAR)
        for p in np.moveaxis(whole, 2, 0)
    ]
    return np.stack(planes, axis=-1)
