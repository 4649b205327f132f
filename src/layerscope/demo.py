"""The main job on micrographs whose truth is known: what `scripts/run` shows first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from layerscope import finding, pipeline
from layerscope.core.results import THICK, UNKNOWN, IntArray
from layerscope.core.run import RunResult
from layerscope.report.folder import write_run
from layerscope.synth import SynthImage, match_truth, synth_set, write_set

MATERIAL, SUBSTRATE, CAMERAS = "graphene", "SiO2(90nm)/Si", ("ccd_linear", "three_chip")
_SMALLEST_PX = 200


def run_demo(
    out: str | Path,
    *,
    number: int = 6,
    seed: int = 7,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[RunResult, str]:
    """Synthesise micrographs, analyse them as files, and compare with the truth.

    Parameters
    ----------
    out : path
        Folder for the results; the micrographs go to its ``micrographs``.
    number : int
        How many images.
    seed : int
    progress : callable, optional

    Returns
    -------
    RunResult
    str
        Lines that end with ``N of M flakes right``.
    """
    truth = list(
        synth_set(
            seed, number, material=MATERIAL, substrate=SUBSTRATE, cameras=CAMERAS, oxide_sd_nm=3
        )
    )
    files = write_set(truth, Path(out) / "micrographs")
    size_um = truth[0].micrograph.require_scale().um
    result = pipeline.run(
        [p for p in files if p.suffix in (".jpg", ".png")],
        material=MATERIAL,
        substrate=SUBSTRATE,
        scale=finding.Scale(f"{size_um:.4f}um"),
        progress=progress,
    )
    result = replace(result, objects=pipeline.with_truth(result.objects, _truth(result, truth)))
    write_run(result, out)
    return result, score(result, truth)


def _truth(result: RunResult, truth: Sequence[SynthImage]) -> dict[str, IntArray]:
    """Look up the true layer number per image and region; 0 where it is no true terrace."""
    scenes = {scene.micrograph.name: scene for scene in truth}
    known = {}
    for image in result.images:
        scene = scenes[image.name]
        match = match_truth(image.detections, scene)
        known[image.name] = np.zeros(len(image.detections), np.int64)
        known[image.name][match[match >= 0]] = scene.n_layers[match >= 0]
    return known


def score(result: RunResult, truth: Sequence[SynthImage], max_layers: int = 10) -> str:
    """Say how many true terraces of at least 200 px were found with their true layer number."""
    images = {image.name: image for image in result.images}
    tally = dict.fromkeys(("right", "wrong", "unknown", "missed"), 0)
    for scene in truth:
        found = images[scene.micrograph.name].detections
        match = match_truth(found, scene)
        answers = np.full(len(found), UNKNOWN) if found.layers is None else found.layers.n_layers
        large = scene.masks.area_px >= _SMALLEST_PX
        for layers, index in zip(scene.n_layers[large], match[large], strict=True):
            answer = None if index < 0 else int(answers[index])
            tally[_judge(int(layers), answer, max_layers)] += 1
    total = sum(tally.values())
    return (
        f"{tally['wrong']} with a wrong number, {tally['unknown']} answered unknown, "
        f"{tally['missed']} not found\n{tally['right']} of {total} flakes right"
    )


def _judge(truth: int, answer: int | None, max_layers: int) -> str:
    if answer is None:
        return "missed"
    if answer == UNKNOWN:
        return "unknown"
    return "right" if answer == (truth if truth <= max_layers else THICK) else "wrong"
