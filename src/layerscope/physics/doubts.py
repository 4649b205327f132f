"""When not to trust a calibration: every reason to withhold absolute layer numbers.

A ladder read as twice its layer numbers fits nearly as well as the right one, and is confidently
wrong. So each setup's best fit has to hold its own against rival oxides, tone curves and
materials, and its parameters must be those of a plausible microscope.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from layerscope.core.results import FloatArray, IntArray
from layerscope.ops.tone import ToneCurve
from layerscope.physics.fitting import Fit, Hypothesis, explore
from layerscope.physics.materials import load
from layerscope.physics.mixture import Colours

WRONG_OXIDE_NATS = 5.0
"""Prior odds that a user names a wrong oxide: 1 in 150."""

RIVAL_SHARE = 0.02
"""Posterior share from which a rival with other layer numbers counts."""

RIVAL_TONE_SHARE = 0.001
"""The same for another tone curve: on weak ladders (hBN) it is worth a factor of two in contrast,
and scatter alone decided by 5 nats."""

_ANCHORS = 2  # labelled flakes that fix a ladder
_WRONG_MATERIAL_NATS = 8.0  # three times that where both materials give the same numbers
_MIN_REGIONS_FOR_MATERIAL = 8
_COMMON_MATERIALS = ("graphene", "hBN", "MoS2", "WS2", "MoSe2", "WSe2")
_MIN_LOG_PRIOR = -10.0
_MAX_NOISE = 1.9
_MAX_OUTLIERS = 0.7


def misfits(leader: Fit) -> list[str]:
    """Why the best fit is no fit."""
    found = []
    if leader.log_prior < _MIN_LOG_PRIOR:
        found.append("only a very unusual camera, lamp or film would show these colours")
    if leader.noise > _MAX_NOISE:
        found.append("the colours scatter too much around any ladder of this material")
    outliers = float(np.mean(leader.node == -2)) if len(leader.node) else 0.0
    if outliers > _MAX_OUTLIERS:
        found.append(f"{outliers:.0%} of the regions have colours off this material's ladder")
    return found


def wrong_oxide(fits: Sequence[Fit], leader: Fit, max_layers: int) -> tuple[list[str], list[str]]:
    """Say which rival oxides explain the colours better, and which about as well."""
    better, alike = [], []
    rivals = [f for f in fits if not f.told_oxide and differ(leader, f, max_layers)]
    for f in sorted(rivals, key=lambda f: -f.log_evidence)[:1]:
        odds = f.log_evidence - leader.log_evidence - WRONG_OXIDE_NATS
        film = f"a film of {f.theta[0]:.0f} nm explains the colours"
        if odds > 0:
            better.append(f"{film} better than the one named: check the substrate")
        elif odds > np.log(RIVAL_SHARE):
            alike.append(f"{film} about as well as the one named, with other layer numbers")
    return better, alike


def wrong_material(
    colours: Colours, background: FloatArray, told: Hypothesis, tone: ToneCurve, leader: Fit
) -> list[str]:
    """Say which common materials explain better what the told one takes for crystals.

    Only regions on the told ladder are compared: residue is a thin dielectric and would vote for
    hBN. One colour alone fits some layer of anything, so at least three must be seen. Where hardly
    any region is on the ladder, all are compared, and transparent crystals are left out.
    """
    crystal = np.flatnonzero(leader.node >= 0)
    rivals, own = list(_COMMON_MATERIALS), told.model.material.name
    if len(crystal) >= _MIN_REGIONS_FOR_MATERIAL:
        if np.count_nonzero(np.bincount(leader.node[crystal]) >= 2) < 3:
            return []
        subset = colours.take(crystal)
    elif len(colours) >= 2 * _MIN_REGIONS_FOR_MATERIAL:
        # Hardly any region is on the ladder: dirt, or another absorbing material altogether.
        subset = colours
        rivals = [n for n in rivals if not told.model.of_material(load(n)).is_transparent]
    else:
        return []
    fits = {
        name: explore(
            subset, background, [replace(told, model=told.model.of_material(load(name)))], tone
        )[0]
        for name in (own, *(n for n in rivals if n != own))
    }
    found = []
    for name, fit in fits.items():
        same = not differ(fits[own], fit, told.model.max_layers)
        needed = _WRONG_MATERIAL_NATS * (3 if same else 1)
        if fit.log_evidence - fits[own].log_evidence > needed:
            found.append(f"the colours fit {name} better: check the material")
    return found


def doubled(count: IntArray) -> list[str]:
    """Refuse a ladder on which only even numbers are occupied; `count` is per layer number."""
    odd, even = count[0::2].sum(), count[1::2].sum()
    if even >= 10 and odd < 0.1 * even and np.count_nonzero(count[1::2] >= 2) > 1:
        return ["only even layer numbers: the ladder may be doubled"]
    return []


def undecided_tone(counts: Sequence[IntArray], *, transparent: bool) -> list[str]:
    """Refuse where the tone curve is unknown and the colours cannot tell it.

    Even layers alone on a gamma-encoded image look like half their number on a linear one, and
    win by 10 to 21 nats. The contrast of a few transparent layers (hBN) is proportional to their
    number: there the factor two between linear and sRGB is nothing but another number.
    """
    if not any(c.sum() for c in counts):
        return []
    if transparent:
        why = "the contrast of a transparent crystal grows in proportion to its thickness"
    elif not any(_tells_tone(c) for c in counts):
        why = "too few layer numbers are seen"
    else:
        return []
    return [
        f"the camera's tone curve is unknown and {why}, so the colours cannot tell it: "
        "give --tone linear or --tone srgb"
    ]


def _tells_tone(count: IntArray) -> bool:
    consecutive = bool(np.any((count[:-1] >= 2) & (count[1:] >= 2)))
    occupied = np.count_nonzero(count >= max(1, 0.08 * count.sum()))
    return consecutive and bool(occupied >= 3)


def is_anchored(colours: Colours) -> bool:
    """Whether a person labelled enough flakes to fix the ladder."""
    return int(np.count_nonzero(colours.known)) >= _ANCHORS


def differ(one: Fit, other: Fit, max_layers: int) -> bool:
    """Whether two fits number differently what either takes for thin.

    Told 200 nm for 90 nm, the best fit called every layer thick: only the rival knew thin ones.
    """
    thin = np.zeros(len(one.node), bool)
    for fit in (one, other):
        thin |= (fit.node >= 0) & (fit.node < max_layers)
    return bool(thin.any()) and float(np.mean(one.node[thin] != other.node[thin])) > 0.2
