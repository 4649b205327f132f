"""`layerscope run --task crystals`: grown crystals of optical micrographs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from layerscope.cli.options import ProgressBar, end_run, names_of
from layerscope.errors import InputError

if TYPE_CHECKING:
    from layerscope.cli.groups import Telling
    from layerscope.core.crystals import CrystalRun
    from layerscope.crystals import Settings


def smallest(text: str | None) -> tuple[int, float]:
    """Read ``--min-area``: the px and um2 of `Settings`."""
    if text is None:
        return 150, 0.0
    for unit in ("um2", "px"):
        number = text.casefold().removesuffix(unit).strip()
        if text.casefold().endswith(unit) and number.replace(".", "", 1).isdigit():
            return (150, float(number)) if unit == "um2" else (max(round(float(number)), 1), 0.0)
    raise InputError(f"--min-area {text!r}: expected e.g. 2um2 or 150px")


def find_crystals(images: list[str], settings: Settings, out: Path, telling: Telling) -> NoReturn:
    """Measure every image, write the run folder, say what came out, and end with its exit code."""
    from layerscope.crystals import run_crystals
    from layerscope.io.tables import table_records
    from layerscope.report.crystals_folder import CrystalsFolder

    folder = CrystalsFolder(out)
    with ProgressBar("measuring", telling.quiet) as progress:
        run = run_crystals(names_of(images), settings, on_result=folder, progress=progress)
    folder.finish(run, report=telling.report)
    found = {"images": table_records(run.images), "crystals": len(run.crystals)}
    what = f"{len(run.crystals)} crystals on {len(run.images)} images"
    end_run(run, out, found, _told(run), what, as_json=telling.as_json)


def _told(run: CrystalRun) -> Iterator[str]:
    for row in run.images.to_dict("records"):
        n, cores, doubt = row["crystals"], row["heterostructures"], row["doubts"]
        text = f"{row['image']}: {n} crystal{'' if n == 1 else 's'}"
        text += _named(run, row["image"])
        text += f", {cores} with core and shell" if cores else ""
        text += f", coverage {100 * row['coverage']:.1f} %"
        yield text + ("  (look at it)" if doubt else "")


def _named(run: CrystalRun, image: str) -> str:
    """How many of each class, where a model named them."""
    table = run.crystals
    names = [n for n in table["class"][table["image"] == image].tolist() if n]
    told = ", ".join(f"{names.count(n)} {n}" for n in sorted(set(names)))
    return f" ({told})" if told else ""
