"""`layerscope train pixels` and `layerscope classify`: a forest that learns from scribbles."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from layerscope.cli.options import Images, exit_of, names_of, tell_failures
from layerscope.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

    from layerscope.io.sources import Source
    from layerscope.labelling.batch import Classified
    from layerscope.labelling.classifier import PixelClassifier
    from layerscope.labelling.scribbles import Labels
    from layerscope.labelling.thresholds import Thresholds


def train_pixels(
    images: Images,
    scribbles: Annotated[
        Path, typer.Option(help="Folder of STEM.png, STEM.tif or ilastik's STEM_Labels.h5.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Model file.")] = Path("pixels.onnx"),
    classes: Annotated[
        str | None, typer.Option(help="Names of the values 1, 2 ..., e.g. support,flake,hole.")
    ] = None,
    autocontext: Annotated[
        bool, typer.Option("--autocontext", help="A second forest sees the first one's answers.")
    ] = False,
    features: Annotated[
        str, typer.Option(help="scales: ilastik's 49 per channel; wide: five more.")
    ] = "wide",
    normalisation: Annotated[
        str, typer.Option(help="unit: as it is; standard, percentile, clahe: brightness evened.")
    ] = "standard",
    trees: Annotated[int, typer.Option()] = 100,
    pixels: Annotated[int, typer.Option(help="Most painted pixels to learn from.")] = 6_000,
    suggest: Annotated[int, typer.Option("--next", help="Windows to paint next.")] = 5,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Learn the class of every pixel from a few scribbles, and say where to paint next."""
    from layerscope.io.sources import name_sources
    from layerscope.labelling.classifier import PaintSettings
    from layerscope.labelling.learning import fit_pixels
    from layerscope.labelling.scribble_files import class_names

    settings = PaintSettings(
        features, normalisation, trees, pixels, autocontext=autocontext, seed=seed
    )
    sources = name_sources(names_of(images))
    painted = _read_painted(sources, scribbles)
    told = dict(enumerate((c.strip() for c in classes.split(",")), 1)) if classes else {}
    highest = max(max(int(labels.max(initial=0)) for labels in painted.values()), len(told))
    names = class_names(told, highest)
    arrays = [_pixels(s) for s in sources if s.name in painted]
    found = fit_pixels(arrays, list(painted.values()), names, settings, check=True)
    card = found.save(out)
    for name, count in zip(names, _counts(painted, highest), strict=True):
        typer.echo(f"  {name}: {count} painted pixels")
    if "balanced_accuracy" in card.metrics:
        held = card.metrics["held_out_by"]
        typer.echo(
            f"{card.metrics['balanced_accuracy']:.1%} of painted pixels right, mean of classes, "
            f"held out by {held}"
        )
    typer.echo(f"written to {out}")
    if suggest:
        _tell_regions(found, sources, painted, suggest)


def _read_painted(sources: list[Source], folder: Path) -> dict[str, Labels]:
    """Scribbles by the name of their image."""
    from layerscope.labelling.scribble_files import find_scribbles, read_scribbles

    stems = {Path(s.path).stem: s for s in sources}
    found = find_scribbles(list(stems), folder)
    by_name = {stems[stem].name: path for stem, path in found.items()}
    return {
        s.name: read_scribbles(by_name[s.name], _pixels(s).shape[:2])
        for s in sources
        if s.name in by_name
    }


def _pixels(source: Source) -> npt.NDArray[Any]:
    from layerscope.io import read
    from layerscope.io.annotated.images import unit_pixels

    return unit_pixels(source.micrograph or read(source.path))


def _counts(painted: dict[str, Labels], classes: int) -> list[int]:
    from layerscope.labelling.scribbles import count_labels

    return [int(n) for n in count_labels(list(painted.values()), classes)]


