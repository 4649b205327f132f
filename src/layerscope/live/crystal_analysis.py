"""What has grown on one frame: crystals by shape or by a network's classes, and their layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from layerscope.core.crystals import SHAPE_NAMES
from layerscope.core.evaluation import Objects
from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.results import Detections, RegionSignal
from layerscope.draw import Named
from layerscope.errors import LayerscopeError
from layerscope.live.analysis import Answer, Asked, Learned
from layerscope.live.bars import Bars
from layerscope.models.yolo import read_yolo
from layerscope.ops.lettering import Colour, Image
from layerscope.ops.optical import Background, fit_background
from layerscope.physics.thin_film import Stack
from layerscope.report.crystals_pictures import COLOURS
from layerscope.tasks.crystal_piles import Piles, tell_piles
from layerscope.tasks.crystals import find_crystals
from layerscope.tasks.lateral import Setup
from layerscope.tasks.learned_crystals import find_objects

_UNCERTAIN = "which colour is the bare substrate is not certain"


class CrystalAnalysis:
    """Answers frame after frame; see `analysis.Analysis`.

    Parameters
    ----------
    asked : Asked
        Of task ``crystals``.

    Raises
    ------
    LayerscopeError
        If the model is none that finds objects.
    """

    def __init__(self, asked: Asked):
        self._asked = asked
        self._model = read_yolo(asked.model) if asked.model else None
        self._colours = colours_of(self._model.classes if self._model else SHAPE_NAMES)
        self._bars = Bars(asked.scale_bar_length)
        by_shape = set(self._colours) <= set(SHAPE_NAMES)
        self._setup = setup_of(asked) if by_shape else None  # else the names say what it is

    @property
    def learned(self) -> Learned:
        """What another analysis must know to answer as this one does."""
        return Learned(burnt_in=self._bars.known)

    def follow(self, learned: Learned) -> None:
        """Go on with what another has learned."""
        self._bars.follow(learned.burnt_in)

    def answer(self, number: int, pixels: Image, pixel_size: PixelSize | None) -> Answer:
        """Find and name crystals on one frame; see `Analysis.answer`."""
        try:
            size = pixel_size or self._bars.size_in(pixels)
            image = self._bars.exclude(Micrograph(pixels, pixel_size=size, name="live"))
            found, names, background = self._found(image, self._smallest(size))
        except LayerscopeError as error:
            return Answer(number, Detections.empty(pixels.shape[:2]), error=str(error))
        named, made_of, notes = Named(names, self._colours), tuple[str, ...](), tuple[str, ...]()
        if self._setup is not None and len(found):
            background = background or fit_background(image)
            notes = () if background.confident else (_UNCERTAIN,)
            made_of = texts_of(tell_piles(image, found.masks, background, self._setup))
        return Answer(number, found, size, notes=notes, named=named, made_of=made_of)

    def close(self) -> None:
        """Nothing is held."""

    def _found(
        self, image: Micrograph, smallest: int
    ) -> tuple[Detections, tuple[str, ...], Background | None]:
        """Crystals, their names, and the bare substrate where it was looked for."""
        if self._model is None:
            crystals = find_crystals(image, min_area_px=smallest)
            shapes = crystals.shapes
            found = replace(crystals.domains.detections, score=np.nan_to_num(shapes.scores))
            return found, shapes.names, crystals.background
        objects = find_objects(image, self._model, min_area_px=smallest)
        names = tuple(self._model.classes[k - 1] for k in objects.class_index)
        return detections_of(objects), names, None

    def _smallest(self, size: PixelSize | None) -> int:
        wanted = self._asked.wanted
        if size is None or wanted.min_area_um2 <= 0:
            return wanted.min_area_px
        return max(1, round(wanted.min_area_um2 / size.um**2))


def setup_of(asked: Asked) -> Setup:
    """Materials that may have grown, and what on.

    Raises
    ------
    LayerscopeError
        If one of them is unknown.
    """
    names = tuple(name.strip() for name in asked.material.split(","))
    return Setup(names, Stack.parse(asked.substrate), asked.optics.na)


def detections_of(objects: Objects) -> Detections:
    """Objects as regions, of which no signal was measured."""
    n = len(objects)
    rgb, one, zero = np.full((n, 3), np.nan), np.full(n, np.nan), np.zeros(n, np.int64)
    signal = RegionSignal(rgb, rgb, rgb, rgb, rgb, zero, one, one)
    return Detections(objects.masks, objects.score, zero, np.arange(1, n + 1), signal)


def texts_of(piles: Piles) -> tuple[str, ...]:
    """Say what each crystal is made of: ``MoS2 1L 93 %``, stacked ``MoS2 1L / WS2 1L 80 %``."""
    texts = []
    for sheets, probability, several in zip(
        piles.sheets, piles.probability.tolist(), piles.several.tolist(), strict=True
    ):
        if sheets is None:
            texts.append("several colours" if several else "layers ?")
        else:
            pile = " / ".join(f"{name} {n}L" for name, n in sheets)
            texts.append(f"{pile} {100 * probability:.0f} %")
    return tuple(texts)


def colours_of(names: Sequence[str]) -> Mapping[str, Colour]:
    """Colour of each name: shapes have theirs, others take what is left, in turn."""
    left = [c for name, c in COLOURS.items() if name not in names] or list(COLOURS.values())
    others = [name for name in names if name not in COLOURS]
    taken = {name: left[k % len(left)] for k, name in enumerate(others)}
    return {name: COLOURS.get(name) or taken[name] for name in names}
