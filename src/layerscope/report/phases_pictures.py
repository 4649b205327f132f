"""Pictures of phases: the micrograph tinted by class, with a key and a scale bar."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.coverage import LabelMap
from layerscope.core.segmentation import ClassMasks, PhaseResult
from layerscope.report.panels import CASING, Colour, Rgb, draw_image, hatch
from layerscope.report.rims import rims_of

NOT_COUNTED = 255
"""Value of a pixel of `class_image` that belongs to no class."""

# Okabe and Ito (2008), distinct with every common colour blindness.
_COLOURS: tuple[Colour, ...] = (
    (0, 158, 115),
    (213, 94, 0),
    (240, 228, 66),
    (86, 180, 233),
    (204, 121, 167),
    (230, 159, 0),
    (0, 114, 178),
)
_TINT = 0.35


def phase_colour(value: int) -> Colour | None:
    """Red, green, blue of a class; None for the first, which is shown as it is."""
    return None if value == 0 else _COLOURS[(value - 1) % len(_COLOURS)]


def class_image(phases: LabelMap | ClassMasks) -> npt.NDArray[np.uint8]:
    """Class of each pixel (H, W), `NOT_COUNTED` where it is counted in nothing.

    Of masks that overlap, the sum of 1, 2, 4 ... of the classes of a pixel.
    """
    shown = phases.combination() if isinstance(phases, ClassMasks) else phases.labels
    return np.where(phases.valid, shown, np.uint8(NOT_COUNTED))


def value_names(phases: LabelMap | ClassMasks) -> dict[int, str]:
    """Name of every value of `class_image` but 0: ``flake``, ``hole``, ``flake + hole``."""
    if isinstance(phases, LabelMap):
        return dict(enumerate(phases.classes[1:], 1))
    count = len(phases.classes)
    return {
        value: " + ".join(name for k, name in enumerate(phases.classes) if value >> k & 1)
        for value in range(1, 1 << count)
    }


def draw_phases(result: PhaseResult, longest_px: int, title: Sequence[str] = ()) -> Rgb:
    """Picture of one segmented image.

    Parameters
    ----------
    result : PhaseResult
    longest_px : int
        Of the micrograph itself; title and key are outside of it.
    title : sequence of str
        Lines above the picture.

    Returns
    -------
    ndarray of uint8, (H', W', 3)
    """
    mark = partial(_tinted, phases=result.phases)
    return draw_image(result.micrograph, longest_px, title, mark, _key(result))


def _tinted(panel: Rgb, phases: LabelMap | ClassMasks) -> Rgb:
    """Tint each class and draw its rim, over a dark line that shows on any colour."""
    shown = class_image(phases)
    shown = cv2.resize(shown, panel.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    canvas = panel.copy()
    present = set(np.unique(shown).tolist())
    inks = [(k, c) for k in value_names(phases) if k in present and (c := phase_colour(k))]
    for value, colour in inks:
        where = shown == value
        mixed = canvas[where] * (1 - _TINT) + np.array(colour) * _TINT
        canvas[where] = np.rint(mixed).astype(np.uint8)
    for value, colour in inks:
        rims = rims_of(shown == value)
        cv2.drawContours(canvas, rims, -1, CASING, 3, cv2.LINE_AA)
        cv2.drawContours(canvas, rims, -1, colour, 2, cv2.LINE_AA)
    hatch(canvas, shown == NOT_COUNTED)
    return canvas


def _key(result: PhaseResult) -> list[tuple[str, Colour | None]]:
    """Names and colours of the classes that are there, with their shares."""
    phases, share = result.phases, {a.value: a.fraction for a in result.areas if a.pixels}
    if isinstance(phases, ClassMasks):
        counts = np.bincount(class_image(phases).ravel(), minlength=256)[:NOT_COUNTED]
        both = {v: n / counts.sum() for v, n in enumerate(counts.tolist()) if n and v}
        share = {v: share.get(v, both.get(v, 0.0)) for v in {*share, *both}}
    key = [
        (f"{name} {100 * share[value]:.1f} %", phase_colour(value))
        for value, name in value_names(phases).items()
        if value in share
    ]
    return [*key, ("not counted", None)] if not phases.valid.all() else key
