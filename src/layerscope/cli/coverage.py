"""`layerscope run --task coverage`: scans and pictures of grown films."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from layerscope.cli.options import ProgressBar, Seed, Specimen, end_run, names_of

if TYPE_CHECKING:
    from layerscope.cli.groups import Telling
    from layerscope.core.coverage import CoverageRun
    from layerscope.surfaces import Question
    from layerscope.tasks.growth import GrowthStudy
    from layerscope.tasks.growth_conditions import Conditions


_TOLD = ["image", "coverage", "coverage_low", "coverage_high", "doubts"]


def cover_images(
    images: list[str],
    question: Question,
    out: Path,
    telling: Telling,
    conditions: Path | None = None,
) -> NoReturn:
    """Cover every image, write the run folder, say what came out, and end with its exit code.

    With a table of growth `conditions` the folder gets a growth study too.
    """
    from layerscope.report.coverage_folder import CoverageFolder
    from layerscope.surfaces import run_coverage
    from layerscope.tasks.growth_conditions import read_conditions

    grown = read_conditions(conditions) if conditions else None
    folder = CoverageFolder(out)
    with ProgressBar("covering", telling.quiet) as progress:
        run = run_coverage(
            names_of(images), question, summarise=grown is not None, on_result=folder,
            progress=progress,
        )  # fmt: skip
    folder.finish(run, _study(run, grown) if grown else None, report=telling.report)
    rows = run.images[_TOLD].to_dict("records")
    end_run(
        run, out, {"images": rows}, map(_line, rows), f"{len(rows)} images",
        as_json=telling.as_json,
    )  # fmt: skip


def train_coverage(
    data: Annotated[
        str, typer.Argument(help="Folder with images/ and masks/, a COCO file, or synthetic:40.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Model file.")] = Path("coverage.onnx"),
    model: Annotated[
        str,
        typer.Option(
            help="cnn-sc, cnn-sc-star, mlp-i, mlp-m, cnn-i, cnn-m, seg18-i, seg18-m, seg50, "
            "seg101 as published; robust is ours."
        ),
    ] = "robust",
    weights: Annotated[
        str | None, typer.Option(help="File, imagenet or micronet; from scratch if not given.")
    ] = None,
    minutes: Annotated[
        float, typer.Option(help="Wall time; 0: until the study's own rule says stop.")
    ] = 10.0,
    epochs: Annotated[int, typer.Option(help="At most; 0: as many as the study's.")] = 0,
    tune: Annotated[int, typer.Option(help="Trials of a search before; cnn-sc and mlp.")] = 0,
    group: Specimen = None,
    pixel_size: Annotated[str | None, typer.Option(help="Of all images, e.g. 9.77nm.")] = None,
    seed: Seed = 0,
) -> None:
    """Learn the coverage of pictures; the file goes to 'run --task coverage --method'."""
    from layerscope.io.annotated import read_dataset
    from layerscope.training.coverage import train_coverage as train
    from layerscope.training.coverage_scenes import asked_for, synthetic_films
    from layerscope.training.coverage_settings import CoverageSettings

    settings = CoverageSettings(model, weights, minutes, epochs, tune, seed)
    number = asked_for(data)
    dataset = (
        synthetic_films(number, seed)
        if number
        else read_dataset(Path(data), group_pattern=group, pixel_size=pixel_size)
    )
    name = data if number else Path(data).resolve().name
    train(dataset, out, settings, name=name, tell=typer.echo)
    typer.echo(f"written to {out}")


def _study(run: CoverageRun, conditions: Conditions) -> GrowthStudy | None:
    """Growth study of a run, or None, said, where nothing can be studied."""
    from layerscope.errors import InputError
    from layerscope.tasks.growth import image_quantities, summarise_growth

    if run.films is None or not len(run.films):
        return None
    try:
        return summarise_growth(image_quantities(run.films), conditions)
    except InputError as error:
        typer.echo(f"no growth study: {error}", err=True)
        return None


def _line(row: Mapping[Any, Any]) -> str:
    low, high = 100 * row["coverage_low"], 100 * row["coverage_high"]
    doubt = "  (look at it)" if row["doubts"] else ""
    return f"{100 * row['coverage']:5.1f} %  [{low:.1f} to {high:.1f}]  {row['image']}{doubt}"
