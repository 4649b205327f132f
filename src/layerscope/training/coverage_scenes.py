"""Synthetic pictures of partly grown films with exact masks, to learn coverage from.

Every one is another film on another substrate, scanned by another bad instrument, levelled as a
user's scan is, and shown as grey values as an exported picture is: heights between percentiles,
most often the 0.5th and 99.5th, from black to white, with a random gamma. Some pictures are made
smaller, and some scans are calmer: a model that saw the noise of an instrument in every picture
took a smooth film of 8 % for one of 97 %.
"""

from __future__ import annotations

import re
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE, DataSet, Example
from layerscope.errors import InputError
from layerscope.ops.surface import level
from layerscope.synth.surface import synth_surface
from layerscope.synth.surface_artefacts import Artefacts

_ASKED = re.compile(r"synthetic:(\d+)")
_MOST = 2000
_SIDES_PX = (128, 192, 256, 320, 384)
_LONGEST_PX = 512
"""As long as the scans that instruments are usually set to, and `Artefacts.draw` is made for."""
_SHRUNK_SHARE = 0.3  # pictures that somebody made smaller: no noise from pixel to pixel
_CALM_SHARE = 0.3  # scans of a better instrument than most
_CLEAR = 0.4  # of an ordinary instrument's noise: a layer stands clear of it
_ENDS = (0.5, 99.5)
_OTHER_ENDS_SHARE = 0.3
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


def synthetic_films(
    number: int, seed: int = 0, *, sides_px: tuple[int, ...] = _SIDES_PX, clear: bool = False
) -> DataSet:
    """Draw pictures, each a specimen of its own; coverage is spread evenly from 2 to 98 %.

    Parameters
    ----------
    number : int
    seed : int
    sides_px : tuple of int
        One is drawn for each picture.
    clear : bool
        As pictures that a person labels by one threshold: no scars, no particles, and at most
        two fifths of an ordinary instrument's noise.
    """
    examples = tuple(_example(k, number, seed, sides_px, clear) for k in range(number))
    return DataSet(examples, ("substrate", "film"), grouped_by="each picture is its own film")


def _example(k: int, number: int, seed: int, sides_px: tuple[int, ...], clear: bool) -> Example:
    rng = np.random.default_rng([seed, k, 0xC0E])
    side = int(rng.choice(sides_px))
    shrink = 2 if rng.random() < _SHRUNK_SHARE and 2 * side <= _LONGEST_PX else 1
    surface = synth_surface(
        int(rng.integers(2**31)),
        shape=(side * shrink, side * shrink),
        coverage=0.02 + 0.96 * (k + 0.5) / number,
        material=str(rng.choice(_MATERIALS)),
        pixel_size_nm=float(np.exp(rng.uniform(np.log(4), np.log(40)))),
        artefacts=_clear(rng) if clear else _artefacts(rng, side * shrink),
    )
    heights = level(surface.micrograph).data
    mask = np.where(surface.particles, IGNORE, surface.layers > 0).astype(np.uint8)
    if shrink > 1:
        heights = cv2.resize(heights, (side, side), interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, (side, side), interpolation=cv2.INTER_NEAREST)
    return Example.from_arrays(f"film-{k:04d}", _shown(heights, rng), mask.astype(np.uint8))


def _artefacts(rng: np.random.Generator, side_px: int) -> Artefacts:
    """Draw all of them, as dense as in a large scan; weaker by one factor for some scans."""
    drawn, share = Artefacts.draw(rng), side_px / _LONGEST_PX
    drawn = replace(
        drawn, scars=round(share * drawn.scars), particles=round(share**2 * drawn.particles)
    )
    if rng.random() >= _CALM_SHARE:
        return drawn
    return _calmer(drawn, float(rng.uniform(0, 1)))


def _clear(rng: np.random.Generator) -> Artefacts:
    drawn = replace(Artefacts.draw(rng), scars=0, particles=0)
    return _calmer(drawn, float(rng.uniform(0, _CLEAR)))


def _calmer(drawn: Artefacts, factor: float) -> Artefacts:
    return replace(
        drawn,
        row_nm=factor * drawn.row_nm,
        row_walk_nm=factor * drawn.row_walk_nm,
        hum_nm=factor * drawn.hum_nm,
        noise_nm=factor * drawn.noise_nm,
    )


def _shown(heights: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Heights as somebody's picture shows them."""
    ends = _ENDS
    if rng.random() < _OTHER_ENDS_SHARE:
        ends = (float(rng.uniform(0, 2)), float(rng.uniform(98, 100)))
    low, high = np.percentile(heights, ends)
    shown = np.clip((heights - low) / max(float(high - low), 1e-9), 0, 1)
    shown = shown ** float(np.exp(rng.uniform(-np.log(_GAMMA), np.log(_GAMMA))))
    return np.asarray(255 * shown, np.uint8)
