"""Error maps: where an answer and the labels agree, and where which of both is alone."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.evaluation import Comparison
from layerscope.core.examples import IGNORE, ClassPixels
from layerscope.core.micrograph import PixelSize
from layerscope.core.results import BoolArray
from layerscope.errors import InputError
from layerscope.report.panels import Rgb, font_px, framed, hatch, with_scale_bar

ERROR_KINDS = ("right", "false", "missed", "other class", "not labelled")
_COLOURS = ((86, 180, 233), (213, 94, 0), (240, 228, 66), (204, 121, 167), None)
"""Okabe and Ito (2008): told apart with every common colour blindness; none is grey."""

_OPACITY = 0.55
_DIM = 0.45  # grey of the picture below, so that all four colours stand out


def error_map(truth: ClassPixels, found: ClassPixels) -> npt.NDArray[np.uint8]:
    """Kind of agreement per pixel.

    Parameters
    ----------
    truth, found : ndarray of uint8, (H, W)
        Classes, 0 the background, 255 not labelled.

    Returns
    -------
    ndarray of uint8, (H, W)
        0 where both say background, else 1 + position in `ERROR_KINDS`.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    if truth.shape != found.shape:
        raise InputError(f"labels of {truth.shape} and an answer of {found.shape} px")
    there, answered = truth > 0, found > 0
    kinds = np.select(
        [
            (truth == IGNORE) | (found == IGNORE),
            there & (truth == found),
            answered & ~there,
            there & ~answered,
            there & answered,
        ],
        [5, 1, 2, 3, 4],
        0,
    )
    return kinds.astype(np.uint8)


def draw_errors(comparison: Comparison, *, longest_px: int, title: tuple[str, ...]) -> Rgb | None:
    """Picture of the errors of one image, with key and scale bar.

    Parameters
    ----------
    comparison : Comparison
    longest_px : int
        Of the image itself; title and key are outside of it.
    title : tuple of str
        Lines above the picture.

    Returns
    -------
    ndarray of uint8, (H', W', 3), or None
        None where labels or answer are no pixels.
    """
    if comparison.truth is None or comparison.found is None:
        return None
    kinds = error_map(comparison.truth, comparison.found)
    height, width = kinds.shape
    zoom = longest_px / max(height, width)
    zoom = float(int(zoom)) if zoom >= 1 else zoom
    shape = max(1, round(width * zoom)), max(1, round(height * zoom))
    panel = _grey(comparison.image, shape)
    for kind, colour in enumerate(_COLOURS, 1):
        panel = _tinted(panel, kinds == kind, colour, shape)
    size = font_px(panel)
    nm = comparison.pixel_size_nm
    panel = with_scale_bar(panel, PixelSize(nm / zoom, nm / zoom, "") if nm else None, size)
    return framed(panel, title, None, _key(kinds), size)


def _grey(image: npt.NDArray[Any], shape: tuple[int, int]) -> Rgb:
    grey = np.asarray(image, np.float32).reshape(*image.shape[:2], -1).mean(axis=2)
    low, high = (float(v) for v in np.percentile(grey, (0.5, 99.5)))
    shade = np.clip((grey - low) / max(high - low, 1e-9), 0, 1) * _DIM + (1 - _DIM) / 2
    way = cv2.INTER_NEAREST if shape[0] >= grey.shape[1] else cv2.INTER_AREA
    small = cv2.resize(np.rint(255 * shade).astype(np.uint8), shape, interpolation=way)
    return np.repeat(small[:, :, None], 3, axis=2)


def _tinted(
    panel: Rgb, where: BoolArray, colour: tuple[int, int, int] | None, shape: tuple[int, int]
) -> Rgb:
    """Tint, and outline in the full colour: an object of a few pixels must not vanish."""
    if not where.any():
        return panel
    share = cv2.resize(where.astype(np.uint8) * 255, shape, interpolation=cv2.INTER_AREA)
    mask = (share >= 64).astype(np.uint8)
    out = panel.copy()
    if colour is None:
        hatch(out, mask > 0)
        return out
    ink = np.array(colour, np.float32)
    out[mask > 0] = np.rint((1 - _OPACITY) * panel[mask > 0] + _OPACITY * ink).astype(np.uint8)
    rims, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(out, rims, -1, colour, 1)
    return out


def _key(kinds: npt.NDArray[np.uint8]) -> list[tuple[str, tuple[int, int, int] | None]]:
    """Kinds that are there, with their share of the image."""
    share = np.bincount(kinds.ravel(), minlength=6) / max(1, kinds.size)
    return [
        (f"{name} {_percent(share[i])}", colour)
        for i, (name, colour) in enumerate(zip(ERROR_KINDS, _COLOURS, strict=True), 1)
        if share[i] > 0
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"
