"""`layerscope run --task crystals`: grown crystals of optical micrographs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from layerscope.cli.options import NOTHING_USABLE, OK, SOME_FAILED, ProgressBar, names_of
from layerscope.errors import InputError

if TYPE_CHECKING:
    from layerscope.core.crystals import CrystalRun
    from layerscope.crystals import Settings


def listed(text: str | None) -> tuple[str, ...]:
    """Names of a comma-separated list."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def smallest(text: str | None) -> tuple[int, float]:
    """Read ``--min-area``: the px and um2 of `Settings`."""
    if text is None:
        return 150, 0.0
    for unit in ("um2", "px"):
        number = text.casefold().removesuffix(unit).strip()
        if text.casefold().endswith(unit) and number.replace(".", "", 1).isdigit():
            return (150, float(number)) if unit == "um2" else (max(round(float(number)), 1), 0.0)
    raise InputError(f"--min-area {text!r}: expected e.g. 2um2 or 150px")


def find_in_images(
    images: list[str], settings: Settings, out: Path, *, report: bool, as_json: bool, quiet: bool
) -> None:
    """Measure every image, write the run folder, say what came out, and end with its exit code."""
    from layerscope.crystals import run_crystals
    from layerscope.report.crystals_folder import CrystalsFolder

    folder = CrystalsFolder(out)
    with ProgressBar("measuring", quiet) as progress:
        run = run_crystals(names_of(images), settings, on_result=folder, progress=progress)
    folder.finish(run, report=report)
    _tell(run, out, as_json=as_json)
    usable, failed = len(run.images), len(run.failures)
    raise typer.Exit(NOTHING_USABLE if not usable else SOME_FAILED if failed else OK)


def _tell(run: CrystalRun, out: Path, *, as_json: bool) -> None:
    if as_json:
        figures = run.images.astype(object).where(run.images.notna(), None)
        failed = [{"path": f.path, "reason": f.reason} for f in run.failures]
        summary = {"images": figures.to_dict("records"), "crystals": len(run.crystals),
                   "failed": failed, "out": str(out)}  # fmt: skip
        typer.echo(json.dumps(summary, ensure_ascii=False))
        return
    for row in run.images.to_dict("records"):
        n, cores, doubt = row["crystals"], row["heterostructures"], row["doubts"]
        text = f"{row['image']}: {n} crystal{'' if n == 1 else 's'}"
        text += _named(run, row["image"])
        text += f", {cores} with core and shell" if cores else ""
        text += f", coverage {100 * row['coverage']:.1f} %"
        typer.echo(text + ("  (look at it)" if doubt else ""))
    for failure in run.failures:
        typer.echo(f"not analysed: {failure.reason}", err=True)
    typer.echo(f"{len(run.crystals)} crystals on {len(run.images)} images; results in {out}/")


def _named(run: CrystalRun, image: str) -> str:
    """How many of each class, where a model named them."""
    table = run.crystals
    names = [n for n in table["class"][table["image"] == image].tolist() if n]
    told = ", ".join(f"{names.count(n)} {n}" for n in sorted(set(names)))
    return f" ({told})" if told else ""
