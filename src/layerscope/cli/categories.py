"""`layerscope train categories`, `layerscope questionnaire`, `layerscope run --task categories`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from layerscope.cli.options import (
    Images,
    Out,
    ProgressBar,
    Seed,
    Specimen,
    end_run,
    names_of,
    size_of,
)
from layerscope.errors import InputError

if TYPE_CHECKING:
    from layerscope.cli.groups import Telling
    from layerscope.core.categories import CategoryRun
    from layerscope.core.evaluation import Figure
    from layerscope.questions import Reading

Asked = Annotated[
    str, typer.Option("--questionnaire", help="Name, or a TOML file of your own; see 'list'.")
]
DEFAULT = "graphene-tem"

app = typer.Typer(help="Questions about whole images, and label sheets.", no_args_is_help=True)


def train_categories(
    data: Annotated[Path, typer.Argument(help="Folder with images and a label sheet.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Model file.")] = Path("model.onnx"),
    labels: Annotated[
        Path | None, typer.Option(help=".csv or .xlsx; by default the only one in the folder.")
    ] = None,
    second: Annotated[
        Path | None, typer.Option(help="Sheet of a second labeller, to compare with.")
    ] = None,
    questionnaire: Asked = DEFAULT,
    network: Annotated[
        str, typer.Option(help="auto, features, categories-n, resnet18, efficientnet-b0 ...")
    ] = "auto",
    weights: Annotated[str | None, typer.Option(help="Of an encoder: imagenet, or a file.")] = None,
    start: Annotated[
        Path | None, typer.Option("--from", help="Model to start from, its weights beside it.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Wall time for all.")] = 10.0,
    folds: Annotated[int, typer.Option(help="Parts that are held out in turn.")] = 5,
    group: Specimen = None,
    magnification: Annotated[str | None, typer.Option(help="Of all images, e.g. 50kx.")] = None,
    pixel_size: Annotated[str | None, typer.Option(help="Of all images, e.g. 0.52nm.")] = None,
    unknown_below: Annotated[float, typer.Option(help="Least probability of an answer.")] = 0.5,
    size: Annotated[
        int | None,
        typer.Option(help="Side of the picture that is looked at, px: 224, or that of --from."),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Learn to answer the questions of a questionnaire about whole images."""
    from layerscope.io.label_sheets import read_label_sheet
    from layerscope.io.questionnaires import read_questionnaire
    from layerscope.ops.magnification import parse_magnification
    from layerscope.training.categories import agreement, base_of
    from layerscope.training.categories import train_categories as train
    from layerscope.training.category_data import Told, find_sheet, load_categories
    from layerscope.training.category_settings import SIZE_PX, CategorySettings

    if weights is not None and network in ("auto", "features", "categories-n"):
        raise InputError(f"--weights are those of an encoder, e.g. --network resnet18: {network}")
    settings = CategorySettings(network, weights, minutes, folds, unknown_below, seed, start=start)
    side = size or (int(base_of(start).settings["size_px"]) if start else SIZE_PX)
    asked = read_questionnaire(questionnaire)
    sheet = read_label_sheet(labels or find_sheet(data), asked)
    times = parse_magnification(magnification) if magnification else None
    loaded = load_categories(data, sheet, side, Told(times, pixel_size, group))
    for line in sheet.report(loaded.names):
        typer.echo(line)
    done = train(loaded, out, settings, name=data.resolve().name, tell=typer.echo)
    for line in figure_lines(done.figures):
        typer.echo(line)
    if second is not None:
        other = read_label_sheet(second, asked)
        typer.echo(f"{sheet.source} against {other.source}:")
        for line in figure_lines(agreement(sheet, other)):
            typer.echo(line)
    typer.echo(f"written to {out}")


_SHOWN = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "kappa": "kappa",
    "answered": "answered",
    "accuracy_answered": "right of those",
}


def figure_lines(figures: Iterable[Figure]) -> list[str]:
    """Table of figures with their intervals, a row per question; accuracy beside the majority's."""
    told: dict[str, dict[str, Figure]] = {}
    for f in figures:
        told.setdefault(f.group, {})[f.name] = f
    names = [n for n in _SHOWN if any(n in of for of in told.values())]
    rows = [["", *(_SHOWN[n] for n in names)]]
    rows[0].insert(2, "(majority)")
    for group, of in told.items():
        cells = [_figure_cell(of[n]) for n in names]
        rows.append([group, cells[0], f"({of['accuracy'].baseline:.2f})", *cells[1:]])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    return [*lines, *sorted({f.note for of in told.values() for f in of.values() if f.note})]


def _figure_cell(figure: Figure) -> str:
    if figure.value != figure.value:
        return "undefined"
    between = f" [{figure.low:.2f}-{figure.high:.2f}]" if figure.low == figure.low else ""
    return f"{figure.value:.2f}{between}"


@app.command("list")
def list_questionnaires() -> None:
    """List the questionnaires that come with the package."""
    from layerscope.io.questionnaires import questionnaire_names, read_questionnaire

    for name in questionnaire_names():
        asked = read_questionnaire(name)
        typer.echo(f"{name}: {asked.title}; {', '.join(q.name for q in asked.questions)}")


