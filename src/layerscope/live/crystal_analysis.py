"""What has grown on one frame: crystals by shape, or by the classes of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from layerscope.core.crystals import SHAPE_NAMES
from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.results import Detections
from layerscope.draw import Named
from layerscope.errors import LayerscopeError
from layerscope.live.analysis import Answer, Asked, Learned
from layerscope.live.bars import Bars
from layerscope.models.yolo import read_yolo
from layerscope.ops.lettering import Colour, Image
from layerscope.report.crystals_pictures import COLOURS
from layerscope.tasks.crystals import find_crystals
from layerscope.tasks.learned_crystals import find_crystals_learned


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
            found, names = self._found(image, self._smallest(size))
        except LayerscopeError as error:
            return Answer(number, Detections.empty(pixels.shape[:2]), error=str(error))
        return Answer(number, found, size, named=Named(names, self._colours))

    def close(self) -> None:
        """Nothing is held."""

    def _found(self, image: Micrograph, smallest: int) -> tuple[Detections, tuple[str, ...]]:
        if self._model is None:
            crystals = find_crystals(image, min_area_px=smallest)
            shapes = crystals.shapes
            found = replace(crystals.domains.detections, score=np.nan_to_num(shapes.scores))
            return found, shapes.names
        named = find_crystals_learned(image, self._model, min_area_px=smallest)
        return named.domains.detections, named.classes

    def _smallest(self, size: PixelSize | None) -> int:
        wanted = self._asked.wanted
        if size is None or wanted.min_area_um2 <= 0:
            return wanted.min_area_px
        return max(1, round(wanted.min_area_um2 / size.um**2))


def colours_of(names: Sequence[str]) -> Mapping[str, Colour]:
    """Colour of each name: shapes have theirs, others take what is left, in turn."""
    left = [c for name, c in COLOURS.items() if name not in names] or list(COLOURS.values())
    others = [name for name in names if name not in COLOURS]
    taken = {name: left[k % len(left)] for k, name in enumerate(others)}
    return {name: COLOURS.get(name) or taken[name] for name in names}
