"""Shapes that are rare in a survey: sheets of two kinds together, heaps of crumpled sheets."""

from __future__ import annotations

import numpy as np

from layerscope.synth.em import SynthEm, synth_em
from layerscope.synth.em_answers import morphology_of, shapes_of, touching
from layerscope.synth.em_optics import Microscope
from layerscope.synth.em_support import Support

_MOST_TRIES = 24
_STREAM = 977_231  # so that no seed is one of the usual frames
_LEAST_PART = 0.03  # of the frame, for each of two shapes: less is easily overlooked
_HEAP = (0.04, 0.5)  # of the frame
_FEWEST_SHEETS = 8
_TOGETHER = 0.8  # of the way to the middle of the frame


def draw_rare(
    rng: np.random.Generator,
    seed: int,
    shape: tuple[int, int],
    pixel_nm: float,
    support: Support,
    microscope: Microscope,
) -> tuple[SynthEm, str]:
    """Draw a combination of shapes or a heap, with the answer about its morphology.

    Parameters
    ----------
    rng : numpy.random.Generator
        Chooses which.
    seed : int
        Of the frames that are tried.
    shape : tuple of int
        Rows and columns.
    pixel_nm : float
    support : Support
    microscope : Microscope

    Returns
    -------
    picture : SynthEm
    answer : str
        Empty where no frame shows it so that a person could tell.
    """
    heap = bool(rng.random() < 0.5)
    layers, number = ((1, 3), 40) if heap else ((4, 7) if rng.random() < 0.5 else (17, 20), 6)
    for k in range(_MOST_TRIES):
        picture = synth_em(
            (seed * _MOST_TRIES + k) * _STREAM, shape=shape, pixel_size_nm=pixel_nm,
            n_flakes=number, layers=layers, crumpled_share=1.0 if heap else 0.5,
            contamination=0.0, support=support, microscope=microscope,
            together=_TOGETHER if heap else 0.0,
        )  # fmt: skip
        if heap and _is_heap(picture):
            return picture, "disorganised graphene"
        if not heap and _is_combination(picture):
            return picture, "combination"
    return picture, ""


def _is_combination(picture: SynthEm) -> bool:
    """Whether two shapes are there, and neither is easily overlooked."""
    if morphology_of(picture) != "combination":
        return False
    area = shapes_of(picture)
    area.pop("", None)
    return min(area.values()) >= _LEAST_PART * picture.layers.size


def _is_heap(picture: SynthEm) -> bool:
    """Whether many sheets lie in one heap, of which no single one can be followed."""
    heaps, sheets = touching(picture.flakes), len(picture.flakes)
    if len(heaps) != 1 or sheets < _FEWEST_SHEETS:
        return False
    return _HEAP[0] <= heaps.area_px[0] / picture.layers.size <= _HEAP[1]
