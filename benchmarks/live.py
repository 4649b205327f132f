"""The live view: CPU time per frame of each part, and a session as a person would start it.

    python benchmarks/live.py [DATA] [--quick] [--seconds 12] [--model crystals.onnx]

DATA has folders of 1920 x 1200 micrographs (default ../shared/data/optical/exfoliated). A window
of 1280 x 720 is panned over each image. First table: CPU ms per frame (median over the frames, each
with the faster of two rounds), one thread each: "answer" is finder and layers from a calibration
that is known, "draw" the whole drawing, "jpeg" what browser and recording need, "window" what the
window needs. "analysed /s" is 1000 / answer: what one core analyses, and "answer 95 %" what crowded
fields take.

Second table: sessions at 30 frames per second from the source, no window, one recording, two
analyses at once; on a machine with nothing else to do analysed and shown should be the source's 30,
and the latency (frame in to answer drawn) under 100. The first second, in which the view opens, is
left out. Then the same over synthetic grown crystals: without a model, and with yolo-n at 416,
trained (--model) or not; an untrained one finds nothing, so that its masks cost nothing. At 15
analysed per second that one has what it needs.
"""

# ruff: noqa: E402  (the thread limits must stand before numpy is imported)

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from layerscope import pipeline
from layerscope.core.micrograph import PixelSize
from layerscope.live.analysis import Analysis, Asked
from layerscope.live.clock import RealClock
from layerscope.live.figures import Figures, summed_up
from layerscope.live.frame import Frame, framed
from layerscope.live.motion import Shift
from layerscope.live.overlay import Scene, draw_scene
from layerscope.live.processes import Processes
from layerscope.live.published import Drawing
from layerscope.live.reader import Condition, SourceState
from layerscope.live.session import Session, SessionSettings
from layerscope.live.sources import Playing, open_source
from layerscope.ops.memory import keep_freed_memory
from layerscope.synth.crystals import crystal_set
from yolo import untrained

SETS = (
    ("graphene", "graphene", "SiO2(90nm)/Si"),
    ("graphene_90nm", "graphene", "SiO2(90nm)/Si"),
    ("wse2", "WSe2", "SiO2(90nm)/Si"),
    ("hbn", "hBN", "SiO2(90nm)/Si"),
    ("mose2", "MoSe2", "SiO2(90nm)/Si"),
    ("ws2", "WS2", "SiO2(90nm)/Si"),
)
SIZE = PixelSize.parse("0.3844um")
WINDOW = (720, 1280)


class Unhurried:
    """A clock that never waits: frames as fast as they are asked for."""

    def now_s(self) -> float:
        return 0.0

    def wait(self, seconds: float) -> bool:
        return True


def frames_of(folder: Path, step_px: float) -> list[Frame]:
    """Frames of a pan over every image of a folder."""
    source = open_source(f"replay:{folder}", Playing(Unhurried(), pan=WINDOW, pan_step_px=step_px))
    frames = []
    while (picture := source.read()) is not None:
        frames.append(framed(picture, len(frames) + 1, 0.0, WINDOW[1]))
    return frames


def calibrated(asked: Asked, folder: Path) -> Asked:
    """The same question with the calibration of all images of the folder."""
    run = pipeline.run([folder], material=asked.material, substrate=asked.substrate)
    return replace(asked, calibration=run.calibration)


def fastest_ms(action: Callable[[], object]) -> float:
    """CPU time of the faster of two rounds."""
    found = []
    for _ in range(2):
        begun_s = time.process_time()
        action()
        found.append(1e3 * (time.process_time() - begun_s))
    return min(found)


