"""`layerscope normalisations`: what a network would see of an image, each way to scale it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerscope.cli.options import Images, PixelSizeText, names_of
from layerscope.errors import InputError


def normalisations(
    images: Images,
    out: Annotated[Path, typer.Option("-o", "--out", help="Picture, .png.")],
    method: Annotated[
        list[str] | None, typer.Option("--method", help="minmax, nlm ...; again for each.")
    ] = None,
    pixel_size: PixelSizeText = None,
) -> None:
    """Compare normalisations of up to six images: pictures above histograms, side by side."""
    from layerscope.io import read
    from layerscope.io.atomic import write_bytes
    from layerscope.io.sources import name_sources
    from layerscope.ops.scale import resolve_pixel_size
    from layerscope.report.normalisation_figure import (
        DEFAULT,
        MOST_IMAGES,
        compare_normalisations,
    )

    if out.suffix.casefold() != ".png":
        raise InputError(f"{out}: expected a name that ends in .png")
    sources = name_sources(names_of(images))
    if len(sources) > MOST_IMAGES:
        raise InputError(f"{len(sources)} images; name up to {MOST_IMAGES} of them")
    read_in = [resolve_pixel_size(read(s.path), pixel_size=pixel_size) for s in sources]
    write_bytes(out, compare_normalisations(read_in, method or DEFAULT))
    typer.echo(f"written to {out}")
