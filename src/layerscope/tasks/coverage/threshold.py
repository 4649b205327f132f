"""Coverage by one threshold on grey value or height: from two humps of the histogram, or by hand.

The published practice, kept because everybody knows it. It is right where the background is flat
and the film makes a hump of its own, and says so where it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.coverage import Coverage, LabelMap
from layerscope.core.results import BoolArray, FloatArray
from layerscope.ops.two_classes import fit_two_classes
from layerscope.tasks.coverage.field import Field
from layerscope.tasks.coverage.request import Request

Values = npt.NDArray[np.float32]

_LEAST_SEPARATION = 2.0  # Ashman's D under which there are no two humps
_FEW = 0.005


def find_by_threshold(field: Field, request: Request) -> Coverage:
    """Coverage of `field` above (below, for a dark film) one threshold."""
    calm = _calm(field)
    cuts, doubts, provenance = (
        _found(calm, field) if request.threshold is None else _told(request.threshold, field)
    )
    film = (calm > cuts[0]) if field.film == "bright" else (calm < cuts[0])
    labels = LabelMap((film & field.valid).astype(np.uint8), ("substrate", "film"), field.valid)
    above = np.array([np.mean(calm[field.valid] > c) for c in cuts])
    said = above if field.film == "bright" else 1 - above
    fraction = float(labels.fractions()[1])
    rim = _RIM_PX * _rim_share(film & field.valid, field.valid)
    low, high = min(fraction, float(said.min())) - rim, max(fraction, float(said.max())) + rim
    return Coverage(
        fraction,
        max(0.0, low),
        min(1.0, high),
        "threshold",
        labels,
        doubts=doubts,
        provenance={"threshold": float(cuts[0]), "film_is": field.film, **provenance},
    )


def _rim_share(film: BoolArray, valid: BoolArray) -> float:
    """Share of the valid pixels that touch the film and are none of it."""
    grown = cv2.dilate(film.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return float(np.mean((grown & ~film)[valid]))


_RIM_PX = 0.25  # half of the pixels that a rim cuts are on either side, give or take
_Cuts = tuple[FloatArray, tuple[str, ...], Mapping[str, Any]]
"""Threshold and the ends of its interval, doubts, provenance."""


def _told(threshold: float, field: Field) -> _Cuts:
    """Put the noise of one pixel around a threshold by hand."""
    return threshold + _noise(field) * np.array([0.0, -1.0, 1.0]), (), {"by": "hand"}


def _found(calm: Values, field: Field) -> _Cuts:
    """Take the threshold between two humps; its bootstrap and humps that are no Gaussians widen."""
    fit = fit_two_classes(calm, field.valid)
    misfit = _MISFIT * float(np.ptp(fit.mean))
    ends = np.quantile(fit.resampled, (0.025, 0.975))
    cuts = np.array([fit.threshold, *ends, fit.threshold - misfit, fit.threshold + misfit])
    doubts = _doubts(fit.separation, float(fit.weight.min()))
    return cuts, doubts, {"by": "two classes", "separation": fit.separation}


_MISFIT = 0.15  # of the distance of the means: humps are no Gaussians


def _calm(field: Field) -> Values:
    typical = np.float32(np.median(field.values[field.valid]))
    filled = np.where(field.valid, field.values, typical).astype(np.float32)
    return np.asarray(cv2.medianBlur(filled, 3))


def _noise(field: Field) -> float:
    """Estimate the noise (standard deviation) of one pixel from second differences along rows."""
    bend = field.values[:, 2:] - 2 * field.values[:, 1:-1] + field.values[:, :-2]
    known = np.abs(bend[np.isfinite(bend)])
    return float(1.4826 * np.median(known) / np.sqrt(6)) if len(known) else 0.0


def _doubts(separation: float, smaller: float) -> tuple[str, ...]:
    if separation < _LEAST_SEPARATION:
        return (
            f"the histogram has no two humps (separation {separation:.1f}, two humps need 2): "
            "bare, wholly covered or badly levelled; the threshold is arbitrary",
        )
    if smaller < _FEW:
        return (f"the smaller class holds {smaller:.2%}: it may be dust or scars",)
    return ()
