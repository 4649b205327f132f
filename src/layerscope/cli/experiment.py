"""`layerscope experiment`: the published questions of transfer, size, data and noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerscope.cli.options import ProgressBar, Quiet
from layerscope.errors import InputError, MissingExtra, UnknownName

if TYPE_CHECKING:
    from layerscope.experiments.study import Study, World


def experiment(
    name: Annotated[
        str, typer.Argument(help="transfer, size, few-shot, noise, adaptation, wse2, tmd.")
    ],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Default: its name.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Your labelled images, instead of synthetic ones.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="Labelled images of another material, same classes.")
    ] = None,
    material: Annotated[str, typer.Option("--material", "-m", help="Of the target.")] = "MoS2",
    other: Annotated[str, typer.Option(help="Material of the source.")] = "graphene",
    substrate: Annotated[str, typer.Option("--substrate", "-s")] = "SiO2(90nm)/Si",
    seeds: Annotated[int, typer.Option(help="How often; five give an interval.")] = 5,
    minutes: Annotated[
        float | None,
        typer.Option(help="Begin no seed that ends later; 0: no limit. 10; wse2 20, tmd 40."),
    ] = None,
    effort: Annotated[str, typer.Option(help="small, or full: hours, better on a GPU.")] = "small",
    imagenet: Annotated[
        Path | None, typer.Option(help="Weights of ResNet-18 for wse2, instead of a stand-in.")
    ] = None,
    micronet: Annotated[Path | None, typer.Option(help="The same, of MicroNet.")] = None,
    quiet: Quiet = False,
) -> None:
    """Train small networks in several ways, compare them, and say what is shown and what is not."""
    from layerscope.experiments import EXPERIMENTS
    from layerscope.experiments.conduct import conduct
    from layerscope.experiments.folder import write_finding
    from layerscope.experiments.study import find_study

    study = find_study(name, EXPERIMENTS)
    if effort not in study.efforts:
        raise UnknownName.of("effort", effort, study.efforts)
    _need_torch()
    folder = out or Path(name)
    world = _world(study, data, source, material, other, substrate)
    if weights := {k: v for k, v in (("imagenet", imagenet), ("micronet", micronet)) if v}:
        from layerscope.experiments.wse2 import with_weights

        study = with_weights(study, weights)
    with ProgressBar(name, quiet) as progress:
        finding = conduct(
            study, world, study.efforts[effort], folder, seeds=seeds,
            minutes=study.minutes if minutes is None else minutes,
            progress=progress or (lambda done, total, what: None),
        )  # fmt: skip
    typer.echo(write_finding(finding, folder))
    typer.echo(f"tables, result.json and plot in {folder}/")
    if effort == "small":
        typer.echo(f"the full size: layerscope experiment {name} --effort full --minutes 0")


def _world(
    study: Study, data: Path | None, source: Path | None, material: str, other: str, substrate: str
) -> World:
    from layerscope.experiments.worlds import SyntheticWorld, UserWorld
    from layerscope.io.annotated import read_dataset

    if data is None:
        if source is not None:
            raise InputError("--source goes with --data: both hold labelled images")
        if study.synthetic is not None:
            return study.synthetic()
        return SyntheticWorld(material, other, substrate)
    found = read_dataset(data)
    for note in found.notes:
        typer.echo(note, err=True)
    return UserWorld(
        found, material, other, substrate, read_dataset(source) if source is not None else None
    )


def _need_torch() -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise MissingExtra.of("an experiment", "train")
