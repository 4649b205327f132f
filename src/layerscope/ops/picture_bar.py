"""The colour bar beside a micrograph, and heights from colours by it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.ops.picture_frame import Floats, Frame, Mask
from layerscope.ops.scale_bar import Box, Levels

_ASPECT = 3
_LEAST_LENGTH = 0.25  # of the micrograph's side along it
_LEAST_COLOURS, _LEAST_PATH = 8, 80.0  # distinct colours; levels from end to end
_ACROSS = 14.0  # levels: a row of the bar has one colour
_FINE = 1024  # places along the colour map
_SAME_COLOUR, _FAR_APART = 10.0, 0.08  # levels; share of the bar
# Levels from every colour of the bar: ink of bars and text. Where the median is over one level,
# the picture was a JPEG and its own error reaches five times the median.
_FAR, _FAR_JPEG, _MOST_FAR, _TYPICAL = 24.0, 56.0, 96.0, 5
_CHROMA = 0.125  # JPEG halves the size of chroma: rms 2.2 % with this, 3.0 % with 0.5 (jet, q90)
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, eq=False)
class ColourBar:
    """A colour bar.

    Attributes
    ----------
    box : Box
        Of the colours, without the line around them.
    outer : Box
        With that line.
    path : ndarray, (n, 3)
        Colours from the bottom to the top or from the left to the right, 0..255.
    is_vertical : bool
    snapped : bool
        Whether an end of the page's own colour was taken to be level with the micrograph.
    """

    box: Box
    outer: Box
    path: Floats
    is_vertical: bool
    snapped: bool = False


@dataclass(frozen=True, eq=False)
class Fractions:
    """Places of the micrograph's pixels along the colour map.

    Attributes
    ----------
    values : ndarray, (H, W)
        0 to 1; NaN where no colour of the bar is near.
    error : float
        Root mean square uncertainty: colour distance over colours per fraction, at least half of
        one step. A lower bound for JPEG, whose error along the map leaves no colour distance.
    distance : float
        Median colour distance to the bar, levels.
    far : ndarray of bool, (H, W)
    ambiguous_share : float
        Share of pixels whose colour occurs at two places of the bar.
    n_colours : int
        Distinct colours of the bar, at most 256.
    """

    values: npt.NDArray[np.float32]
    error: float
    distance: float
    far: Mask
    ambiguous_share: float
    n_colours: int


def find_colour_bar(rgb: Levels, frame: Frame) -> ColourBar | None:
    """Find the longest thin rectangle outside of the micrograph whose colours run along it."""
    if frame.page is None or not frame.is_cropped:
        return None
    found = []
    for box in _thin_boxes(frame):
        for turned in (False, True):
            bar = _as_bar(rgb, frame, box, turned)
            if bar is not None:
                found.append(bar)
    return max(found, key=lambda bar: len(bar.path), default=None)


def _thin_boxes(frame: Frame) -> list[Box]:
    """Boxes of pieces, and of pieces in line: a map may run through the colour of the page."""
    content = frame.content.astype(np.uint8)
    top, left, bottom, right = frame.box
    content[max(top - 3, 0) : bottom + 3, max(left - 3, 0) : right + 3] = 0
    stats = cv2.connectedComponentsWithStats(content, connectivity=8)[2][1:]
    pieces = [
        ((y, x, y + h, x + w), area >= 0.8 * w * h)
        for x, y, w, h, area in stats.tolist()
        if area >= 24 and max(w, h) >= 12
    ]
    boxes, full = [box for box, _ in pieces], [box for box, is_full in pieces if is_full]
    joined = []
    for box in full:
        for axis in (0, 1):
            line = [b for b in full if abs(b[axis] - box[axis]) <= 2
                    and abs(b[axis + 2] - box[axis + 2]) <= 2]  # fmt: skip
            if len(line) > 1:
                low, high = np.min(line, axis=0), np.max(line, axis=0)
                joined.append((int(low[0]), int(low[1]), int(high[2]), int(high[3])))
    return sorted(set(boxes + joined))


def _as_bar(rgb: Levels, frame: Frame, box: Box, turned: bool) -> ColourBar | None:
    """Check one box as a vertical bar; `turned` swaps the axes first."""
    content, pixels, home = frame.content, rgb, frame.box
    if turned:
        content, pixels = content.T, pixels.transpose(1, 0, 2)
        box, home = _swap(box), _swap(home)
    core = _core(content, box)
    if core is None or core[2] - core[0] < _LEAST_LENGTH * (home[2] - home[0]):
        return None
    line = _outline_px(pixels, core)
    inner = (core[0] + line, core[1] + line, core[2] - line, core[3] - line)
    inner, snapped = (inner, False) if line else _snapped(pixels, inner, home, frame.page)
    if inner[2] - inner[0] < _ASPECT * (inner[3] - inner[1]):
        return None
    inner = _without_line_ends(pixels, inner)
    path = _path(pixels, inner)
    if path is None:
        return None
    outer = (inner[0] - line, inner[1] - line, inner[2] + line, inner[3] + line)
    if turned:
        return ColourBar(_swap(inner), _swap(outer), path, False, snapped)
    return ColourBar(inner, outer, path[::-1], True, snapped)


def _swap(box: Box) -> Box:
    return box[1], box[0], box[3], box[2]


def _core(content: Mask, box: Box) -> Box | None:
    """Keep the columns filled along the whole length: not ticks, not letters that touch."""
    part = content[box[0] : box[2], box[1] : box[3]]
    full = part.mean(axis=0)
    columns = np.flatnonzero(full >= 0.7 * full.max())
    if full.max() < 0.3 or len(columns) < 4:
        return None
    left, right = int(columns[0]), int(columns[-1]) + 1
    rows = np.flatnonzero(part[:, left:right].mean(axis=1) >= 0.5)
    if not len(rows):
        return None
    return box[0] + int(rows[0]), box[1] + left, box[0] + int(rows[-1]) + 1, box[1] + right


def _outline_px(rgb: Levels, core: Box) -> int:
    """Thickness of the line around the bar: its long sides have one colour, the bar many."""
    part = rgb[core[0] : core[2], core[1] : core[3]].astype(float)
    height, width = part.shape[:2]
    trim = max(3, height // 50)
    middle = part[trim:-trim, width // 2]
    for k in range(min(3, (width - 3) // 2) if len(middle) else 0):
        for column in (part[trim:-trim, k], part[trim:-trim, width - 1 - k]):
            if np.ptp(middle, axis=0).max() < 2 * np.ptp(column, axis=0).max() + 20:
                return k
    return min(3, max((width - 3) // 2, 0))


def _without_line_ends(rgb: Levels, box: Box) -> Box:
    """Leave out rows at the ends from which the colour jumps: the line that JPEG has smeared."""
    top, left, bottom, right = box
    quarter = (right - left) // 4
    rows = np.median(rgb[top:bottom, left + quarter : right - quarter].astype(float), axis=1)
    if len(rows) < 24 or quarter < 1:
        return box
    steps = np.abs(np.diff(rows, axis=0)).max(axis=1)
    jumps = steps > max(16.0, 6 * float(np.median(steps)))
    first, last = np.flatnonzero(jumps[:6]), np.flatnonzero(jumps[::-1][:6])
    cut = [int(at[-1]) + 1 if len(at) else 0 for at in (first, last)]
    return top + cut[0], left, bottom - cut[1], right


def _snapped(
    rgb: Levels, box: Box, home: Box, page: npt.NDArray[np.uint8] | None
) -> tuple[Box, bool]:
    """Bring an end that fades into the page to the micrograph's edge, if one is just beyond."""
    top, left, bottom, right = box
    reach = 0.12 * (home[2] - home[0])
    ends = [rgb[row, left:right].mean(axis=0) for row in (top, bottom - 1)]
    fades = [float(np.abs(end - page).max()) < 40 for end in ends]
    level = [abs(top - home[0]) <= 2, abs(bottom - home[2]) <= 2]
    if fades[0] and 2 < top - home[0] <= reach and level[1]:
        return (home[0], left, bottom, right), True
    if fades[1] and 2 < home[2] - bottom <= reach and level[0]:
        return (top, left, home[2], right), True
    return box, False


