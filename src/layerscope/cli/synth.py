"""`layerscope synth`: micrographs whose truth is known exactly."""

from __future__ import annotations

from typing import Annotated

import typer

from layerscope.cli.categories import synth_categories
from layerscope.cli.options import Material, Out, Seed, Substrate, range_nm, size_of

app = typer.Typer(help="Micrographs with exact truth.", no_args_is_help=True)
app.command("categories")(synth_categories)


@app.command("flakes")
def synth_flakes(
    out: Out,
    number: Annotated[int, typer.Option("-n", help="How many images.")] = 20,
    material: Material = "graphene",
    substrate: Substrate = "SiO2(90nm)/Si",
    camera: Annotated[str, typer.Option(help="Name, or 'list'.")] = "ccd_linear",
    seed: Seed = 0,
    clutter: Annotated[float, typer.Option(help="Dirt: 0 none, 1 usual, 2 much.")] = 1.0,
) -> None:
    """Write synthetic micrographs of cleaved flakes with masks and truth.csv."""
    from layerscope.synth import synth_set, write_set
    from layerscope.synth.camera import CAMERAS

    if camera == "list":
        typer.echo("\n".join(CAMERAS))
        return
    written = write_set(
        synth_set(
            seed, number, material=material, substrate=substrate, cameras=(camera,), clutter=clutter
        ),
        out,
    )
    typer.echo(f"{len(written)} images, masks and truth.csv in {out}")


@app.command("crystals")
def synth_crystals(
    out: Out,
    number: Annotated[int, typer.Option("-n", help="How many images.")] = 20,
    inner: Annotated[str, typer.Option(help="Material that nucleates.")] = "MoS2",
    outer: Annotated[str | None, typer.Option(help="Grows around it: heterostructures.")] = None,
    substrate: Substrate = "SiO2(285nm)/Si",
    objective: Annotated[str, typer.Option(help="20x, 50x or 100x.")] = "50x",
    camera: Annotated[str, typer.Option(help="Name; 'synth flakes --camera list'.")] = "ccd_linear",
    label: Annotated[
        str | None, typer.Option(help="Write labelled objects by shape, thickness or material.")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="Of labelled objects: coco, yolo_seg ...")
    ] = "yolo_seg",
    thick: Annotated[float, typer.Option(help="Share of crystals of 2 to 60 layers.")] = 0.08,
    seed: Seed = 0,
) -> None:
    """Write synthetic micrographs of grown crystals with masks, shapes and truth.csv.

    With --label they are written as labelled objects instead, for 'train domains'.
    """
    from layerscope.cli.domains import write_labelled
    from layerscope.synth.crystal_files import write_crystals
    from layerscope.synth.crystal_growth import Growth
    from layerscope.synth.crystals import crystal_set

    growth = Growth(inner=inner, outer=outer, thick=thick)
    pictures = crystal_set(
        seed, number, growth, cameras=(camera,), objectives=(objective,), substrate=substrate
    )
    if label is not None:
        return write_labelled(pictures, label, form, out)
    typer.echo(f"{len(write_crystals(pictures, out))} images, masks and truth.csv in {out}")


@app.command("em")
def synth_em(
    out: Out,
    number: Annotated[int, typer.Option("-n", help="How many images.")] = 20,
    pixel_size: Annotated[
        str, typer.Option(help="e.g. 2nm, or a range: 0.5nm-10nm.")
    ] = "0.5nm-10nm",
    support: Annotated[str | None, typer.Option(help="regular, holey, lacey or film.")] = None,
    size: Annotated[str, typer.Option(help="Width x height, px.")] = "772x688",
    bits: Annotated[int, typer.Option(help="8 or 16.")] = 8,
    specimens: Annotated[
        int | None, typer.Option(help="Images of so many grids; default: each of its own.")
    ] = None,
    least_contrast: Annotated[
        float, typer.Option(help="Fainter flakes are unlabelled in the masks, e.g. 0.03.")
    ] = 0.0,
    visible: Annotated[
        bool, typer.Option("--visible", help="Flakes below five times the noise are unlabelled.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Write synthetic TEM images of graphene on carbon films with masks and truth.csv."""
    from layerscope.synth.em_files import em_set, write_em

    written = write_em(
        em_set(seed, number, shape=size_of(size), pixel_size_nm=range_nm(pixel_size),
               support=support, bits=bits, specimens=specimens),
        out, least_contrast=None if visible else least_contrast,
    )  # fmt: skip
    typer.echo(f"{len(written)} images, masks, classes.toml and truth.csv in {out}")


@app.command("films")
def synth_films(
    out: Out,
    number: Annotated[int, typer.Option("-n", help="How many scans.")] = 10,
    material: Material = "WSe2",
    pixel_size: Annotated[str, typer.Option(help="e.g. 10nm.")] = "10nm",
    size: Annotated[str, typer.Option(help="Width x height, px.")] = "512x512",
    coverage: Annotated[float | None, typer.Option(help="0 to 1; default: each its own.")] = None,
    form: Annotated[
        str, typer.Option("--format", help="gsf, gwy, npy, or png: as instruments export.")
    ] = "gsf",
    seed: Seed = 0,
) -> None:
    """Write synthetic AFM scans of grown films with layers and truth.csv."""
    from layerscope.core.micrograph import PixelSize
    from layerscope.synth.surface import synth_surface
    from layerscope.synth.surface_files import write_pictures, write_surfaces

    shape, nm = size_of(size), PixelSize.parse(pixel_size).x_nm
    surfaces = (
        synth_surface(seed + k, shape=shape, pixel_size_nm=nm, coverage=coverage, material=material)
        for k in range(number)
    )
    exported = form == "png"
    written = (
        write_pictures(surfaces, out) if exported else write_surfaces(surfaces, out, suffix=form)
    )
    typer.echo(f"{len(written)} {'pictures' if exported else 'scans'} and truth.csv in {out}")
