"""Coverage of a picture from the contour that has a step across it.

For pictures whose grey values mean nothing by themselves (SEM, phase, an exported picture): film
and substrate differ by a ratio of grey values that is the same all along the rim, and nothing else
in the picture is sure to. See `ops.contour_step`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.coverage import Coverage, LabelMap
from layerscope.core.results import BoolArray
from layerscope.ops.contour_step import ContourFit, Rims, fit_contour, refine_locally
from layerscope.ops.working_copy import WorkingCopy, make_working_copy
from layerscope.tasks.coverage.field import Field
from layerscope.tasks.coverage.request import Request

CLASSES = ("substrate", "film")
SIDE_PX = 640
"""Long side of the working copy: a picture at half or twice the scale gives the same copy."""
LEAST_RATIO_STEP = 0.15
"""Natural logarithm of the grey ratio below which a step is a grain boundary or texture.

Copper grains differ by 0.05 to 0.16, graphene on copper from copper by 0.2 to 0.75.
"""
_SPECK_PX = 5
_MEDIAN_PX = 5
_DARKEST = 0.03  # of the white level: the ratio of two dark pixels is that of their noise
_AROUND = 0.03  # of the long side: over this far the substrate's level is the same
_RIM_PX = 1.0  # a rim is drawn by hand or by machine to a pixel of the working copy


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Film on the working copy, and what drew it."""

    fit: ContourFit
    everywhere: BoolArray
    film: BoolArray


def find_edges(field: Field, request: Request) -> Coverage:
    """Coverage of `field` by the contour with the most step across it.

    Specks of the other sign than the film (bright particles beside a dark film) are taken out
    first: their rims have larger steps than the film's.
    """
    copy = make_working_copy(field.values, field.valid, SIDE_PX)
    values = _high_film(copy.values, field)
    least = LEAST_RATIO_STEP
    fit = fit_contour(values, copy.valid, least)
    if fit.score <= 0:
        return _nothing(field)
    everywhere = copy.valid & (values >= fit.threshold)
    side = max(values.shape)
    film = refine_locally(values, copy.valid, everywhere, fit.step, _AROUND * side)
    return _answer(field, copy, values, _Drawn(fit, everywhere, film))


def _high_film(values: npt.NDArray[np.float32], field: Field) -> npt.NDArray[np.float32]:
    """Logarithm of the cleaned grey values, the film high."""
    dark = _DARKEST * field.white_level
    grey = np.log(np.maximum(values, dark)) * np.float32(-field.sign)
    calm = cv2.medianBlur(grey.astype(np.float32), _MEDIAN_PX)
    return -_without_specks(calm, _SPECK_PX)


def _without_specks(values: npt.NDArray[np.float32], radius_px: int) -> npt.NDArray[np.float32]:
    """Lower high specks to their surroundings (opening by reconstruction); the rest stays."""
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1))
    seed, near = cv2.erode(values, disk), np.ones((3, 3), np.uint8)
    for _ in range(6 * radius_px):  # a crystal twice as long as wide grows back whole
        grown = np.minimum(cv2.dilate(seed, near), values)
        if np.array_equal(grown, seed):
            break
        seed = grown
    return np.asarray(seed)


def _answer(
    field: Field, copy: WorkingCopy, values: npt.NDArray[np.float32], drawn: _Drawn
) -> Coverage:
    n = np.count_nonzero(copy.valid)
    local, everywhere = (np.count_nonzero(m) / n for m in (drawn.film, drawn.everywhere))
    _, step = Rims(values, copy.valid).steps(drawn.film)
    width = _RIM_PX * len(step) / n
    said = (local, everywhere, *np.quantile(drawn.fit.fractions, (0.025, 0.975)))
    labels = copy.full_size(drawn.film)
    film = LabelMap(labels.astype(np.uint8), CLASSES, field.valid)
    fraction = float(film.fractions()[1])
    low, high = (min(*said, fraction) - width, max(*said, fraction) + width)
    weak = float(np.mean(step < LEAST_RATIO_STEP)) if len(step) else 1.0
    doubts = _doubts(weak, high - low)
    provenance = {
        "grey_ratio": float(np.exp(-drawn.fit.step)),
        "rim_without_step": weak,
        "film_is": field.film,
    }
    return Coverage(
        fraction, max(0.0, low), min(1.0, high), "edges", film, doubts=doubts, provenance=provenance
    )


def _doubts(weak: float, width: float) -> tuple[str, ...]:
    out = []
    if weak > _WEAK_RIM:
        out.append(
            f"{weak:.0%} of the film's rim has no clear step across it: texture or grains of the "
            "substrate may be taken for film; compare the mask with the picture"
        )
    if width > _WIDE:
        out.append(f"the interval is {width:.2f} wide: thresholds that fit as well differ much")
    return tuple(out)


_WEAK_RIM = 0.15
_WIDE = 0.25


def _nothing(field: Field) -> Coverage:
    """No contour has a step: bare, or covered all over."""
    labels = np.zeros(field.values.shape, np.uint8)
    doubt = (
        f"no contour has a step of {1 - np.exp(-LEAST_RATIO_STEP):.0%} in grey value across it: "
        "bare or wholly covered cannot be told from this picture alone; 0 is given"
    )
    film = LabelMap(labels, CLASSES, field.valid)
    return Coverage(0.0, 0.0, 1.0, "edges", film, doubts=(doubt,))
