"""`layerscope models`: what model files there are, what one says of itself, and its exports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerscope.errors import InputError, UnknownName

if TYPE_CHECKING:
    from layerscope.models.card import ModelCard, TrainingSet

app = typer.Typer(help="Model files: list, show, export.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Model file, or the name of a shipped one.")]


@app.command("list")
def list_models(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders with model files; else this one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Cards as JSON.")] = False,
) -> None:
    """List the models that come with the package and those in folders."""
    import json

    from layerscope.models import shelf

    places = folders or [Path()]
    for place in places:
        if not place.is_dir():
            raise InputError(f"{place}: no folder; expected one with model files")
    found, refused = shelf.list_models(places)
    if as_json:
        rows = [
            {"path": str(m.path), "sha256": m.sha256, "card": json.loads(m.card.to_json())}
            for m in found
        ]
        typer.echo(json.dumps(rows, ensure_ascii=False))
    else:
        for model in found:
            card = model.card
            told = f"{model.name:28s} {card.task:10s} {card.network:16s}"
            typer.echo(f"{told} {', '.join(_answers_to(card))}")
        if not found:
            typer.echo("no models here; 'layerscope train' makes one")
    for reason in refused:
        typer.echo(f"not listed: {reason}", err=True)


@app.command("show")
def show(
    name: Name,
    as_json: Annotated[bool, typer.Option("--json", help="The card as JSON.")] = False,
) -> None:
    """Print what a model says of itself."""
    from layerscope.models.file import read_model
    from layerscope.models.shipped import model_path

    model = read_model(model_path(name))
    if as_json:
        typer.echo(model.card.to_json())
        return
    typer.echo(f"{model.path.name}: {model.path.stat().st_size / 1e6:.2f} MB")
    typer.echo("\n".join(card_lines(model.card)))
    typer.echo(f"sha256          {model.sha256}")


@app.command("export")
def export(
    name: Name,
    to: Annotated[str, typer.Option("--to", help="onnx or bioimageio.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File to write.")] = None,
    licence: Annotated[str, typer.Option(help="SPDX name, e.g. CC-BY-4.0: bioimageio.")] = "",
    author: Annotated[list[str] | None, typer.Option(help="Who made it: bioimageio.")] = None,
) -> None:
    """Write a model for another program."""
    from layerscope.io.atomic import write_bytes
    from layerscope.models.bioimageio import write_package
    from layerscope.models.file import read_model
    from layerscope.models.shipped import model_path

    endings = {"onnx": ".onnx", "bioimageio": ".zip"}
    if to not in endings:
        raise UnknownName.of("format", to, endings)
    model = read_model(model_path(name))
    path = out or Path(f"{model.path.stem}{endings[to]}")
    if path.exists() and path.resolve() == model.path.resolve():
        raise InputError(f"{path} is the model itself; give another name with -o")
    if to == "onnx":
        write_bytes(path, model.path.read_bytes())
    else:
        write_package(model, path, licence=licence, authors=tuple(author or ()))
    typer.echo(f"written to {path}")


def _answers_to(card: ModelCard) -> list[str]:
    """Classes of a model, or the questions whose answers they are."""
    if card.output != "answers":
        return list(card.classes)
    return list(dict.fromkeys(name.partition(": ")[0] for name in card.classes))


def card_lines(card: ModelCard) -> list[str]:
    """Lines of a card for people."""
    size = card.pixel_size_nm
    cuts = ", ".join(f"{name} {value:g}" for name, value in card.thresholds.items())
    reach = "the whole image" if card.margin_px is None else f"{card.margin_px} px"
    sees = f"{_count(card.channels, 'channel')}, {card.normalisation}"
    sees += f", {card.features} pixel features" if card.input == "pixel_features" else ""
    rows = [
        ("name", card.name),
        ("task", f"{card.task}, answers with {card.output}"),
        ("classes", ", ".join(card.classes)),
        ("sees", sees),
        ("pixel size", f"{size[0]:g} to {size[1]:g} nm" if size else "not known"),
        ("looks as far as", reach if card.input == "image" else ""),
        ("thresholds", cuts),
        ("network", f"{card.network}, {card.parameters:,} parameters, {card.precision}"),
        *(("trained on", _source(s)) for s in card.trained_on),
        *(("figure", f"{k} {_short(v)}") for k, v in sorted(card.metrics.items())),
        *(("setting", f"{k} {_short(v)}") for k, v in sorted(card.settings.items())),
        ("made with", ", ".join(f"{k} {v}" for k, v in sorted(card.made_with.items()))),
    ]
    return [f"{name:15s} {text}" for name, text in rows if text]


def _source(source: TrainingSet) -> str:
    images, groups = _count(source.images, "image"), _count(source.groups, "specimen")
    told = [f"{source.name}: {images} of {groups}"]
    return ", ".join([*told, *(t for t in (source.licence, source.attribution) if t)])


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{k} {_short(v)}" for k, v in value.items())
    if isinstance(value, list | tuple) and any(isinstance(v, dict) for v in value):
        return f"{len(value)} entries"
    if isinstance(value, list | tuple):
        return ", ".join(_short(v) for v in value)
    return str(value)
