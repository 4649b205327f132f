"""How masks are made ready: what a person decides, checked before any image is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from layerscope.core.micrograph import PixelSize
from layerscope.errors import InputError, UnknownName
from layerscope.io.annotated.draft import BACKGROUND
from layerscope.labelling.dataset_sources import MaskSource, Thresholds, class_order

FILLS = ("nearest", "unlabelled", "background")


@dataclass(frozen=True)
class PrepareSettings:
    """How masks are made.

    Attributes
    ----------
    sources : tuple of MaskSource
        One folder of several classes, or a folder for each class.
    numbers : mapping of str to int
        Class to label (or channel, from 1), of a folder of several; the first is the background
        unless one is called so.
    thresholds : Thresholds
        On probabilities.
    both : tuple of set of str
        Pairs of classes that a pixel may have both of; with one, every class has its own mask.
    size : int or (int, int), optional
        Longest side, or height and width, px; default: as the image is.
    fill : str
        One of `FILLS`: what void pixels become, of classes that exclude each other.
    fill_within_px : float
        Void pixels farther from any class stay unlabelled.
    opening_px : mapping of str to int
        Radius of the opening of a class.
    pixel_size : str, optional
        Of all images, where their files have none.
    """

    sources: tuple[MaskSource, ...]
    numbers: Mapping[str, int] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=Thresholds)
    both: tuple[frozenset[str], ...] = ()
    size: int | tuple[int, int] | None = None
    fill: str = "nearest"
    fill_within_px: float = float("inf")
    opening_px: Mapping[str, int] = field(default_factory=dict)
    pixel_size: str | None = None

    def __post_init__(self) -> None:
        if self.fill not in FILLS:
            raise UnknownName.of("fill", self.fill, FILLS)
        if len(self.sources) > 1 and not all(s.name for s in self.sources):
            raise InputError("one folder of several classes, or one folder for each class")
        named = {*self.classes}
        asked = {*self.opening_px, *self.thresholds.of_class, *(c for b in self.both for c in b)}
        if unknown := sorted(asked - named):
            raise UnknownName.of("class", unknown[0], named)
        if self.pixel_size is not None:
            PixelSize.parse(self.pixel_size)

    @property
    def overlapping(self) -> bool:
        """Whether every class has its own mask."""
        return bool(self.both)

    @property
    def read_classes(self) -> tuple[str, ...]:
        """Classes that the sources show, in their order; the background first where it is named."""
        names = class_order(self.numbers, self.sources)
        return tuple(sorted(names, key=lambda n: n != BACKGROUND))

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the data set."""
        names = self.read_classes
        if self.overlapping:
            return tuple(n for n in names if n != BACKGROUND)
        apart = all(s.name for s in self.sources)
        return (BACKGROUND, *names) if apart and BACKGROUND not in names else names

    def record(self) -> dict[str, Any]:
        """Return the settings as they are written down."""
        return {
            "masks": [
                {"class": s.name or "several", "folder": str(s.folder), "export": s.kind or "found"}
                for s in self.sources
            ],
            "classes": list(self.classes),
            "numbers": dict(self.numbers),
            "overlapping": self.overlapping,
            "both": sorted("+".join(sorted(pair)) for pair in self.both),
            "threshold": self.thresholds.default,
            "thresholds_of_classes": dict(self.thresholds.of_class),
            "thresholds_of_images": {
                f"{image} · {name}": v
                for (image, name), v in sorted(self.thresholds.of_image.items())
            },
            "size_px": self.size,
            "fill": self.fill,
            "fill_within_px": self.fill_within_px,
            "opening_px": dict(self.opening_px),
            "pixel_size": self.pixel_size,
        }
