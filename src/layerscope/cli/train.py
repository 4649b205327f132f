"""`layerscope train`: learn from labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerscope.cli.categories import train_categories
from layerscope.cli.coverage import train_coverage
from layerscope.cli.domains import train_domains
from layerscope.cli.options import Out, Seed
from layerscope.cli.phases import train_phases
from layerscope.cli.pixels import train_pixels
from layerscope.cli.pretrain import train_flakes

app = typer.Typer(help="Learn from labelled images.", no_args_is_help=True)
app.command("phases")(train_phases)
app.command("pixels")(train_pixels)
app.command("coverage")(train_coverage)
app.command("flakes")(train_flakes)
app.command("categories")(train_categories)
app.command("domains")(train_domains)


@app.command("layers")
def train_layers(
    data: Annotated[Path, typer.Argument(help="Folder with images/ and masks/ (value = layers).")],
    out: Out = Path("layers.json"),
    head: Annotated[str, typer.Option(help="gmm or amm.")] = "gmm",
    seed: Seed = 0,
) -> None:
    """Learn layer numbers from labelled masks; the file goes to 'run --head'."""
    from layerscope.tasks.heads import train_head

    trained = train_head(data, head=head, seed=seed)
    trained.save(out)
    metrics = trained.card.metrics
    typer.echo(f"{head}: layers {', '.join(map(str, trained.classes))}")
    if "accuracy" in metrics:
        typer.echo(
            f"{metrics['accuracy']:.1%} of {metrics['held_out_regions']} regions right, each on "
            f"images held out in turn; expected calibration error {metrics['ece']:.3f}"
        )
    typer.echo(f"written to {out}")
