"""`layerscope propose`: regions of pictures as annotations that a person names and corrects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerscope.cli.options import Images, ProgressBar, Quiet, exit_of, names_of

if TYPE_CHECKING:
    from layerscope.tasks.proposals import NearestMasks, Proposer


def propose(
    images: Images,
    out: Annotated[Path, typer.Option("-o", "--out", help="New folder.")] = Path("proposals"),
    sam: Annotated[
        Path | None, typer.Option(help="Folder of SAM or SAM2 weights; without: by outlines.")
    ] = None,
    named: Annotated[
        Path | None,
        typer.Option(help="Labelled images with objects: names are given after them."),
    ] = None,
    neighbours: Annotated[int, typer.Option(help="Named masks that vote on a new one.")] = 9,
    points: Annotated[int, typer.Option(help="SAM: points along a side.")] = 32,
    tile: Annotated[int, typer.Option(help="Larger pictures are cut into tiles, px.")] = 1024,
    quiet: Quiet = False,
) -> None:
    """Propose regions of pictures, as label pictures and COCO to correct."""
    from layerscope.tasks.proposed_images import learn_names, propose_images, write_proposals

    proposer, namer = _proposer(sam, points), None
    if named is not None:
        namer = learn_names(named, neighbours)
    with ProgressBar("proposing", quiet) as progress:
        found = propose_images(
            names_of(images), proposer, namer, tile_px=tile, progress=progress
        )  # fmt: skip
    if found.dataset.examples:
        write_proposals(found.dataset, out)
    _tell(found.counts, found.failures, namer, out)
    raise exit_of(len(found.counts), len(found.failures))


def _proposer(weights: Path | None, points: int) -> Proposer:
    if weights is None:
        from layerscope.tasks.proposals import OutlineProposer

        return OutlineProposer()
    from layerscope.training.sam import SamSettings, open_sam

    return open_sam(weights, SamSettings(points_per_side=points))


def _tell(
    counts: dict[str, int], failures: list[str], namer: NearestMasks | None, out: Path
) -> None:
    for name, n in counts.items():
        typer.echo(f"{name}: {n} region{'' if n == 1 else 's'}")
    for reason in failures:
        typer.echo(f"not looked at: {reason}", err=True)
    named = f", named {', '.join(namer.classes)}" if namer else ""
    if counts:
        typer.echo(f"{sum(counts.values())} regions{named}; label pictures and COCO in {out}/")
