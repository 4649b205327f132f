"""Networks of crystals: how fast they answer, and how well after a short training.

    python benchmarks/yolo.py [--quick] [--minutes 10] [--model mine.onnx] [--seed 100]

Speed: the graph alone, from the picture to masks at its resolution, and to crystals as the live
view takes them, in ONNX Runtime with one and two threads: CPU and wall time, best of several.
Pictures of 1280 x 720 px are seen at 416 x 256, square ones at 416 x 416. Networks are untrained
unless --model is given: their speed is the same, but for masks of objects that a trained one finds.

Quality: n is trained for --minutes on synthetic crystals of two cameras and judged on three it has
not seen, at 20x to 100x, clean and with 20 % noise of either kind.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from layerscope.core.evaluation import Objects
from layerscope.core.examples import DataSet
from layerscope.core.micrograph import Micrograph
from layerscope.experiments.tmd_crystals import harmed
from layerscope.measure.scores_objects import object_figures
from layerscope.models.card import ModelCard
from layerscope.models.yolo import YoloModel, read_yolo
from layerscope.models.yolo_decode import Picking
from layerscope.synth.camera import BENCHMARK_CAMERAS
from layerscope.synth.crystal_growth import Growth
from layerscope.synth.crystal_labels import label_grown
from layerscope.synth.crystals import OBJECTIVES, crystal_set
from layerscope.tasks.learned_crystals import find_objects

PLACES = {"1280 x 720": (720, 1280), "square": (416, 416)}
LABEL = "shape"


def best(call: Callable[[], object], times: int) -> tuple[float, float]:
    """Least CPU and wall time of a call, ms."""
    call()
    cpu, wall = [], []
    for _ in range(times):
        c, w = time.process_time(), time.perf_counter()
        call()
        cpu.append(time.process_time() - c)
        wall.append(time.perf_counter() - w)
    return 1e3 * min(cpu), 1e3 * min(wall)


def untrained(size: str, folder: Path) -> Path:
    """Write the file of a network from scratch."""
    from layerscope.training.yolo_export import export_yolo
    from layerscope.training.yolo_network import build_yolo

    card = ModelCard(size, "domains", "objects", ("a", "b"), settings={"image_px": 416})
    path = folder / f"{size}.onnx"
    export_yolo(build_yolo(size, 2), card, path)
    return path


def speed(name: str, path: Path, pictures: DataSet, times: int) -> None:
    """Print the times of one file."""
    for threads in (1, 2):
        model = read_yolo(path, threads=threads)
        for what, shape in PLACES.items():
            image = pictures.examples[0].read_image()[: shape[0], : shape[1]]
            seen = model.input_of(image, model.place(image.shape))
            graph = best(lambda m=model, s=seen: m.ask(s), times)
            masks = best(lambda m=model, i=image: m.find(i), times)
            frame = Micrograph(np.ascontiguousarray(image))
            whole = best(lambda m=model, f=frame: find_objects(f, m), times)
            found = len(model.find(image))
            print(
                f"{name:8s} {threads} threads  {what:11s} -> {seen.shape[3]} x {seen.shape[2]}  "
                f"graph {graph[0]:5.1f} ms CPU {graph[1]:5.1f} wall, with masks {masks[0]:5.1f} "
                f"{masks[1]:5.1f}, as crystals {whole[0]:5.1f} {whole[1]:5.1f}: "
                f"{1e3 / whole[1]:4.1f} frames/s, {found} objects"
            )


def crystals(seed: int, count: int, cameras: Iterable[str]) -> DataSet:
    """Draw labelled crystals through three objectives, shapes as classes."""
    growths = (Growth(), Growth(outer="MoSe2"), Growth(inner="MoSe2", outer="MoS2"))
    examples = []
    for k, growth in enumerate(growths):
        pictures = crystal_set(
            seed + k, count // 3, growth, cameras=tuple(cameras), objectives=tuple(OBJECTIVES)
        )
        data = label_grown(pictures, LABEL)
        examples += [replace(e, name=f"{k}_{e.name}", group=f"{k}_{e.name}") for e in data.examples]
    return DataSet(tuple(sorted(examples, key=lambda e: e.name)), data.classes)


def quality(model: YoloModel, data: DataSet) -> dict[str, float]:
    """Figures with the classes of the model, and of crystals whatever their class."""
    pairs = [
        (model.find(e.read_image(), Picking(least=0.01, most=100)),
         Objects.marked(e.instances or (), e.shape))
        for e in data.examples
    ]  # fmt: skip
    named = object_figures(pairs, len(model.classes))
    one = [tuple(replace(o, class_index=np.ones(len(o), int)) for o in p) for p in pairs]
    whole = object_figures(one, 1)
    return {"AP50, any class": whole["mask_ap50"], "AP50-90, any class": whole["mask_ap50_90"],
            "AP50": named["mask_ap50"], "AP50-90": named["mask_ap50_90"]}  # fmt: skip


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="speed of n only, nothing trained")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--seed", type=int, default=100)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        test = crystals(asked.seed, 3 if asked.quick else 18, BENCHMARK_CAMERAS[2:])
        for size in ("n",) if asked.quick else ("n", "s", "m"):
            speed(f"yolo-{size}", untrained(size, folder), test, 5 if asked.quick else 20)
        if asked.quick and asked.model is None:
            return
        path = asked.model or trained(asked.seed, asked.minutes, folder)
        speed("trained", path, test, 20)
        model = read_yolo(path)
        clean = quality(model, test)
        print("unseen cameras:", ", ".join(f"{k} {v:.3f}" for k, v in clean.items()))
        for kind in ("Gaussian noise", "Salt and pepper"):
            noisy = quality(model, harmed(test, kind, 20, 0))
            print(f"{kind} 20 %:", ", ".join(f"{k} {v:.3f}" for k, v in noisy.items()))


def trained(seed: int, minutes: float, folder: Path) -> Path:
    """Train n and write its file."""
    from layerscope.training.domains import DomainSettings, train_domains

    data = crystals(seed + 1000, 120, BENCHMARK_CAMERAS[:2])
    path = folder / "trained.onnx"
    train_domains(data, path, DomainSettings("n", minutes=minutes, noisy=True), tell=print)
    return path


if __name__ == "__main__":
    main()
