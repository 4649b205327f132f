"""`layerscope run`: from images to a table of what is on them, whatever the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from layerscope.cli.groups import FindingOptions, OpticsOptions, ScaleOptions, Telling, grouped
from layerscope.cli.options import MATERIAL, SUBSTRATE, Images, listed
from layerscope.errors import InputError, UnknownName


@dataclass(frozen=True)
class FilmOptions:
    """Of the coverage of films."""

    channel: Annotated[str | None, typer.Option(help="Coverage: channel of a scan.")] = None
    threshold: Annotated[float | None, typer.Option(help="Coverage: by hand, nm or grey.")] = None
    method: Annotated[str, typer.Option(help="Coverage: auto, terraces, edges ...")] = "auto"
    film: Annotated[str | None, typer.Option(help="Coverage: bright or dark side.")] = None
    levelling: Annotated[str, typer.Option(help="Coverage: auto, none, plane ...")] = "auto"
    z_range: Annotated[float | None, typer.Option(help="Coverage: of a colour bar, nm.")] = None
    width: Annotated[float | None, typer.Option(help="Coverage: of a picture, um.")] = None
    conditions: Annotated[
        Path | None, typer.Option(help="Coverage: CSV of growth conditions, for a study of them.")
    ] = None


@dataclass(frozen=True)
class AnswerOptions:
    """Of answers, by pixels or by questions."""

    magnification: Annotated[
        str | None, typer.Option(help="Categories: of all images, e.g. 50kx.")
    ] = None
    unknown_below: Annotated[
        float | None, typer.Option(help="Categories, particles: least probability.")
    ] = None


@dataclass(frozen=True)
class ParticleOptions:
    """Of particles, and the border of crystals."""

    objects: Annotated[
        str | None, typer.Option(help="Particles: classes that are, e.g. gfm,debris.")
    ] = None
    holes: Annotated[
        str | None, typer.Option(help="Particles: classes that are holes of the support.")
    ] = None
    border: Annotated[
        str,
        typer.Option(help="Particles, crystals that the border cuts: weighted, half, excluded."),
    ] = "weighted"
    polarity: Annotated[
        str, typer.Option(help="Particles without model and labels: auto, dark, bright, both.")
    ] = "auto"
    split: Annotated[
        bool, typer.Option("--split", help="Particles: part convex ones that touch.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class Request:
    """Everything that can be asked of `layerscope run`."""

    images: Images
    material: Annotated[str | None, MATERIAL] = None
    materials: Annotated[
        str | None, typer.Option(help="Crystals: that may have grown, e.g. MoS2,MoSe2.")
    ] = None
    substrate: Annotated[str | None, SUBSTRATE] = None
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")] = Path("run")
    task: Annotated[
        str,
        typer.Option(
            help="flakes: optical; coverage: AFM, pictures of films; phases, categories: by model; "
            "particles: TEM, SEM; crystals: optical, as grown."
        ),
    ] = "flakes"
    films: FilmOptions
    scale: ScaleOptions
    answers: AnswerOptions
    particles: ParticleOptions
    optics: OpticsOptions
    flat_field: Annotated[
        str | None, typer.Option(help="Reference image, or 'set': median of these images.")
    ] = None
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV image,x,y,layers or masks; particles: folder of label pictures."),
    ] = None
    finding: FindingOptions
    telling: Telling


@grouped
def run(request: Request) -> None:
    """Find flakes and count layers; coverage of films; phases, categories, particles, crystals."""
    if request.task not in TASKS:
        raise UnknownName.of("task", request.task, TASKS)
    TASKS[request.task](request)


def _flakes(request: Request) -> NoReturn:
    from layerscope.cli.flakes import find_flakes

    if request.material is None or request.substrate is None:
        raise InputError(
            "flakes need --material and --substrate, e.g. -m graphene -s SiO2(90nm)/Si"
        )
    find_flakes(request, request.material, request.substrate)


def _coverage(request: Request) -> NoReturn:
    from layerscope.cli.coverage import cover_images
    from layerscope.surfaces import Question

    asked, finding = request.films, request.finding
    question = Question(
        request.material, asked.method, asked.threshold, asked.film, min(finding.max_layers, 4),
        asked.levelling, asked.channel, request.scale.pixel_size, asked.z_range, asked.width,
        finding.max_pixels,
    )  # fmt: skip
    cover_images(request.images, question, request.out, request.telling, asked.conditions)


def _phases(request: Request) -> NoReturn:
    from layerscope.cli.phases import segment_images
    from layerscope.segmentation import Scale

    scale = Scale(request.scale.pixel_size, request.finding.max_pixels, request.scale.table)
    segment_images(request.images, request.finding.model, scale, request.out, request.telling)


def _categories(request: Request) -> NoReturn:
    from layerscope.cli.categories import categorise_images
    from layerscope.ops.magnification import parse_magnification
    from layerscope.questions import Reading

    asked, finding = request.answers, request.finding
    times = parse_magnification(asked.magnification) if asked.magnification else None
    reading = Reading(
        request.scale.pixel_size, times, asked.unknown_below, finding.max_pixels,
        request.scale.table,
    )  # fmt: skip
    categorise_images(request.images, finding.model, reading, request.out, request.telling)


def _particles(request: Request) -> NoReturn:
    from layerscope.cli.particles import Asked, measure_images

    of, scale, finding = request.particles, request.scale, request.finding
    asked = Asked(
        finding.model, request.labels, of.objects, of.holes, finding.min_area, scale.pixel_size,
        scale.scale_bar, of.border, of.polarity, of.split, finding.max_pixels,
        scale.magnification_table, request.answers.unknown_below,
    )  # fmt: skip
    measure_images(request.images, asked, request.out, request.telling)


def _crystals(request: Request) -> NoReturn:
    from layerscope.cli.crystals import find_crystals, smallest
    from layerscope.crystals import Settings

    scale, finding = request.scale, request.finding
    settings = Settings(
        listed(request.materials or request.material), request.substrate, request.optics.na,
        scale.pixel_size, scale.objective, scale.table, scale.scale_bar,
        *smallest(finding.min_area), border=request.particles.border,
        max_pixels=finding.max_pixels, model=finding.model,
    )  # fmt: skip
    find_crystals(request.images, settings, request.out, request.telling)


TASKS: Mapping[str, Callable[[Request], NoReturn]] = {
    "flakes": _flakes,
    "coverage": _coverage,
    "phases": _phases,
    "categories": _categories,
    "particles": _particles,
    "crystals": _crystals,
}
