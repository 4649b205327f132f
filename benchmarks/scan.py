"""A scan of thousands of real images beside decoding them alone, on the same files and cores.

    python benchmarks/scan.py [DATA] [--images 2000] [--workers 2] [--pattern graphene*]

The micrographs (1920 x 1200 JPEG, default ../shared/data/optical/exfoliated) are repeated with
distinct bytes (a comment segment), so that hashes differ and pixels do not. Decoding alone reads
and decodes every file with as many processes. Printed: both times, their ratio, what 20,000 images
would take (the steps that do not grow with the scan counted once), memory and open files of all
processes over the scan, and the time of asking for the finished scan again.
"""

# ruff: noqa: E402  (the thread limits must stand before numpy is imported)

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse
import shutil
import struct
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from layerscope.batch.plan import Plan
from layerscope.batch.progress import Progress
from layerscope.batch.scan import begin, run_scan
from layerscope.batch.settings import Settings
from layerscope.batch.workers import Workers
from layerscope.io import read
from layerscope.io.sources import name_sources


def distinct_copies(originals: list[Path], folder: Path, number: int) -> list[Path]:
    """`number` files of the same pixels and different bytes."""
    contents = [p.read_bytes() for p in originals]
    out = []
    for i in range(number):
        data, comment = contents[i % len(contents)], f"field {i:06d}".encode()
        segment = b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment
        path = folder / f"field_{i:06d}.jpg"
        path.write_bytes(data[:2] + segment + data[2:])
        out.append(path)
    return out


def decode(path: Path) -> int:
    return read(path).data.size


def decode_all(paths: list[Path], workers: int) -> float:
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(decode, paths[: 4 * workers]))  # imports are not decoding
        start = time.perf_counter()
        sum(pool.map(decode, paths, chunksize=32))
        return time.perf_counter() - start


class Census(threading.Thread):
    """Memory (MB) and open files of this process and its children, every second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.rows: list[tuple[float, float, float, int]] = []
        self.ended = threading.Event()

    def run(self) -> None:
        start = time.perf_counter()
        while not self.ended.wait(1.0):
            own, *children = sorted(_family(os.getpid()), key=lambda p: p != os.getpid())
            workers = [_rss_mb(p) for p in children]
            files = sum(_open_files(p) for p in (own, *children))
            row = (time.perf_counter() - start, _rss_mb(own), max(workers, default=0.0), files)
            self.rows.append(row)


def _family(pid: int) -> list[int]:
    out = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            out += _family(int(child))
    return out


def _rss_mb(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0.0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _open_files(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def scan(plan: Plan, workers: int) -> dict[str, float]:
    """Wall time by step."""
    steps: dict[str, float] = {}
    clock = [time.perf_counter(), "survey"]

    def listen(now: object) -> None:
        stage = now.stage  # type: ignore[attr-defined]
        if stage != clock[1]:
            steps[str(clock[1])] = time.perf_counter() - float(clock[0])
            clock[:] = [time.perf_counter(), stage]

    progress = Progress(plan.folder, listen)
    make = lambda p, g: Workers(p.folder, workers, 120.0, g.image)  # noqa: E731
    run_scan(plan, make, progress=progress, report=False)
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", default="../shared/data/optical/exfoliated")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pattern", default="*", help="sub-folders of DATA")
    arguments = parser.parse_args()
    originals = sorted(Path(arguments.data).glob(f"{arguments.pattern}/images/*.jpg"))
    where = Path(tempfile.mkdtemp(prefix="scan-benchmark-"))
    try:
        report(originals, where, arguments.images, arguments.workers)
    finally:
        shutil.rmtree(where)


def report(originals: list[Path], where: Path, number: int, workers: int) -> None:
    (where / "images").mkdir()
    paths = distinct_copies(originals, where / "images", number)
    settings = Settings("graphene", "SiO2(90nm)/Si", pixel_size="0.3844um")
    plan = begin(name_sources(paths), where / "run", settings)
    first = decode_all(paths, workers)
    census = Census()
    census.start()
    steps = scan(plan, workers)
    census.ended.set()
    alone = (first + decode_all(paths, workers)) / 2  # before and after: the machine's load drifts
    total = sum(steps.values())
    print(f"{number} images from {len(originals)} originals, {workers} workers")
    print(f"decoding alone {alone:.1f} s ({number / alone:.0f} images/s)")
    print("scan " + ", ".join(f"{name} {s:.1f} s" for name, s in steps.items()))
    print(f"scan in all {total:.1f} s ({number / total:.0f} images/s): {total / alone:.2f} times")
    fixed = steps.get("survey", 0.0) + steps.get("calibrate", 0.0)
    far = fixed + (total - fixed) * 20_000 / number
    share = far / (alone * 20_000 / number)
    print(f"20,000 images: {far / 60:.1f} min, decoding {alone * 20 / number * 1000 / 60:.1f} min: "
          f"{share:.2f} times")  # fmt: skip
    print_census(census)
    start = time.perf_counter()
    scan(Plan.load(where / "run"), workers)
    print(f"asked again: {time.perf_counter() - start:.2f} s")


def print_census(census: Census) -> None:
    rows = np.array(census.rows)
    quarter = np.array_split(rows, 4)
    for name, column, unit in (("driver", 1, "MB"), ("worker", 2, "MB"), ("open files", 3, "")):
        values = ", ".join(f"{q[:, column].max():.0f}" for q in quarter)
        print(f"{name}: largest {unit} in each quarter of the scan: {values}")


if __name__ == "__main__":
    main()
