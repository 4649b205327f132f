"""Pictures of grown crystals: outlines coloured by shape, cores dashed, scale bar, key."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from layerscope.core.crystals import SHAPE_NAMES, CrystalResult
from layerscope.report.panels import Colour, Rgb, draw_image
from layerscope.report.rims import FINE, crop_rims, draw_crops, draw_dashed

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


def draw_crystals(result: CrystalResult, longest_px: int, title: Sequence[str] = ()) -> Rgb:
    """Draw one image with its crystals.

    Parameters
    ----------
    result : CrystalResult
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


def _marked(panel: Rgb, result: CrystalResult) -> Rgb:
    canvas, masks = panel.copy(), result.masks
    inks = [COLOURS[shape] for shape in result.table["shape"].tolist()]
    draw_crops(canvas, crop_rims(masks, masks.shape, panel), inks, casing_px=4)
    cores = ((where, core) for (where, _), core in zip(masks, result.cores, strict=True))
    for lines in crop_rims(cores, masks.shape, panel):
        draw_dashed(canvas, lines, CORE, FINE)
    return canvas


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
