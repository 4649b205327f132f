"""`layerscope evaluate`: a model or a finished run against labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from layerscope.cli.data import Data, Groups, Images, Instances, Source, Values, value_map
from layerscope.cli.options import OK, SOME_FAILED, Out, PixelSizeText, ProgressBar

if TYPE_CHECKING:
    from layerscope.core.evaluation import Evaluation


def evaluate(
    candidate: Annotated[
        str, typer.Argument(help="Model file or name, or folder of a run.", metavar="MODEL|RUN")
    ],
    data: Data,
    out: Out = Path("evaluation"),
    form: Source = "auto",
    classes: Values = None,
    group_by: Groups = None,
    instances: Instances = None,
    images: Images = None,
    pixel_size: PixelSizeText = None,
    only: Annotated[
        str | None, typer.Option(help="Classes of the candidate that count, e.g. 1L,2L.")
    ] = None,
    ignore_classes: Annotated[
        bool, typer.Option("--ignore-classes", help="All classes count as one.")
    ] = False,
    min_score: Annotated[float, typer.Option(help="Objects below it are no answers.")] = 0.0,
    max_detections: Annotated[int, typer.Option(help="Objects of a class per image.")] = 100,
    keep_trained: Annotated[
        bool, typer.Option("--keep-trained", help="Score images that taught the model, too.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q")] = False,
) -> None:
    """Compare answers with labels: figures with intervals, error maps, a page."""
    from layerscope.io.annotated import read_dataset
    from layerscope.report.evaluation_folder import EvaluationFolder
    from layerscope.training import evaluate as training
    from layerscope.training.answers import keep_classes, open_candidate

    if _overlaps(candidate):
        _evaluate_masks(candidate, data, out, group_by, pixel_size, quiet)
    examination = training.Examination(
        max_detections, min_score, ignore_classes, keep_trained=keep_trained
    )
    asked = open_candidate(candidate)
    if only is not None:
        asked = keep_classes(asked, [name.strip() for name in only.split(",")])
    labelled = read_dataset(
        data,
        form,
        images=images,
        instances=instances,
        values=None if classes is None else value_map(classes),
        group_pattern=group_by,
        pixel_size=pixel_size,
    )
    folder = EvaluationFolder(out)
    with ProgressBar("evaluating", quiet) as progress:
        result = training.evaluate(asked, labelled, examination, on_image=folder, progress=progress)
    folder.finish(result)
    _tell(result, out)
    raise typer.Exit(SOME_FAILED if result.failures else OK)


def _overlaps(candidate: str) -> bool:
    """Whether it is a model whose classes may overlap."""
    from layerscope.models.shipped import open_model

    if Path(candidate).is_dir():
        return False
    card = open_model(candidate).card
    return (card.task, card.output) == ("phases", "labels")


def _evaluate_masks(
    candidate: str, data: Path, out: Path, group_by: str | None, pixel_size: str | None, quiet: bool
) -> NoReturn:
    """Judge a mask per class, say what came out, and end with the exit code."""
    from layerscope.cli.phases import read_phases
    from layerscope.models.shipped import open_model
    from layerscope.report.phases_errors import MaskErrorsFolder
    from layerscope.training.overlap_scores import evaluate_masks

    labelled = read_phases(data, True, (), group_pattern=group_by, pixel_size=pixel_size)
    folder = MaskErrorsFolder(out)
    with ProgressBar("evaluating", quiet) as progress:
        found = evaluate_masks(open_model(candidate), labelled, on_mask=folder, progress=progress)
    folder.finish(found)
    iou = found.figures[found.figures["figure"] == "iou"]
    for row in iou.to_dict("records"):
        between = f" [{row['low']:.3f}-{row['high']:.3f}]" if row["low"] == row["low"] else ""
        typer.echo(
            f"{row['class'] or 'mean'}: IoU {row['value']:.3f}{between} "
            f"(everywhere {row['baseline']:.3f})"
        )
    for failure in found.failures:
        typer.echo(f"no answer: {failure.reason}", err=True)
    typer.echo(f"page: {out / 'evaluation.html'}")
    raise typer.Exit(SOME_FAILED if found.failures else OK)


def _tell(evaluation: Evaluation, out: Path) -> None:
    from layerscope.report.evaluation_sections import summary_sentence, trained_sentence

    typer.echo(summary_sentence(evaluation))
    if evaluation.trained_on:
        typer.echo(f"look: {trained_sentence(evaluation)}")
    for sign in evaluation.signs:
        typer.echo(f"look: {sign}")
    for failure in evaluation.failures:
        typer.echo(f"no answer: {failure.reason}", err=True)
    typer.echo(f"page: {out / 'evaluation.html'}")
