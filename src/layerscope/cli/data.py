"""`layerscope data` and `layerscope convert`: look at labelled images, and write them anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from layerscope.cli.normalisations import normalisations
from layerscope.cli.options import OK, SOME_FAILED, PixelSizeText, Seed
from layerscope.errors import InputError

if TYPE_CHECKING:
    from layerscope.core.examples import DataSet
    from layerscope.training.data import DataReport

_MOST_NOTES = 12

Data = Annotated[Path, typer.Argument(help="Folder or file of labelled images.")]
Source = Annotated[str, typer.Option("--from", help="Format of the labels; auto looks.")]
Values = Annotated[
    str | None,
    typer.Option("--classes", help="Label pictures: value=class, e.g. 0=background,255=film."),
]
Groups = Annotated[
    str | None,
    typer.Option("--group-by", help="Regular expression: the specimen in an image's name."),
]
Images = Annotated[
    Path | None, typer.Option("--images", help="Folder of the images, if not with the labels.")
]
Instances = Annotated[
    bool | None,
    typer.Option("--instances/--no-instances", help="Label pictures number objects, not classes."),
]


def data(
    source: Data,
    form: Source = "auto",
    classes: Values = None,
    group_by: Groups = None,
    instances: Instances = None,
    images: Images = None,
    pixel_size: PixelSizeText = None,
    share: Annotated[float, typer.Option(help="Held out, where the files name no splits.")] = 0.2,
    seed: Seed = 0,
    preview: Annotated[
        Path | None, typer.Option(help="Picture of augmented patches, .png or .pdf.")
    ] = None,
    patch: Annotated[int, typer.Option(help="Side of the patches in it, px.")] = 256,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON on stdout.")] = False,
) -> None:
    """Report the examples, classes and pixels of labelled images, and what is wrong with them."""
    from layerscope.training.data import describe_data

    dataset = _read(source, form, classes, group_by, instances, images, pixel_size)
    report = describe_data(dataset, share, seed)
    typer.echo(_as_json(dataset, report) if as_json else _as_text(dataset, report))
    if preview is not None:
        from layerscope.training.preview import preview_augmentation

        preview_augmentation(dataset, preview, size_px=patch, seed=seed)
        typer.echo(f"preview: {preview}", err=as_json)
    raise typer.Exit(SOME_FAILED if report.unreadable else OK)


def convert(
    source: Data,
    out: Annotated[Path, typer.Option("-o", "--out", help="New folder.")],
    to: Annotated[str, typer.Option("--to", help="coco, yolo_seg, labelme ...")],
    form: Source = "auto",
    classes: Values = None,
    group_by: Groups = None,
    instances: Instances = None,
    images: Images = None,
    pixel_size: PixelSizeText = None,
) -> None:
    """Write labelled images in the format of another program."""
    from layerscope.io.annotated import write_dataset

    dataset = _read(source, form, classes, group_by, instances, images, pixel_size)
    lost = write_dataset(dataset, out, to)
    for line in _first([*dataset.notes, *lost]):
        typer.echo(f"note: {line}", err=True)
    typer.echo(f"{len(dataset)} images, {len(dataset.classes) - 1} classes: {to} in {out}/")


def _read(
    source: Path,
    form: str,
    classes: str | None,
    group_by: str | None,
    instances: bool | None,
    images: Path | None,
    pixel_size: str | None,
) -> DataSet:
    from layerscope.io.annotated import read_dataset

    return read_dataset(
        source,
        form,
        values=None if classes is None else value_map(classes),
        group_pattern=group_by,
        instances=instances,
        images=images,
        pixel_size=pixel_size,
    )


def value_map(text: str) -> dict[str, int]:
    """Class to value from ``0=background,255=film``.

    Raises
    ------
    InputError
        If a part is no number with a name, or a name or number is given twice.
    """
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(v.strip().isdigit() and sign and n.strip() for v, sign, n in pairs):
        raise InputError(f"--classes {text!r}: expected value=class, e.g. 0=background,255=film")
    found = {name.strip(): int(value) for value, _, name in pairs}
    if len(found) < len(pairs):
        raise InputError(f"--classes {text!r}: a class is named twice")
    return found


def _as_text(dataset: DataSet, report: DataReport) -> str:
    groups = len(set(dataset.groups))
    table = report.table.copy()
    table["share"] = [f"{100 * s:.2f} %" for s in table["share"]]
    table["objects"] = ["" if missing else str(n) for n, missing in _cells(table["objects"])]
    lines = [
        f"{len(dataset)} images, {groups} groups ({dataset.grouped_by})",
        f"splits: {report.split_by}",
        "",
        table.to_string(index=False),
        *([""] if report.warnings or dataset.notes or report.unreadable else []),
        *(f"warning: {w}" for w in report.warnings),
        *(f"not readable: {u}" for u in _first(report.unreadable)),
        *(f"note: {n}" for n in _first(dataset.notes)),
    ]
    return "\n".join(lines)


def _cells(column: Any) -> list[tuple[Any, bool]]:
    return list(zip(column, column.isna(), strict=True))


def _first(notes: Any) -> list[str]:
    shown = list(notes[:_MOST_NOTES])
    return shown if len(notes) <= _MOST_NOTES else [*shown, f"{len(notes) - _MOST_NOTES} more"]


def _as_json(dataset: DataSet, report: DataReport) -> str:
    summary = {
        "images": len(dataset),
        "groups": len(set(dataset.groups)),
        "grouped_by": dataset.grouped_by,
        "classes": list(dataset.classes),
        "split_by": report.split_by,
        "table": json.loads(report.table.to_json(orient="records")),
        "warnings": list(report.warnings),
        "unreadable": list(report.unreadable),
        "notes": list(dataset.notes),
    }
    return json.dumps(summary, ensure_ascii=False)


COMMANDS = (data, convert, normalisations)
