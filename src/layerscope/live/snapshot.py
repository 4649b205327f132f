"""One frame kept: the image, the drawing that was seen, and the run folder that `run` would make.

The frame is analysed anew, at full resolution and with the calibration of the live view, by
`pipeline.run`, in a process of its own: the picture goes on meanwhile.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2

from layerscope.core.calibration import Calibration
from layerscope.core.micrograph import PixelSize
from layerscope.errors import CannotWrite, UnreadableFile
from layerscope.io.atomic import write_bytes
from layerscope.live.analysis import Asked
from layerscope.live.apart import Apart
from layerscope.live.frame import Frame
from layerscope.live.published import Drawing


def write_snapshot(
    out: Path,
    frame: Frame,
    drawing: Drawing,
    asked: Asked,
    pixel_size: PixelSize | None,
    calibration: Calibration | None,
) -> tuple[Path, str]:
    """Write one frame into the next free folder of ``out/snapshots``.

    Parameters
    ----------
    out : Path
    frame : Frame
        As large as the source gave it.
    drawing : Drawing
        What was on the screen.
    asked : Asked
    pixel_size : PixelSize or None
        Of the source's pixels.
    calibration : Calibration or None
        Of the live view; None makes one from this frame.

    Returns
    -------
    Path
        The folder.
    str
        What was found, in a few words.

    Raises
    ------
    LayerscopeError
        If it cannot be written or analysed.
    """
    folder = numbered_folder(out / "snapshots")
    image = folder / "images" / f"frame-{frame.number:06d}.png"
    try:
        image.parent.mkdir()
    except OSError as error:
        raise CannotWrite(f"cannot write to {folder}: {error.strerror}") from None
    pixels = cv2.cvtColor(frame.picture.pixels, cv2.COLOR_RGB2BGR)
    write_bytes(image, cv2.imencode(".png", pixels)[1].tobytes())
    write_bytes(folder / "shown.jpg", drawing.jpeg)
    size = pixel_size or frame.picture.pixel_size
    told = replace(asked, calibration=calibration)
    said: str = Apart(analyse_image, image, folder, told, size).result()
    return folder, said


def analyse_image(image: Path, folder: Path, asked: Asked, pixel_size: PixelSize | None) -> str:
    """Write the run folder of one image; returns what was found, in a few words.

    Parameters
    ----------
    image, folder : Path
    asked : Asked
    pixel_size : PixelSize or None
    """
    if asked.task == "crystals":
        return _analyse_crystals(image, folder, asked, pixel_size)
    from layerscope import finding, pipeline
    from layerscope.models.heads import load_head
    from layerscope.report.folder import write_run
    from layerscope.tasks.finders import choose_finder

    run = pipeline.run(
        [image],
        material=asked.material,
        substrate=asked.substrate,
        scale=finding.Scale(pixel_size, scale_bar_length=asked.scale_bar_length),
        optics=asked.optics,
        wanted=asked.wanted,
        calibration=asked.calibration,
        head=load_head(asked.head) if asked.head else None,
        finder=choose_finder(asked.finder, asked.model),
        max_layers=asked.max_layers,
    )
    write_run(run, folder, report=False)
    if run.failures:
        raise UnreadableFile(run.failures[0].reason)
    layers = [n + "L" if n.isdigit() else n for n in run.objects["n_layers"].astype(str)]
    return _counted(layers) or "no flakes"


def _analyse_crystals(image: Path, folder: Path, asked: Asked, size: PixelSize | None) -> str:
    from layerscope.crystals import Settings, run_crystals
    from layerscope.report.crystals_folder import CrystalsFolder

    settings = Settings(
        tuple(name.strip() for name in asked.material.split(",")), asked.substrate, asked.optics.na,
        f"{size.um:.9g}um" if size else None, scale_bar_length=asked.scale_bar_length,
        min_area_px=asked.wanted.min_area_px, min_area_um2=asked.wanted.min_area_um2,
        model=asked.model,
    )  # fmt: skip
    written = CrystalsFolder(folder)
    run = run_crystals([image], settings, on_result=written)
    written.finish(run, report=False)
    if run.failures:
        raise UnreadableFile(run.failures[0].reason)
    names = run.crystals["class" if asked.model else "shape"].astype(str)
    return _counted(names.tolist()) or "no crystals"


def _counted(names: list[str]) -> str:
    return ", ".join(f"{n} x {name}" for name, n in sorted(Counter(names).items()))


def numbered_folder(parent: Path) -> Path:
    """Make the next free of ``0001``, ``0002`` ... in `parent`.

    Raises
    ------
    CannotWrite
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        taken = [int(p.name) for p in parent.iterdir() if p.name.isdigit()]
        number = max(taken, default=0) + 1
        while True:
            folder = parent / f"{number:04d}"
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
            else:
                return folder
    except OSError as error:
        raise CannotWrite(
            f"cannot write to {parent}: {error.strerror}; choose another -o"
        ) from None
