"""Flakes by a network that learned edges and flatness, with what `tasks.flakes` says of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import CropMasks, Detections, FloatArray
from layerscope.errors import InputError
from layerscope.models.flake_maps import BINNING, FlakeModel, FloatMaps, draw_maps
from layerscope.models.instances import Decoding, decode, join_alike, part_by
from layerscope.ops.comparison import Thresholds, compare, measure_thresholds
from layerscope.ops.deviation import Steps, levels_at
from layerscope.ops.illumination import LEVELS
from layerscope.ops.labels import Labels, core_labels, group_means, sample_regions
from layerscope.ops.optical import (
    Background,
    FlatField,
    background_of,
    binned_levels,
    usable_pixels,
)
from layerscope.ops.regions import Terraces, find_terraces
from layerscope.tasks.flakes import Rules, View, find_in_view, three_channels

_SAMPLE_PX = 600
"""Pixels of each region that its mean colour is read from."""

_CORE_PX = 12
"""Inner pixels of what could be a region: one of 200 px, 7 x 7 at half resolution, has 25."""

_SAME_COLOUR = 1.5
"""Plateaus of one region are parts of one terrace if their colours differ by no more than this many
times what a flat spot varies by."""

_SUMMIT = 0.6
"""A depth that each whole terrace reaches; the score of those that do not is less."""

LENIENT = Rules(
    min_radius_px=1.5, min_uniformity=0.1, min_sharpness=0.1, min_compactness=0.05,
    rim_radius_px=3.0,
)  # fmt: skip
"""What a network calls a crystal is held against laxer rules than what merely differs."""


def find_flakes_learned(
    micrograph: Micrograph,
    model: FlakeModel,
    *,
    substrate_level: npt.ArrayLike | None = None,
    flat_field: FlatField | None = None,
    min_area_px: int = 200,
    rules: Rules = LENIENT,
    decoding: Decoding | None = None,
) -> tuple[Detections, Background]:
    """Find flakes with a network, and the bare substrate that they lie on.

    Parameters
    ----------
    micrograph : Micrograph
        Optical; grey or RGB, any bit depth, 32 px or more a side. `Micrograph.excluded` is left
        out.
    model : FlakeModel
        From `models.file.read_model`, of task ``flakes`` and output ``instances``.
    substrate_level, flat_field, min_area_px
        As in `tasks.flakes.find_flakes`.
    rules : Rules
        Which of the network's terraces are no crystals after all, and which are flagged.
    decoding : Decoding, optional
        Default: the model's own thresholds.

    Returns
    -------
    Detections
        As of `find_flakes`; `score` is the network's. No layers yet.
    Background

    Raises
    ------
    InputError
        If a parameter is out of range or the model is of another task.
    """
    check_model(model)
    if min_area_px < 1 or min(micrograph.shape) < 32:
        raise InputError(
            f"min_area_px {min_area_px}, image {micrograph.shape}: expected 1 and 32 px or more"
        )
    view = _view(micrograph, substrate_level, flat_field)
    drawn = _draw(micrograph, model, view, min_area_px)
    search = partial(drawn.terraces, cuts=decoding or decoding_of(model))
    found = find_in_view(micrograph, view, min_area_px, rules, search)
    said = {
        **found.provenance,
        "finder": "network",
        "model": model.card.name,
        "model_sha256": model.sha256,
    }
    score = _scores(found.masks, drawn.maps)
    return replace(found, score=score, provenance=said), view.background


def check_model(model: FlakeModel) -> None:
    """Refuse a model that draws something else.

    Raises
    ------
    InputError
    """
    card = model.card
    if card.task != "flakes" or card.output != "instances" or card.channels != 3:
        raise InputError(
            f"model {card.name!r}: task {card.task}, output {card.output}; finding flakes needs"
            " one that 'layerscope train flakes' or 'pretrain flakes' made"
        )


def decoding_of(model: FlakeModel) -> Decoding:
    """Return the cuts that the card of a model names, the usual ones where it names none."""
    usual, card = Decoding(), model.card
    return replace(
        usual,
        foreground=card.thresholds.get("foreground", usual.foreground),
        plateau_share=float(card.settings.get("plateau_share", usual.plateau_share)),
    )


def _view(
    micrograph: Micrograph, substrate_level: npt.ArrayLike | None, flat_field: FlatField | None
) -> View:
    usable = usable_pixels(micrograph, BINNING)
    levels = binned_levels(micrograph, BINNING, flat_field)
    background = background_of(levels, usable, substrate_level)
    bare = background.at(levels.shape[:2]) * np.float32(LEVELS)
    return View(levels, bare, background, usable, BINNING, flat_field)


@dataclass(frozen=True, eq=False)
class _Drawn:
    """What the network drew of a view, and how far the view is from the substrate."""

    maps: FloatMaps
    deviation: Steps
    limits: Thresholds

    def terraces(self, view: View, min_area_px: int, *, cuts: Decoding) -> Terraces | None:
        """Regions of at least `min_area_px`; a `tasks.flakes.Search`."""
        labels = decode(self.maps, cuts)
        if cuts.plateau_share < 1:
            plateaus = _plateaus(view, labels, self.limits)
            colour = _levels(plateaus, self.deviation)
            plateaus = join_alike(labels, plateaus, colour, _SAME_COLOUR * self.limits.flat)
            labels = part_by(labels, plateaus, min_area_px, cuts.plateau_share)
        labels = _of_size(labels, min_area_px)
        if not labels.any():
            return None
        return Terraces(labels, _levels(labels, self.deviation), self.deviation, self.limits.flat)


def _draw(micrograph: Micrograph, model: FlakeModel, view: View, min_area_px: int) -> _Drawn:
    """Ask the network about the tiles that a look at the colours does not find empty."""
    noise, drift = view.background.noise * LEVELS, view.background.surface_se * LEVELS
    least_px = max(4, min_area_px // BINNING**2)
    limits = measure_thresholds(view.levels, view.bare, noise, drift, least_px)
    deviation, bare, _ = compare(view.levels, view.bare, limits, view.usable)
    ground = view.bare
    if view.flat_field is not None:
        ground = ground * view.flat_field.at(ground.shape[:2])
    data = three_channels(micrograph.data)
    maps = draw_maps(model, data, micrograph.white_level, ground, _broad(bare))
    if view.usable is not None:
        maps[view.usable == 0] = 0
    return _Drawn(maps, deviation, limits)


def _broad(bare: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Pixels off the substrate with all their neighbours, `_CORE_PX` or more together.

    Glue, scratches and specks are narrower than what a terrace leaves after this.
    """
    core = cv2.erode(cv2.bitwise_not(bare), np.ones((3, 3), np.uint8))
    _, piece, stats, _ = cv2.connectedComponentsWithStats(core, connectivity=8)
    large = (stats[:, cv2.CC_STAT_AREA] >= _CORE_PX).astype(np.uint8)
    large[0] = 0
    return np.asarray(large[piece])


