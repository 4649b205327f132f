"""Batches of patches for training: what step k sees depends on the seed and on k only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE
from layerscope.core.results import IntArray
from layerscope.errors import InputError
from layerscope.ops.augment import (
    NO_AUGMENTATION,
    Augmentation,
    FloatImage,
    Labels,
    augment,
    foreground,
    join_mosaic,
    paste_objects,
)

Box = tuple[int, int, int, int]
Patch = tuple[FloatImage, Labels]

_SEEDS_PER_CLASS = 4096
"""Places kept per image and class to centre patches on; more would only cost memory."""
_TRIES = 8


@dataclass(frozen=True, eq=False)
class PatchSource:
    """An endless supply of augmented patches.

    Attributes
    ----------
    images : sequence of ndarray, (H, W, C)
        uint8, or float32 from 0 to 1. They may differ in size, not in channels.
    labels : sequence of ndarray, (H, W) uint8 or (H, W, K) float32
        uint8 (H, W, K): masks of 0, 1 and `IGNORE` that overlap.
    size_px : int
        Side of a patch.
    augmentation : Augmentation
    seed : int
    normalise : callable, optional
        From image (S, S, C), 0 to 1, to the float32 that the network reads.
    foreground_share : float
        Share of patches that are centred near an object. Its class is drawn first, so that a rare
        class is seen as often as a frequent one.
    least_foreground_px : int
        Such patches are drawn again, up to eight times, until they hold so many pixels of objects.
    """

    images: Sequence[npt.NDArray[Any]]
    labels: Sequence[Labels]
    size_px: int
    augmentation: Augmentation = NO_AUGMENTATION
    seed: int = 0
    normalise: Callable[[FloatImage], FloatImage] | None = None
    foreground_share: float = 0.5
    least_foreground_px: int = 16

    def __post_init__(self) -> None:
        if not self.images or len(self.images) != len(self.labels):
            raise InputError(f"{len(self.images)} images with {len(self.labels)} label maps")
        if len({i.shape[2:] for i in self.images}) != 1:
            raise InputError(
                "the images differ in their number of channels; make them all the same"
            )

    def batch(self, step: int, n: int) -> tuple[FloatImage, Labels]:
        """Return the patches of one step.

        Parameters
        ----------
        step : int
        n : int
            Patches; the first k of a longer batch are those of a batch of k.

        Returns
        -------
        x : ndarray of float32, (n, C, S, S)
        y : ndarray, (n, S, S) uint8 or (n, K, S, S) float32
        """
        drawn = [self.patch(step, i) for i in range(n)]
        x = np.stack([_channels_first(self._normalised(image)) for image, _ in drawn])
        return x, np.stack([_channels_first(labels) for _, labels in drawn])

    def patch(self, step: int, index: int) -> Patch:
        """Return patch `index` of a step, image (S, S, C) not yet normalised, and labels."""
        rng = np.random.default_rng([self.seed, step, index])
        a = self.augmentation
        mosaic, paste = rng.random(2) < (a.mosaic_share, a.paste_share)
        patch = self._single(rng)
        if mosaic:
            cut = rng.integers(self.size_px // 4, 3 * self.size_px // 4 + 1, 2)
            others = [self._single(rng) for _ in range(3)]
            patch = join_mosaic([patch, *others], (int(cut[0]), int(cut[1])))
        if paste:
            patch = paste_objects(patch, self._single(rng, on_object=True))
        return patch

    def _single(self, rng: np.random.Generator, on_object: bool = False) -> Patch:
        wants_object = bool(rng.random() < self.foreground_share) or on_object
        if not (wants_object and self._places):
            return self._drawn(int(rng.integers(len(self.images))), None, rng)
        for _ in range(_TRIES):
            places = self._places[int(rng.integers(len(self._places)))]
            which, spots = places[int(rng.integers(len(places)))]
            row, column = spots[int(rng.integers(len(spots)))]
            patch = self._drawn(which, (int(row), int(column)), rng)
            if np.count_nonzero(foreground(patch[1])) >= self.least_foreground_px:
                break
        return patch

    def _drawn(self, which: int, near: tuple[int, int] | None, rng: np.random.Generator) -> Patch:
        image, labels = self.images[which], self.labels[which]
        return augment(image, labels, self.size_px, rng, self.augmentation, near=near)

    def _normalised(self, image: FloatImage) -> FloatImage:
        return image if self.normalise is None else np.asarray(self.normalise(image), np.float32)

    @cached_property
    def _places(self) -> list[list[tuple[int, IntArray]]]:
        """Per class that occurs: the images that hold it, with places (n, 2) of its pixels."""
        of_class: dict[int, list[tuple[int, IntArray]]] = {}
        for which, labels in enumerate(self.labels):
            for value, mask in _masks(labels):
                spots = np.argwhere(mask)
                every = -(-len(spots) // _SEEDS_PER_CLASS)
                of_class.setdefault(value, []).append((which, spots[::every]))
        return [of_class[value] for value in sorted(of_class)]


def grid_patches(shape: tuple[int, int], size_px: int, overlap_px: int = 0) -> list[Box]:
    """Boxes that cover a picture.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the picture.
    size_px : int
        Side of a patch; patches are smaller only where the picture is.
    overlap_px : int
        The least that neighbours share, below `size_px`; the patches are spread evenly.

    Returns
    -------
    list of (top, left, bottom, right)
        Row by row. Every pixel lies in at least one, no patch reaches beyond the picture.

    Raises
    ------
    InputError
        If the overlap is not below the size.
    """
    if not 0 <= overlap_px < size_px:
        raise InputError(f"an overlap of {overlap_px} px of patches of {size_px} px")
    return [
        (top, left, min(top + size_px, shape[0]), min(left + size_px, shape[1]))
        for top in _starts(shape[0], size_px, overlap_px)
        for left in _starts(shape[1], size_px, overlap_px)
    ]


def with_foreground(boxes: Sequence[Box], labels: Labels, least_px: int = 1) -> list[Box]:
    """Those of `boxes` in which `labels` (H, W) hold at least `least_px` pixels of objects."""
    marked = foreground(labels)
    return [b for b in boxes if np.count_nonzero(marked[b[0] : b[2], b[1] : b[3]]) >= least_px]


def _starts(side: int, size: int, overlap: int) -> list[int]:
    if side <= size:
        return [0]
    gaps = -(-(side - size) // (size - overlap))
    return [round(i * (side - size) / gaps) for i in range(gaps + 1)]


def _masks(labels: Labels) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """Classes from 1 that occur, each with its pixels (H, W)."""
    if labels.ndim == 3 and labels.dtype == np.uint8:
        found = ((k + 1, labels[..., k] == 1) for k in range(labels.shape[2]))
        yield from ((value, mask) for value, mask in found if mask.any())
        return
    classes = labels if labels.ndim == 2 else foreground(labels).astype(np.uint8)
    present = np.flatnonzero(np.bincount(classes.ravel(), minlength=IGNORE + 1))
    for value in present[(present > 0) & (present != IGNORE)].tolist():
        yield value, classes == value


def _channels_first(pixels: Labels) -> Labels:
    return pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
