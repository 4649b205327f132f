"""Synthetic micrographs with exact truth, for the demo, for tests and for benchmarks."""

from layerscope.synth.optical import (
    Illumination,
    SynthImage,
    draw_illumination,
    match_truth,
    synth_flakes,
    synth_set,
    synth_signals,
    write_set,
)

__all__ = [
    "Illumination",
    "SynthImage",
    "draw_illumination",
    "match_truth",
    "synth_flakes",
    "synth_set",
    "synth_signals",
    "write_set",
]
