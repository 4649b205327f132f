"""Error of coverage and of layer steps: synthetic scans from raw, and SEM pictures with masks.

    python benchmarks/coverage.py --scans 60 --first-seed 5000
    python benchmarks/coverage.py --pictures ../shared/data/sem/cvd_graphene
    python benchmarks/coverage.py --model coverage.onnx --scans 60 --first-seed 20000
    python benchmarks/coverage.py --stages

Settings were chosen on seeds 0 to 149 and, for the rows, on 11000 to 11219 at 256 px and on what
was wrong with 7042 and 7060. Seeds 12000 to 12099 were looked at for no choice: quote those.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from layerscope.core.coverage import Coverage
from layerscope.core.micrograph import Micrograph, Modality
from layerscope.io.spm import write_gwy
from layerscope.ops.surface import level
from layerscope.synth.surface import synth_surface
from layerscope.tasks.coverage import edges, find_coverage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=0)
    parser.add_argument("--first-seed", type=int, default=5000)
    parser.add_argument("--side", type=int, default=512, help="pixels of a scan")
    parser.add_argument("--layer-unknown", action="store_true")
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--model", help="of 'layerscope train coverage': whole pictures of scans")
    parser.add_argument("--stages", action="store_true", help="CPU time of one scan to its report")
    parser.add_argument("--quick", action="store_true", help="a tenth of the scans")
    told = parser.parse_args()
    seeds = range(told.first_seed, told.first_seed + told.scans // (10 if told.quick else 1))
    if told.stages:
        measure_stages()
    if told.model:
        measure_model(told.model, seeds)
    elif told.scans:
        measure_scans(seeds, told.layer_unknown, told.side)
    if told.pictures:
        measure_pictures(told.pictures)


def measure_scans(seeds: range, layer_unknown: bool, side: int = 512) -> None:
    """Raw synthetic scans with every artefact, levelled by ``auto``."""
    rows, steps, seconds, missed = [], [], [], []
    for seed in seeds:
        surface = synth_surface(seed, shape=(side, side))
        scan = level(surface.micrograph)
        start = time.process_time()
        found = find_coverage(scan, layer_nm=None if layer_unknown else surface.step_nm)
        seconds.append(time.process_time() - start)
        rows.append((surface.coverage, found.fraction, found.low, found.high, len(found.doubts)))
        steps.append(found.step_nm / surface.step_nm - 1)
        if abs(found.fraction - surface.coverage) > 0.03:
            missed.append(
                (seed, round(surface.coverage, 3), round(found.fraction, 3), found.doubts)
            )
    _say(f"{len(rows)} scans", np.array(rows))
    relative = np.array(steps)
    print(f"  layer step within 5 %: {np.mean(np.abs(relative) < 0.05):.0%}")
    print(
        f"  CPU median {np.median(seconds):.2f} s, most {np.max(seconds):.2f} s (after levelling)"
    )
    for line in missed:
        print("  off by more than 0.03:", *line)


def measure_model(path: str, seeds: range) -> None:
    """Whole pictures of scans of many sizes and scales, not square, levelled by ``auto``.

    Each is also asked at half and twice the scale, and inside a border that is not counted.
    """
    rows, changes = [], {"half": [], "twice": [], "border": []}
    for seed in seeds:
        rng = np.random.default_rng([seed, 0xBE])
        shape = tuple(int(n) for n in rng.integers(224, 641, 2))
        pixel_nm = float(np.exp(rng.uniform(np.log(5), np.log(40))))
        surface = synth_surface(seed, shape=shape, pixel_size_nm=pixel_nm)
        scan = level(surface.micrograph)
        found = find_coverage(scan, method=path)
        rows.append(_row(surface.coverage, found))
        for name, ratio in (("half", 0.5), ("twice", 2.0)):
            moved = find_coverage(_scaled(scan, ratio), method=path).fraction
            changes[name].append(abs(moved - found.fraction))
        changes["border"].append(abs(_in_border(scan, path) - found.fraction))
        if abs(found.fraction - surface.coverage) > 0.03:
            print(f"  {seed} {shape} true {surface.coverage:.3f} found {found.fraction:.3f}")
    _say(f"{len(rows)} scans by {Path(path).name}", np.array(rows))
    for name, values in changes.items():
        print(f"  {name}: changes by {np.mean(values):.4f} (mean), {np.max(values):.4f} (most)")


def _in_border(scan: Micrograph, path: str) -> float:
    framed = np.pad(scan.data, 40, constant_values=np.nan)
    return find_coverage(replace(scan, data=framed), method=path).fraction


def measure_stages() -> None:
    """CPU seconds of each stage from a raw scan of 512 x 512 px to its report, best of three."""
    from layerscope.measure.domains import find_domains, measure_domains
    from layerscope.report.coverage_folder import CoverageFolder
    from layerscope.surfaces import Question, run_coverage

    surface = synth_surface(12003)
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as out:
        for _ in range(3):
            marks = [("", time.process_time())]
            scan = level(surface.micrograph)
            marks.append(("level", time.process_time()))
            found = find_coverage(scan, layer_nm=surface.step_nm)
            marks.append(("coverage", time.process_time()))
            domains = find_domains(found, scan.data)
            measure_domains(domains, scan.data, pixel_size=scan.pixel_size, image="scan")
            marks.append(("domains", time.process_time()))
            folder = CoverageFolder(out)
            run = run_coverage([surface.micrograph], Question("WSe2"), on_result=folder)
            marks.append(("all of these, with pictures", time.process_time()))
            folder.finish(run)
            marks.append(("tables and report", time.process_time()))
            for (_, before), (name, after) in pairwise(marks):
                best[name] = min(best.get(name, np.inf), after - before)
    for name, seconds in best.items():
        print(f"  {name}: {seconds:.2f} s of CPU")
    whole = best["all of these, with pictures"] + best["tables and report"]
    print(f"  scan to report, in a process that has made one: {whole:.2f} s of CPU")
    for name, seconds in zip(("processor", "wall clock"), measure_command(), strict=True):
        print(f"  'layerscope run scan.gwy --task coverage', {name}: {seconds:.2f} s")


def measure_command() -> tuple[float, float]:
    """Seconds of CPU and wall of the command in a new process, imports and all: best of three."""
    best = np.full(2, np.inf)
    with tempfile.TemporaryDirectory() as folder:
        scan = Path(folder) / "scan.gwy"
        write_gwy(scan, (synth_surface(12003).micrograph,), {})
        command = (sys.executable, "-m", "layerscope", "run", str(scan), "--task", "coverage",
                   "--material", "WSe2", "-o", str(Path(folder) / "out"))  # fmt: skip
        for _ in range(3):
            before = _seconds_of_children(), time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            after = _seconds_of_children(), time.perf_counter()
            best = np.minimum(best, np.subtract(after, before))
    return float(best[0]), float(best[1])


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_pictures(folder: Path) -> None:
    """SEM pictures with masks; the least step also chosen by leaving one picture out."""
    names = sorted(p.stem for p in (folder / "images").iterdir())
    pictures = [_picture(folder, n) for n in names]
    truth = np.array([_mask(folder, n).mean() for n in names])
    found = [find_coverage(p) for p in pictures]
    for name, true, c in zip(names, truth, found, strict=True):
        inside = "holds" if c.low <= true <= c.high else "MISSES"
        print(
            f"  {name:16} true {true:.3f} found {c.fraction:.3f} [{c.low:.3f}, {c.high:.3f}]",
            end=" ",
        )
        print(inside, f"{len(c.doubts)} doubts")
    _say(
        "pictures, settings as shipped",
        np.array([_row(t, c) for t, c in zip(truth, found, strict=True)]),
    )
    _leave_one_out(pictures, truth)
    for ratio in (0.5, 2.0):
        moved = [find_coverage(_scaled(p, ratio)).fraction for p in pictures]
        change = np.abs(np.array(moved) - [c.fraction for c in found])
        print(f"  scale {ratio}: changes by {change.mean():.4f} (mean), {change.max():.4f} (most)")


def _leave_one_out(pictures: list[Micrograph], truth: np.ndarray) -> None:
    """Choose the least step on eleven pictures, use it on the twelfth: error, interval, doubt."""
    tried = (0.08, 0.10, 0.12, 0.15, 0.18, 0.22)
    rows = np.array(
        [
            [_row(t, c) for t, c in zip(truth, _with_least(pictures, least), strict=True)]
            for least in tried
        ],
        float,
    )
    error = np.abs(rows[..., 1] - rows[..., 0])
    for least, row in zip(tried, error, strict=True):
        print(f"  least step {least:.2f}: mean absolute error {row.mean():.4f}")
    others = (error.sum(axis=1, keepdims=True) - error).argmin(axis=0)
    _say("each picture by the least step of the others", rows[others, np.arange(len(truth))])


def _with_least(pictures: list[Micrograph], least: float) -> list[Coverage]:
    shipped = edges.LEAST_RATIO_STEP
    edges.LEAST_RATIO_STEP = least
    try:
        return [find_coverage(p) for p in pictures]
    finally:
        edges.LEAST_RATIO_STEP = shipped


def _row(true: float, found: Coverage) -> tuple[float, float, float, float, int]:
    return true, found.fraction, found.low, found.high, len(found.doubts)


def _say(what: str, rows: np.ndarray) -> None:
    true, said, low, high, doubts = rows.T
    error = said - true
    held = (low <= true) & (true <= high)
    print(
        f"{what}: RMSE {np.sqrt(np.mean(error**2)):.4f}, MAE {np.abs(error).mean():.4f}", end=", "
    )
    print(
        f"median {np.median(np.abs(error)):.4f}, bias {error.mean():+.4f}, 95 % interval holds",
        end=" ",
    )
    print(f"{held.sum()}, mean width {np.mean(high - low):.3f}, missed without doubt", end=" ")
    print(np.count_nonzero(~held & (doubts == 0)))


def _picture(folder: Path, name: str) -> Micrograph:
    data = cv2.imread(str(folder / "images" / f"{name}.tif"), cv2.IMREAD_GRAYSCALE)
    return Micrograph(data, Modality.SEM, name=name)


def _mask(folder: Path, name: str) -> np.ndarray:
    return cv2.imread(str(folder / "masks" / f"{name}.png"), cv2.IMREAD_GRAYSCALE) > 127


def _scaled(picture: Micrograph, ratio: float) -> Micrograph:
    how = cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC
    return replace(
        picture, data=cv2.resize(picture.data, None, fx=ratio, fy=ratio, interpolation=how)
    )


if __name__ == "__main__":
    main()
