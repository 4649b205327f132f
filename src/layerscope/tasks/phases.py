"""Classes of the pixels of a micrograph, by a trained model, and how much of each there is.

A model gives every pixel one class, or every class a mask; masks may overlap, as a hole under a
flake does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.coverage import LabelMap
from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray
from layerscope.core.segmentation import ClassArea, ClassMasks
from layerscope.errors import InputError
from layerscope.io.annotated.images import unit_pixels
from layerscope.models.card import ModelCard
from layerscope.models.file import Model
from layerscope.tasks.shares import ShareErrors, scale_of

UNSURE = 0.2
"""A pixel is unsure if the probabilities of its two best classes are nearer than this, or that of a
mask is so near to its threshold."""

_MORE, _LITTLE = 1.2, 0.01
"""An image is doubtful if more of it is unsure than 1.2 times the most of any held-out image, and a
percent: the next of ten good images is the worst one of them in one case of eleven."""


def find_phases(image: Micrograph, model: Model) -> LabelMap | ClassMasks:
    """Give every pixel its most probable class, or every class its mask.

    Parameters
    ----------
    image : Micrograph
        Burnt-in bars and text that it excludes, and pixels that are not finite, are not counted.
    model : Model
        Of the task ``phases``.

    Returns
    -------
    LabelMap or ClassMasks
        Of the size of the image, with probabilities; masks where the model's classes overlap.

    Raises
    ------
    InputError
        If the model is of another task, or image and model do not fit.
    """
    card = require_phases(model.card)
    pixels = unit_pixels(image)
    size_nm = None if image.pixel_size is None else 1e3 * image.pixel_size.um
    spread = None
    if model.tells_spread:
        probability, spread = model.predict_with_spread(pixels, size_nm)
    else:
        probability = model.predict(pixels, size_nm)
    if card.output == "labels":
        cuts = tuple(card.thresholds.get(name, 0.5) for name in card.classes)
        masks = cut_masks(probability, np.array(cuts, np.float32))
        return ClassMasks(masks, card.classes, _counted(image), cuts, probability, spread)
    labels = probability.argmax(axis=2).astype(np.uint8)
    return LabelMap(labels, card.classes, _counted(image), probability, spread)


def cut_masks(probability: npt.NDArray[Any], thresholds: npt.NDArray[np.float32]) -> BoolArray:
    """Masks (H, W, K) of what is at least as probable as the threshold (K,) of its class."""
    return np.asarray(probability >= thresholds.astype(probability.dtype))


def require_phases(card: ModelCard) -> ModelCard:
    """Return the card of a model that gives pixels classes.

    Raises
    ------
    InputError
        If it does something else.
    """
    if card.task != "phases" or card.output not in ("classes", "labels"):
        raise InputError(
            f"model {card.name!r} is for {card.task} ({card.output}); expected one from "
            "'layerscope train phases'"
        )
    return card


def _counted(image: Micrograph) -> BoolArray:
    counted = np.ones(image.shape, bool) if image.excluded is None else ~image.excluded
    if image.data.dtype.kind == "f":
        finite = np.isfinite(image.data)
        counted = counted & (finite if finite.ndim == 2 else finite.all(axis=2))
    return counted


def measure_areas(
    phases: LabelMap | ClassMasks, errors: ShareErrors | None
) -> tuple[ClassArea, ...]:
    """Share of the counted pixels that each class takes, with its interval.

    Parameters
    ----------
    phases : LabelMap or ClassMasks
        With probabilities. The value of a class that overlaps is 1, 2, 4 ...
    errors : ShareErrors or None
        Of held-out images; None: no interval.
    """
    if isinstance(phases, ClassMasks):
        counts, values = phases.counts(), [1 << k for k in range(len(phases.classes))]
    else:
        counts = np.bincount(phases.labels[phases.valid], minlength=len(phases.classes))
        values = list(range(len(phases.classes)))
    shares = phases.fractions()
    low = high = np.full(len(counts), np.nan)
    if errors is not None and phases.probability is not None and counts.any():
        scale = scale_of(errors.by, phases.probability, phases.spread, phases.valid)
        low, high = errors.interval(shares, scale)
    rows = zip(phases.classes, values, counts.tolist(), shares, low, high, strict=True)
    return tuple(
        ClassArea(name, value, count, float(share), float(below), float(above))
        for name, value, count, share, below, above in rows
    )


def sureness_of(phases: LabelMap | ClassMasks) -> tuple[float, float]:
    """Mean probability of what was said, and the share of unsure pixels; see `sureness`.

    Of masks the probability is that of what was said of a class: p of its pixels, 1 - p of others.
    """
    assert phases.probability is not None
    if isinstance(phases, LabelMap):
        return sureness(phases.probability, phases.valid)
    if not phases.valid.any():
        return float("nan"), float("nan")
    said = 0.0
    for k in range(len(phases.classes)):
        p = phases.probability[..., k][phases.valid]
        said += float(np.where(phases.masks[..., k][phases.valid], p, 1 - p).mean(dtype=np.float64))
    cuts = np.array(phases.thresholds, np.float32)
    return said / len(phases.classes), unsure_share(phases.probability, cuts, phases.valid)


def unsure_share(
    probability: npt.NDArray[Any],
    thresholds: npt.NDArray[np.float32],
    counted: BoolArray | None = None,
) -> float:
    """Share of the pixels of which some mask is nearer to its threshold than half of `UNSURE`.

    Parameters
    ----------
    probability : ndarray, (H, W, K)
    thresholds : ndarray, (K,)
    counted : ndarray of bool, (H, W), optional
    """
    unsure = np.zeros(probability.shape[:2], bool)
    for k, cut in enumerate(thresholds.tolist()):
        unsure |= np.abs(probability[..., k] - cut) < UNSURE / 2
    return float((unsure if counted is None else unsure[counted]).mean())


def sureness(
    probability: npt.NDArray[np.float32], counted: BoolArray | None = None
) -> tuple[float, float]:
    """Mean probability of the given class, and the share of unsure pixels.

    Parameters
    ----------
    probability : ndarray of float32, (..., K)
    counted : ndarray of bool, (...), optional

    Returns
    -------
    confidence, unsure_share : float
        NaN where no pixel is counted.
    """
    rows = probability.reshape(-1, probability.shape[-1])
    rows = rows if counted is None else rows[counted.ravel()]
    if not len(rows):
        return float("nan"), float("nan")
    best = np.partition(rows, -2, axis=1)[:, -2:] if rows.shape[1] > 1 else np.repeat(rows, 2, 1)
    unsure = best[:, 1] - best[:, 0] < UNSURE if rows.shape[1] > 1 else np.zeros(len(rows), bool)
    return float(best[:, 1].mean(dtype=np.float64)), float(unsure.mean())


def disagreement(phases: LabelMap | ClassMasks) -> float:
    """Mean spread of the probability of each pixel's class, over the counted pixels.

    Of masks it is that of all classes. NaN where nothing is counted, or the model is one network.
    """
    if phases.spread is None or not phases.valid.any():
        return float("nan")
    if isinstance(phases, ClassMasks):
        return float(phases.spread[phases.valid].mean(dtype=np.float64))
    chosen = np.take_along_axis(phases.spread, phases.labels[..., None].astype(np.int64), axis=2)
    return float(chosen[..., 0][phases.valid].mean(dtype=np.float64))


def doubt_phases(
    phases: LabelMap | ClassMasks, image: Micrograph, card: ModelCard
) -> tuple[str, ...]:
    """Say why a person should look at an image, one line each.

    The image is compared with those that were held out while the model was chosen.
    """
    doubts = []
    if not phases.valid.any():
        return ("no pixel is counted",)
    _, unsure = sureness_of(phases)
    most = _number(card.metrics.get("unsure_share_most"))
    if most is not None and unsure > _MORE * most + _LITTLE:
        doubts.append(
            f"unsure on {unsure:.0%} of the pixels, on held-out images {most:.0%} at most"
        )
    size = image.pixel_size
    if size is not None and card.pixel_size_nm is not None:
        low, high = card.pixel_size_nm
        if not 0.5 * low <= 1e3 * size.um <= 2 * high:
            doubts.append(
                f"{1e3 * size.um:.3g} nm per pixel, the model learned from {low:.3g} to "
                f"{high:.3g} nm"
            )
    return tuple(doubts)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and np.isfinite(value) else None
