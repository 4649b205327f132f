"""`layerscope train phases` and `layerscope run --task phases`: classes of pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from layerscope.cli.options import ProgressBar, Seed, Specimen, end_run, names_of
from layerscope.errors import InputError

if TYPE_CHECKING:
    from layerscope.cli.groups import Telling
    from layerscope.core.examples import DataSet
    from layerscope.core.segmentation import PhaseRun
    from layerscope.segmentation import Scale
    from layerscope.training.phases import PhaseTraining


def train_phases(
    data: Annotated[Path, typer.Argument(help="Folder with images/ and masks/, or a COCO file.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Model file.")] = Path("model.onnx"),
    network: Annotated[
        str, typer.Option(help="auto: the best on held-out specimens; forest, light-n ...")
    ] = "auto",
    start: Annotated[
        Path | None, typer.Option("--from", help="Model to start from, its weights beside it.")
    ] = None,
    few: Annotated[
        int | None, typer.Option(help="Learn from so many images, test on the others.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Wall time for all.")] = 10.0,
    folds: Annotated[int, typer.Option(help="Parts that are held out in turn.")] = 3,
    group: Specimen = None,
    pixel_size: Annotated[str | None, typer.Option(help="Of all images, e.g. 0.52nm.")] = None,
    seed: Seed = 0,
    members: Annotated[
        int, typer.Option(help="Networks that are trained apart and answer together.")
    ] = 1,
    weights: Annotated[
        str | None,
        typer.Option(help="Of the encoder: imagenet, micronet, imagenet-micronet, or a file."),
    ] = None,
    overlapping: Annotated[
        bool, typer.Option("--overlapping", help="A mask per class: a hole under a flake is both.")
    ] = False,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Of the masks that overlap; again for each.")
    ] = None,
    losses: Annotated[
        list[str] | None,
        typer.Option("--loss", help="Of a class that overlaps, e.g. flake=tversky:0.8:0.2."),
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="With --overlapping: bring images to this pixel size, 8nm.")
    ] = None,
) -> None:
    """Learn the class of every pixel from a few labelled images, with or without a GPU."""
    from layerscope.core.micrograph import parse_length_nm
    from layerscope.training.phases import PhaseSettings
    from layerscope.training.phases import train_phases as train

    if (classes or losses or at) and not overlapping:
        raise InputError("--class, --loss and --at are of masks that overlap; add --overlapping")
    settings = PhaseSettings(
        network, start, few, minutes, folds, seed,
        overlapping=overlapping, losses=tuple(losses or ()), members=members, weights=weights,
        at_nm=parse_length_nm(at) if at else 0.0,
    )  # fmt: skip
    dataset = read_phases(
        data, overlapping, classes or (), group_pattern=group, pixel_size=pixel_size
    )
    done = train(dataset, out, settings, name=data.resolve().name, tell=typer.echo)
    _tell_training(done, out)


def read_phases(
    data: Path,
    overlapping: bool,
    classes: Sequence[str],
    *,
    group_pattern: str | None = None,
    pixel_size: str | None = None,
) -> DataSet:
    """Read labelled images; of classes that overlap a folder of masks each, where there is one."""
    from layerscope.io.annotated import read_dataset
    from layerscope.io.annotated.class_masks import has_class_masks, read_class_masks

    if overlapping and has_class_masks(data):
        return read_class_masks(data, classes, group_pattern=group_pattern, pixel_size=pixel_size)
    if classes:
        raise InputError(f"{data} has no folder of masks per class, which --class would choose of")
    return read_dataset(data, group_pattern=group_pattern, pixel_size=pixel_size)


def _tell_training(done: PhaseTraining, out: Path) -> None:
    metrics = done.card.metrics
    for name, value in metrics.get("iou", {}).items():
        typer.echo(f"  {name}: IoU {value:.3f}, Dice {metrics['dice'][name]:.3f}, held out")
    if done.tested is not None:
        typer.echo(f"on the {len(done.rest)} other images: mean IoU {done.tested:.3f}")
    typer.echo(f"written to {out}")


def segment_images(
    images: list[str], model: str | None, scale: Scale, out: Path, telling: Telling
) -> NoReturn:
    """Segment every image, write the run folder, say what came out, and end with its exit code."""
    from layerscope.io.tables import table_records
    from layerscope.models.shipped import open_model
    from layerscope.report.phases_folder import PhasesFolder
    from layerscope.segmentation import run_phases

    if model is None:
        raise InputError("phases need --model, from 'layerscope train phases'")
    opened = open_model(model)
    folder = PhasesFolder(out)
    with ProgressBar("segmenting", telling.quiet) as progress:
        run = run_phases(names_of(images), opened, scale, on_result=folder, progress=progress)
    folder.finish(run, report=telling.report)
    found = {"images": len(run.images), "areas": table_records(run.areas)}
    end_run(run, out, found, _told(run), f"{len(run.images)} images", as_json=telling.as_json)


def _told(run: PhaseRun) -> Iterator[str]:
    for row in run.images.to_dict("records"):
        of_image = run.areas[run.areas["image"] == row["image"]]
        shares = ", ".join(f"{a['class']} {_percent(a)}" for a in of_image.to_dict("records"))
        doubt = "  (look at it)" if row["doubts"] else ""
        yield f"{row['image']}: {shares}{doubt}"


def _percent(area: dict[str, float]) -> str:
    low, high = area["fraction_low"], area["fraction_high"]
    between = f" [{100 * low:.1f} to {100 * high:.1f}]" if low == low else ""
    return f"{100 * area['fraction']:.1f} %{between}"
