"""Two Dask workers beside one, on the same images.

    python benchmarks/cluster.py [--images 96] [--repeats 3]

Synthetic micrographs of 1920 x 1200 px, the files of a few repeated with distinct bytes. The
workers are processes of this machine (`--scheduler local`); a few chunks are done before the clock
starts, so that starting and importing do not count. Only the `find` stage is timed. Runs with one
and two workers take turns, and each pair is printed with the load of the machine: on two busy cores
the second worker has nothing to run on. There the CPU time of all processes is what tells: what two
workers need more than one is what they cost each other.
"""

# ruff: noqa: E402  (the thread limits must stand before numpy is imported)

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse
import struct
import tempfile
import time
from contextlib import closing
from pathlib import Path

import psutil

from layerscope.batch.cluster import Cluster
from layerscope.batch.plan import Plan
from layerscope.batch.scan import begin
from layerscope.batch.settings import Settings
from layerscope.batch.work import Task
from layerscope.io.sources import name_sources
from layerscope.synth import synth_set

CHUNK_IMAGES, ORIGINALS = 4, 6


def write_images(folder: Path, number: int) -> None:
    """JPEG files of few pictures, each with a comment of its own."""
    contents = [i.encoded for i in synth_set(1, ORIGINALS)]
    for i in range(number):
        comment = f"field {i:06d}".encode()
        segment = b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment
        data = contents[i % ORIGINALS]
        (folder / f"field_{i:06d}.jpg").write_bytes(data[:2] + segment + data[2:])


def cpu_seconds() -> float:
    """CPU time of this process and all below it so far."""
    own = psutil.Process()
    return sum(sum(p.cpu_times()[:2]) for p in (own, *own.children(recursive=True)))


def seconds(plan: Plan, workers: int) -> tuple[float, float]:
    """Wall time and CPU time of all chunks but the first few."""
    warm = [Task("find", c, "") for c in range(2 * workers)]
    timed = [Task("find", c, "") for c in range(4, plan.n_chunks)]
    with (
        closing(Cluster("local", workers)) as cluster,
        closing(cluster.engine(plan.folder, 120.0)) as engine,
    ):
        for _ in engine.run(warm):
            pass
        start, cpu = time.perf_counter(), cpu_seconds()
        for _ in engine.run(timed):
            pass
        return time.perf_counter() - start, cpu_seconds() - cpu


def survey(plan: Plan) -> None:
    with (
        closing(Cluster("local", 1)) as cluster,
        closing(cluster.engine(plan.folder, 120.0)) as engine,
    ):
        for _ in engine.run([Task("survey", 0, "")]):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    settings = Settings("graphene", "SiO2(90nm)/Si", pixel_size="0.3844um", tone="linear")
    with tempfile.TemporaryDirectory(prefix="cluster-benchmark-") as folder:
        images = Path(folder) / "images"
        images.mkdir()
        write_images(images, arguments.images)
        run, sources = Path(folder) / "run", name_sources([images])
        plan = begin(sources, run, settings, chunk_images=CHUNK_IMAGES)
        survey(plan)
        number = arguments.images - 4 * CHUNK_IMAGES
        for _ in range(arguments.repeats):
            load = Path("/proc/loadavg").read_text().split()[0]
            one, two = seconds(plan, 1), seconds(plan, 2)
            print(f"{number} images, load before {load} on {os.cpu_count()} cores")
            for name, a, b in zip(("wall", "CPU"), one, two, strict=True):
                print(f"    {name}: one worker {a:.1f} s, two {b:.1f} s", end="")
                print(f": {a / b:.2f} times" if name == "wall" else "", flush=True)


if __name__ == "__main__":
    main()
