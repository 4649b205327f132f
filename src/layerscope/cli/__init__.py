"""The command line: one command per question."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from layerscope import __version__
from layerscope.cli.categories import app as questionnaire_app
from layerscope.cli.data import COMMANDS as DATA_COMMANDS
from layerscope.cli.evaluate import evaluate
from layerscope.cli.experiment import experiment
from layerscope.cli.flakes import calibrate, tell_run
from layerscope.cli.label import label
from layerscope.cli.live import live
from layerscope.cli.models import app as models_app
from layerscope.cli.options import (
    FAILED,
    INTERRUPTED,
    USAGE,
    AsJson,
    Na,
    Out,
    ProgressBar,
    Seed,
    Substrate,
)
from layerscope.cli.pixels import COMMANDS as PIXEL_COMMANDS
from layerscope.cli.prepare import COMMANDS as PREPARE_COMMANDS
from layerscope.cli.pretrain import app as pretrain_app
from layerscope.cli.propose import propose
from layerscope.cli.report import COMMANDS as REPORT_COMMANDS
from layerscope.cli.run import run
from layerscope.cli.scan import COMMANDS
from layerscope.cli.synth import app as synth_app
from layerscope.cli.train import app as train_app
from layerscope.errors import CannotWrite, InputError, LayerscopeError, MissingExtra

app = typer.Typer(
    help="From a micrograph of a 2D material to a calibrated table of what is on it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(synth_app, name="synth")
app.add_typer(train_app, name="train")
app.add_typer(questionnaire_app, name="questionnaire")
app.add_typer(pretrain_app, name="pretrain")
app.add_typer(models_app, name="models")


_OF_TRAIN = ("torch", "onnx", "onnxscript", "safetensors", "transformers", "optuna")
"""Packages of the extra ``train``, which modules of `training` import as they are."""

_OF_THE_DISK = (
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR,
    errno.EEXIST, errno.ENAMETOOLONG,
)  # fmt: skip
"""What a disk refuses where a folder is made; files are written by `io.atomic`, which says so."""


@cache
def commands() -> TyperGroup:
    """All commands, built once per process: 50 ms."""
    return typer.main.get_group(app)


def main() -> None:
    """Run the command line; turns errors of ours into one line and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        commands()(standalone_mode=True)
    except LayerscopeError as error:
        typer.echo(f"layerscope: {error}", err=True)
        usage = isinstance(error, InputError) and not isinstance(error, CannotWrite)
        sys.exit(USAGE if usage else FAILED)
    except ModuleNotFoundError as error:
        if error.name not in _OF_TRAIN:
            raise
        typer.echo(f"layerscope: {MissingExtra.of('this command', 'train')}", err=True)
        sys.exit(FAILED)
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        place = error.filename or "the folder of results"
        advice = "make room there, or give another -o"
        typer.echo(f"layerscope: cannot use {place}: {error.strerror}; {advice}", err=True)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"layerscope {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show and stop.")
    ] = False,
) -> None:
    """From a micrograph of a 2D material to a calibrated table of what is on it."""


app.command()(run)
app.command()(calibrate)


@app.command()
def contrast(
    material: Annotated[str, typer.Argument(help="graphene, hBN, MoS2 ...")],
    substrate: Substrate = "SiO2(90nm)/Si",
    layers: Annotated[int, typer.Option(help="Longest step of the ladder.")] = 10,
    na: Na = 0.45,
    best_oxide: Annotated[bool, typer.Option(help="Which oxide shows one layer best.")] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Plot, .png or .pdf.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the colours of 1..N layers, and how they depend on the oxide."""
    from layerscope.report.ladder import describe_ladder, plot_ladder

    ladder = describe_ladder(material, substrate, layers, na)
    typer.echo(ladder.as_json() if as_json else ladder.as_text(best_oxide=best_oxide))
    path = out or (None if as_json else Path(f"contrast_{ladder.material}.png"))
    if path is not None:
        plot_ladder(ladder, path)
        typer.echo(f"plot: {path}", err=as_json)


@app.command()
def materials() -> None:
    """List the materials, their layer thickness and where their constants come from."""
    from layerscope.physics.materials import load
    from layerscope.physics.materials import materials as names

    for name in names():
        m = load(name)
        layer = f"{m.layer_nm:.3f} nm/layer" if m.layer_nm else "medium"
        typer.echo(f"{name:9s} {layer:15s} {m.doi or m.reference[:60]}")
        if m.remark:
            typer.echo(f"{'':25s} note: {m.remark}")


@app.command()
def demo(
    out: Out = Path("layerscope-demo"),
    number: Annotated[int, typer.Option("-n", help="How many images.")] = 6,
    seed: Seed = 7,
) -> None:
    """Run the main job on synthetic micrographs and compare with the truth."""
    from layerscope.demo import run_demo

    with ProgressBar("demo", quiet=False) as progress:
        result, score = run_demo(out, number=number, seed=seed, progress=progress)
    tell_run(result, out, as_json=False)
    typer.echo(score)


app.command()(evaluate)
_MORE: tuple[Callable[..., None], ...] = (
    *COMMANDS,
    *DATA_COMMANDS,
    *PREPARE_COMMANDS,
    *PIXEL_COMMANDS,
    *REPORT_COMMANDS,
    experiment,
    label,
    live,
    propose,
)
for command in _MORE:
    app.command()(command)
