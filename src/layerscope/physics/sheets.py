"""What lies where, when several materials may: sheets told apart by their colours together.

Every region of an image is one of a few piles of sheets (``MoS2``, ``MoSe2``, two layers of one,
one on the other). Oxide, camera and tone curve are not known exactly, but they are the same for all
regions: each point of a grid over them predicts all colours, and regions that fit together raise
each other's odds. A pile that no point explains is ``unknown``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray, IntArray, RegionSignal
from layerscope.errors import InputError
from layerscope.ops.tone import contrast, tone_curve
from layerscope.physics.materials import load
from layerscope.physics.thin_film import WAVELENGTH_NM, Camera, Stack, flake_reflectance

Sheets = tuple[tuple[str, int], ...]
"""Materials from the substrate up, each with its number of layers."""

SURE = 0.65
"""Least probability of an answer: of 230 terraces on 12 synthetic images 7 wrong ones lie below."""

_OXIDE_SD_NM, _OXIDE_STEPS = 5.0, 9
_CENTRES_NM = ((0, 0, 0), (-12, -12, -12), (12, 12, 12), (14, 10, -12), (-12, -6, 10))
"""Channel centres of cameras, red, green and blue, against the usual ones: alike, moved, wider
apart (three chips behind prisms), closer together."""

_LAYER_ODDS = 0.5
"""Of one more layer: growth rarely gives many, and colours of many are alike."""

_TONES = ("linear", "srgb")
_RELATIVE, _ABSOLUTE = 0.10, 0.008
"""What a contrast may be off by: cameras differ in the widths of their channels, tables of indices
from film to film."""

_UNKNOWN_LEVEL = 4.5
"""Chi-square per channel at which a region is as well none of the piles."""


@dataclass(frozen=True, eq=False)
class SheetPosterior:
    """Which pile of sheets each region is.

    Attributes
    ----------
    piles : tuple of Sheets
    probability : ndarray, (n, piles + 1)
        The last column is ``unknown``; rows add to one.
    oxide_nm : float
        Most probable thickness of the oxide.
    tone : str
        Most probable tone curve.
    """

    piles: tuple[Sheets, ...]
    probability: FloatArray
    oxide_nm: float
    tone: str

    @property
    def answer(self) -> IntArray:
        """Index of the pile of each region; -1 for unknown, or none surer than `SURE`."""
        best = self.probability.argmax(axis=1)
        sure = self.probability.max(axis=1, initial=0) >= SURE
        return np.where((best == len(self.piles)) | ~sure, -1, best)


def possible_piles(
    materials: Sequence[str], *, max_layers: int = 3, stacked: bool = True
) -> tuple[Sheets, ...]:
    """List the piles that some materials can make.

    Parameters
    ----------
    materials : sequence of str
    max_layers : int
        Of one material alone.
    stacked : bool
        Also one layer of each on one of another.
    """
    names = [load(m).name for m in materials]
    alone: list[Sheets] = [((m, n),) for m in names for n in range(1, max_layers + 1)]
    pairs: list[Sheets] = [((a, 1), (b, 1)) for a, b in permutations(names, 2)]
    return tuple(alone + (pairs if stacked else []))


def pile_reflectance(
    pile: Sheets,
    stack: Stack,
    wavelength_nm: npt.ArrayLike = WAVELENGTH_NM,
    *,
    na: float = 0.45,
) -> FloatArray:
    """Power reflectance (W,) of sheets on a stack; without sheets, of the stack.

    Parameters
    ----------
    pile : Sheets
    stack : Stack
    wavelength_nm : array_like, (W,)
    na : float
    """
    films = [(load(name), n * load(name).require_layer_nm()) for name, n in pile]
    # A film of zero thickness is optically absent, whatever it is made of.
    crystal, thickness_nm = films[-1] if films else (stack.base, 0.0)
    below = Stack((*reversed(films[:-1]), *stack.films), stack.base)
    return flake_reflectance(crystal, [thickness_nm], below, wavelength_nm, na=na)[0]


def tell_sheets(
    signal: RegionSignal,
    weight: FloatArray,
    piles: Sequence[Sheets],
    stack: Stack,
    *,
    na: float = 0.45,
) -> SheetPosterior:
    """Probability of each pile for each region of an image, or of images of one setup.

    Parameters
    ----------
    signal : RegionSignal
        Of n regions.
    weight : ndarray, (n,)
        How much each counts when oxide, camera and tone are told: for example its share of area.
    piles : sequence of Sheets
        From `possible_piles`.
    stack : Stack
        Nominal substrate.
    na : float

    Returns
    -------
    SheetPosterior

    Raises
    ------
    InputError
        If there is no pile, or not one weight per region.
    """
    if not piles or len(weight) != len(signal):
        raise InputError(f"{len(piles)} piles, {len(weight)} weights for {len(signal)} regions")
    oxides, expected = _oxides(stack), _expected(tuple(piles), stack, na)
    setups = [(tone, o) for tone in _TONES for o in np.repeat(oxides, len(_CENTRES_NM))]
    log_like = np.concatenate([_log_likelihood(signal, expected, tone) for tone in _TONES])
    log_like[..., :-1] += [np.log(_LAYER_ODDS) * (sum(n for _, n in p) - 1) for p in piles]
    prior = np.array([-0.5 * ((o - (stack.oxide_nm or 0)) / _OXIDE_SD_NM) ** 2 for _, o in setups])
    per_region = np.logaddexp.reduce(log_like, axis=2)
    evidence = prior + per_region @ np.minimum(weight / max(weight.max(initial=0), 1e-9), 1.0)
    share = np.exp(evidence - evidence.max())
    share /= share.sum()
    chance = np.exp(log_like - per_region[..., None])
    tone, oxide_nm = setups[int(share.argmax())]
    return SheetPosterior(
        tuple(piles), np.einsum("s,snp->np", share, chance), float(oxide_nm), tone
    )


@lru_cache(maxsize=8)
def _expected(piles: tuple[Sheets, ...], stack: Stack, na: float) -> FloatArray:
    """Contrast (setups, piles, 3) of each pile by oxide and camera; 50 ms for three piles."""
    cameras = [_contrasts(piles, stack, _oxides(stack), shift, na) for shift in _CENTRES_NM]
    return np.stack(cameras, axis=1).reshape(-1, len(piles), 3)


def _oxides(stack: Stack) -> FloatArray:
    if stack.oxide_nm is None:
        return np.zeros(1)
    reach = 2 * _OXIDE_SD_NM
    return stack.oxide_nm + np.linspace(-reach, reach, _OXIDE_STEPS)


def _contrasts(
    piles: Sequence[Sheets],
    stack: Stack,
    oxides: FloatArray,
    shifts_nm: tuple[float, float, float],
    na: float,
) -> FloatArray:
    """Contrast (oxides, piles, 3) in linear light, through channels moved by `shifts_nm`."""
    usual = Camera()
    red, green, blue = (c + s for c, s in zip(usual.centre_nm, shifts_nm, strict=True))
    response = Camera(centre_nm=(red, green, blue), width_nm=usual.width_nm).response().T
    seen = []
    for oxide_nm in oxides.tolist():
        under = stack if stack.tunable is None else stack.with_oxide(oxide_nm)
        bare = pile_reflectance((), under, na=na)
        light = np.stack([pile_reflectance(p, under, na=na) for p in piles])
        seen.append((light @ response) / (bare @ response) - 1)
    return np.stack(seen)


def _log_likelihood(signal: RegionSignal, expected: FloatArray, tone: str) -> FloatArray:
    """Of each setup, region and pile, unknown last: (setups, n, piles + 1)."""
    seen, _ = contrast(signal, tone_curve(tone))
    sd = np.hypot(_RELATIVE * np.abs(expected), _ABSOLUTE)[:, None]
    off = (seen[None, :, None] - expected[:, None]) / sd
    fit = -0.5 * (off**2).sum(axis=-1) - np.log(sd).sum(axis=-1)
    # Unknown: a region that far off every pile, as broad as the nearest.
    none = -0.5 * 3 * _UNKNOWN_LEVEL - np.log(sd).sum(axis=-1).mean(axis=-1, keepdims=True)
    none = np.broadcast_to(none, (*fit.shape[:2], 1))
    return np.concatenate([fit, none], axis=-1)
