"""Pictures of phases: the micrograph tinted by class, with a key and a scale bar."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.coverage import LabelMap
from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.segmentation import ClassMasks, PhaseResult
from layerscope.draw import to_rgb8
from layerscope.report.coverage_pictures import Colour, Rgb, framed, with_scale_bar

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
_BEYOND = 3  # pixels, more than half a rim's width
_CASING: Colour = (20, 20, 24)


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


def draw_phases(
    result: PhaseResult, *, longest_px: int, tinted: bool = True, title: Sequence[str] = ()
) -> Rgb:
    """Picture of one segmented image.

    Parameters
    ----------
    result : PhaseResult
    longest_px : int
        Of the micrograph itself; title and key are outside of it.
    tinted : bool
        Whether to show the classes.
    title : sequence of str
        Lines above the picture.

    Returns
    -------
    ndarray of uint8, (H', W', 3)
    """
    image = result.micrograph
    zoom = longest_px / max(image.shape)
    zoom = float(max(1, round(zoom))) if zoom >= 1 else zoom
    panel = _resized(picture_of(image), zoom)
    if tinted:
        panel = _tinted(panel, result.phases)
    size = int(np.clip(round(max(panel.shape[:2]) / 42) + 4, 12, 30))
    panel = with_scale_bar(panel, _zoomed(image.pixel_size, zoom), size)
    return framed(panel, title, None, _key(result) if tinted else [], size)


def picture_of(image: Micrograph) -> Rgb:
    """Picture of 8 bits; values without a white level are spread over their middle 99 %."""
    if image.value_unit == "intensity":
        return to_rgb8(np.nan_to_num(image.data), image.white_level)
    low, high = np.nanpercentile(image.data, (0.5, 99.5))
    share = (np.nan_to_num(image.data, nan=low) - low) / max(high - low, 1e-30)
    return to_rgb8(np.clip(share, 0, 1).astype(np.float32), 1.0)


def _resized(picture: Rgb, zoom: float) -> Rgb:
    if zoom == 1:
        return picture
    size = tuple(max(1, round(n * zoom)) for n in picture.shape[1::-1])
    way = cv2.INTER_NEAREST if zoom > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, size, interpolation=way), np.uint8)


def _zoomed(size: PixelSize | None, zoom: float) -> PixelSize | None:
    return None if size is None else PixelSize(size.y_nm / zoom, size.x_nm / zoom, size.source)


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
        # Continued beyond the picture, so that no rim is drawn along its border.
        mask = np.pad((shown == value).astype(np.uint8), _BEYOND, mode="edge")
        rims, _ = cv2.findContours(
            mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(-_BEYOND, -_BEYOND)
        )
        cv2.drawContours(canvas, rims, -1, _CASING, 3, cv2.LINE_AA)
        cv2.drawContours(canvas, rims, -1, colour, 2, cv2.LINE_AA)
    hidden = shown == NOT_COUNTED
    rows, columns = np.indices(hidden.shape, sparse=True)
    canvas[hidden & ((rows + columns) % 8 < 2)] = 255
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
