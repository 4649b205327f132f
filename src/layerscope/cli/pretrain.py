"""`layerscope pretrain` and `layerscope train flakes`: networks that find flakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerscope.cli.options import ProgressBar, Quiet
from layerscope.errors import InputError

if TYPE_CHECKING:
    from layerscope.models.card import ModelCard
    from layerscope.training.loop import Progress

app = typer.Typer(help="Learn from synthetic micrographs, without labels.", no_args_is_help=True)

Seed = Annotated[int, typer.Option(help="Of scenes, patches and starting weights.")]
_PARTS = 1000


@app.command("flakes")
def pretrain_flakes(
    out: Annotated[Path, typer.Option("-o", "--out", help="Model file to write.")],
    minutes: Annotated[float, typer.Option(help="Wall time of the training.")] = 120.0,
    network: Annotated[str, typer.Option(help="flake-n, flake-s or flake-m.")] = "flake-n",
    scenes: Annotated[int, typer.Option(help="Synthetic scenes to learn from.")] = 560,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of scenes and state; default: beside the model.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue what was stopped.")] = False,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Train a network that finds flakes on synthetic micrographs, without any label."""
    from layerscope.training.pretrain import PretrainSettings, pretrain

    if out.suffix != ".onnx":
        raise InputError(f"{out.name}: expected a name that ends in .onnx")
    settings = PretrainSettings(network=network, minutes=minutes, scenes=scenes, seed=seed)
    folder = cache or out.with_suffix(".pretraining")
    with ProgressBar("rendering scenes", quiet) as rendering:
        from layerscope.training.pretrain import open_series

        open_series(folder, settings, lambda done, total: _tick(rendering, done, total))
    with ProgressBar("training", quiet) as bar:
        card = pretrain(out, settings, cache=folder, resume=resume, progress=_watch(bar))
    _tell(card, out)


@app.command("phases")
def pretrain_phases(
    out: Annotated[Path, typer.Option("-o", "--out", help="Model file to write.")],
    steps: Annotated[int, typer.Option(help="Training steps.")] = 8000,
    network: Annotated[str, typer.Option(help="plain-n, plain-s, light-n ...")] = "plain-n",
    scenes: Annotated[int, typer.Option(help="Synthetic scenes to learn from.")] = 800,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of scenes and state; default: beside the model.")
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Train a network for flakes and holes in TEM images on synthetic ones, without any label."""
    from layerscope.training.tem_pretrain import TemPretrainSettings, open_series, pretrain_tem

    if out.suffix != ".onnx":
        raise InputError(f"{out.name}: expected a name that ends in .onnx")
    settings = TemPretrainSettings(network, steps, scenes=scenes, seed=seed)
    folder = cache or out.with_suffix(".pretraining")
    with ProgressBar("rendering scenes", quiet) as rendering:
        open_series(settings, folder, lambda done, total: _tick(rendering, done, total))
    with ProgressBar("training", quiet) as bar:
        card = pretrain_tem(out, settings, folder=folder, progress=_watch(bar))
    _tell(card, out)


def train_flakes(
    data: Annotated[Path, typer.Argument(help="Labelled images: COCO, YOLO, masks/ ...")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Model file to write.")] = Path(
        "flakes.onnx"
    ),
    base: Annotated[str, typer.Option("--from", help="Model to start from.")] = "flake-n",
    few: Annotated[int, typer.Option(help="Use only so many images; 0: all.")] = 0,
    geometry: Annotated[
        str, typer.Option(help="keep the base's outlines, learn others, or auto: by images.")
    ] = "auto",
    minutes: Annotated[float, typer.Option(help="Wall time of learning outlines.")] = 5.0,
    steps: Annotated[int, typer.Option(help="Steps of that, at most.")] = 400,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Teach a flake network what is wanted, from a handful of labelled images."""
    from layerscope.io.annotated import read_dataset
    from layerscope.training.flakes import FlakeSettings, take_examples
    from layerscope.training.flakes import train_flakes as train

    if out.suffix != ".onnx":
        raise InputError(f"{out.name}: expected a name that ends in .onnx")
    labelled = take_examples(read_dataset(data), few, seed)
    settings = FlakeSettings(base, geometry, minutes, steps, seed=seed)
    with ProgressBar("training", quiet) as bar:
        card = train(labelled, out, settings, progress=_watch(bar))
    typer.echo(f"{len(labelled)} images: {', '.join(e.name for e in labelled.examples)}")
    _tell(card, out)


def _tick(bar: Callable[[int, int, str], None] | None, done: int, total: int) -> None:
    if bar is not None:
        bar(done, total, "")


def _watch(bar: Callable[[int, int, str], None] | None) -> Callable[[Progress], None]:
    """Turn steps into a bar, and each new validation into a line."""
    seen: list[object] = []

    def watch(told: Progress) -> None:
        _tick(bar, int(told.share * _PARTS), _PARTS)
        if told.figures and told.figures not in seen:
            seen[:] = [told.figures]
            figures = ", ".join(f"{name} {value:.3f}" for name, value in told.figures.items())
            typer.echo(f"step {told.step}: {figures}", err=True)

    return watch


def _tell(card: ModelCard, out: Path) -> None:
    steps = card.settings.get("steps_taken", 0)
    typer.echo(f"{card.name}: {card.parameters} parameters, {steps} steps")
    figures = {k: v for k, v in card.metrics.items() if isinstance(v, float)}
    for name, value in figures.items():
        typer.echo(f"  {name.replace('_', ' ')}: {value:g}")
    typer.echo(f"written to {out}")