def _plateaus(view: View, labels: Labels, limits: Thresholds) -> Labels:
    """Terraces that the classical finder sees in and beside the network's."""
    usable = cv2.dilate((labels > 0).astype(np.uint8) * 255, np.ones((5, 5), np.uint8))
    if view.usable is not None:
        usable &= view.usable
    noise, drift = view.background.noise * LEVELS, view.background.surface_se * LEVELS
    found = find_terraces(view.levels, view.bare, noise, drift, limits.min_area_px, usable, limits)
    return found.labels


def _of_size(labels: Labels, least_px: int) -> Labels:
    """Drop what is smaller and number the rest from 1."""
    large = np.bincount(labels.ravel()) >= least_px
    large[0] = False
    number = np.where(large, np.cumsum(large), 0).astype(np.uint16)
    return number[labels]


def _levels(labels: Labels, deviation: Steps) -> FloatArray:
    """Mean deviation (n + 1, 3) of each region's core, of all of it where it has none."""
    count = int(labels.max()) + 1
    level = np.zeros((count, 3))
    for part in (labels, core_labels(labels, 1)):
        where, value = sample_regions(part, count, _SAMPLE_PX)
        mean = group_means(value, levels_at(deviation, where), count)
        here = np.bincount(value, minlength=count) > 0
        level[here] = mean[here]
    level[0] = 0
    return level


def _scores(masks: CropMasks, maps: FloatMaps) -> FloatArray:
    """Mean foreground under each mask, less what its summit lacks."""
    out = np.zeros(len(masks))
    for i, (where, crop) in enumerate(masks):
        half = tuple(slice(s.start // BINNING, (s.stop - 1) // BINNING + 1) for s in where)
        seen = maps[half]
        inside = cv2.resize(crop.astype(np.uint8), seen.shape[1::-1]) > 0
        if inside.any():
            summit = float(seen[..., 2][inside].max())
            out[i] = float(seen[..., 0][inside].mean()) * min(summit / _SUMMIT, 1.0)
    return np.clip(out, 0, 0.99)
