"""Strong noise taken out of a micrograph before anything is looked for in it.

Both kinds are detected in the image itself, and an image without them is returned as it is. Single
pixels at the camera's limits (dead and hot ones, salt and pepper) get the mean of their sound
neighbours. Noise far above that of a camera is flattened: the image of least total variation that
is as far from the noisy one as the noise says (Rudin, Osher and Fatemi, Physica D 60, 259 (1992)).
Terraces are flat and their edges sharp, which is what this model of an image is made for. It takes
small faint ones away all the same: where regions are, `ops.noisy_film` asks the noisy image.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray

_AT_LIMIT = 0.01
_LONELY = 0.2
"""Of white: how far a pixel at the limit is off the median of its 5 x 5 neighbours."""
_IMPULSES = 0.005
"""Share of such pixels from which on they are noise; ten real micrographs have none."""

STRONG = 0.05
"""Standard deviation of a pixel, of white, from which on an image is noisy. Ten real
micrographs have 0.003 at most."""
_WEIGHT = 2.0
"""Of total variation against fidelity, in standard deviations of the noise."""
_ROUNDS = 100
_SMALLEST_PX = 14


def quieted(micrograph: Micrograph) -> Micrograph:
    """Take strong noise out of a micrograph.

    Parameters
    ----------
    micrograph : Micrograph
        Optical, grey or RGB; with a white level.

    Returns
    -------
    Micrograph
        The same one where there is none; else its history says what was done.
    """
    sound = without_impulses(micrograph)
    if not is_noisy(sound):
        return sound
    share = _share(sound)
    noise = noise_of(share)
    return _changed(sound, _flattened(share, _WEIGHT * noise), {"noise": round(noise, 4)})


def without_impulses(micrograph: Micrograph) -> Micrograph:
    """Give dead and hot pixels the mean of their sound neighbours, where they are many.

    Parameters
    ----------
    micrograph : Micrograph
        As in `quieted`.

    Returns
    -------
    Micrograph
        The same one where there are few; else its history says how many there were.
    """
    if not _is_read(micrograph):
        return micrograph
    share = _share(micrograph)
    hit = _impulses(share)
    struck = float(hit.mean())
    if struck <= _IMPULSES:
        return micrograph
    return _changed(micrograph, _patched(share, hit), {"impulses": round(struck, 4)})


def is_noisy(micrograph: Micrograph) -> bool:
    """Whether the noise of its pixels is above `STRONG`."""
    return _is_read(micrograph) and noise_of(_share(micrograph)) > STRONG


def _is_read(micrograph: Micrograph) -> bool:
    return micrograph.data.dtype.kind == "u" and min(micrograph.shape) >= _SMALLEST_PX


def _share(micrograph: Micrograph) -> npt.NDArray[np.float32]:
    return (micrograph.data / np.float32(micrograph.white_level)).astype(np.float32)


def _changed(
    micrograph: Micrograph, share: npt.NDArray[np.float32], done: dict[str, float]
) -> Micrograph:
    data = np.rint(np.clip(share, 0, 1) * micrograph.white_level).astype(micrograph.data.dtype)
    return micrograph.after("quieted", done, data=data)


def noise_of(share: npt.NDArray[np.float32]) -> float:
    """Estimate the standard deviation of a pixel's noise, in the unit of the values.

    Median absolute response of a filter that edges and slopes hardly touch (Immerkaer, Comput. Vis.
    Image Underst. 64, 300 (1996)).

    Parameters
    ----------
    share : ndarray of float32, (H, W) or (H, W, 3)
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    return float(np.median(np.abs(cv2.filter2D(share, -1, kernel)))) / 0.6745 / 6


def _impulses(share: npt.NDArray[np.float32]) -> BoolArray:
    """Pixels (H, W) that are at a limit in all channels and unlike their neighbours."""
    planes = share if share.ndim == 3 else share[..., None]
    low, high = planes.max(axis=2) <= _AT_LIMIT, planes.min(axis=2) >= 1 - _AT_LIMIT
    grey = np.ascontiguousarray(planes.mean(axis=2))
    lonely = np.abs(grey - cv2.medianBlur(grey, 5)) > _LONELY
    return np.asarray((low | high) & lonely)


def _patched(share: npt.NDArray[np.float32], hit: BoolArray) -> npt.NDArray[np.float32]:
    """Give every pixel that was hit the mean of its sound neighbours within 5 x 5."""
    sound = (~hit).astype(np.float32)
    weight = cv2.GaussianBlur(sound, (5, 5), 1.0)
    planes = share if share.ndim == 3 else share[..., None]
    blurred: Any = np.stack(
        [cv2.GaussianBlur(planes[..., c] * sound, (5, 5), 1.0) for c in range(planes.shape[2])],
        axis=-1,
    )
    around = blurred / np.maximum(weight, 1e-6)[..., None]
    out = np.where((hit & (weight > 0))[..., None], around, planes)
    return np.asarray(out.reshape(share.shape), np.float32)


def _flattened(share: npt.NDArray[np.float32], weight: float) -> npt.NDArray[np.float32]:
    """Image u that minimises ``weight * TV(u) + |u - share|^2 / 2``, all channels together.

    Projected gradients on the dual, accelerated (Beck and Teboulle, IEEE Trans. Image Process. 18,
    2419 (2009)).
    """
    noisy = share if share.ndim == 3 else share[..., None]
    held = ahead = np.zeros((2, *noisy.shape), np.float32)
    pace = 1.0
    for _ in range(_ROUNDS):
        last, before = held, pace
        step = ahead + _gradient(noisy + weight * _divergence(ahead)) / np.float32(8 * weight)
        held = step / np.maximum(1, np.sqrt((step**2).sum(axis=(0, 3))))[None, ..., None]
        pace = (1 + np.sqrt(1 + 4 * before**2)) / 2
        ahead = held + np.float32((before - 1) / pace) * (held - last)
    return np.asarray((noisy + weight * _divergence(held)).reshape(share.shape), np.float32)


def _gradient(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Differences to the next row and column, (2, H, W, C); 0 at the end."""
    out = np.zeros((2, *image.shape), np.float32)
    np.subtract(image[1:], image[:-1], out=out[0, :-1])
    np.subtract(image[:, 1:], image[:, :-1], out=out[1, :, :-1])
    return out


def _divergence(field: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Minus the adjoint of `_gradient`, (H, W, C)."""
    out = field[0] + field[1]
    out[1:] -= field[0, :-1]
    out[:, 1:] -= field[1, :, :-1]
    return np.asarray(out)
