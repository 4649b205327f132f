"""Commands for scans of thousands of images."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerscope.cli.groups import FindingOptions, OpticsOptions, ScaleOptions, Telling, grouped
from layerscope.cli.options import (
    MISMATCH,
    OK,
    AsJson,
    Images,
    Material,
    Substrate,
    exit_of,
    names_of,
    tone_points,
    wanted_of,
)
from layerscope.cli.session import Session, WorkOptions
from layerscope.errors import InputError

if TYPE_CHECKING:
    from layerscope.batch.settings import Settings
    from layerscope.core.scan import ScanResult
    from layerscope.core.stage import StagePosition
    from layerscope.io.sources import Source

Run = Annotated[Path, typer.Argument(help="Run folder of a scan.")]


@dataclass(frozen=True)
class StageOptions:
    """Where the images are on the sample."""

    positions: Annotated[
        str | None,
        typer.Option(help="List of stage positions; 'images', 'names', or a pattern of names."),
    ] = None
    position_unit: Annotated[str | None, typer.Option(help="Where the list says none.")] = None
    pitch: Annotated[str | None, typer.Option(help="Of a grid of images, e.g. 400x300um.")] = None
    columns: Annotated[int | None, typer.Option(help="Images per row of that grid.")] = None
    snake: Annotated[bool, typer.Option("--snake", help="Every second row backwards.")] = False
    by_order: Annotated[
        bool, typer.Option("--by-order", help="Match positions to sorted images by order.")
    ] = False

    def place(self, sources: Sequence[Source]) -> Mapping[str, StagePosition]:
        """Position of each image by its path; says on stderr what was noticed."""
        from layerscope.io.positions.assign import place_images
        from layerscope.io.positions.names import Grid

        if self.positions is None:
            return {}
        grid = Grid.parse(self.pitch, self.columns, self.snake) if self.pitch else None
        found = place_images(
            sources, self.positions, unit=self.position_unit, grid=grid, by_order=self.by_order
        )
        for note in found.notes:
            typer.echo(note, err=True)
        return found.by_path(sources)


@dataclass(frozen=True)
class WatchOptions:
    """Images that are still being written."""

    watch: Annotated[
        bool, typer.Option("--watch", help="Analyse images in folders as they are written.")
    ] = False
    idle: Annotated[
        float | None, typer.Option(help="End --watch when nothing came for so long, s.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """Everything that can be asked of `layerscope scan`."""

    images: Images
    material: Material
    substrate: Substrate
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Run folder; the same again resumes.")
    ] = Path("scan")
    work: WorkOptions
    shard: Annotated[str | None, typer.Option(help="i/n: every n-th chunk from i (0..n-1).")] = None
    chunk: Annotated[
        int | None, typer.Option(help="Images per unit of work: 32; 1 with --watch.")
    ] = None
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Folders in folders too.")
    ] = False
    stage: StageOptions
    scale: ScaleOptions
    optics: OpticsOptions
    flat_field: Annotated[
        str, typer.Option(help="'scan': median of many fields; 'image'; or a reference image.")
    ] = "scan"
    finding: FindingOptions
    watching: WatchOptions
    telling: Telling

    def settings(self) -> Settings:
        """Everything that decides a number in the result."""
        from layerscope.batch.settings import Settings

        finding, wanted = self.finding, self.finding.wanted()
        tone, points = tone_points(self.optics.tone)
        return Settings(
            self.material,
            self.substrate,
            pixel_size=self.scale.told(),
            scale_bar=self.scale.scale_bar,
            tone=tone,
            tone_table=points,
            na=self.optics.na,
            oxide_sd_nm=self.optics.oxide_sd,
            flat_field=self.flat_field,
            calibration=str(finding.calibration) if finding.calibration else None,
            head=str(finding.head) if finding.head else None,
            min_area_px=wanted.min_area_px,
            min_area_um2=wanted.min_area_um2,
            layers=wanted.layers,
            residue=wanted.residue,
            max_layers=finding.max_layers,
            max_pixels=finding.max_pixels,
            finder=finding.flake_finder,
            model=finding.model,
        )


@grouped
def scan(request: Request) -> None:
    """Scan thousands of images; the same command again goes on where it stopped."""
    result = _watch(request) if request.watching.watch else _scan(request)
    if result is None:
        typer.echo(f"shard {request.shard} done; 'layerscope merge {request.out}' when all are")
    else:
        _tell(result, request.out, request.telling.as_json)


def _scan(request: Request) -> ScanResult | None:
    """Scan what is there; None where other shards are still to be done."""
    from layerscope.batch.plan import CHUNK_IMAGES
    from layerscope.batch.scan import begin, run_scan
    from layerscope.io.sources import name_sources

    settings, part, telling = request.settings(), _shard(request.shard), request.telling
    if request.watching.idle is not None:
        raise InputError("--idle goes with --watch")
    sources = name_sources(names_of(request.images, deep=request.recursive), deep=request.recursive)
    places, chunk = request.stage.place(sources), request.chunk or CHUNK_IMAGES
    plan = begin(sources, request.out, settings, positions=places, chunk_images=chunk)
    with Session(request.work, telling.quiet) as session:
        progress = session.progress(plan.folder)
        return run_scan(plan, session.engine, shard=part, progress=progress, report=telling.report)


def _watch(request: Request) -> ScanResult:
    """Scan what is being written, until it ends or is stopped."""
    from layerscope.batch.watch import watch_scan

    settings, work, telling = request.settings(), request.work, request.telling
    if request.shard or work.scheduler or work.slurm_opt:
        raise InputError("--watch works on this machine: no --shard, no --scheduler")
    with Session(work, telling.quiet, watching=True) as session:
        return watch_scan(
            names_of(request.images, growing=True),
            request.out,
            settings,
            session.engine,
            deep=request.recursive,
            idle_s=request.watching.idle,
            stop=session.stopping,
            tell=None if telling.quiet else lambda line: typer.echo(line, err=telling.as_json),
            place=request.stage.place,
            progress=session.progress(request.out),
            report=telling.report,
            chunk_images=request.chunk or 1,
        )


@grouped
def merge(run: Run, *, work: WorkOptions, telling: Telling) -> None:
    """Finish a scan whose shards were run apart: calibrate, count, measure, write the tables."""
    from layerscope.batch.plan import Plan
    from layerscope.batch.scan import run_scan

    plan = Plan.load(run)
    with Session(work, telling.quiet) as session:
        result = run_scan(
            plan, session.engine, progress=session.progress(plan.folder), report=telling.report
        )
    if result is not None:
        _tell(result, run, telling.as_json)


def revisit(
    run: Run,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="List: .csv, .pos, .xml (NIS) or .json (useq).")
    ] = Path("revisit.csv"),
    best: Annotated[int | None, typer.Option(help="How many.")] = None,
    layers: Annotated[str | None, typer.Option(help="Wanted numbers, e.g. 1 or 1-3.")] = None,
    min_inscribed: Annotated[str | None, typer.Option(help="Largest circle, e.g. 5um.")] = None,
    min_probability: Annotated[float | None, typer.Option(help="Of the layer number.")] = None,
    complete: Annotated[bool, typer.Option("--complete", help="Only uncut ones.")] = False,
    route: Annotated[bool, typer.Option("--route", help="In a short order to travel.")] = False,
    format: Annotated[
        str | None, typer.Option(help="csv, micromanager, nis, useq; by extension.")
    ] = None,
) -> None:
    """List the best places to go back to, for the microscope or a spreadsheet."""
    from layerscope.batch.tables import load_scan
    from layerscope.core.micrograph import parse_length_nm
    from layerscope.io.positions import write_positions
    from layerscope.tasks.revisit import rank_sites, revisit_positions

    wanted = wanted_of(None, layers, False)
    ranked = rank_sites(
        load_scan(run).sites,
        best=best,
        layers=wanted.layers,
        min_inscribed_um=parse_length_nm(min_inscribed) * 1e-3 if min_inscribed else None,
        min_probability=min_probability,
        complete_only=complete,
    )
    for note in write_positions(out, revisit_positions(ranked, route=route), format):
        typer.echo(note, err=True)
    typer.echo(f"{len(ranked)} places in {out}")


def status(run: Run, as_json: AsJson = False) -> None:
    """Show how far a scan is; it may be running."""
    from layerscope.batch.progress import Snapshot
    from layerscope.batch.upkeep import scan_status

    now = scan_status(run)
    if as_json:
        typer.echo(json.dumps(now))
        return
    state = "running" if now["running"] else "finished" if now["finished"] else "stopped"
    typer.echo(f"{run}: {state}; {now['looked_at']} of {now['images']} images looked at")
    for name, count in now["by_status"].items():
        typer.echo(f"  {count:6d} {name}")
    typer.echo(f"  {now['regions']:6d} regions")
    if now["running"] and now["progress"]:
        typer.echo(str(Snapshot(**now["progress"])))


def retry(
    run: Run,
    status: Annotated[
        list[str] | None, typer.Option(help="Which failures; all if not given. May be repeated.")
    ] = None,
) -> None:
    """Forget failures, so that the next 'scan' looks at those images again."""
    from layerscope.batch.upkeep import retry_scan

    number = retry_scan(run, status or ())
    typer.echo(f"{number} images will be looked at again by the next 'layerscope scan'")


def verify(run: Run, as_json: AsJson = False) -> None:
    """Read every part, table and image again and compare with the ledger's hashes."""
    from layerscope.batch.upkeep import verify_scan

    found = verify_scan(run)
    if as_json:
        typer.echo(json.dumps({"ok": found.ok, **asdict(found)}, ensure_ascii=False))
    else:
        for line in (*found.damaged, *found.changed, *found.missing):
            typer.echo(line)
        verdict = "all as it was" if found.ok else "not as it was"
        typer.echo(f"{found.parts} parts and {found.images} images: {verdict}")
    raise typer.Exit(OK if found.ok else MISMATCH)


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, _, count = text.partition("/")
    if not (first.isdigit() and count.isdigit() and int(first) < int(count)):
        raise InputError(f"--shard {text!r}: expected i/n with i from 0 to n-1, e.g. 0/16")
    return int(first), int(count)


def _tell(result: ScanResult, out: Path, as_json: bool) -> None:
    from layerscope.core.scan import Status

    counts = Counter(result.images["status"])
    failed = sum(n for s, n in counts.items() if Status(s).failed)
    if as_json:
        summary = {
            "images": len(result.images),
            "by_status": dict(sorted(counts.items())),
            "failed": failed,
            "regions": len(result.objects),
            "out": str(out),
        }
        typer.echo(json.dumps(summary, ensure_ascii=False))
    else:
        from layerscope.report.scan_text import summarise

        typer.echo(summarise(result))
        typer.echo(f"results in {out}/")
    raise exit_of(len(result.images) - failed, failed)


COMMANDS: tuple[Callable[..., None], ...] = (scan, merge, revisit, status, retry, verify)