@app.command("show")
def show_questionnaire(
    name: Annotated[str, typer.Argument(help="Name, or a TOML file.")] = DEFAULT,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Write the TOML file, to start your own.")
    ] = None,
) -> None:
    """Print the questions, what may be answered, and at which magnifications."""
    from layerscope.io.atomic import write_bytes
    from layerscope.io.questionnaires import questionnaire_path, read_questionnaire

    asked = read_questionnaire(name)
    if out is not None:
        write_bytes(out, questionnaire_path(name).read_bytes())
        typer.echo(f"written to {out}")
        return
    for q in asked.questions:
        limits = q.magnification
        at = f"  [{limits[0]:g}x to {limits[1]:g}x]" if limits else ""
        typer.echo(f"{q.name}: {q.text}{at}")
        for answer in q.answers:
            typer.echo(f"    {answer}")


@app.command("sheet")
def write_sheet(
    images: Images,
    out: Annotated[Path, typer.Option("-o", "--out", help="CSV to fill in.")] = Path("labels.csv"),
    questionnaire: Asked = DEFAULT,
) -> None:
    """Write an empty label sheet: a row per image, a column per question."""
    from layerscope.io.label_sheets import write_label_sheet
    from layerscope.io.questionnaires import read_questionnaire
    from layerscope.io.sources import name_sources

    if out.exists():
        raise InputError(f"{out} is there already; it may hold answers: choose another -o")
    asked = read_questionnaire(questionnaire)
    names = [
        Path(source.path).name for source in name_sources(names_of(images, deep=True), deep=True)
    ]
    write_label_sheet(out, asked, {name: [""] * len(asked.questions) for name in names})
    typer.echo(f"{len(names)} rows in {out}; save it as .csv or .xlsx when it is filled in")


@app.command("check")
def check_sheet(
    sheet: Annotated[Path, typer.Argument(help=".csv or .xlsx.")],
    images: Annotated[Path | None, typer.Argument(help="Folder of the images.")] = None,
    questionnaire: Asked = DEFAULT,
) -> None:
    """Say per column what of a label sheet is understood, and which files it is about."""
    from layerscope.io.annotated.images import ImageIndex
    from layerscope.io.label_sheets import read_label_sheet
    from layerscope.io.questionnaires import read_questionnaire

    read = read_label_sheet(sheet, read_questionnaire(questionnaire))
    names = [p.name for p in ImageIndex(images).paths] if images else []
    for line in read.report(names):
        typer.echo(line)


@app.command("agree")
def compare_sheets(
    one: Annotated[Path, typer.Argument(help="Sheet of one labeller.")],
    other: Annotated[Path, typer.Argument(help="Sheet of another one.")],
    questionnaire: Asked = DEFAULT,
) -> None:
    """Say how far two labellers agree: Cohen's kappa and accuracy, question by question."""
    from layerscope.io.label_sheets import read_label_sheet
    from layerscope.io.questionnaires import read_questionnaire
    from layerscope.training.categories import agreement

    asked = read_questionnaire(questionnaire)
    figures = agreement(read_label_sheet(one, asked), read_label_sheet(other, asked))
    if not figures:
        raise InputError(f"{one.name} and {other.name} answer no question about the same image")
    for line in figure_lines(figures):
        typer.echo(line)


def synth_categories(
    out: Out,
    number: Annotated[int, typer.Option("-n", help="How many images.")] = 200,
    size: Annotated[str, typer.Option(help="Width x height, px.")] = "224x224",
    seed: Seed = 0,
    rare_share: Annotated[
        float, typer.Option(help="Share of combinations and of disorganised graphene, 0 to 1.")
    ] = 0.0,
) -> None:
    """Write synthetic TEM images with the answers to the questions of graphene-tem."""
    from layerscope.synth.em_categories import categorised_set, write_categorised

    drawn = categorised_set(seed, number, shape=size_of(size), rare_share=rare_share)
    count = write_categorised(drawn, out)
    typer.echo(f"{count} images and labels.csv in {out}")


def categorise_images(
    images: list[str], model: str | None, reading: Reading, out: Path, telling: Telling
) -> NoReturn:
    """Answer about every image, write the run folder, say what came out, and end with its code."""
    from layerscope.io.tables import table_records
    from layerscope.models.file import read_model
    from layerscope.questions import run_categories
    from layerscope.report.categories_folder import CategoriesFolder

    if model is None:
        raise InputError("categories need --model, from 'layerscope train categories'")
    opened = read_model(model)
    folder = CategoriesFolder(out)
    with ProgressBar("answering", telling.quiet) as progress:
        run = run_categories(names_of(images), opened, reading, on_result=folder, progress=progress)
    folder.finish(run, report=telling.report)
    found = {"images": len(run.images), "answers": table_records(run.answers)}
    end_run(run, out, found, _told(run), f"{len(run.images)} images", as_json=telling.as_json)


def _told(run: CategoryRun) -> Iterator[str]:
    for name, rows in run.answers.groupby("image", sort=False):
        told = "; ".join(f"{r['question']} {r['answer']}" for r in rows.to_dict("records"))
        yield f"{name}: {told}"
