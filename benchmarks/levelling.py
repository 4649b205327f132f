"""Error of every method of levelling on 40 synthetic scans with every artefact at once.

    python benchmarks/levelling.py [METHOD ...]

Standard deviation of levelled minus true heights without scars and particles, the scan's own noise
in it, in nm and over the white noise; CPU time of one 512 x 512 scan.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from layerscope.ops.surface import LEVELLERS, level
from layerscope.synth.surface import SynthSurface, synth_surface

SCANS = 40
SINGLE = {"scars", "drift"}


def draw(number: int) -> SynthSurface:
    pixel_nm = np.exp(np.random.default_rng(number).uniform(np.log(2), np.log(100)))
    coverage = 0.02 + 0.96 * number / (SCANS - 1)
    return synth_surface(1000 + number, coverage=coverage, pixel_size_nm=float(pixel_nm))


def error_nm(surface: SynthSurface, method: str) -> float:
    wrong = level(surface.micrograph, method).data - surface.heights_nm
    return float(np.std(wrong[~surface.particles & ~surface.scars]))


def main() -> None:
    methods = sys.argv[1:] or sorted(set(LEVELLERS) - SINGLE)
    surfaces = [draw(n) for n in range(SCANS)]
    noise = np.array([s.artefacts.noise_nm for s in surfaces])
    print("| method | median, nm | worst, nm | median / noise | worst / noise | CPU, s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for method in methods:
        start = time.process_time()
        errors = np.array([error_nm(s, method) for s in surfaces])
        seconds = (time.process_time() - start) / SCANS
        share = errors / noise
        print(
            f"| `{method}` | {np.median(errors):.3f} | {errors.max():.3f} "
            f"| {np.median(share):.1f} | {share.max():.1f} | {seconds:.3f} |"
        )


if __name__ == "__main__":
    main()
