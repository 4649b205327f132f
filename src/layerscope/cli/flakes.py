"""`layerscope run --task flakes` and `layerscope calibrate`: exfoliated flakes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from layerscope.cli.options import (
    NOTHING_USABLE,
    Images,
    Material,
    Na,
    OxideSd,
    ProgressBar,
    Quiet,
    Substrate,
    Tone,
    exit_of,
    failed_json,
    flat_field_of,
    names_of,
    tell_failures,
    tone_of,
    wanted_of,
)

if TYPE_CHECKING:
    from layerscope.core.run import RunResult
    from layerscope.io.labels import Labels


@dataclass(frozen=True)
class Asked:
    """Options of the command, as they were typed."""

    material: str
    substrate: str
    pixel_size: str | None
    objective: str | None
    magnification_table: str | None
    scale_bar: str | None
    tone: str | None
    na: float
    oxide_sd: float
    flat_field: str | None
    calibration: Path | None
    labels: Path | None
    head: Path | None
    finder: str
    model: str | None
    min_area: str | None
    layers: str | None
    keep_residue: bool
    max_layers: int
    max_pixels: int


def find_in_images(
    images: list[str], asked: Asked, out: Path, *, report: bool, as_json: bool, quiet: bool
) -> NoReturn:
    """Find the flakes, write the run folder, say what came out, and end with its exit code."""
    from layerscope import finding, pipeline
    from layerscope.io.calibration import read_calibration
    from layerscope.io.labels import read_labels
    from layerscope.models.heads import load_head
    from layerscope.report.folder import write_run
    from layerscope.tasks.finders import choose_finder

    find = choose_finder(asked.finder or ("network" if asked.model else "classical"), asked.model)
    names = names_of(images)
    known = read_labels(asked.labels) if asked.labels else None
    scale = finding.Scale(
        asked.pixel_size, asked.objective, asked.magnification_table, asked.scale_bar
    )
    curve = tone_of(asked.tone)
    flat = flat_field_of(asked.flat_field, names)
    with ProgressBar("analysing", quiet) as progress:
        result = pipeline.run(
            names,
            material=asked.material,
            substrate=asked.substrate,
            scale=scale,
            optics=finding.Optics(curve, asked.na, asked.oxide_sd, flat),
            wanted=wanted_of(asked.min_area, asked.layers, asked.keep_residue),
            calibration=read_calibration(asked.calibration) if asked.calibration else None,
            labels=known,
            head=load_head(asked.head) if asked.head else None,
            finder=find,
            max_layers=asked.max_layers,
            max_pixels=asked.max_pixels,
            progress=progress,
        )
    with ProgressBar("writing", quiet) as progress:
        write_run(result, out, report=report, progress=progress)
    tell_run(result, out, as_json=as_json)
    for note in _label_notes(known, result):
        typer.echo(note, err=True)
    raise exit_of(len(result.images), len(result.failures))


def calibrate(
    images: Images,
    material: Material,
    substrate: Substrate,
    out: Annotated[Path, typer.Option("-o", "--out")] = Path("calibration.toml"),
    tone: Tone = None,
    na: Na = 0.45,
    oxide_sd: OxideSd = 10.0,
    labels: Annotated[Path | None, typer.Option(help="CSV image,x,y,layers or masks.")] = None,
    quiet: Quiet = False,
) -> None:
    """Find oxide, camera channels and tone from flakes, without labels, and save them."""
    from layerscope import finding, pipeline
    from layerscope.io.calibration import write_calibration
    from layerscope.io.labels import read_labels

    optics = finding.Optics(tone_of(tone), na, oxide_sd)
    with ProgressBar("analysing", quiet) as progress:
        result = pipeline.run(
            names_of(images),
            material=material,
            substrate=substrate,
            optics=optics,
            labels=read_labels(labels) if labels else None,
            progress=progress,
        )
    tell_failures(result.failures)
    if result.calibration is None or not result.calibration.setups:
        raise typer.Exit(NOTHING_USABLE)
    write_calibration(out, result.calibration)
    for line in _setup_lines(result):
        typer.echo(line)
    typer.echo(f"written to {out}")
    raise exit_of(len(result.images), len(result.failures))


def _setup_lines(result: RunResult) -> list[str]:
    if result.calibration is None:
        return []
    lines = []
    for i, s in enumerate(result.calibration.setups):
        images = sum(r.setup == i for r in result.images)
        lines.append(
            f"setup {i}: {images} images, {s.n_regions} regions, calibration {s.status}"
            + "".join(f"\n  - {reason}" for reason in s.reasons)
        )
    return lines


def tell_run(result: RunResult, out: Path, *, as_json: bool) -> None:
    """Say what came out."""
    counts = result.objects["n_layers"].value_counts()
    order = sorted(counts.index, key=lambda n: (not n.isdigit(), int(n) if n.isdigit() else 0, n))
    if as_json:
        summary = {
            "images": len(result.images),
            "failed": failed_json(result.failures),
            "regions": {n: int(counts[n]) for n in order},
            "out": str(out),
        }
        typer.echo(json.dumps(summary, ensure_ascii=False))
        return
    for line in _setup_lines(result):
        typer.echo(line)
    numbers = ", ".join(f"{counts[n]} x {n}{'L' if n.isdigit() else ''}" for n in order)
    typer.echo(f"{len(result.images)} images: {numbers or 'no flakes'}")
    tell_failures(result.failures)
    typer.echo(f"results in {out}/")


def _label_notes(labels: Labels | None, result: RunResult) -> list[str]:
    """Say which labels could not be used."""
    if labels is None:
        return []
    from layerscope.io.labels import same_image

    named = {*labels.image, *labels.masks}
    images = [r.name for r in result.images]
    lost = sorted(n for n in named if not any(same_image(n, i) for i in images))
    return [*labels.notes, *(f"labels of {n}: no such image in this run" for n in lost)]
