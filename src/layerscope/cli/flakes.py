"""`layerscope run --task flakes` and `layerscope calibrate`: exfoliated flakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from layerscope.cli.groups import OpticsOptions, grouped
from layerscope.cli.options import (
    NOTHING_USABLE,
    Images,
    Material,
    Out,
    ProgressBar,
    Quiet,
    Substrate,
    exit_of,
    failed_json,
    flat_field_of,
    names_of,
    tell_failures,
)

if TYPE_CHECKING:
    from layerscope.cli.run import Request
    from layerscope.core.run import RunResult
    from layerscope.io.labels import Labels


def find_flakes(request: Request, material: str, substrate: str) -> NoReturn:
    """Find the flakes, write the run folder, say what came out, and end with its exit code."""
    from layerscope import pipeline
    from layerscope.io.calibration import read_calibration
    from layerscope.io.labels import read_labels
    from layerscope.models.heads import load_head
    from layerscope.report.folder import write_run
    from layerscope.tasks.finders import choose_finder

    asked, telling, known = request.finding, request.telling, None
    finder = choose_finder(asked.flake_finder, asked.model)
    names = names_of(request.images)
    if request.labels:
        known = read_labels(request.labels)
    with ProgressBar("analysing", telling.quiet) as progress:
        result = pipeline.run(
            names,
            material=material,
            substrate=substrate,
            scale=request.scale.scale(),
            optics=request.optics.optics(flat_field_of(request.flat_field, names)),
            wanted=asked.wanted(),
            calibration=read_calibration(asked.calibration) if asked.calibration else None,
            labels=known,
            head=load_head(asked.head) if asked.head else None,
            finder=finder,
            max_layers=asked.max_layers,
            max_pixels=asked.max_pixels,
            progress=progress,
        )
    with ProgressBar("writing", telling.quiet) as progress:
        write_run(result, request.out, report=telling.report, progress=progress)
    tell_run(result, request.out, as_json=telling.as_json)
    for note in _label_notes(known, result):
        typer.echo(note, err=True)
    raise exit_of(len(result.images), len(result.failures))


@grouped
def calibrate(
    images: Images,
    material: Material,
    substrate: Substrate,
    out: Out = Path("calibration.toml"),
    *,
    optics: OpticsOptions,
    labels: Annotated[Path | None, typer.Option(help="CSV image,x,y,layers or masks.")] = None,
    quiet: Quiet = False,
) -> None:
    """Find oxide, camera channels and tone from flakes, without labels, and save them."""
    from layerscope import pipeline
    from layerscope.io.calibration import write_calibration
    from layerscope.io.labels import read_labels

    with ProgressBar("analysing", quiet) as progress:
        result = pipeline.run(
            names_of(images),
            material=material,
            substrate=substrate,
            optics=optics.optics(),
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
