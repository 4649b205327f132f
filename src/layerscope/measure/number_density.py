"""How many domains there are per area, when the picture's edge cuts some of them.

Large domains are cut more often than small ones, so leaving out the cut ones makes the count too
low and the sizes too small. A domain whose bounding box is w x h lies wholly inside a frame W x H
in (W - w - 1)(H - h - 1) of its places; weighting it by the frame's area over that number makes
counts and sizes unbiased (Miles, Math. Biosci. 6, 85 (1970); Lantuejoul, in Quantitative Analysis
of Microstructures (1978); after Horvitz and Thompson, J. Am. Stat. Assoc. 47, 663 (1952)).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.errors import InputError
from layerscope.measure.population import Estimate

BORDER = {
    "weighted": "cut domains left out, the others weighted for it (Miles and Lantuejoul)",
    "half": "cut domains count half (planimetric procedure, ASTM E112)",
    "excluded": "cut domains left out, no correction: counts and sizes are too low",
}
"""Ways to treat domains that the border cuts, and what they mean."""

_TAIL = 0.025
_Z = 1.959964
_FEWEST_PLACES = 7


def border_weights(
    boxes: IntArray, cut: BoolArray, frame: tuple[int, int, int, int], border: str
) -> FloatArray:
    """How many domains of the frame each one stands for.

    Parameters
    ----------
    boxes : ndarray of int, (n, 4)
        Top, left, bottom, right, half-open.
    cut : ndarray of bool, (n,)
        Touches the frame's edge.
    frame : tuple of int
        Top, left, bottom, right of what was imaged.
    border : str
        A name in `BORDER`.

    Returns
    -------
    ndarray, (n,)
        0 for domains that do not count. The sum is the number of domains per frame.

    Raises
    ------
    InputError
        If `border` is not known.
    """
    if border not in BORDER:
        raise InputError(f"border {border!r}: expected one of {', '.join(BORDER)}")
    if border != "weighted":
        return np.where(cut, 0.5 if border == "half" else 0.0, 1.0)
    height, width = frame[2] - frame[0], frame[3] - frame[1]
    rows = height - (boxes[:, 2] - boxes[:, 0]) - 1
    columns = width - (boxes[:, 3] - boxes[:, 1]) - 1
    places = np.maximum(rows, 1) * np.maximum(columns, 1)
    return np.where(cut, 0.0, height * width / places)


def weighted_count(weights: FloatArray, least: float = 1.0) -> Estimate:
    """Sum of weights with its 95 % interval, for domains at independent places.

    Fay and Feuer, Stat. Med. 16, 791 (1997); with weights of 1 this is the exact interval of
    Garwood, Biometrika 28, 437 (1936). Nuclei that starve their neighbours lie more evenly than
    independent ones: then the interval is too wide, never too narrow.

    Parameters
    ----------
    weights : ndarray, (n,)
    least : float
        Weight of a domain that was not seen, for the upper end.
    """
    from scipy.special import gammaincinv

    used = weights[weights > 0]
    total, square = float(used.sum()), float((used**2).sum())
    most = max(float(used.max(initial=0.0)), least)
    low = float(gammaincinv(total**2 / square, _TAIL)) * square / total if len(used) else 0.0
    wider, spread = total + most, square + most**2
    high = float(gammaincinv(wider**2 / spread, 1 - _TAIL)) * spread / wider
    return Estimate(total, low, high, f"95 %, Poisson, {len(used)} domains")


def clark_evans(nearest: FloatArray, area: float, outline: float) -> Estimate:
    """Mean distance to the nearest centre over that of random places.

    1 for random places, below for clusters, up to 2.15 for a triangular lattice (Clark and Evans,
    Ecology 35, 445 (1954)), with the correction for the frame's edge of Donnelly (in Simulation
    Studies in Archaeology, 1978). The interval is 1.96 standard errors of random places: where it
    holds 1, the places may be random.

    Parameters
    ----------
    nearest : ndarray, (n,)
        Distance from each centre to the nearest other one.
    area, outline : float
        Area and outline of the frame in the same unit of length.
    """
    n = len(nearest)
    if n < _FEWEST_PLACES:
        reason = f"none: {n} domains, fewer than {_FEWEST_PLACES}"
        return Estimate(np.nan, np.nan, np.nan, reason)
    expected = 0.5 * np.sqrt(area / n) + (0.0514 + 0.041 / np.sqrt(n)) * outline / n
    error = np.sqrt(0.0703 * area / n**2 + 0.037 * outline * np.sqrt(area / n**5))
    ratio, half = float(nearest.mean() / expected), float(_Z * error / expected)
    return Estimate(ratio, max(ratio - half, 0.0), ratio + half, "95 %, of random places")


def edge_length_density(
    film: BoolArray, valid: BoolArray, spacing: tuple[float, float]
) -> FloatArray:
    """Length of the film's edge per area, by counting crossings; the picture's edge is none.

    Crossings of test lines through the pixels in eight directions: ``L / A = (pi / 2) N`` with N
    the mean number of crossings per length (Buffon; Saltykov; Baddeley and Jensen, Stereology for
    Statisticians (2005), ch. 2), each direction weighted by the angle that it stands for. Only
    pairs of valid pixels count, so borders and gaps bias nothing.

    Parameters
    ----------
    film, valid : ndarray of bool, (H, W)
    spacing : tuple of float
        Height and width of a pixel.

    Returns
    -------
    ndarray, (2,)
        Per unit of length: the edge per area, and its standard error with crossings as independent.
    """
    steps = np.array([(0, 1), (1, 2), (1, 1), (2, 1), (1, 0), (2, -1), (1, -1), (1, -2)])
    true = steps * np.array(spacing)
    angle = np.arctan2(true[:, 0], true[:, 1]) % np.pi
    around = np.concatenate([[angle[-1] - np.pi], angle, [angle[0] + np.pi]])
    share = (around[2:] - around[:-2]) / 2 / np.pi
    rate, variance = np.zeros(len(steps)), np.zeros(len(steps))
    for k, (dy, dx) in enumerate(steps.tolist()):
        crossings, pairs = _crossings(film, valid, dy, dx)
        line = pairs * float(np.hypot(*true[k]))
        if line > 0:
            rate[k], variance[k] = crossings / line, crossings / line**2
    # The eight directions cross the same edges: their errors do not average out.
    error = np.pi / 2 * float(share @ np.sqrt(variance))
    return np.array([np.pi / 2 * float(share @ rate), error])


def _crossings(film: BoolArray, valid: BoolArray, dy: int, dx: int) -> tuple[int, int]:
    height, width = film.shape
    first = (slice(0, height - dy), slice(max(-dx, 0), width - max(dx, 0)))
    second = (slice(dy, height), slice(max(dx, 0), width + min(dx, 0)))
    both: npt.NDArray[np.bool_] = valid[first] & valid[second]
    return int(np.count_nonzero((film[first] != film[second]) & both)), int(np.count_nonzero(both))
