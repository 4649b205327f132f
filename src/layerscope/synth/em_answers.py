"""What a person could tell of a synthetic micrograph of ``graphene-tem``, from its truth."""

from __future__ import annotations

import cv2
import numpy as np

from layerscope.core.results import BoolArray, CropMasks
from layerscope.synth.em import SynthEm

_TOLD_SHARE = 0.03  # of the frame: 19 x 19 px of 112 x 112, the least that shows a fold
_THICK = 10  # layers
_DARK, _LIGHT = 0.085, 0.05
"""Share of the beam from which a flat flake looks thick, and up to which it looks thin: ten layers
take 0.047 of it, Bragg reflection adds to that. The black level, which nobody knows, stretches
contrast by up to 1.2 times. A flake in between, or on the other side than its layers, cannot be
told by anybody."""

_FOLDS_APART = 0.012
"""Of the frame: a crumpled sheet whose pixels are further than this from a fold, by their median,
looks flat, because the frame shows a piece between two ridges."""

_ROSE, _LINE_PX = 5.0, 15
"""Folds are seen if what they take away is so many times the noise of so many pixels, a line of ten
or so; as in `synth.em.SynthEm.visible_contrast`."""

_CLEAR_PX = 3
"""What is nearer to the frame, or to another particle, may touch it or not."""

_LEAST_SHARE = 0.0016  # of the frame: 20 px of 112 x 112; less is not seen for what it is


def count_of(flakes: CropMasks) -> str:
    """How many particles are seen; one that the frame cuts off is a part.

    Empty where a person could not tell: where particles are too small, where those that overlap
    may be one or several, or where one may be cut off or not.
    """
    smallest = _LEAST_SHARE * flakes.shape[0] * flakes.shape[1]
    if len(flakes) and flakes.area_px.min() < smallest:
        return ""
    answers = {_count(m, near) for m in (flakes, touching(flakes)) for near in (0, _CLEAR_PX)}
    return answers.pop() if len(answers) == 1 else ""


def _count(flakes: CropMasks, near_px: int) -> str:
    """Count what is there; less than `near_px` from the frame is cut off by it."""
    height, width = flakes.shape
    top, left, bottom, right = flakes.boxes.T
    gap = np.minimum.reduce([top, left, height - bottom, width - right])
    inside = gap > near_px
    if not len(flakes):
        return "none"
    if len(inside) <= 10 and not inside.all():
        return "part or more than one fragment"
    if len(inside) == 1:
        return "one"
    return "few (2-10)" if len(inside) <= 10 else "many (>10)"


def touching(flakes: CropMasks) -> CropMasks:
    """Join flakes that touch: what a person sees apart from each other."""
    covered = np.zeros(flakes.shape, np.uint8)
    for where, crop in flakes:
        covered[where] |= crop
    joined = cv2.morphologyEx(covered, cv2.MORPH_CLOSE, np.ones((_CLEAR_PX, _CLEAR_PX), np.uint8))
    _, label = cv2.connectedComponents(joined)
    return CropMasks.from_labels(label)


def morphology_of(picture: SynthEm) -> str:
    """Answer for the shape of the particles; empty where most of them are too small or dim."""
    area_px = picture.flakes.area_px
    if not len(area_px):
        return "NA"
    if area_px.max() < _TOLD_SHARE * picture.layers.size:
        return ""
    area = shapes_of(picture)
    if area.pop("", 0.0) > area_px.sum() / 2:
        return ""
    return area.popitem()[0] if len(area) == 1 else "combination"


def shapes_of(picture: SynthEm) -> dict[str, float]:
    """Area in pixels of the flakes of each shape; that of those that cannot be told is under ""."""
    apart = cv2.distanceTransform((~picture.folds).astype(np.uint8), cv2.DIST_L2, 3)
    apart = apart / max(picture.layers.shape)
    area: dict[str, float] = {}
    for i, (where, crop) in enumerate(picture.flakes):
        kind = _shape_of(
            int(picture.n_layers[i]), bool(picture.crumpled[i]), float(picture.contrast[i]),
            float(np.median(apart[where][crop])) if _folds_seen(picture, where, crop) else np.inf,
        )  # fmt: skip
        area[kind] = area.get(kind, 0.0) + float(picture.flakes.area_px[i])
    return area


def _folds_seen(picture: SynthEm, where: tuple[slice, slice], crop: BoolArray) -> bool:
    """Whether the folds of a flake are darker than its sheet, beyond the noise."""
    inside = cv2.erode(np.pad(crop, 1).astype(np.uint8), np.ones((5, 5), np.uint8))[1:-1, 1:-1] > 0
    folds = picture.folds[where] & inside
    sheet = inside & (cv2.dilate(folds.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    if min(np.count_nonzero(folds), np.count_nonzero(sheet)) < _LINE_PX:
        return True
    grey = picture.micrograph.data[where].astype(np.float32)
    around = cv2.GaussianBlur(grey, (0, 0), 6.0) + 1
    share = cv2.GaussianBlur(grey, (0, 0), 0.7) / around
    electrons = picture.microscope.dose_e_px * _LINE_PX
    taken = 1 - float(share[folds].mean() / share[sheet].mean())
    return taken >= _ROSE / np.sqrt(electrons)


def _shape_of(n_layers: int, crumpled: bool, contrast: float, folds_apart: float) -> str:
    """Answer for one flake; empty where its folds or its thickness cannot be told."""
    if crumpled:
        return "thin, crumpled, many folds" if folds_apart <= _FOLDS_APART else ""
    if n_layers > _THICK:
        return "thick, flat, rigid (>10 layers)" if contrast >= _DARK else ""
    return "thin, flat or wavy, few kinks (<10 layers)" if contrast <= _LIGHT else ""
