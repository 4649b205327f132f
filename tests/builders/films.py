"""Masks and coverages of drawn domains."""

import cv2
import numpy as np

from layerscope.core.coverage import Coverage, LabelMap, Terrace


def polygon(n, radius, angle_deg=0.0, centre=(0.0, 0.0)):
    """Corners x, y of a regular polygon; the first facet's normal points to `angle_deg`."""
    t = np.radians(angle_deg + 180 / n + np.arange(n) * 360 / n)
    return np.stack([centre[1] + radius * np.cos(t), centre[0] - radius * np.sin(t)], axis=1)


def fill(shape, *polygons):
    """Pixels whose centres lie in one of the convex `polygons` (k, 2)."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    out = np.zeros(shape, bool)
    for corners in polygons:
        one = np.ones(shape, bool)
        area = cv2.contourArea(corners.astype(np.float32), oriented=True)
        for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            side = (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])
            one &= side * np.sign(area) >= 0
        out |= one
    return out


def coverage_of(levels, valid=None, heights_nm=None):
    """Coverage with the levels given; `heights_nm` per level make terraces."""
    levels = np.asarray(levels, np.uint8)
    names = ("substrate", *(f"{k} layer{'s' if k > 1 else ''}" for k in range(1, 5)))
    valid = np.ones(levels.shape, bool) if valid is None else valid
    film = LabelMap(levels, names[: int(levels.max(initial=0)) + 1], valid)
    known = bool(valid.any())
    share = float((levels[valid] > 0).mean()) if known else float("nan")
    low, high = (max(share - 0.01, 0), min(share + 0.01, 1)) if known else (share, share)
    terraces = tuple(
        Terrace(k, h, h, h, float((levels == k).mean())) for k, h in enumerate(heights_nm or ())
    )
    return Coverage(share, low, high, "test", film, terraces=terraces)
