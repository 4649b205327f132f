"""Images, strokes and answers of a labelling page."""

import json
import struct

import numpy as np

from layerscope.labelling.painting import PaintSettings

CLASSES = ("dark", "light", "other")
FEW_TREES = PaintSettings(trees=8, quick_trees=8, jobs=1)


def halves(seed, shape=(72, 96), low=60, high=180):
    """Noisy picture, dark at the left and light at the right."""
    noise = np.random.default_rng(seed).normal(0, 8, shape)
    plain = np.where(np.arange(shape[1]) < shape[1] // 2, low, high)
    return np.clip(plain + noise, 0, 255).astype(np.uint8)


def stroke(value, *points, layer="scribbles", diameter_px=6):
    """Body of a stroke through points (x, y) in px."""
    flat = [round(4 * n) for point in points for n in point]
    return {"layer": layer, "value": value, "diameter": 4 * diameter_px, "points": flat}


DARK = stroke(1, (20, 10), (20, 60))
LIGHT = stroke(2, (75, 10), (75, 60))


def frames_of(content):
    """Heads and bodies of a stream of pieces."""
    found = []
    while content:
        head, size = struct.unpack("<II", content[:8])
        found.append((json.loads(content[8 : 8 + head]), content[8 + head : 8 + head + size]))
        content = content[8 + head + size :]
    return found
