"""`layerscope label`: paint, see the answer, correct, accept; in the browser."""

from __future__ import annotations

import threading
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerscope.cli.listening import address_of, listen, token_for
from layerscope.cli.options import PixelSizeText, names_of
from layerscope.errors import InputError, MissingExtra

if TYPE_CHECKING:
    from layerscope.app.masks import MaskFolder
    from layerscope.app.project import Project
    from layerscope.models.file import Model

_OPEN_AFTER_S = 0.8
_PATIENCE_S = 2


def label(
    images: Annotated[
        list[str] | None,
        typer.Argument(help="Images or folders; none: those that the project has."),
    ] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder of the project; one that is there goes on.")
    ] = Path("labels"),
    classes: Annotated[
        str | None, typer.Option(help="What to paint, e.g. flake,hole,film.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="From 'layerscope train phases': its answer to correct.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Label pictures to correct, or the folder of a run.")
    ] = None,
    pixel_size: PixelSizeText = None,
    user: Annotated[str, typer.Option(help="Your name in the edit log.")] = "",
    host: Annotated[
        str, typer.Option(help="Where to listen; any other needs a token in the address.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free.")] = 8000,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
) -> None:
    """Label images in the browser: paint a few strokes, correct the answer, accept."""
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise MissingExtra.of("labelling in the browser", "app")
    from layerscope.app.project import Project

    opened, pictures = _model_of(model), _masks_of(masks)
    names = [n.strip() for n in classes.split(",")] if classes else _classes_of(opened, pictures)
    with Project.open(
        out,
        names_of(images or []),
        classes=names if classes or not (out / "classes.toml").exists() else (),
        who=user,
        pixel_size=pixel_size,
    ) as project:
        for note in project.log.notes:
            typer.echo(note, err=True)
        if pictures is not None:
            _import(project, pictures)
        _serve(project, opened, host, port, browser)


def _model_of(path: Path | None) -> Model | None:
    if path is None:
        return None
    from layerscope.models.file import read_model
    from layerscope.tasks.phases import require_phases

    opened = read_model(path)
    require_phases(opened.card)
    return opened


def _masks_of(folder: Path | None) -> MaskFolder | None:
    if folder is None:
        return None
    from layerscope.app.masks import open_masks

    return open_masks(folder)


def _classes_of(model: Model | None, masks: MaskFolder | None) -> list[str]:
    """Classes that a model or masks have, where none were told."""
    if masks is not None:
        return list(masks.classes)
    return [] if model is None else list(model.card.classes)


def _import(project: Project, masks: MaskFolder) -> None:
    """Lay the masks under the corrections of images that have no labels yet."""
    names = [c.name for c in project.classes]
    taken = 0
    for index, image in enumerate(project.images):
        labels = masks.read(image.name, names)
        if labels is not None and project.state(index).state in ("unlabelled", "painted"):
            project.import_labels(index, labels, str(masks.pictures[image.name]))
            taken += 1
    if not taken and not any(i.name in masks.pictures for i in project.images):
        raise InputError("no mask has the name of an image")
    typer.echo(f"{taken} label pictures imported")


def _serve(project: Project, model: Model | None, host: str, port: int, browser: bool) -> None:
    import uvicorn

    from layerscope.app.painter import Painter
    from layerscope.app.server import create_app

    token = token_for(host)
    app = create_app(Painter(project, model=model), token=token)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_PATIENCE_S)
    listening = listen(host, port)
    address = address_of(host, listening.getsockname()[1], token)
    typer.echo(f"{len(project.images)} images in {project.folder}; Ctrl-C ends it\n\n  {address}\n")
    if browser:
        threading.Timer(_OPEN_AFTER_S, webbrowser.open, [address]).start()
    uvicorn.Server(config).run(sockets=[listening])
