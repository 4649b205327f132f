"""`layerscope train domains`: a network of crystals with masks, from labelled images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerscope.cli.options import ProgressBar, Quiet, Seed, Specimen
from layerscope.errors import InputError, MissingExtra

if TYPE_CHECKING:
    from layerscope.synth.crystals import GrownImage
    from layerscope.training.loop import Progress

_PARTS = 1000


def train_domains(
    data: Annotated[
        Path, typer.Argument(help="Labelled objects: COCO, YOLO segments, LabelMe, instances/ ...")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Model file to write.")] = Path(
        "domains.onnx"
    ),
    size: Annotated[str, typer.Option(help="n, s or m; tiny for trials.")] = "n",
    minutes: Annotated[float, typer.Option(help="Wall time; 0: until the epochs are over.")] = 10.0,
    epochs: Annotated[int, typer.Option(help="At most; 0: until the minutes are over.")] = 0,
    image_px: Annotated[int, typer.Option(help="Longer side that the network sees.")] = 416,
    batch: Annotated[int, typer.Option(help="Images of a step.")] = 8,
    start: Annotated[
        Path | None, typer.Option("--from", help="Model of this kind to start from.")
    ] = None,
    noisy: Annotated[
        bool, typer.Option("--noisy", help="Teach noise up to 25 %, Gaussian and salt and pepper.")
    ] = False,
    normalisation: Annotated[
        str, typer.Option(help="unit: colours as they are; contrast: to the substrate.")
    ] = "unit",
    group: Specimen = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Learn to find and name crystals; the file goes to 'run --task crystals --model'."""
    from importlib.util import find_spec

    if out.suffix != ".onnx":
        raise InputError(f"{out.name}: expected a name that ends in .onnx")
    if find_spec("torch") is None:
        raise MissingExtra.of("training", "train")
    from layerscope.io.annotated import read_dataset
    from layerscope.training.domains import DomainSettings
    from layerscope.training.domains import train_domains as train

    settings = DomainSettings(
        size, image_px, minutes, epochs, batch, start, noisy, normalisation, seed=seed
    )
    labelled = read_dataset(data, group_pattern=group)
    for note in labelled.notes:
        typer.echo(note, err=True)
    with ProgressBar("training", quiet) as bar:

        def watch(told: Progress) -> None:
            if bar is not None:
                bar(int(told.share * _PARTS), _PARTS, "")

        name = data.resolve().name
        card = train(labelled, out, settings, name=name, tell=typer.echo, progress=watch)
    typer.echo(
        f"{card.network}, {card.parameters / 1e6:.1f} million parameters, "
        f"{card.settings['steps_taken']} steps: written to {out}"
    )


def write_labelled(pictures: Iterable[GrownImage], label: str, form: str, out: Path) -> None:
    """Write synthetic crystals as labelled objects."""
    from layerscope.io.annotated import write_dataset
    from layerscope.synth.crystal_labels import label_grown

    data = label_grown(pictures, label)
    for note in write_dataset(data, out, form):
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{len(data)} images, objects of {len(data.classes) - 1} classes: {form} in {out}/")
