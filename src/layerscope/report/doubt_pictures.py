"""Picture of what a pixel classifier says, and beside it of how unsure it is."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.report.panels import (
    Colour,
    Rgb,
    font_px,
    framed,
    picture_of,
    with_scale_bar,
    zoomed,
)
from layerscope.report.phases_pictures import phase_colour

_TINT = 0.4
_GAP_PX = 12


def draw_doubt(
    image: Micrograph,
    labels: npt.NDArray[np.uint8],
    uncertainty: npt.NDArray[np.float32],
    classes: Sequence[str],
    *,
    title: str = "",
    longest_px: int = 900,
) -> Rgb:
    """Two panels: the classes over the image, and the uncertainty with its colour bar.

    Parameters
    ----------
    image : Micrograph
    labels : ndarray of uint8, (H, W)
        1 to K, 0 unknown: no class reaches its threshold; those are left grey.
    uncertainty : ndarray of float32, (H, W)
        0 to 1.
    classes : sequence of str
    title : str
    longest_px : int
        Of a panel.

    Returns
    -------
    ndarray of uint8, (H', W', 3)
    """
    zoom = min(1.0, longest_px / max(labels.shape))
    size = tuple(max(1, round(n * zoom)) for n in labels.shape[::-1])
    grey = cv2.resize(picture_of(image), size, interpolation=cv2.INTER_AREA)
    shown = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    font, scale = font_px(grey), zoomed(image.pixel_size, zoom)
    left = framed(
        with_scale_bar(_tinted(grey, shown), scale, font), [title] if title else [], None,
        _key(labels, classes), font,
    )  # fmt: skip
    table = _colour_table()
    unsure = cv2.resize(uncertainty, size, interpolation=cv2.INTER_AREA)
    panel = table[np.rint(np.clip(unsure, 0, 1) * 255).astype(np.uint8)]
    right = framed(panel, ["uncertainty"], (table, (0.0, 1.0), ""), [], font)
    return _side_by_side(left, right)


def _tinted(grey: Rgb, shown: npt.NDArray[np.uint8]) -> Rgb:
    canvas = grey.copy()
    for value in np.unique(shown[shown > 0]).tolist():
        where = shown == value
        mixed = canvas[where] * (1 - _TINT) + np.array(_colour(value)) * _TINT
        canvas[where] = np.rint(mixed).astype(np.uint8)
    return canvas


def _colour(value: int) -> Colour:
    """Of class 1 to K: all are tinted, for nothing is left as it is but what is unknown."""
    colour = phase_colour(value)
    assert colour is not None
    return colour


def _key(labels: npt.NDArray[np.uint8], classes: Sequence[str]) -> list[tuple[str, Colour | None]]:
    share = np.bincount(labels.ravel(), minlength=len(classes) + 1) / labels.size
    key: list[tuple[str, Colour | None]] = [
        (f"{name} {100 * share[k]:.1f} %", _colour(k)) for k, name in enumerate(classes, 1)
    ]
    return [*key, (f"unknown {100 * share[0]:.1f} %", None)]


def _colour_table() -> Rgb:
    """Lightness rises steadily, for every colour vision."""
    values = np.arange(256, dtype=np.uint8)[:, None]
    return np.asarray(cv2.applyColorMap(values, cv2.COLORMAP_CIVIDIS)[:, 0, ::-1], np.uint8)


def _side_by_side(left: Rgb, right: Rgb) -> Rgb:
    height = max(left.shape[0], right.shape[0])
    canvas = np.full((height, left.shape[1] + _GAP_PX + right.shape[1], 3), 255, np.uint8)
    canvas[: left.shape[0], : left.shape[1]] = left
    canvas[: right.shape[0], left.shape[1] + _GAP_PX :] = right
    return canvas
