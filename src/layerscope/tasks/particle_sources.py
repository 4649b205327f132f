"""Where the particles of an image come from: a phases model, label pictures, or the picture alone.

A source gives `Particles` for a micrograph. All three end in the same flags, aggregates and rules.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from layerscope.core.coverage import LabelMap
from layerscope.core.examples import IGNORE, DataSet, Example
from layerscope.core.micrograph import Micrograph, Modality
from layerscope.core.particles import Particles, PixelClasses
from layerscope.core.results import BoolArray, CropMasks, FloatArray, IntArray
from layerscope.errors import InputError, UnknownName, UnreadableFile
from layerscope.io.annotated import read_dataset
from layerscope.models.file import Model
from layerscope.models.particle_ranker import Ranker
from layerscope.tasks.particle_counts import SURE, IslandModel
from layerscope.tasks.particle_segmentation import (
    SearchSettings,
    counted_pixels,
    grey_of,
    segment_particles,
)
from layerscope.tasks.particles import (
    Likely,
    Separation,
    gather_particles,
    separate_particles,
)
from layerscope.tasks.phases import find_phases, require_phases

_RUN_FILE = "run.json"


class ParticleSource(Protocol):
    """Gives the particles of an image."""

    def find(self, image: Micrograph) -> Particles:
        """Particles of `image`."""
        ...

    def about(self) -> dict[str, Any]:
        """Return what goes into the record of the run."""
        ...


@dataclass(frozen=True)
class ClassNames:
    """Which classes are particles and which are holes of the support.

    Attributes
    ----------
    objects, holes : tuple of str
        Empty: every class but the background, `holes` and one named support or film.
    """

    objects: tuple[str, ...] = ()
    holes: tuple[str, ...] = ()

    def split(self, classes: Sequence[str]) -> tuple[list[int], list[int]]:
        """Positions of the particle classes and of the hole classes among `classes`.

        Raises
        ------
        UnknownName
            If a name is not among them; InputError if no class is left for particles.
        """
        for name in (*self.objects, *self.holes):
            if name not in classes:
                raise UnknownName.of("class", name, tuple(classes))
        holes = [i for i, name in enumerate(classes) if name in self.holes]
        holes = holes or [i for i, name in enumerate(classes) if is_hole(name) and not self.holes]
        wanted = [i for i, name in enumerate(classes) if name in self.objects]
        if not self.objects:
            wanted = [i for i, n in enumerate(classes) if i not in holes and not _is_support(n)]
        holes = [i for i in holes if i not in wanted]
        if not wanted:
            raise InputError(f"no class of {', '.join(classes)} is a particle: give --objects")
        return wanted, holes


def is_hole(name: str) -> bool:
    """Whether a class of this name is a hole of the support."""
    return name.casefold().rstrip("s") in ("hole", "vacuum")


def _is_support(name: str) -> bool:
    return name.casefold() in ("background", "support", "film", "carbon", "substrate")


@dataclass(frozen=True, eq=False)
class ModelSource:
    """Particles by a phases model, of one class per pixel or of classes that overlap.

    Attributes
    ----------
    model : Model
    names : ClassNames
    separation : Separation
    """

    model: Model
    names: ClassNames = field(default_factory=ClassNames)
    separation: Separation = field(default_factory=Separation)

    def __post_init__(self) -> None:
        """Refuse a model of another task, and class names that it does not have."""
        card = require_phases(self.model.card)
        self.names.split(card.classes)

    def find(self, image: Micrograph) -> Particles:
        """Particles of `image`."""
        phases = find_phases(image, self.model)
        wanted, holes = self.names.split(phases.classes)
        if isinstance(phases, LabelMap):
            objects = np.isin(phases.labels, wanted)
            empty = np.isin(phases.labels, holes)
        else:
            objects = np.asarray(phases.masks[..., wanted].any(axis=2))
            empty = np.asarray(phases.masks[..., holes].any(axis=2))
        sure = None
        if phases.probability is not None:
            sure = np.minimum(phases.probability[..., wanted].sum(axis=2, dtype=np.float32), 1)
        pixels = PixelClasses(objects & phases.valid, empty & phases.valid, phases.valid)
        return separate_particles(
            pixels, grey_of(image), self.separation,
            likely=None if sure is None else Likely(sure, self._islands),
            provenance={"from": "model", "model": self.model.card.name},
        )  # fmt: skip

    @property
    def _islands(self) -> IslandModel | None:
        """What held-out images say of islands of the one class that is a particle."""
        card = self.model.card
        wanted, _ = self.names.split(card.classes)
        kept = card.metrics.get("islands")
        if len(wanted) > 1 or not isinstance(kept, Mapping):
            return None
        return IslandModel.from_metrics(kept.get(card.classes[wanted[0]]))

    def about(self) -> dict[str, Any]:
        """Name, hash and card of the model."""
        level: float | str | None = self.separation.sure
        if level is None:
            level = "learned" if self._islands else SURE
        told = {"from": "model", "unknown_below": level}
        card = json.loads(self.model.card.to_json())
        return {**told, "model_sha256": self.model.sha256, "model": card}


@dataclass(frozen=True, eq=False)
class LabelSource:
    """Particles in label pictures: of a phases run, or of any labelled images that are read.

    Attributes
    ----------
    folder : Path
    names : ClassNames
    separation : Separation
    """

    folder: Path
    names: ClassNames = field(default_factory=ClassNames)
    separation: Separation = field(default_factory=Separation)

    def find(self, image: Micrograph) -> Particles:
        """Particles of `image`, by the labels of its name.

        Raises
        ------
        InputError
            If the folder has no labels of that name, or they are of another size.
        """
        example = self._labels.get(_stem(image.name))
        if example is None:
            raise InputError(f"{image.name}: no labels of that name in {self.folder}")
        if example.shape != image.shape:
            raise InputError(
                f"{image.name}: labels of {example.shape} px (rows x columns), not {image.shape}"
            )
        told = {"from": "labels", "labels": str(example.label_path or example.path)}
        apart = self._instances(example)
        pixels = self._pixels(example, image)
        if apart is None:
            return separate_particles(pixels, grey_of(image), self.separation, provenance=told)
        large = np.flatnonzero(apart.area_px >= self.separation.min_area_px)
        masks = apart.take(large)
        return gather_particles(masks, np.ones(len(masks)), pixels, told)

    def about(self) -> dict[str, Any]:
        """Folder and classes."""
        return {"from": "labels", "classes": list(self._data.classes)}

    @cached_property
    def _data(self) -> DataSet:
        if (self.folder / _RUN_FILE).is_file():
            return read_phases_run(self.folder)
        return read_dataset(self.folder)

    @cached_property
    def _labels(self) -> dict[str, Example]:
        return {_stem(e.name): e for e in self._data.examples}

    def _instances(self, example: Example) -> CropMasks | None:
        """Masks of the objects that a person told apart; None where classes are all there is."""
        wanted, _ = self.names.split(self._data.classes[1:])
        chosen = [i for i in example.instances or () if i.class_index - 1 in wanted]
        if not chosen or any(i.mask is None or i.crowd for i in chosen):
            return None
        boxes = np.array([i.box for i in chosen], np.int64).reshape(-1, 4)
        crops = tuple(np.asarray(i.mask, bool) for i in chosen)
        return CropMasks(boxes, crops, example.shape)

    def _pixels(self, example: Example, image: Micrograph) -> PixelClasses:
        classes = self._data.classes[1:]
        masks = example.class_masks(len(classes))
        wanted, holes = self.names.split(classes)
        valid = counted_pixels(image) & (masks != IGNORE).all(axis=2)
        return PixelClasses(_any(masks, wanted) & valid, _any(masks, holes) & valid, valid)


def _any(masks: npt.NDArray[np.uint8], which: list[int]) -> BoolArray:
    return np.asarray((masks[..., which] == 1).any(axis=2))


def _stem(name: str) -> str:
    known = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".dm3", ".dm4", ".emd", ".mrc", ".ser")
    path = Path(name)
    return path.stem if path.suffix.casefold() in known else path.name


def read_phases_run(folder: Path) -> DataSet:
    """Read the class pictures of a phases run as labelled images.

    Raises
    ------
    UnreadableFile
        If it is no folder of a phases run.
    """
    from layerscope.io.annotated.images import read_pixels

    try:
        document = json.loads((folder / _RUN_FILE).read_text(encoding="utf-8"))
        card = document["provenance"]["model"]
        classes, overlap = [str(n) for n in card["classes"]], card["output"] == "labels"
        rows = [(str(r["image"]), str(r["files"]), int(r["height_px"]), int(r["width_px"]))
                for r in document["images"]]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as reason:
        raise UnreadableFile(f"{folder}: no folder of a phases run ({reason})") from None
    named = ["background", *classes] if overlap else classes

    def labels(path: Path) -> npt.NDArray[np.uint8]:
        values = read_pixels(path)
        plane = values if values.ndim == 2 else values[..., 0]
        if not overlap:
            return np.asarray(plane, np.uint8)
        bits = [(plane >> np.uint8(k)) & 1 for k in range(len(classes))]
        masks = np.stack(bits, axis=-1).astype(np.uint8)
        return np.where(plane[..., None] == IGNORE, np.uint8(IGNORE), masks).astype(np.uint8)

    return DataSet(
        tuple(_example(folder, row, labels, overlap=overlap) for row in rows), tuple(named)
    )


def _example(folder: Path, row: tuple[str, str, int, int], load: Any, *, overlap: bool) -> Example:
    name, stem, height, width = row
    path = folder / "classes" / f"{stem}.png"
    read = partial(load, path)
    return Example(
        name, path, name, (height, width), read, label_path=path,
        load_labels=None if overlap else read, load_masks=read if overlap else None,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class PictureSource:
    """Particles by the picture alone; see `tasks.particle_segmentation`.

    Attributes
    ----------
    search : SearchSettings
    separation : Separation
        Of it only the smallest area is used.
    polarity : str
        ``dark``, ``bright``, ``both``, or ``auto``: dark in a TEM picture, else what most are.
    ranker : Ranker or None
        The one that comes with the package by default.
    """

    search: SearchSettings = field(default_factory=SearchSettings)
    separation: Separation = field(default_factory=Separation)
    polarity: str = "auto"
    ranker: Ranker | None = None

    def __post_init__(self) -> None:
        if self.polarity not in POLARITIES:
            raise UnknownName.of("polarity", self.polarity, POLARITIES)

    def find(self, image: Micrograph) -> Particles:
        """Particles of `image`; on dark ones, bright bodies are holes of the support."""
        masks, score, sign = segment_particles(image, self.search, self.ranker)
        polarity = self._polarity(image, score, sign)
        wanted = {"dark": sign < 0, "bright": sign > 0}.get(polarity, np.ones(len(sign), bool))
        holes = np.zeros(image.shape, bool)
        if polarity == "dark":
            holes = masks.take(np.flatnonzero(~wanted)).labels() > 0
        kept = np.flatnonzero(wanted & (masks.area_px >= self.separation.min_area_px))
        found = masks.take(kept)
        pixels = PixelClasses(found.labels() > 0, holes, counted_pixels(image))
        told = {"from": "picture", "polarity": polarity, "left_out": int((~wanted).sum())}
        return gather_particles(found, score[kept], pixels, told)

    def _polarity(self, image: Micrograph, score: FloatArray, sign: IntArray) -> str:
        """Return the side that particles are on: in one picture all scatter more, or all less."""
        if self.polarity != "auto":
            return self.polarity
        if image.modality == Modality.TEM or not len(sign):
            return "dark"
        return "bright" if float(score @ sign) > 0 else "dark"

    def about(self) -> dict[str, Any]:
        """Say what the ranker learned from."""
        from layerscope.models.particle_ranker import shipped_ranker

        ranker = self.ranker or shipped_ranker()
        return {"from": "picture", "ranker": dict(ranker.about)}


POLARITIES = ("auto", "dark", "bright", "both")
