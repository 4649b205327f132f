"""The interval of a model of coverage, from pictures that taught it nothing.

Errors have long tails: one film of 24 taken for substrate makes an RMSE of 0.05 where half of the
answers are right to 0.003. An interval of two RMSE is then far too wide for nearly all pictures and
too narrow for that one. The model itself knows them apart: where it is wrong, more of its pixels
are neither surely film nor surely substrate.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from layerscope.core.examples import IGNORE, DataSet
from layerscope.errors import InputError
from layerscope.models.card import ModelCard
from layerscope.ops.normalisation import as_unit
from layerscope.tasks.coverage.learned import LEAST_UNSURE, Answer, ask
from layerscope.training.coverage_patches import coverage_of
from layerscope.training.seen import fingerprints

SURE = 0.95
FEWEST = 19
"""Of fewer pictures not even the largest error bounds a new one at 95 %."""


def interval_metrics(answers: Sequence[Answer], true: Sequence[float]) -> dict[str, float]:
    """Figures of the card that the interval needs, by split conformal prediction [1]_.

    Parameters
    ----------
    answers : sequence of Answer
        To whole pictures that taught the model nothing.
    true : sequence of float
        Their coverage.

    Returns
    -------
    dict of str to float
        ``interval_reach``, the ``ceil(0.95 (n + 1))``-th smallest of
        ``|error| / (unsure + 0.01)``: a new picture of the same kind lies within ``reach * (unsure
        + 0.01)`` with a probability of at least 0.95, however the errors are distributed; and
        ``interval_images``, n. Empty below `FEWEST` pictures.

    References
    ----------
    .. [1] J. Lei et al., J. Am. Stat. Assoc. 113, 1094 (2018), locally weighted.
    """
    n = len(answers)
    if n < FEWEST:
        return {}
    error = np.abs([a.fraction - t for a, t in zip(answers, true, strict=True)])
    scores = np.sort(error / (np.array([a.unsure for a in answers]) + LEAST_UNSURE))
    rank = int(np.ceil(round(SURE * (n + 1), 9)))
    return {"interval_reach": float(f"{scores[rank - 1]:.4g}"), "interval_images": n}


def calibrate_interval(path: Path, dataset: DataSet) -> ModelCard:
    """Measure the interval of a model on pictures with masks, and write it into the model's card.

    Parameters
    ----------
    path : Path
        File of ``layerscope train coverage``; replaced.
    dataset : DataSet
        At least `FEWEST` whole pictures of the kind that will be asked about.

    Raises
    ------
    InputError
        If there are fewer, one has no mask, or one taught the model.
    """
    from layerscope.models.file import read_model
    from layerscope.training.coverage_fit import note_figures

    model = read_model(path)
    seen = {mark for source in model.card.trained_on for mark in source.seen}
    answers, true = [], []
    for example in dataset.examples:
        image, mask = example.read_image(), example.load_labels and example.load_labels()
        if mask is None:
            raise InputError(f"{example.name}: no mask; give pictures with masks")
        if seen.intersection(fingerprints([image])):
            raise InputError(f"{example.name} taught the model: give pictures that did not")
        size_nm = example.pixel_size_nm
        answers.append(ask(model, as_unit(image), mask != IGNORE, size_nm))
        true.append(coverage_of(mask))
    found = interval_metrics(answers, true)
    if not found:
        raise InputError(f"{len(answers)} pictures: an interval needs {FEWEST} or more")
    return note_figures(model.card, {**model.card.metrics, **found}, path)
