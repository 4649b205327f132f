"""`layerscope run --task particles`: particles of electron micrographs, counted and measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from layerscope.cli.options import ProgressBar, end_run, listed, names_of
from layerscope.errors import InputError

if TYPE_CHECKING:
    from layerscope.cli.groups import Telling
    from layerscope.core.particles import ParticleRun
    from layerscope.particles import Settings
    from layerscope.tasks.particle_sources import ParticleSource


@dataclass(frozen=True)
class Asked:
    """Options of the command, as they were typed."""

    model: str | None
    labels: Path | None
    objects: str | None
    holes: str | None
    min_area: str | None
    pixel_size: str | None
    scale_bar: str | None
    border: str
    polarity: str
    split: bool
    max_pixels: int
    magnification_table: Path | None
    unknown_below: float | None = None

    def settings(self) -> Settings:
        """Return the settings of the run."""
        from layerscope.particles import Settings

        table = self.magnification_table
        return Settings(
            self.pixel_size, self.scale_bar, self.border, max_pixels=self.max_pixels,
            magnification_table=str(table) if table else None,
        )  # fmt: skip

    def source(self) -> ParticleSource:
        """Return where the particles come from."""
        from layerscope.models.shipped import open_model
        from layerscope.tasks.particle_sources import (
            ClassNames,
            LabelSource,
            ModelSource,
            PictureSource,
        )
        from layerscope.tasks.particles import MIN_AREA_PX, Separation

        if self.model and self.labels:
            raise InputError("particles from --model or from --labels, not both")
        names = ClassNames(listed(self.objects), listed(self.holes))
        least = _pixels(self.min_area) or MIN_AREA_PX
        separation = Separation(least, self.split, sure=self.unknown_below)
        if self.model:
            return ModelSource(open_model(self.model), names, separation)
        if self.labels:
            return LabelSource(self.labels, names, separation)
        if self.objects or self.holes:
            raise InputError("--objects and --holes name classes of a --model or of --labels")
        return PictureSource(separation=separation, polarity=self.polarity)


def measure_images(images: list[str], asked: Asked, out: Path, telling: Telling) -> NoReturn:
    """Measure every image, write the run folder, say what came out, and end with its exit code."""
    from layerscope.io.tables import table_records
    from layerscope.particles import run_particles
    from layerscope.report.particles_folder import ParticlesFolder

    settings, source = asked.settings(), asked.source()
    folder = ParticlesFolder(out)
    with ProgressBar("measuring", telling.quiet) as progress:
        run = run_particles(
            names_of(images), source, settings, on_result=folder, progress=progress
        )  # fmt: skip
    folder.finish(run, report=telling.report)
    found = {"images": len(run.images), "particles": len(run.particles),
             "population": table_records(run.population)}  # fmt: skip
    what = f"{len(run.particles)} particles on {len(run.images)} images{_expected(run)}"
    end_run(run, out, found, _told(run), what, as_json=telling.as_json)


def _pixels(text: str | None) -> int | None:
    """Read ``--min-area``; of particles it is in px, as their masks are."""
    if text is None:
        return None
    number = text.casefold().removesuffix("px").strip()
    if not number.isdigit():
        raise InputError(f"--min-area {text!r}: of particles expected e.g. 50px")
    return int(number)


def _told(run: ParticleRun) -> Iterator[str]:
    sizes = run.population[run.population["quantity"] == "lateral_size_median"]
    of = {row["image"]: row for row in sizes.to_dict("records")}
    for row in run.images.to_dict("records"):
        size = of[row["image"]]
        known = size["value"] == size["value"]
        middle = f", median lateral size {size['value']:.3g} {size['unit']}" if known else ""
        doubt = "  (look at it)" if row["doubts"] else ""
        yield f"{row['image']}: {_counted(row)}{middle}{doubt}"


def _expected(run: ParticleRun) -> str:
    """Say how many particles there are in all images, where held-out images of a model tell."""
    from layerscope.particles import ALL

    rows = run.population[run.population["quantity"] == "count_expected"]
    row = rows.iloc[-1] if len(rows) else None
    if row is None or (len(run.images) > 1 and row["image"] != ALL):
        return ""
    return f", {row['value']:.0f} expected [{row['low']:.0f} to {row['high']:.0f}]"


def _counted(row: Mapping[Any, Any]) -> str:
    n, cut = row["particles"], row["at_border"]
    return f"{n} particle{'' if n == 1 else 's'}" + (f", {cut} at the border" if cut else "")
