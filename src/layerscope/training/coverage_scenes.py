"""Synthetic pictures of partly grown films with exact masks, to learn coverage from.

Every one is another film on another substrate, scanned by another bad instrument, levelled as a
user's scan is, and shown as grey values as an exported picture is: heights between the 0.5th and
99.5th percentile from black to white, with a random gamma.
"""

from __future__ import annotations

import re

import numpy as np

from layerscope.core.examples import IGNORE, DataSet, Example
from layerscope.errors import InputError
from layerscope.ops.surface import level
from layerscope.synth.surface import synth_surface

_ASKED = re.compile(r"synthetic:(\d+)")
_MOST = 2000
_SIDES_PX = (256, 320, 384, 512)
_ENDS = (0.5, 99.5)
_GAMMA = 1.4  # and its inverse: how pictures show heights
_MATERIALS = ("WSe2", "MoS2", "WS2")


def asked_for(text: str) -> int:
    """Return the number of ``synthetic:NUMBER``; 0 for any other text.

    Raises
    ------
    InputError
        If the number is out of range.
    """
    found = _ASKED.fullmatch(text)
    if found is None:
        return 0
    number = int(found[1])
    if not 1 <= number <= _MOST:
        raise InputError(f"{text}: expected synthetic:1 to synthetic:{_MOST}")
    return number


def synthetic_films(number: int, seed: int = 0, *, side_px: int | None = None) -> DataSet:
    """Draw pictures, each a specimen of its own; coverage is spread evenly from 2 to 98 %.

    Parameters
    ----------
    number : int
    seed : int
    side_px : int, optional
        Of all; drawn from 256 to 512 if None.
    """
    examples = tuple(_example(k, number, seed, side_px) for k in range(number))
    return DataSet(examples, ("substrate", "film"), grouped_by="each picture is its own film")


def _example(k: int, number: int, seed: int, side_px: int | None) -> Example:
    rng = np.random.default_rng([seed, k, 0xC0E])
    side = side_px or int(rng.choice(_SIDES_PX))
    surface = synth_surface(
        int(rng.integers(2**31)),
        shape=(side, side),
        coverage=0.02 + 0.96 * (k + 0.5) / number,
        material=str(rng.choice(_MATERIALS)),
        pixel_size_nm=float(np.exp(rng.uniform(np.log(4), np.log(40)))),
    )
    heights = level(surface.micrograph).data
    low, high = np.percentile(heights, _ENDS)
    shown = np.clip((heights - low) / max(float(high - low), 1e-9), 0, 1)
    shown = shown ** float(np.exp(rng.uniform(-np.log(_GAMMA), np.log(_GAMMA))))
    mask = np.where(surface.particles, IGNORE, surface.layers > 0).astype(np.uint8)
    return Example.from_arrays(f"film-{k:04d}", (255 * shown).astype(np.uint8), mask)
