"""Shapes of cleaved flakes: straight crystal edges, torn edges, terraces, folds, cracks, holes."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray

LayerMap = npt.NDArray[np.int32]
"""Layer number per pixel; 0 is bare substrate."""

SMALLEST_TERRACE_PX = 40
"""Smaller pieces of a terrace are given to what surrounds them."""


def cleave_flake(
    generator: np.random.Generator,
    radius_px: float,
    n_layers: int,
    *,
    max_layers: int = 10,
    thick_layers: int = 0,
) -> LayerMap:
    """One flake on a canvas of its own.

    Parameters
    ----------
    generator : numpy.random.Generator
    radius_px : float
        Half of its typical extent.
    n_layers : int
        Layers of its largest part.
    max_layers : int
        Thin terraces are not thicker.
    thick_layers : int
        Layers of a thick part along one side; 0 for none.

    Returns
    -------
    ndarray of int32, (H, W)
        Cropped to the flake; may be empty, (0, 0), if nothing larger than a speck is left.
    """
    axis = generator.uniform(0, np.pi)
    flake = fill(outline(generator, radius_px, axis))
    layers = np.where(flake, np.int32(n_layers), np.int32(0))
    if n_layers <= max_layers:
        layers = _add_terraces(generator, layers, axis, max_layers)
    else:
        layers = _add_thick_steps(generator, layers, axis)
    if thick_layers:
        side = _beyond_line(generator, layers > 0, axis, 0.35)
        layers[side & (layers > 0)] = thick_layers
    layers = _add_damage(generator, layers, axis, radius_px)
    return _crop(_without_specks(layers))


def outline(generator: np.random.Generator, radius_px: float, axis: float) -> FloatArray:
    """Draw a closed polygon (V, 2) of x, y: cut along crystal directions, some edges torn.

    Cleaved edges of hexagonal crystals lie at multiples of 30 degrees (armchair and zigzag),
    mostly at multiples of 60.
    """
    stretch = float(np.exp(abs(generator.normal(0, 0.75))))  # splinters are common
    stretch = min(stretch, 6.0)
    polygon = radius_px * 2.2 * np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    for _ in range(generator.integers(6, 10)):
        angle = _direction(generator, axis) + np.pi * generator.integers(0, 2)
        normal = np.array([np.cos(angle), np.sin(angle)])
        reach = radius_px * np.hypot(*(normal * [stretch**0.5, stretch**-0.5]))
        polygon = cut(polygon, normal, reach * generator.uniform(0.55, 1.05))
    for angle in np.linspace(0, 2 * np.pi, 8, endpoint=False):  # no cut may be missing on a side
        normal = np.array([np.cos(angle), np.sin(angle)])
        reach = radius_px * np.hypot(*(normal * [stretch**0.5, stretch**-0.5]))
        polygon = cut(polygon, normal, reach * generator.uniform(1.0, 1.4))
    turn = generator.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return _tear(generator, polygon) @ rotation


def _direction(generator: np.random.Generator, axis: float) -> float:
    if generator.random() < 0.2:
        return float(generator.uniform(0, np.pi))
    step = np.pi / 3 if generator.random() < 0.8 else np.pi / 6
    return float(axis + step * generator.integers(0, 6) + generator.normal(0, 0.02))


def cut(polygon: FloatArray, normal: FloatArray, offset: float) -> FloatArray:
    """Part of a convex polygon on the inner side of a line (Sutherland-Hodgman clipping)."""
    side = polygon @ normal - offset
    if np.all(side > 0):
        return polygon
    kept = []
    for i in range(len(polygon)):
        j = (i + 1) % len(polygon)
        if side[i] <= 0:
            kept.append(polygon[i])
        if (side[i] <= 0) != (side[j] <= 0):
            t = side[i] / (side[i] - side[j])
            kept.append(polygon[i] + t * (polygon[j] - polygon[i]))
    return np.array(kept)


def _tear(generator: np.random.Generator, polygon: FloatArray) -> FloatArray:
    """Roughen a third of the edges by midpoint displacement, and notch some."""
    vertices: list[FloatArray] = []
    for start, stop in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        length = float(np.hypot(*(stop - start)))
        kind = generator.random()
        edge = np.array([start, stop])
        if kind < 0.3 and length > 8:
            edge = _roughen(generator, edge, 0.16)
        elif kind < 0.45 and length > 12:
            edge = _notch(generator, edge)
        vertices.extend(edge[:-1])
    return np.array(vertices)


def _roughen(generator: np.random.Generator, line: FloatArray, amplitude: float) -> FloatArray:
    """Midpoint displacement until segments are about 3 px long."""
    while np.hypot(*np.diff(line, axis=0).T).max() > 4 and len(line) < 300:
        step = np.diff(line, axis=0)
        middle = (line[:-1] + line[1:]) / 2
        normal = np.stack([-step[:, 1], step[:, 0]], axis=1)
        middle = middle + normal * generator.normal(0, amplitude, (len(step), 1))
        mixed = np.empty((2 * len(line) - 1, 2))
        mixed[::2], mixed[1::2] = line, middle
        line = mixed
    return line


def _notch(generator: np.random.Generator, edge: FloatArray) -> FloatArray:
    """Missing wedge in a straight edge."""
    start, stop = edge
    along = stop - start
    inward = np.array([-along[1], along[0]]) * generator.uniform(0.15, 0.45)
    a, b, c = np.sort(generator.uniform(0.15, 0.85, 3))
    return np.array([start, start + a * along, start + b * along + inward, start + c * along, stop])


def fill(polygon: FloatArray, margin_px: int = 3) -> npt.NDArray[np.bool_]:
    """Pixels inside a closed polygon (V, 2) of x, y, on the smallest canvas that holds it."""
    low = np.floor(polygon.min(axis=0)) - margin_px
    width, height = np.ceil(polygon.max(axis=0) - low).astype(int) + margin_px + 1
    canvas = np.zeros((height, width), np.uint8)
    corners = np.round((polygon - low) * 16).astype(np.int32)
    cv2.fillPoly(canvas, [corners], 1, shift=4)
    return canvas.astype(bool)


def _add_terraces(
    generator: np.random.Generator, layers: LayerMap, axis: float, max_layers: int
) -> LayerMap:
    """Add steps of 1, 2, 3 or more layers along lines across the flake."""
    if generator.random() < 0.12:
        return _add_fan(generator, layers, max_layers)
    out = layers.copy()
    for _ in range(generator.choice([0, 1, 2, 3, 4], p=[0.3, 0.3, 0.2, 0.12, 0.08])):
        step = int(generator.choice([1, 2, 3, 4, 6], p=[0.5, 0.22, 0.12, 0.1, 0.06]))
        side = _beyond_line(generator, layers > 0, axis, generator.uniform(0.1, 0.5))
        if generator.random() < 0.25:  # a strip instead of a half
            side &= _beyond_line(generator, layers > 0, axis, generator.uniform(0.3, 0.6))
        raised = np.minimum(out + step, max(max_layers, 1))
        out = np.where(side & (layers > 0), raised, out).astype(np.int32)
    return out


def _add_fan(generator: np.random.Generator, layers: LayerMap, max_layers: int) -> LayerMap:
    """Add steps of one layer along nearly parallel lines, the torn fan of a thin flake."""
    angle, out = generator.uniform(0, 2 * np.pi), layers.copy()
    rows, columns = np.indices(layers.shape, np.float32)
    for share in np.sort(generator.uniform(0.1, 0.9, generator.integers(3, 8))):
        turn = angle + generator.normal(0, 0.06)
        across = columns * np.cos(turn) + rows * np.sin(turn)
        if (layers > 0).any():
            out[across > np.quantile(across[layers > 0], share)] += 1
    return np.where(layers > 0, np.minimum(out, max_layers), 0).astype(np.int32)


def _add_thick_steps(generator: np.random.Generator, layers: LayerMap, axis: float) -> LayerMap:
    """Add steps of a few to tens of per cent of the thickness of a bulk piece."""
    out = layers.copy()
    for _ in range(generator.choice([0, 1, 2, 3], p=[0.4, 0.3, 0.2, 0.1])):
        side = _beyond_line(generator, layers > 0, axis, generator.uniform(0.1, 0.5))
        factor = float(np.exp(generator.normal(0, 0.5)))
        stepped = np.maximum(np.round(out * factor), 3).astype(np.int32)
        out = np.where(side & (layers > 0), np.minimum(stepped, 400), out).astype(np.int32)
    return out


def _beyond_line(
    generator: np.random.Generator, flake: npt.NDArray[np.bool_], axis: float, share: float
) -> npt.NDArray[np.bool_]:
    """About `share` of the canvas beyond a slightly bent line along a crystal direction."""
    angle = _direction(generator, axis) + np.pi * generator.integers(0, 2)
    rows, columns = np.indices(flake.shape, np.float32)
    across = columns * np.cos(angle) + rows * np.sin(angle)
    along = rows * np.cos(angle) - columns * np.sin(angle)
    if generator.random() < 0.4:
        kink = generator.choice(along[flake]) if flake.any() else 0.0
        across = across + generator.uniform(-0.6, 0.6) * np.maximum(along - kink, 0)
    if not flake.any():
        return np.zeros_like(flake)
    return np.asarray(across > np.quantile(across[flake], 1 - share))


def _add_damage(
    generator: np.random.Generator, layers: LayerMap, axis: float, radius_px: float
) -> LayerMap:
    """Folds (three times the layers), cracks and holes (none)."""
    out = layers.copy()
    if radius_px > 35 and generator.random() < 0.15:
        fold = _stripe(generator, out > 0, axis, generator.uniform(4, 4 + radius_px / 10))
        out[fold] *= 3
    for _ in range(generator.choice([0, 1, 2, 3], p=[0.65, 0.2, 0.1, 0.05])):
        out[_stripe(generator, out > 0, axis, generator.uniform(1.5, 5.0))] = 0
    for _ in range(generator.choice([0, 1, 2], p=[0.8, 0.15, 0.05])):
        _punch(generator, out, generator.uniform(0.05, 0.2) * radius_px)
    return out


def _stripe(
    generator: np.random.Generator, flake: npt.NDArray[np.bool_], axis: float, width_px: float
) -> npt.NDArray[np.bool_]:
    """Straight band across part of the flake."""
    where = np.argwhere(flake)
    if len(where) == 0:
        return np.zeros_like(flake)
    row, column = generator.choice(where)
    angle = _direction(generator, axis)
    rows, columns = np.indices(flake.shape, np.float32)
    across = (columns - column) * np.cos(angle) + (rows - row) * np.sin(angle)
    along = (rows - row) * np.cos(angle) - (columns - column) * np.sin(angle)
    band = (np.abs(across) < width_px / 2) & flake
    return np.asarray(band & (along > 0) if generator.random() < 0.5 else band)


def _punch(generator: np.random.Generator, layers: LayerMap, radius_px: float) -> None:
    where = np.argwhere(layers > 0)
    if len(where) == 0:
        return
    row, column = generator.choice(where)
    angles = np.sort(generator.uniform(0, 2 * np.pi, 6))
    reach = radius_px * generator.uniform(0.6, 1.4, 6)
    corners = np.stack([column + reach * np.cos(angles), row + reach * np.sin(angles)], axis=1)
    cv2.fillPoly(layers, [np.round(corners).astype(np.int32)], 0)


def _without_specks(layers: LayerMap) -> LayerMap:
    """Give pieces under `SMALLEST_TERRACE_PX` to their thickest neighbour or the substrate."""
    out = layers.copy()
    for _ in range(3):
        specks = _specks(out)
        if not specks.any():
            return out
        rest = np.where(specks, 0, out).astype(np.float32)
        around = cv2.dilate(rest, np.ones((3, 3), np.uint8)).astype(np.int32)
        for _ in range(8):
            rest = np.where(specks & (rest == 0), around, rest).astype(np.float32)
            around = cv2.dilate(rest, np.ones((3, 3), np.uint8)).astype(np.int32)
        out = rest.astype(np.int32)
    out[_specks(out)] = 0
    return out


def _specks(layers: LayerMap) -> npt.NDArray[np.bool_]:
    specks = np.zeros(layers.shape, bool)
    for value in np.unique(layers[layers > 0]):
        _, label, stats, _ = cv2.connectedComponentsWithStats(
            (layers == value).astype(np.uint8), connectivity=4
        )
        small = stats[:, cv2.CC_STAT_AREA] < SMALLEST_TERRACE_PX
        small[0] = False
        specks |= small[label]
    return specks


def _crop(layers: LayerMap) -> LayerMap:
    rows, columns = np.flatnonzero(layers.any(1)), np.flatnonzero(layers.any(0))
    if len(rows) == 0:
        return np.zeros((0, 0), np.int32)
    return layers[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