def _tell_regions(
    classifier: PixelClassifier, sources: list[Source], painted: dict[str, Labels], number: int
) -> None:
    from layerscope.labelling.regions import next_regions

    asked = ((s.name, _pixels(s), painted.get(s.name)) for s in sources)
    regions = next_regions(classifier, asked, number)
    if regions:
        typer.echo("paint next, the most useful first (uncertainty x unlike what is painted):")
    for region in regions:
        w = region.window
        typer.echo(
            f"  {region.image}  rows {w.top}-{w.bottom}, columns {w.left}-{w.right}"
            f"  uncertainty {region.uncertainty:.2f}, unlike {region.distance:.2f}"
        )


def classify(
    images: Images,
    model: Annotated[Path, typer.Option(help="From 'layerscope train pixels'.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder.")] = Path("pixels"),
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            help="CLASS=0.6, or IMAGE:CLASS=0.6; 0.7 where none is set; kept beside the model, in "
            "MODEL.thresholds.json."
        ),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also IMAGE_Probabilities.h5 as ilastik's.")
    ] = False,
    uncertainty: Annotated[str, typer.Option(help="margin, entropy or disagreement.")] = "margin",
) -> None:
    """Classify the pixels of images: masks by thresholds, and where the classifier is unsure."""
    from layerscope.io.sources import name_sources
    from layerscope.labelling.batch import classify_images
    from layerscope.labelling.classifier import read_classifier
    from layerscope.labelling.thresholds import read_thresholds, thresholds_path, write_thresholds

    classifier = read_classifier(model)
    cuts = _with_told(read_thresholds(thresholds_path(model)), threshold or [], classifier)
    if threshold:
        write_thresholds(thresholds_path(model), cuts)
    rows: list[list[str]] = []
    names = (*classifier.classes, "unknown")

    def keep(result: Classified) -> None:
        _write(result, out, classifier.classes, probabilities)
        shares = (*result.shares, max(0.0, 1 - sum(result.shares)))
        rows.append([result.name, *(f"{share:.6f}" for share in shares)])
        told = zip(names, shares, strict=True)
        typer.echo(f"{result.name}: " + ", ".join(f"{n} {100 * s:.1f} %" for n, s in told))

    sources = name_sources(names_of(images))
    failures = classify_images(sources, classifier, cuts, keep, kind=uncertainty)
    if rows:
        _write_table(out / "shares.csv", ["image", *names], rows)
    tell_failures(failures)
    typer.echo(f"{len(rows)} images; results in {out}/")
    raise exit_of(len(rows), len(failures))


def _with_told(known: Thresholds, told: list[str], classifier: PixelClassifier) -> Thresholds:
    """Thresholds with those of the command line on top."""
    from layerscope.labelling.thresholds import Thresholds

    of_class, of_image = dict(known.of_class), dict(known.of_image)
    for text in told:
        place, _, value = text.rpartition("=")
        image, _, name = place.rpartition(":")
        try:
            number = float(value)
        except ValueError:
            raise InputError(f"--threshold {text!r}: expected e.g. flake=0.6") from None
        if name not in classifier.classes:
            known_names = ", ".join(classifier.classes)
            raise InputError(f"--threshold {text!r}: no class {name!r}; there are {known_names}")
        if image:
            of_image[image.casefold(), name] = number
        else:
            of_class[name] = number
    return Thresholds(known.default, of_class, of_image)


def _write(result: Classified, out: Path, classes: tuple[str, ...], maps: bool) -> None:
    import cv2

    from layerscope.io.atomic import write_bytes
    from layerscope.io.ilastik.exports import write_probabilities
    from layerscope.labelling.scribble_files import write_scribbles
    from layerscope.report.doubt_pictures import draw_doubt

    out.mkdir(parents=True, exist_ok=True)
    write_scribbles(out / f"{result.name}_classes.png", result.labels)
    picture = draw_doubt(
        result.micrograph, result.labels, result.uncertainty, classes, title=result.name
    )
    content = cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes()
    write_bytes(out / f"{result.name}_uncertainty.png", content)
    if maps:
        write_probabilities(out / f"{result.name}_Probabilities.h5", result.probabilities)


def _write_table(path: Path, head: list[str], rows: list[list[str]]) -> None:
    from layerscope.io.atomic import write_bytes

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


COMMANDS = (classify,)
"""Commands of this module."""
