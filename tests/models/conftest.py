"""Synthetic labelled regions: a ladder of colours, images with their own systematic error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from layerscope.models.samples import Samples

LADDER = np.array([1 - np.exp(-0.13 * n) for n in range(1, 6)])[:, None] * [-1.02, -1.1, -0.66]


def synthetic_regions(
    n_images, per_image, seed, *, ladder=LADDER, sd=0.012, wrong=0.0, heavy=False
):
    """Regions of `n_images`; each image has an offset and a gain that all its regions share."""
    rng = np.random.default_rng(seed)
    n = n_images * per_image
    image = np.repeat(np.arange(n_images), per_image)
    layers = rng.integers(0, len(ladder), n)
    seen = np.where(rng.random(n) < wrong, rng.integers(0, len(ladder), n), layers)
    offset = rng.normal(0, 0.006, (n_images, 3))[image]
    gain = 1 + rng.normal(0, 0.03, n_images)[image, None]
    noise = rng.standard_t(4, (n, 3)) * 0.7 if heavy else rng.standard_normal((n, 3))
    contrast = ladder[seen] * gain + offset + noise * sd * [1, 1, 1.6]
    names = [f"chip {seed} {i}" for i in image]
    return Samples.from_regions(contrast, np.full((n, 3), 0.002), layers + 1, names)


def few_labels(samples, n, seed):
    """`n` regions of each layer number."""
    rng = np.random.default_rng(seed)
    per_layer = [np.flatnonzero(samples.layers == k) for k in np.unique(samples.layers)]
    return samples.take(
        np.sort(np.concatenate([rng.choice(m, n, replace=False) for m in per_layer]))
    )


@pytest.fixture(scope="session")
def regions():
    return synthetic_regions


@pytest.fixture(scope="session")
def few():
    return few_labels


@pytest.fixture(scope="session")
def ladder():
    return LADDER


@pytest.fixture
def published_table():
    folder = Path(__file__).parents[3] / "shared/data/optical/contrast_tables"
    if not folder.is_dir():
        pytest.skip("published contrast tables are not here (../shared/data)")
    return lambda material: json.loads((folder / f"{material}_GMM.json").read_text())
