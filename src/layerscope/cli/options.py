"""What several commands share: their options, how these are read, exit codes, the progress bar."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from layerscope.errors import InputError, UnreadableFile

if TYPE_CHECKING:
    from layerscope.core.micrograph import Micrograph
    from layerscope.core.run import Failure, Progress, TaskRun
    from layerscope.finding import Wanted
    from layerscope.io.sources import Source
    from layerscope.ops.illumination import FlatField
    from layerscope.ops.tone import ToneCurve

OK, FAILED, USAGE, SOME_FAILED, NOTHING_USABLE, MISMATCH, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

MATERIAL = typer.Option("--material", "-m", help="graphene, hBN, MoS2 ...")
SUBSTRATE = typer.Option("--substrate", "-s", help="Films from the top, e.g. SiO2(90nm)/Si.")

Images = Annotated[list[str], typer.Argument(help="Images, folders, a .txt list, or - .")]
Out = Annotated[Path, typer.Option("-o", "--out", help="What to write.")]
Material = Annotated[str, MATERIAL]
Substrate = Annotated[str, SUBSTRATE]
PixelSizeText = Annotated[str | None, typer.Option(help="Per pixel, e.g. 0.3844um.")]
Tone = Annotated[
    str | None,
    typer.Option(help="linear, srgb, gamma:2.2, or a CSV of level,light. Found out if not given."),
]
Na = Annotated[float, typer.Option("--na", help="Numerical aperture of the objective.")]
OxideSd = Annotated[float, typer.Option(help="How well the film thickness is known, nm.")]
Objective = Annotated[str | None, typer.Option(help="Name in the table, e.g. 20x.")]
MagnificationTable = Annotated[
    Path | None,
    typer.Option(help="TOML of [objectives]; 'run' takes [magnifications], or a CSV, too."),
]
ScaleBar = Annotated[str | None, typer.Option(help="Length of the burnt-in bar.")]
KnownCalibration = Annotated[Path | None, typer.Option(help="calibration.toml to reuse.")]
HeadFile = Annotated[Path | None, typer.Option(help="From 'layerscope train layers'.")]
ModelFile = Annotated[
    str | None, typer.Option(help="Model file, or the name of one that is shipped: flake-n.")
]
MinArea = Annotated[str | None, typer.Option(help="e.g. 100um2 or 400px.")]
Layers = Annotated[str | None, typer.Option(help="Keep only, e.g. 1-3.")]
MaxLayers = Annotated[int, typer.Option(help="Longest layer number told apart.")]
MaxPixels = Annotated[int, typer.Option(help="Refuse larger images.")]
KeepResidue = Annotated[
    bool, typer.Option("--keep-residue", help="Also list residue, rims and blur.")
]
Report = Annotated[bool, typer.Option(help="Write report.html and report.pdf.")]
AsJson = Annotated[bool, typer.Option("--json", help="Result as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")]
Seed = Annotated[int, typer.Option(help="Of all that is random; the same again, the same result.")]
Specimen = Annotated[
    str | None,
    typer.Option("--group", help="Regular expression that finds the specimen in an image's name."),
]


def names_of(images: list[str], *, deep: bool = False, growing: bool = False) -> list[str]:
    """Return the names given, or those on standard input for ``-``, or in a text file.

    Raises
    ------
    InputError
        If they are folders without an image, also not in folders inside where these are searched,
        and not `growing`.
    """
    if images == ["-"]:
        return [line.strip() for line in sys.stdin if line.strip()]
    if len(images) == 1 and images[0].casefold().endswith(".txt"):
        return _listed(Path(images[0]))
    if images and not growing and all(map(os.path.isdir, images)):
        _require_images(images, deep)
    return images


def _require_images(folders: list[str], deep: bool) -> None:
    """Refuse folders without a file that is an image by the ending of its name."""
    from layerscope.io.sources import name_sources

    if name_sources(folders, deep=deep):
        return
    inside = [] if deep else name_sources(folders, deep=True)
    expected = "expected files such as .png, .jpg, .tif, .dm4, .spm (docs/reference/formats.md)"
    if any(Path(folder, "run.json").exists() for folder in folders):
        expected = "it holds the results of a run; give the folder of the images"
    elif inside:
        place = Path(inside[0].path).parent
        expected = f"there are {len(inside)} in folders inside; name those, e.g. {place}"
    raise InputError(f"{', '.join(folders)}: no image in it; {expected}")


def _listed(path: Path) -> list[str]:
    """Names in a text file, one per line, as seen from here or from the file's folder."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{path}: no list of images ({error})") from None
    names = [line.strip() for line in lines if line.strip()]
    return [n if Path(n).exists() else str(path.parent / n) for n in names]


def tone_of(text: str | None) -> ToneCurve | None:
    """Read ``--tone``: the name of a curve, or a table of level and light."""
    from layerscope.ops.tone import tone_curve

    name, points = tone_points(text)
    return tone_curve(name, points or None) if name else None


def tone_points(text: str | None) -> tuple[str | None, tuple[tuple[float, float], ...]]:
    """Name of the curve that ``--tone`` asks for, and its points if it is a CSV file."""
    if text is None or not text.casefold().endswith(".csv"):
        return text or None, ()
    try:
        rows = [line.split(",") for line in Path(text).read_text(encoding="utf-8").splitlines()]
        numbers = [(float(r[0]), float(r[1])) for r in rows if r and r[0].strip()[:1].isdigit()]
    except OSError as error:
        raise UnreadableFile(f"{text}: {error.strerror}") from None
    except (ValueError, IndexError):
        raise InputError(f"{text}: expected two columns, level and light, both 0 to 1") from None
    return "table", tuple(numbers)


