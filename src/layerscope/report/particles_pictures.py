"""Pictures of particles: outlines coloured by thickness class, holes of the support, scale bar."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import PixelSize
from layerscope.core.particles import ParticleResult
from layerscope.core.results import BoolArray
from layerscope.measure.particle_signal import THICKNESS_CLASSES
from layerscope.report.coverage_pictures import Colour, Rgb, framed, with_scale_bar
from layerscope.report.phases_pictures import picture_of

# Okabe and Ito (2008), distinct with every common colour blindness.
COLOURS: dict[str, Colour] = {
    "thin": (86, 180, 233),
    "medium": (0, 158, 115),
    "thick": (230, 159, 0),
    "unknown": (240, 228, 66),
}
HOLE: Colour = (213, 94, 0)
_CASING: Colour = (20, 20, 24)
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
    image = result.micrograph
    zoom = longest_px / max(image.shape)
    zoom = float(max(1, round(zoom))) if zoom >= 1 else zoom
    size = max(1, round(image.shape[1] * zoom)), max(1, round(image.shape[0] * zoom))
    way = cv2.INTER_NEAREST if zoom > 1 else cv2.INTER_AREA
    panel = np.asarray(cv2.resize(picture_of(image), size, interpolation=way), np.uint8)
    if marked:
        panel = _marked(panel, result)
    font = int(np.clip(round(max(panel.shape[:2]) / 42) + 4, 12, 30))
    scale = image.pixel_size
    shown = PixelSize(scale.y_nm / zoom, scale.x_nm / zoom, scale.source) if scale else None
    panel = with_scale_bar(panel, shown, font)
    return framed(panel, title, None, _key(result) if marked else [], font)


def _marked(panel: Rgb, result: ParticleResult) -> Rgb:
    canvas, shape = panel.copy(), (panel.shape[1], panel.shape[0])
    particles = result.particles
    bare = particles.pixels.holes & ~particles.pixels.objects
    _dashed(canvas, _shrunk(bare, shape))
    zoom = np.array(shape) / np.array(particles.masks.shape[::-1])
    names = result.table["thickness_class"].tolist()
    inks = [COLOURS[name] for name in names]
    rims = [
        _rims(crop, where, particles.masks.shape, zoom) for where, crop in particles.masks
    ]  # fmt: skip
    for lines in rims:
        cv2.polylines(canvas, lines, True, _CASING, 3, cv2.LINE_AA, 4)
    for lines, own in zip(rims, inks, strict=True):
        cv2.polylines(canvas, lines, True, own, 2, cv2.LINE_AA, 4)
    hidden = _shrunk(~particles.pixels.valid, shape)
    diagonal = np.add.outer(np.arange(hidden.shape[0]), np.arange(hidden.shape[1]))
    canvas[hidden & (diagonal % 8 < 2)] = 255
    return canvas


def _shrunk(mask: BoolArray, shape: tuple[int, int]) -> BoolArray:
    small = cv2.resize(mask.astype(np.uint8), shape, interpolation=cv2.INTER_NEAREST)
    return np.asarray(small > 0)


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
    padded = np.pad(mask.astype(np.uint8), _BEYOND, mode="edge")
    chains, _ = cv2.findContours(
        padded, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(-_BEYOND, -_BEYOND)
    )
    for chain in chains:
        for start in range(0, len(chain), 2 * _DASH_PX):
            dash = [chain[start : start + _DASH_PX]]
            cv2.polylines(canvas, dash, False, _CASING, 3, cv2.LINE_AA)
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
    if (result.particles.pixels.holes & ~result.particles.pixels.objects).any():
        key.append(("hole of the support", HOLE))
    if not result.particles.pixels.valid.all():
        key.append(("not counted", None))
    return key
