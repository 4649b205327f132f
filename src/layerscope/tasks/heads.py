"""Train a layer head from a folder of micrographs and label images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from layerscope.core.classes import THICK_VALUE
from layerscope.errors import InputError
from layerscope.io import read
from layerscope.io.labels import read_labels
from layerscope.io.sources import name_sources
from layerscope.models import HEADS
from layerscope.models.pixels import clean_samples, samples_from_masks
from layerscope.models.samples import Samples
from layerscope.ops.optical import fit_background

if TYPE_CHECKING:
    from layerscope.models.heads import LayerHead


def train_head(data: str | Path, *, head: str = "gmm", seed: int = 0) -> LayerHead:
    """Learn layer numbers from masks that a person drew.

    Parameters
    ----------
    data : path
        Folder with ``images/`` and ``masks/``: label images of equal name, value = layer number,
        254 thick, 255 unknown: the ``layers/`` of a run, corrected, will do.
    head : str
        Name in `models.HEADS`.
    seed : int

    Returns
    -------
    LayerHead
        Its probabilities are calibrated on images that were held out in turn.

    Raises
    ------
    InputError
        If a folder is missing, or no image has a mask.
    UnknownName
        If there is no such head.
    """
    kind = HEADS[head]
    folder = Path(data)
    for part in ("images", "masks"):
        if not (folder / part).is_dir():
            raise InputError(f"{folder}: expected folders images/ and masks/, no {part}/ there")
    masks = read_labels(folder / "masks").masks
    marked = [s for s in name_sources([folder / "images"]) if s.name in masks]
    if not marked:
        raise InputError(f"{folder}: no mask has the name of an image; expected equal stems")
    samples = []
    for source in marked:
        micrograph = read(source.path)
        # The same background estimator as in `find_flakes`: the published heads used another.
        bare = fit_background(micrograph).at(micrograph.shape)
        mask = masks[source.name]
        if mask.shape != micrograph.shape:
            raise InputError(f"{source.name}: image {micrograph.shape}, mask {mask.shape}")
        unnumbered = mask >= THICK_VALUE  # neither a layer number nor substrate
        excluded = unnumbered if micrograph.excluded is None else micrograph.excluded | unnumbered
        layers = np.where(unnumbered, 0, mask)
        seen = replace(micrograph, excluded=excluded)
        samples.append(samples_from_masks(seen, layers, bare, seed=seed))
    pixels = clean_samples(Samples.concatenate(samples), seed=seed)
    description = {"images": str(len(marked)), "source": folder.name}
    trained: LayerHead = kind.fit(pixels, description=description)
    return trained
