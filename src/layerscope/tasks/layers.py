"""Layer numbers of found flakes: from the calibrated physics, or from a head trained on labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from layerscope.core.calibration import Calibration
from layerscope.core.results import (
    THICK,
    UNKNOWN,
    BoolArray,
    Detections,
    Flag,
    FloatArray,
    IntArray,
    LayerPosterior,
    RegionSignal,
)
from layerscope.errors import InputError
from layerscope.ops.tone import ToneCurve, contrast, tone_curve
from layerscope.physics.calibration import OXIDE_SD_NM, calibrate
from layerscope.physics.materials import Material
from layerscope.physics.thickness import count_layers, most_probable
from layerscope.physics.thin_film import Stack

if TYPE_CHECKING:
    from layerscope.models.heads import LayerHead

NO_CRYSTAL = Flag.RESIDUE | Flag.EDGE_STRIP | Flag.OUT_OF_FOCUS
"""Flags of regions that are left out of a result unless they are asked for."""

_SMALLEST_CORE_PX = 60
_RESIDUE_FROM = 0.5
_SAME_SETUP = 0.2
DARKEST_LEVEL = 1e-3


def calibrate_setups(
    found: Sequence[Detections],
    levels: Sequence[FloatArray],
    setup: IntArray,
    material: Material,
    stack: Stack,
    *,
    known: Sequence[IntArray] | None = None,
    tone: ToneCurve | None = None,
    oxide_sd_nm: float = OXIDE_SD_NM,
    max_layers: int = 10,
    na: float = 0.45,
) -> Calibration:
    """Calibrate on the clean flakes of all images, setup by setup.

    Parameters
    ----------
    found : sequence of Detections
        One per image.
    levels : sequence of ndarray, (3,)
        Bare substrate of each image, fraction of the white level.
    setup : ndarray of int
        Setup of each image, numbered from 0.
    material, stack
    known : sequence of ndarray of int, optional
        Per image and region: the layer number that a person gave, 0 for none.
    tone, oxide_sd_nm, max_layers, na
        See `physics.calibration.calibrate`.
    """
    known = known or [np.zeros(len(d), np.int64) for d in found]
    signals, backgrounds, labels = [], [], []
    for number in range(int(setup.max(initial=-1)) + 1):
        members = np.flatnonzero(setup == number).tolist()
        rows = {i: np.flatnonzero(is_clean(found[i]) | (known[i] > 0)) for i in members}
        signals.append(RegionSignal.concatenate([found[i].signal.take(rows[i]) for i in members]))
        labels.append(np.concatenate([known[i][rows[i]] for i in members]))
        level = np.median([levels[i] for i in members], axis=0)
        backgrounds.append(np.maximum(level, DARKEST_LEVEL))  # a dark channel is no information
    return calibrate(
        signals,
        backgrounds,
        material,
        stack,
        labels=labels,
        tone=tone,
        oxide_sd_nm=oxide_sd_nm,
        max_layers=max_layers,
        na=na,
    )


def check_calibration(
    calibration: Calibration,
    material: Material,
    stack: Stack,
    max_layers: int,
    tone: ToneCurve | None,
) -> None:
    """Refuse a calibration that was made for something else.

    Raises
    ------
    InputError
        If material, substrate, number of layers or tone curve differ: the numbers would come out
        sure and wrong.
    """
    own = calibration.provenance.get("max_layers")
    pairs = [
        ("material", calibration.material, material.name),
        ("substrate", calibration.substrate, str(stack)),
        ("max_layers", own, max_layers),
        ("tone curve", calibration.tone, tone.name if tone else calibration.tone),
    ]
    for what, made_for, asked in pairs:
        if made_for != asked:
            raise InputError(f"the calibration is for {what} {made_for}, not {asked}")


def is_clean(detections: Detections) -> BoolArray:
    """Regions (n,) whose colour is that of one terrace, fit to calibrate with."""
    suspect = (detections.flags & int(NO_CRYSTAL | Flag.MIXED_LAYERS)) != 0
    large = detections.signal.core_px >= _SMALLEST_CORE_PX
    return ~suspect & (detections.score >= 0.5) & large


def count_by_physics(
    detections: Detections,
    level: FloatArray,
    setup: int,
    calibration: Calibration,
    tone: ToneCurve | None = None,
) -> Detections:
    """Add layer numbers and their flags, by the physics of the image's setup.

    A calibration that was made elsewhere is matched by the level of the bare substrate.
    """
    own = min(setup, len(calibration.setups) - 1)
    same = np.allclose(calibration.setups[own].background, level, rtol=_SAME_SETUP)
    nearest = own if same else calibration.nearest(level)
    return _with_layers(
        detections, count_layers(detections.signal, calibration, nearest, tone=tone)
    )


def count_by_head(
    detections: Detections, head: LayerHead, material: Material, max_layers: int = 10
) -> Detections:
    """Add layer numbers and their flags, by a classifier trained on labelled flakes."""
    value, error = contrast(detections.signal, tone_curve("linear"))
    layers = head.predict(value, error, max_layers=max_layers, layer_nm=material.layer_nm)
    return _with_layers(detections, layers)


def _doubted(layers: LayerPosterior, detections: Detections) -> LayerPosterior:
    """Believe a number only as far as the region is believed to be a crystal.

    Glue and shadows have the colours of layers now and then. Where the finder saw one, its score
    is the chance that the colour means anything; elsewhere only a score under one half is doubt.
    """
    flagged = (detections.flags & int(NO_CRYSTAL)) != 0
    trust = np.where(flagged, detections.score, 2 * detections.score).clip(0, 1)
    probability = trust[:, None] * layers.probability
    probability[:, -1] += 1 - trust
    answer = np.where(trust < 1, most_probable(probability), layers.n_layers)
    lost = (answer == UNKNOWN) & (layers.n_layers != UNKNOWN)
    low, high = layers.thickness_low_nm, layers.thickness_high_nm
    return replace(
        layers,
        probability=probability,
        n_layers=answer,
        thickness_nm=np.where(lost, np.nan, layers.thickness_nm),
        thickness_low_nm=np.where(lost, np.nan, low),
        thickness_high_nm=np.where(lost, np.nan, high),
    )


def _with_layers(detections: Detections, layers: LayerPosterior) -> Detections:
    layers = _doubted(layers, detections)
    withheld = np.array([bool(w) for w in layers.withheld], bool)
    unknown = layers.n_layers == UNKNOWN
    thin = layers.probability[:, :-2].sum(axis=1) > 0.5
    branched = np.array([len(b) > 1 for b in layers.branches_nm], bool)
    flags = np.zeros(len(layers), np.int64)
    ambiguous = (unknown & thin & ~withheld) | ((layers.n_layers == THICK) & branched)
    flags[ambiguous] |= int(Flag.AMBIGUOUS_LAYERS)
    flags[withheld] |= int(Flag.LAYERS_WITHHELD)
    if layers.residue is not None:
        flags[unknown & ~withheld & (layers.residue >= _RESIDUE_FROM)] |= int(Flag.RESIDUE)
    return detections.with_layers(layers, flags)


def is_crystal(detections: Detections) -> BoolArray:
    """Regions (n,) but those without a number that are flagged as residue, rims or out of focus."""
    if detections.layers is None:
        return np.ones(len(detections), bool)
    flagged = (detections.flags & int(NO_CRYSTAL)) != 0
    return ~flagged | (detections.layers.n_layers != UNKNOWN)


def renumbered(detections: Detections) -> Detections:
    """Return the same regions with `flake_id` counting from 1 without gaps."""
    _, flake_id = np.unique(detections.flake_id, return_inverse=True)
    return replace(detections, flake_id=flake_id.reshape(-1).astype(np.int64) + 1)
