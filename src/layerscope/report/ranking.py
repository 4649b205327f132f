"""Which flake to look at first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from layerscope.core.results import FloatArray
from layerscope.report.columns import answers, flag_names, layer_probabilities, numbers

if TYPE_CHECKING:
    import pandas as pd

ROOM_UM = 5.0
"""Circle diameter that counts half: about the smallest area for a four-terminal device."""
ROOM_PX = 15.0
"""The same where there is no scale: about 5 um under a 20x objective."""
THICK_LAYERS = 20.0
"""Layers that a region called ``thick`` counts as."""
PENALTY = {
    "residue": 0.1,
    "edge_strip": 0.3,
    "low_contrast": 0.5,
    "mixed_layers": 0.6,
    "out_of_focus": 0.6,
    "substrate_uncertain": 0.7,
    "unlike_marked": 0.2,
    "ambiguous_layers": 0.8,
    "touches_border": 0.8,
    "saturated": 0.8,
    "touches_excluded": 0.8,
}
"""Factor per flag. A matter of judgement: residue is no crystal, a cut flake is still a flake."""


def rank_flakes(objects: pd.DataFrame) -> pd.DataFrame:
    """Order flakes by how much they promise: thin, roomy, clean and certain.

    Each region gets ``merit = thin * room * clean * sure``, each factor in 0..1:

    - thin: expectation of 1 / layers over the posterior (``thick`` counts as 20 layers; a region
      without any number counts as 1 / (1 + nm) if it has a thickness, else 0.1);
    - room: d / (d + 5 um), d the diameter of the largest inscribed circle (15 px without a scale);
    - clean: score * uniformity * one factor per flag (`PENALTY`);
    - sure: probability of the given layer number (0.5 where none is given).

    The factors are multiplied, so that a flake that fails at one is not saved by another.

    Parameters
    ----------
    objects : pandas.DataFrame
        One row per region.

    Returns
    -------
    pandas.DataFrame
        The best region of every flake, best first, with the column ``merit``; the index is that of
        `objects`. Ties keep the order of `objects`.
    """
    ranked = objects.assign(
        merit=_thin(objects) * _room(objects) * _clean(objects) * _sure(objects)
    )
    ranked = ranked.sort_values("merit", ascending=False, kind="stable")
    keys = [name for name in ("image", "flake_id") if name in ranked]
    return ranked.drop_duplicates(keys) if len(keys) == 2 else ranked


def _thin(objects: pd.DataFrame) -> FloatArray:
    names, probability = layer_probabilities(objects)
    layers = [int(a) if a.isdigit() else (THICK_LAYERS if a == "thick" else np.inf) for a in names]
    expected = probability @ (1.0 / np.array(layers, float)) if layers else np.zeros(len(objects))
    by_nm = 1.0 / (1.0 + np.maximum(numbers(objects, "thickness_nm"), 0.0))
    unknown = np.array([a == "unknown" for a in answers(objects)], bool)
    return np.where(unknown | (expected <= 0), np.where(np.isfinite(by_nm), by_nm, 0.1), expected)


def _room(objects: pd.DataFrame) -> FloatArray:
    um = numbers(objects, "inscribed_circle_diameter_um")
    px = numbers(objects, "inscribed_circle_diameter_px")
    px = np.where(np.isfinite(px), px, np.sqrt(np.maximum(numbers(objects, "area_px"), 0.0)))
    relative = np.where(np.isfinite(um), um / ROOM_UM, px / ROOM_PX)
    relative = np.nan_to_num(np.maximum(relative, 0.0))
    return np.asarray(relative / (1.0 + relative), float)


def _clean(objects: pd.DataFrame) -> FloatArray:
    clean = np.ones(len(objects))
    for name in ("score", "uniformity"):
        clean *= np.nan_to_num(np.clip(numbers(objects, name), 0.0, 1.0), nan=1.0)
    if "flags" in objects:
        # A table of 300,000 regions has some dozens of different sets of flags.
        factor = {
            v: float(np.prod([PENALTY.get(f, 1.0) for f in flag_names(v)]))
            for v in objects["flags"].unique().tolist()
        }
        clean *= objects["flags"].map(factor).fillna(1.0).to_numpy(float)
    return clean


def _sure(objects: pd.DataFrame) -> FloatArray:
    given = np.array([a != "unknown" for a in answers(objects)], bool)
    probability = np.clip(numbers(objects, "layers_probability"), 0.0, 1.0)
    return np.where(given, np.nan_to_num(probability, nan=0.5), 0.5)
