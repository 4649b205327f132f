"""Pictures of grown crystals: outlines coloured by shape, cores dashed, scale bar, key."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.crystals import SHAPE_NAMES, CrystalResult
from layerscope.core.results import BoolArray
from layerscope.report.panels import CASING, Colour, Rgb, draw_image

# Okabe and Ito (2008), distinct with every common colour blindness.
COLOURS: dict[str, Colour] = dict(
    zip(
        SHAPE_NAMES,
        ((230, 159, 0), (240, 228, 66), (86, 180, 233), (204, 121, 167), (0, 158, 115),
         (213, 94, 0), (190, 190, 190)),
        strict=True,
    )
)  # fmt: skip
CORE: Colour = (255, 255, 255)
_DASH_PX = 6
_FINE = 16


def draw_crystals(
    result: CrystalResult, *, longest_px: int, marked: bool = True, title: Sequence[str] = ()
) -> Rgb:
    """Draw one image with its crystals.

    Parameters
    ----------
    result : CrystalResult
    longest_px : int
        Of the micrograph itself; title and key are outside of it.
    marked : bool
        Whether to show the crystals.
    title : sequence of str
        Lines above the picture.

    Returns
    -------
    ndarray of uint8, (H', W', 3)
    """
    if not marked:
        return draw_image(result.micrograph, longest_px, title)
    return draw_image(
        result.micrograph, longest_px, title, lambda p: _marked(p, result), _key(result)
    )


def _marked(panel: Rgb, result: CrystalResult) -> Rgb:
    canvas = panel.copy()
    zoom = np.array(panel.shape[1::-1]) / np.array(result.masks.shape[::-1])
    rims = [_rims(crop, where, zoom) for where, crop in result.masks]
    for lines in rims:
        cv2.polylines(canvas, lines, True, CASING, 4, cv2.LINE_AA, 4)
    for lines, shape in zip(rims, result.table["shape"].tolist(), strict=True):
        cv2.polylines(canvas, lines, True, COLOURS[shape], 2, cv2.LINE_AA, 4)
    for (where, _), core in zip(result.masks, result.cores, strict=True):
        for line in _rims(core, where, zoom):
            _dashed(canvas, line)
    return canvas


def _rims(
    crop: BoolArray, where: tuple[slice, slice], zoom: npt.NDArray[np.float64]
) -> list[npt.NDArray[np.int32]]:
    """Rims of one mask in 1/16 px of the picture."""
    mask = np.pad(crop.astype(np.uint8), 1)
    chains, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    corner = np.array([where[1].start - 1, where[0].start - 1])
    return [np.rint(((c + corner + 0.5) * zoom - 0.5) * _FINE).astype(np.int32) for c in chains]


def _dashed(canvas: Rgb, line: npt.NDArray[np.int32]) -> None:
    for start in range(0, len(line), 2 * _DASH_PX):
        dash = [line[start : start + _DASH_PX]]
        cv2.polylines(canvas, dash, False, CASING, 3, cv2.LINE_AA, 4)
        cv2.polylines(canvas, dash, False, CORE, 2, cv2.LINE_AA, 4)


def _key(result: CrystalResult) -> list[tuple[str, Colour | None]]:
    """Names and colours of what is there."""
    names = result.table["shape"].tolist()
    key: list[tuple[str, Colour | None]] = [
        (f"{'cut by the border' if n == 'unknown' else n}: {names.count(n)}", COLOURS[n])
        for n in SHAPE_NAMES
        if n in names
    ]
    if any(core.any() for core in result.cores):
        key.append(("core (dashed)", CORE))
    return key