def parts(asked: Asked, frames: list[Frame]) -> dict[str, float]:
    """Median CPU ms per frame of each part, and regions per frame."""
    analysis, rows = Analysis(asked), []
    live = SourceState(Condition.LIVE)
    for frame in frames:
        size = frame.pixel_size(SIZE)
        answer = analysis.answer(frame.number, frame.shown, size)
        scene = Scene("graphene", "pan", live, Figures(), frame, answer, Shift(0, 0))
        picture = draw_scene(scene)
        rows.append(
            (
                len(answer.detections),
                fastest_ms(lambda f=frame, s=size: analysis.answer(f.number, f.shown, s)),
                fastest_ms(lambda s=scene: draw_scene(s)),
                fastest_ms(lambda p=picture: Drawing(1, 0.0, p).jpeg),
                fastest_ms(lambda p=picture: b"P6 1280 750 255 " + p.tobytes()),
            )
        )
    analysis.close()
    names = ("regions", "answer", "draw", "jpeg", "window")
    tail = float(np.quantile([answer for _, answer, *_ in rows], 0.95))
    return dict(zip(names, np.median(rows, axis=0).tolist(), strict=True)) | {"95 %": tail}


def session(asked: Asked, folder: Path, seconds: float) -> str:
    """One line about a session of so many seconds, its first left out."""
    stop = threading.Event()
    clock = RealClock(stop)
    playing = Playing(clock, 30.0, WINDOW, 6.0, loop=True)
    processes = Processes(asked)
    processes.start()
    with tempfile.TemporaryDirectory() as out:
        settings = SessionSettings(asked.material, asked, Path(out), SIZE)
        view = Session(lambda: open_source(f"replay:{folder}", playing), processes, settings, clock)
        view.start()
        view.record()
        stop.wait(1.0)
        first, late, begun_s = view.figures(), len(view.tally.delays_s), clock.now_s()
        stop.wait(seconds)
        counts = {
            name: getattr(view.figures(), name) - getattr(first, name)
            for name in ("seen", "shown", "analysed", "dropped", "overtaken")
        }
        line = summed_up(Figures(**counts), clock.now_s() - begun_s, view.tally.delays_s[late:])
        stop.set()
        view.close()
    return line


def crystal_sessions(seconds: float, model: Path | None) -> None:
    """Print sessions over synthetic crystals, without a model and with one."""
    asked = Asked("MoS2", "SiO2(285nm)/Si", "crystals")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "images"
        folder.mkdir()
        for grown in crystal_set(3, 3, shape=(1200, 1920), n_crystals=40):
            pixels = cv2.cvtColor(grown.micrograph.data, cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(folder / f"{grown.micrograph.name}.png"), pixels)
        network = replace(asked, model=str(model or untrained("n", Path(name))))
        for what, told in (("crystals", asked), ("yolo-n", network)):
            print(f"{what:15s} {session(told, folder, seconds)}", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", default="../shared/data/optical/exfoliated", type=Path)
    parser.add_argument("--quick", action="store_true", help="two sets, few frames")
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--model", type=Path, help="network of crystals")
    told = parser.parse_args()
    cv2.setNumThreads(1)
    keep_freed_memory()
    chosen = SETS[1:3] if told.quick else SETS
    asked = {
        name: calibrated(Asked(material, stack), told.data / name / "images")
        for name, material, stack in chosen
    }
    print(f"{'set':15s} regions  answer    draw    jpeg  window  analysed /s  answer 95 %")
    for name in asked:
        frames = frames_of(told.data / name / "images", 320.0 if told.quick else 96.0)
        ms = parts(asked[name], frames)
        columns = "".join(f"{ms[k]:8.1f}" for k in ("regions", "answer", "draw", "jpeg", "window"))
        print(f"{name:15s}{columns}{1e3 / ms['answer']:13.0f}{ms['95 %']:13.1f}", flush=True)
    print("\nsessions, 30 frames/s from the source")
    for name in asked:
        line = session(asked[name], told.data / name / "images", told.seconds)
        print(f"{name:15s} {line}", flush=True)
    crystal_sessions(told.seconds, told.model)


if __name__ == "__main__":
    main()
