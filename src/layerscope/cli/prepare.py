"""`layerscope prepare`: images and masks made ready to learn from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerscope.cli.data import value_map
from layerscope.cli.options import Images, PixelSizeText, ProgressBar, Quiet, exit_of, names_of
from layerscope.errors import InputError

if TYPE_CHECKING:
    from layerscope.core.prepared import Preparation
    from layerscope.labelling.dataset_settings import PrepareSettings
    from layerscope.labelling.dataset_sources import MaskSource, Thresholds

_PAIR = re.compile(r"[^=]+=[^=]+")


def prepare(
    images: Images,
    out: Annotated[Path, typer.Option("-o", "--out", help="New folder.")],
    masks: Annotated[
        list[str],
        typer.Option(help="Folder of masks, or an .ilp, of all classes; flake=FOLDER: of one."),
    ],
    classes: Annotated[
        str | None, typer.Option(help="Of a folder of all: 1=film,2=flake; the first: background.")
    ] = None,
    threshold: Annotated[
        list[str] | None, typer.Option(help="Least probability: 0.6 for all, flake=0.8 for one.")
    ] = None,
    thresholds: Annotated[
        Path | None,
        typer.Option(help="CSV image,class,threshold; or the .json of a pixel model."),
    ] = None,
    both: Annotated[
        list[str] | None, typer.Option(help="A pixel may be both: flake+hole. May be repeated.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Longest side, or width x height, px; as it is by default.")
    ] = None,
    fill: Annotated[
        str, typer.Option(help="Pixels of no class: nearest, unlabelled or background.")
    ] = "nearest",
    fill_within: Annotated[
        float | None, typer.Option(help="Farther from any class they stay unlabelled, px.")
    ] = None,
    opening: Annotated[
        list[str] | None, typer.Option(help="Remove specks and threads: flake=3, a radius in px.")
    ] = None,
    export: Annotated[
        str, typer.Option(help="Of ilastik: Probabilities, Labels or Simple Segmentation.")
    ] = "",
    channel: Annotated[
        int, typer.Option(help="With flake=FOLDER: the class there, counted from 1.")
    ] = 1,
    pixel_size: PixelSizeText = None,
    quiet: Quiet = False,
) -> None:
    """Make a data set of images and masks: paired, thresholded, cleaned, checked and counted."""
    from layerscope.labelling.dataset import prepare as make
    from layerscope.labelling.dataset_settings import PrepareSettings
    from layerscope.report.dataset_folder import PreparedFolder

    settings = PrepareSettings(
        tuple(_source(text, channel, export) for text in masks),
        value_map(classes) if classes else _project_classes(masks),
        _thresholds(threshold or [], thresholds),
        tuple(_both(text) for text in both or []),
        _size(size),
        fill,
        float("inf") if fill_within is None else fill_within,
        {name: int(value) for name, value in (_named(o, "--opening") for o in opening or [])},
        pixel_size,
    )
    folder = PreparedFolder(out)
    with ProgressBar("preparing", quiet) as progress:
        made = make(names_of(images), settings, on_image=folder, progress=progress)
    folder.finish(made)
    _tell(made, settings, out)
    raise exit_of(len(made.counts), len(made.failures))


def _project_classes(masks: list[str]) -> dict[str, int]:
    """Labels of a project by their names, where a project is all there is."""
    if len(masks) != 1 or not masks[0].casefold().endswith(".ilp"):
        return {}
    from layerscope.labelling.ilastik import read_project

    return {name: i for i, name in enumerate(read_project(masks[0]).classes, 1)}


def _source(text: str, channel: int, export: str) -> MaskSource:
    from layerscope.labelling.dataset_sources import EXPORTS, MaskSource

    if export and export not in EXPORTS:
        raise InputError(f"--export {export!r}: expected {', '.join(EXPORTS)}")
    name, sign, folder = text.partition("=")
    if not sign:
        return MaskSource(Path(text), kind=export)
    return MaskSource(Path(folder), name.strip(), channel, export)


def _thresholds(texts: list[str], table: Path | None) -> Thresholds:
    """Thresholds of a file, and those told beside it, which win for all images and a class."""
    from layerscope.labelling.dataset_sources import Thresholds, read_thresholds
    from layerscope.labelling.thresholds import read_thresholds as read_saved

    known = Thresholds()
    if table is not None:
        saved = table.suffix.casefold() == ".json"
        known = read_saved(table) if saved else Thresholds(of_image=read_thresholds(table))
    default, of_class = known.default, dict(known.of_class)
    for text in texts:
        if _PAIR.fullmatch(text):
            name, value = _named(text, "--threshold")
            of_class[name] = value
        else:
            default = _number(text, "--threshold")
    return Thresholds(default, of_class, known.of_image)


def _named(text: str, option: str) -> tuple[str, float]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise InputError(f"{option} {text!r}: expected a class and a number, e.g. flake=3")
    return name.strip(), _number(value, option)


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{option} {text!r}: expected a number") from None


def _both(text: str) -> frozenset[str]:
    pair = frozenset(part.strip() for part in text.split("+"))
    if len(pair) != 2 or "" in pair:
        raise InputError(f"--both {text!r}: expected two classes, e.g. flake+hole")
    return pair


def _size(text: str | None) -> int | tuple[int, int] | None:
    from layerscope.cli.options import size_of

    if text is None:
        return None
    return int(text) if text.isdigit() and int(text) > 0 else size_of(text)


def _tell(made: Preparation, settings: PrepareSettings, out: Path) -> None:
    status = made.pairing["status"].value_counts()
    kinds = ("paired", "no mask", "no image", "refused")
    typer.echo(", ".join(f"{int(status.get(kind, 0))} {kind}" for kind in kinds))
    for row in made.pairing.to_dict("records"):
        if row["status"] != "paired":
            typer.echo(f"  {row['status']}: {row['why'] or row['name']}", err=True)
    for name in settings.classes:
        rows = made.counts[made.counts["class"] == name]
        shared = f", {int(rows['shared'].sum())} also of another" if settings.overlapping else ""
        typer.echo(f"  {name}: {int(rows['pixels'].sum())} px{shared}")
    flag = " --overlapping" if settings.overlapping else ""
    typer.echo(f"look at {out}/qc, then: layerscope train phases {out}/dataset{flag}")


COMMANDS = (prepare,)
"""Commands of this module."""
