"""Pictures of particles: outlines coloured by thickness class, holes of the support, scale bar."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from layerscope.core.particles import ParticleResult
from layerscope.core.results import BoolArray
from layerscope.measure.particle_signal import THICKNESS_CLASSES
from layerscope.report.panels import Colour, Rgb, as_large, draw_image, hatch
from layerscope.report.rims import crop_rims, draw_crops, draw_dashed, rims_of

# Okabe and Ito (2008), distinct with every common colour blindness.
COLOURS: dict[str, Colour] = {
    "thin": (86, 180, 233),
    "medium": (0, 158, 115),
    "thick": (230, 159, 0),
    "unknown": (240, 228, 66),
}
HOLE: Colour = (213, 94, 0)


def draw_particles(result: ParticleResult, longest_px: int, title: Sequence[str] = ()) -> Rgb:
    """Draw one image with its particles.

    Parameters
    ----------
    result : ParticleResult
    longest_px : int
        Of the micrograph itself; title and key are outside of it.
    title : sequence of str
        Lines above the picture.

    Returns
    -------
    ndarray of uint8, (H', W', 3)
    """
    mark = partial(_marked, result=result)
    return draw_image(result.micrograph, longest_px, title, mark, _key(result))


def _marked(panel: Rgb, result: ParticleResult) -> Rgb:
    canvas, particles = panel.copy(), result.particles
    draw_dashed(canvas, rims_of(as_large(_bare_holes(result), panel)), HOLE)
    inks = [COLOURS[name] for name in result.table["thickness_class"].tolist()]
    draw_crops(canvas, crop_rims(particles.masks, particles.masks.shape, panel), inks)
    hatch(canvas, as_large(~particles.pixels.valid, panel))
    return canvas


def _bare_holes(result: ParticleResult) -> BoolArray:
    return result.particles.pixels.holes & ~result.particles.pixels.objects


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
