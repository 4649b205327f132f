"""CPU time between a stroke and its answer on the labelling page, without the browser.

    python benchmarks/labelling_page.py            pictures of 2048 x 2048 and 4096 x 4096 px
    python benchmarks/labelling_page.py --quick    one of 1024 x 1024 px

For each: what is prepared when an image is opened, the first rough answer about the 1024 x 1024 px
in view, the exact one; the same after one more stroke; undo; opening the project again.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile

from layerscope.app.painter import STROKES, Painter
from layerscope.app.project import Project
from layerscope.labelling.painting import PaintSettings
from layerscope.synth.em import synth_em

VIEW_PX = 1024


def stroke(value: int, y: int, x: int) -> dict[str, object]:
    """Body of a stroke of 120 px with a brush of 8 px."""
    points = [4 * x, 4 * y, 4 * (x + 120), 4 * (y + 20)]
    return {"layer": "scribbles", "value": value, "diameter": 32, "points": points}


def timed(what: str, action: Callable[[], object]) -> None:
    """Print the CPU time of an action."""
    start = time.process_time()
    action()
    print(f"  {what:44s} {time.process_time() - start:7.2f} s")


def measure(side: int, folder: Path) -> None:
    """Label one picture of `side` px, as the page would."""
    tile = synth_em(3, shape=(VIEW_PX, VIEW_PX), pixel_size_nm=4.0, support="holey")
    times = side // VIEW_PX
    tifffile.imwrite(folder / "picture.tif", np.tile(tile.micrograph.data, (times, times)))
    top = (side - VIEW_PX) // 2
    view = (top, top, top + VIEW_PX, top + VIEW_PX)
    print(f"{side} x {side} px")
    with Project.open(folder / "project", [folder / "picture.tif"]) as project:
        painter = Painter(project, PaintSettings(jobs=1))

        def paint(value: int, y: int, x: int) -> None:
            done = project.do(0, "stroke", stroke(value, top + y, top + x))
            painter.changed(0, done.box)

        def rough() -> None:
            for piece in painter.answer(0, STROKES, view, 0, lambda: True):
                if piece.coarse:
                    return

        def exact() -> None:
            list(painter.answer(0, STROKES, view, 0, lambda: True))

        timed("open the image, prepare the view", lambda: painter.prepare(0, view, lambda: True))
        timed("three strokes into the log", lambda: [paint(k, 200 * k, 300) for k in (1, 2, 3)])
        timed("first rough answer", rough)
        timed("exact answer", exact)
        timed("one more stroke", lambda: paint(1, 700, 600))
        timed("rough answer", rough)
        timed("exact answer", exact)
        timed("undo", lambda: painter.changed(0, project.do(0, "undo").box))
        timed("whole picture, exactly", lambda: list(painter.fill(0, STROKES)))
    timed("open the project again", lambda: reopen(folder))
    print(f"  most memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def reopen(folder: Path) -> None:
    """Open the project and do its edits again."""
    with Project.open(folder / "project") as project:
        project.drawing(0)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    sides = (1024,) if parser.parse_args().quick else (2048, 4096)
    for side in sides:
        with tempfile.TemporaryDirectory() as name:
            measure(side, Path(name))


if __name__ == "__main__":
    main()
