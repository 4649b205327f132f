"""Small scenes of particles with known truth."""

import numpy as np

from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.core.particles import PixelClasses


def disc(shape, y, x, radius):
    rows, columns = np.indices(shape)
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def flake_over_hole(through=0.5, seed=0):
    """Flake of 60 x 80 px over one round hole of the support, and a bare hole elsewhere.

    Returns flake, holes, and the picture: support 0.7, vacuum 1.0, noise 0.01.
    """
    shape = (160, 200)
    flake = np.zeros(shape, bool)
    flake[50:110, 20:100] = True
    holes = disc(shape, 80, 60, 15) | disc(shape, 60, 160, 20)
    clean = np.where(holes, 1.0, 0.7) * np.where(flake, through, 1.0)
    noise = np.random.default_rng(seed).normal(0, 0.01, shape)
    return flake, holes, (clean + noise).astype(np.float32)


def pixels_of(flake, holes):
    return PixelClasses(flake, holes, np.ones(flake.shape, bool))


def dark_discs(seed=0, shape=(256, 320), number=12, pixel_nm=2.0):
    """Dark discs that do not touch on a noisy bright support; returns micrograph and masks."""
    rng = np.random.default_rng(seed)
    grey = np.full(shape, 170.0) + 20 * np.linspace(0, 1, shape[1])
    masks = []
    taken = np.zeros(shape, bool)
    while len(masks) < number:
        radius = rng.uniform(8, 16)
        y, x = rng.uniform(20, shape[0] - 20), rng.uniform(20, shape[1] - 20)
        if taken[disc(shape, y, x, radius + 6)].any():
            continue
        masks.append(disc(shape, y, x, radius))
        taken |= masks[-1]
    grey[taken] *= 0.55
    data = np.clip(grey + rng.normal(0, 5, shape), 0, 255).astype(np.uint8)
    size = PixelSize(pixel_nm, pixel_nm, "test")
    return Micrograph(data, Modality.TEM, size, name="discs"), masks
