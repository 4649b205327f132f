"""Pictures of particles: outlines coloured by thickness class, holes of the support, scale bar."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.particles import ParticleResult
from layerscope.core.results import BoolArray
from layerscope.measure.particle_signal import THICKNESS_CLASSES
from layerscope.report.panels import CASING, Colour, Rgb, as_large, draw_image, hatch, rims_of

# Okabe and Ito (2008), distinct with every common colour blindness.
COLOURS: dict[str, Colour] = {
    "thin": (86, 180, 233),
    "medium": (0, 158, 115),
    "thick": (230, 159, 0),
    "unknown": (240, 228, 66),
}
HOLE: Colour = (213, 94, 0)
_BEYOND = 3
_DASH_PX = 6


def draw_particles(
    result: ParticleResult, *, longest_px: int, marked: bool = True, title: Sequence[str] = ()
) -> Rgb:
    """Draw one image with its particles.

    Parameters
    ----------
    result : ParticleResult
    longest_px : int
        Of the micrograph itself; title and key are outside of it.
    marked : bool
        Whether to show the particles.
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


def _marked(panel: Rgb, result: ParticleResult) -> Rgb:
    canvas, particles = panel.copy(), result.particles
    _dashed(canvas, as_large(_bare_holes(result), panel))
    zoom = np.array(panel.shape[1::-1]) / np.array(particles.masks.shape[::-1])
    names = result.table["thickness_class"].tolist()
    inks = [COLOURS[name] for name in names]
    rims = [
        _rims(crop, where, particles.masks.shape, zoom) for where, crop in particles.masks
    ]  # fmt: skip
    for lines in rims:
        cv2.polylines(canvas, lines, True, CASING, 3, cv2.LINE_AA, 4)
    for lines, own in zip(rims, inks, strict=True):
        cv2.polylines(canvas, lines, True, own, 2, cv2.LINE_AA, 4)
    hatch(canvas, as_large(~particles.pixels.valid, panel))
    return canvas


def _bare_holes(result: ParticleResult) -> BoolArray:
    return result.particles.pixels.holes & ~result.particles.pixels.objects


def _rims(
    crop: BoolArray,
    where: tuple[slice, slice],
    shape: tuple[int, int],
    zoom: npt.NDArray[np.float64],
) -> list[npt.NDArray[np.int32]]:
    """Rims of one mask in 1/16 px of the picture; at its border they run outside."""
    (rows, columns), (height, width) = where, shape
    beyond = (
        (_BEYOND * (rows.start == 0), _BEYOND * (rows.stop == height)),
        (_BEYOND * (columns.start == 0), _BEYOND * (columns.stop == width)),
    )
    mask = np.pad(np.pad(crop.astype(np.uint8), beyond, mode="edge"), 1)
    chains, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    corner = np.array([columns.start - beyond[1][0] - 1, rows.start - beyond[0][0] - 1])
    return [np.rint(((c + corner + 0.5) * zoom - 0.5) * 16).astype(np.int32) for c in chains]


def _dashed(canvas: Rgb, mask: BoolArray) -> None:
    """Draw the rims of `mask` as dashes over a dark line."""
    for chain in rims_of(mask):
        for start in range(0, len(chain), 2 * _DASH_PX):
            dash = [chain[start : start + _DASH_PX]]
            cv2.polylines(canvas, dash, False, CASING, 3, cv2.LINE_AA)
            cv2.polylines(canvas, dash, False, HOLE, 2, cv2.LINE_AA)


def _key(result: ParticleResult) -> list[tuple[str, Colour | None]]:
    """Names and colours of what is there."""
    names = result.table["thickness_class"].tolist()
    key: list[tuple[str, Colour | None]] = []
    for name in THICKNESS_CLASSES:
        count = names.count(name)
        if count:
            what = "thickness unknown" if name == "unknown" else name
            key.append((f"{what}: {count}", COLOURS[name]))
    if _bare_holes(result).any():
        key.append(("hole of the support", HOLE))
    if not result.particles.pixels.valid.all():
        key.append(("not counted", None))
    return key