def scale_text(pixel_size: str | None, objective: str | None, table: Path | None) -> str | None:
    """Pixel size as told, or as the table says of the objective.

    Raises
    ------
    InputError
        If the table is of magnifications, which this command does not read from its images.
    """
    from layerscope.finding import Scale

    found = Scale(pixel_size, objective, str(table) if table else None).looked_up().pixel_size
    if found is None and table is not None:
        raise InputError(
            f"{table.name}: a table of magnifications, which 'layerscope run' looks up image by "
            "image; here expected one of [objectives] with --objective, or --pixel-size"
        )
    return found if found is None or isinstance(found, str) else f"{found.um:.9g}um"


def range_nm(text: str) -> tuple[float, float]:
    """Read one length or two with a dash between them, in nm."""
    from layerscope.core.micrograph import parse_length_nm

    low, _, high = text.partition("-")
    return parse_length_nm(low), parse_length_nm(high or low)


def size_of(text: str, option: str = "--size") -> tuple[int, int]:
    """Read width and height in px, e.g. ``772x688``; returns height and width."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise InputError(f"{option} {text!r}: expected width x height in px, e.g. 772x688")
    return int(height), int(width)


def flat_field_of(text: str | None, names: list[str]) -> FlatField | None:
    """Read ``--flat-field``."""
    if text is None:
        return None
    from layerscope.io import read
    from layerscope.io.sources import name_sources
    from layerscope.ops.illumination import flat_field_from_reference, flat_field_from_set

    if text != "set":
        return flat_field_from_reference(read(text))
    return flat_field_from_set(_readable(name_sources(names)[:60]))


def _readable(sources: list[Source]) -> Iterator[Micrograph]:
    """Read what can be read; the run itself lists the rest."""
    from layerscope.io import read

    for source in sources:
        with suppress(UnreadableFile):
            yield read(source.path)


def wanted_of(min_area: str | None, layers: str | None, residue: bool) -> Wanted:
    """Read ``--min-area`` and ``--layers``."""
    from layerscope import finding

    px, um2 = 200, 0.0
    if min_area is not None:
        number, unit = min_area.rstrip("muµpx2² "), min_area.lstrip("0123456789. ")
        if not number.replace(".", "", 1).isdigit() or unit not in ("um2", "µm2", "um²", "px"):
            raise InputError(f"--min-area {min_area!r}: expected e.g. 100um2 or 400px")
        px, um2 = (int(float(number)), 0.0) if unit == "px" else (200, float(number))
    kept = None
    if layers is not None:
        low, _, high = layers.partition("-")
        if not low.isdigit() or not (high or low).isdigit() or int(low) > int(high or low):
            raise InputError(f"--layers {layers!r}: expected e.g. 1 or 1-3")
        kept = (int(low), int(high or low))
    return finding.Wanted(max(px, 1), um2, kept, residue)


def listed(text: str | None) -> tuple[str, ...]:
    """Names of a comma-separated list."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def exit_of(usable: int, failed: int) -> typer.Exit:
    """Exit code of a command that was given many inputs."""
    return typer.Exit(NOTHING_USABLE if not usable else SOME_FAILED if failed else OK)


def failed_json(failures: Sequence[Failure]) -> list[dict[str, str]]:
    """Failures as ``--json`` lists them."""
    return [{"path": f.path, "reason": f.reason} for f in failures]


def tell_failures(failures: Sequence[Failure]) -> None:
    """Say on stderr what was not analysed."""
    for failure in failures:
        typer.echo(f"not analysed: {failure.reason}", err=True)


def end_run(
    run: TaskRun,
    out: Path,
    found: Mapping[str, Any],
    lines: Iterable[str],
    what: str,
    *,
    as_json: bool,
) -> NoReturn:
    """Say what came out, and end with the exit code of the run.

    Parameters
    ----------
    run : TaskRun
    out : Path
    found : mapping
        What ``--json`` says.
    lines : iterable of str
        What is said otherwise, before failures,
    what : str
        and after them.
    as_json : bool
    """
    if as_json:
        summary = {**found, "failed": failed_json(run.failures), "out": str(out)}
        typer.echo(json.dumps(summary, ensure_ascii=False))
    else:
        for line in lines:
            typer.echo(line)
        tell_failures(run.failures)
        typer.echo(f"{what}; results in {out}/")
    raise exit_of(len(run.images), len(run.failures))


class ProgressBar:
    """A progress bar on stderr, silent when that is no terminal."""

    def __init__(self, what: str, quiet: bool):
        self._what, self._quiet = what, quiet or not sys.stderr.isatty()
        self._bar: Any = None

    def __enter__(self) -> Progress | None:
        if self._quiet:
            return None
        from rich.console import Console
        from rich.progress import Progress as Bar

        self._bar = Bar(console=Console(stderr=True), transient=True)
        self._bar.start()
        task = self._bar.add_task(self._what)
        return lambda done, total, _: self._bar.update(task, completed=done, total=total)

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
