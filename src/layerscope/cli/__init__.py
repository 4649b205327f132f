"""The command line: one command per question."""

from __future__ import annotations

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
    HeadFile,
    Images,
    KeepResidue,
    KnownCalibration,
    Layers,
    MaxLayers,
    MaxPixels,
    MinArea,
    ModelFile,
    Na,
    Objective,
    OxideSd,
    PixelSizeText,
    ProgressBar,
    Quiet,
    Report,
    ScaleBar,
    Substrate,
    Tone,
    listed,
)
from layerscope.cli.pixels import COMMANDS as PIXEL_COMMANDS
from layerscope.cli.prepare import COMMANDS as PREPARE_COMMANDS
from layerscope.cli.pretrain import app as pretrain_app
from layerscope.cli.propose import propose
from layerscope.cli.report import COMMANDS as REPORT_COMMANDS
from layerscope.cli.scan import COMMANDS
from layerscope.cli.synth import app as synth_app
from layerscope.cli.train import app as train_app
from layerscope.errors import CannotWrite, InputError, LayerscopeError, MissingExtra, UnknownName

app = typer.Typer(
    help="From a micrograph of a 2D material to a calibrated table of what is on it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
TASKS = ("flakes", "coverage", "phases", "categories", "particles", "crystals")

app.add_typer(synth_app, name="synth")
app.add_typer(train_app, name="train")
app.add_typer(questionnaire_app, name="questionnaire")
app.add_typer(pretrain_app, name="pretrain")
app.add_typer(models_app, name="models")


_OF_TRAIN = ("torch", "onnx", "onnxscript", "safetensors", "transformers", "optuna")
"""Packages of the extra ``train``, which modules of `training` import as they are."""


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


@app.command()
def run(
    images: Images,
    material: Annotated[
        str | None, typer.Option("--material", "-m", help="graphene, hBN, MoS2 ...")
    ] = None,
    materials: Annotated[
        str | None, typer.Option(help="Crystals: that may have grown, e.g. MoS2,MoSe2.")
    ] = None,
    substrate: Annotated[
        str | None,
        typer.Option("--substrate", "-s", help="Films from the top, e.g. SiO2(90nm)/Si."),
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")] = Path("run"),
    task: Annotated[
        str,
        typer.Option(
            help="flakes: optical; coverage: AFM, pictures of films; phases, categories: by model; "
            "particles: TEM, SEM; crystals: optical, as grown."
        ),
    ] = "flakes",
    channel: Annotated[str | None, typer.Option(help="Coverage: channel of a scan.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Coverage: by hand, nm or grey.")] = None,
    method: Annotated[str, typer.Option(help="Coverage: auto, terraces, edges ...")] = "auto",
    film: Annotated[str | None, typer.Option(help="Coverage: bright or dark side.")] = None,
    levelling: Annotated[str, typer.Option(help="Coverage: auto, none, plane ...")] = "auto",
    z_range: Annotated[float | None, typer.Option(help="Coverage: of a colour bar, nm.")] = None,
    width: Annotated[float | None, typer.Option(help="Coverage: of a picture, um.")] = None,
    conditions: Annotated[
        Path | None, typer.Option(help="Coverage: CSV of growth conditions, for a study of them.")
    ] = None,
    pixel_size: PixelSizeText = None,
    objective: Objective = None,
    magnification_table: Annotated[
        Path | None, typer.Option(help="TOML: [objectives] or [magnifications]; CSV of the latter.")
    ] = None,
    scale_bar: ScaleBar = None,
    magnification: Annotated[
        str | None, typer.Option(help="Categories: of all images, e.g. 50kx.")
    ] = None,
    unknown_below: Annotated[
        float | None, typer.Option(help="Categories, particles: least probability.")
    ] = None,
    objects: Annotated[
        str | None, typer.Option(help="Particles: classes that are, e.g. gfm,debris.")
    ] = None,
    holes: Annotated[
        str | None, typer.Option(help="Particles: classes that are holes of the support.")
    ] = None,
    border: Annotated[
        str,
        typer.Option(help="Particles, crystals that the border cuts: weighted, half, excluded."),
    ] = "weighted",
    polarity: Annotated[
        str, typer.Option(help="Particles without model and labels: auto, dark, bright, both.")
    ] = "auto",
    split: Annotated[
        bool, typer.Option("--split", help="Particles: part convex ones that touch.")
    ] = False,
    tone: Tone = None,
    na: Na = 0.45,
    oxide_sd: OxideSd = 10.0,
    flat_field: Annotated[
        str | None, typer.Option(help="Reference image, or 'set': median of these images.")
    ] = None,
    calibration: KnownCalibration = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV image,x,y,layers or masks; particles: folder of label pictures."),
    ] = None,
    head: HeadFile = None,
    finder: Annotated[
        str, typer.Option(help="Flakes: classical, network or both; a --model means network.")
    ] = "",
    model: ModelFile = None,
    min_area: MinArea = None,
    layers: Layers = None,
    max_layers: MaxLayers = 10,
    max_pixels: MaxPixels = 200_000_000,
    keep_residue: KeepResidue = False,
    report: Report = True,
    as_json: Annotated[bool, typer.Option("--json", help="Summary as JSON on stdout.")] = False,
    quiet: Quiet = False,
) -> None:
    """Find flakes and count layers; coverage of films; phases, categories, particles, crystals."""
    table = str(magnification_table) if magnification_table else None
    if task == "coverage":
        from layerscope.cli.coverage import cover_images
        from layerscope.surfaces import Question

        question = Question(
            material, method, threshold, film, min(max_layers, 4), levelling, channel, pixel_size,
            z_range, width, max_pixels,
        )  # fmt: skip
        cover_images(images, question, out, conditions=conditions, as_json=as_json, quiet=quiet)
    if task == "phases":
        from layerscope import segmentation
        from layerscope.cli.phases import segment_images

        told = segmentation.Scale(pixel_size, max_pixels, table)
        segment_images(images, model, told, out, as_json=as_json, quiet=quiet)
    if task == "categories":
        from layerscope.cli.categories import categorise_images
        from layerscope.ops.magnification import parse_magnification
        from layerscope.questions import Reading

        times = parse_magnification(magnification) if magnification else None
        asked = Reading(pixel_size, times, unknown_below, max_pixels, table)
        categorise_images(images, model, asked, out, as_json=as_json, quiet=quiet)
    if task == "particles":
        from layerscope.cli.particles import Asked, measure_images

        particles = Asked(
            model, labels, objects, holes, min_area, pixel_size, scale_bar, border, polarity, split,
            max_pixels, magnification_table, unknown_below,
        )  # fmt: skip
        measure_images(images, particles, out, as_json=as_json, quiet=quiet)
    if task == "crystals":
        from layerscope.cli.crystals import find_in_images, smallest
        from layerscope.crystals import Settings

        grown = Settings(
            listed(materials or material), substrate, na, pixel_size, objective, table, scale_bar,
            *smallest(min_area), border=border, max_pixels=max_pixels, model=model,
        )  # fmt: skip
        find_in_images(images, grown, out, report=report, as_json=as_json, quiet=quiet)
    if task != "flakes":
        raise UnknownName.of("task", task, TASKS)
    if material is None or substrate is None:
        raise InputError(
            "flakes need --material and --substrate, e.g. -m graphene -s SiO2(90nm)/Si"
        )
    from layerscope.cli.flakes import Asked as Flakes
    from layerscope.cli.flakes import find_in_images as find_flakes

    flakes = Flakes(
        material, substrate, pixel_size, objective, table, scale_bar, tone, na, oxide_sd,
        flat_field, calibration, labels, head, finder, model, min_area, layers, keep_residue,
        max_layers, max_pixels,
    )  # fmt: skip
    find_flakes(images, flakes, out, report=report, as_json=as_json, quiet=quiet)


app.command()(calibrate)


@app.command()
def contrast(
    material: Annotated[str, typer.Argument(help="graphene, hBN, MoS2 ...")],
    substrate: Substrate = "SiO2(90nm)/Si",
    layers: Annotated[int, typer.Option(help="Longest step of the ladder.")] = 10,
    na: Na = 0.45,
    best_oxide: Annotated[bool, typer.Option(help="Which oxide shows one layer best.")] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Plot, .png or .pdf.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Numbers as JSON.")] = False,
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
    out: Annotated[Path, typer.Option("-o", "--out")] = Path("layerscope-demo"),
    number: Annotated[int, typer.Option("-n", help="How many images.")] = 6,
    seed: Annotated[int, typer.Option()] = 7,
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