def _path(rgb: Levels, box: Box) -> Floats | None:
    """Colours along a bar, top to bottom; None if they do not run as on a colour map."""
    part = rgb[box[0] : box[2], box[1] : box[3]].astype(float)
    width = part.shape[1]
    middle = part[:, width // 4 : max(width - width // 4, width // 4 + 1)]
    path: Floats = np.median(middle, axis=1)
    across = np.abs(middle - path[:, None]).max(axis=2)
    steps = np.abs(np.diff(path, axis=0)).max(axis=1)
    if len(path) < 24 or np.percentile(across, 90) > _ACROSS:
        return None
    if steps.sum() < _LEAST_PATH or len(np.unique(path.round(), axis=0)) < _LEAST_COLOURS:
        return None
    # A colour map runs: neighbours are near, halves apart.
    half = len(path) // 2
    apart = np.abs(path[half:] - path[: len(path) - half]).max(axis=1)
    smooth = np.percentile(steps, 90) <= max(24.0, 6 * steps.mean())
    return path if smooth and np.median(apart) > 24 else None


def fractions_of(rgb: Levels, path: Floats) -> Fractions:
    """Nearest place on a colour map for every pixel.

    Parameters
    ----------
    rgb : ndarray of uint8, (H, W, 3)
    path : ndarray, (n, 3)
        Colours from fraction 0 to fraction 1.
    """
    from scipy.spatial import cKDTree

    fine = _fine(path)
    basis = _metric()
    packed = rgb.reshape(-1, 3).astype(np.int32) @ np.array([65536, 256, 1], np.int32)
    values, back = np.unique(packed, return_inverse=True)
    colours = np.stack([values >> 16, (values >> 8) & 255, values & 255], axis=1).astype(float)
    place = cKDTree(fine @ basis).query(colours @ basis)[1]
    away = np.abs(fine[place] - colours).max(axis=1)
    low, high, twice = _twice(fine)
    shape = rgb.shape[:2]
    at = place[back].reshape(shape)
    typical = float(np.median(away[back]))
    limit = np.clip(_TYPICAL * typical, _FAR if typical <= 1 else _FAR_JPEG, _MOST_FAR)
    far = (away > limit)[back].reshape(shape)
    unsure = twice[at] & ~far
    fraction = _by_neighbours(at, unsure | far, unsure, fine)
    fraction[far] = np.nan
    known = ~far
    spread = ((high - low) / 2)[at[known]]
    slope = np.abs(np.diff(fine @ basis, axis=0)).max() * _FINE
    noise = away[back].reshape(shape)[known] / max(slope, 1e-6)
    error = float(np.sqrt(np.mean(np.maximum(spread, noise) ** 2))) if known.any() else 1.0
    return Fractions(
        fraction.astype(np.float32), error,
        typical, far, float(unsure.mean()), _n_colours(path),
    )  # fmt: skip


def _n_colours(path: Floats) -> int:
    """Return how many colours the map has; a JPEG blurs them into more than the 256 there were."""
    return min(len(np.unique(path.round(), axis=0)), 256)


def _fine(path: Floats) -> Floats:
    """Return the colour map at `_FINE` even places."""
    at, wanted = np.linspace(0, 1, len(path)), np.linspace(0, 1, _FINE)
    return np.stack([np.interp(wanted, at, path[:, c]) for c in range(3)], axis=1)


def _metric() -> Floats:
    """Linear map (3, 3) of RGB to a space in which distances count: lightness and chroma."""
    chroma = np.eye(3) - _LUMA[:, None]
    return np.column_stack([_LUMA, _CHROMA * chroma[:, [0, 2]]])


def _twice(fine: Floats) -> tuple[Floats, Floats, Mask]:
    """Lowest and highest fraction with the same colour next to each place; whether one is afar."""
    near = np.abs(fine[:, None] - fine[None]).max(axis=2) <= 1.0
    alike = np.abs(fine[:, None] - fine[None]).max(axis=2) <= _SAME_COLOUR
    at = np.arange(_FINE)
    apart = np.abs(at[:, None] - at[None])
    reach = int(_FAR_APART * _FINE)
    # Alike and afar, with something else between: no long stretch of one colour.
    total = np.cumsum(~alike, axis=1)
    between = np.abs(total - total[at, at][:, None])
    twice = (alike & (apart > reach) & (between > reach // 2)).any(axis=1)
    local = near & (between == 0)
    low = np.argmax(local, axis=1)
    high = _FINE - 1 - np.argmax(local[:, ::-1], axis=1)
    return low / (_FINE - 1), (high + 1) / (_FINE - 1), np.asarray(twice)


def _by_neighbours(at: npt.NDArray[np.intp], unknown: Mask, unsure: Mask, fine: Floats) -> Floats:
    """Fractions; where a colour occurs twice, the place nearest to that of sure neighbours."""
    fraction: Floats = at / (_FINE - 1)
    if not unsure.any():
        return fraction
    sure = (~unknown).astype(np.float32)
    blur = (15, 15)
    weight = cv2.blur(sure, blur)
    around = cv2.blur((fraction * sure).astype(np.float32), blur) / np.maximum(weight, 1e-6)
    for place in np.unique(at[unsure]):
        alike = np.flatnonzero(np.abs(fine - fine[place]).max(axis=1) <= _SAME_COLOUR)
        here = unsure & (at == place)
        candidates = alike / (_FINE - 1)
        choice = np.abs(around[here][:, None] - candidates).argmin(axis=1)
        # Within one branch the place itself is the best estimate.
        moved = candidates[choice]
        stays = np.abs(moved - fraction[here]) <= _FAR_APART
        fraction[here] = np.where(stays, fraction[here], moved)
    fraction[unsure & (weight < 0.02)] = np.nan
    return fraction
