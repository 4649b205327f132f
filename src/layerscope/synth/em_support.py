"""Carbon films that carry a specimen in the transmission electron microscope."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError
from layerscope.synth.surface_fields import draw_field

SUPPORTS = ("regular", "holey", "lacey", "film")
"""Round holes on a grid; round holes as they come; a web; no hole."""

_MIDDLE = (0.25, 0.75)
"""Where along the frame the edge of a hole is put that is larger than the frame."""


@dataclass(frozen=True)
class Support:
    """A carbon film.

    Attributes
    ----------
    kind : str
        One of `SUPPORTS`.
    hole_nm : float
        Usual width of a hole.
    bar_nm : float
        Carbon between two holes: its usual width, of a web that of a strand.
    thickness_nm : float
        Of the carbon.
    """

    kind: str
    hole_nm: float
    bar_nm: float
    thickness_nm: float

    def __post_init__(self) -> None:
        if self.kind not in SUPPORTS:
            raise InputError(f"support {self.kind!r}: expected one of {', '.join(SUPPORTS)}")
        if not min(self.hole_nm, self.bar_nm, self.thickness_nm) > 0:
            raise InputError(f"{self}: lengths must be positive")

    @classmethod
    def draw(cls, rng: np.random.Generator, kind: str | None = None) -> Support:
        """Draw a film as they are sold: holes of 0.4 to 3 um, carbon of 8 to 30 nm."""
        kind = kind or str(rng.choice(SUPPORTS, p=[0.3, 0.35, 0.3, 0.05]))
        hole_nm = float(np.exp(rng.uniform(np.log(400), np.log(3000))))
        share = rng.uniform(0.08, 0.25) if kind == "lacey" else rng.uniform(0.5, 1.3)
        return cls(kind, hole_nm, hole_nm * float(share), float(rng.uniform(8, 30)))


def lay_support(
    rng: np.random.Generator, support: Support, shape: tuple[int, int], pixel_nm: float
) -> tuple[BoolArray, FloatArray]:
    """Holes, and the thickness of carbon in nm; both (H, W).

    Whatever the magnification, the edge of some hole is likely to lie in the frame: an operator
    seeks it. Carbon is thicker within some 50 nm of a hole, where its edge is rolled.
    """
    if support.kind == "film":
        holes = np.zeros(shape, bool)
    elif support.kind == "lacey":
        return _lay_web(rng, support, shape, pixel_nm)
    else:
        holes = _punch(rng, support, shape, pixel_nm)
    away_px = cv2.distanceTransform((~holes).astype(np.uint8), cv2.DIST_L2, 3).astype(float)
    rim = 1 + rng.uniform(0, 0.5) * np.exp(-away_px * pixel_nm / rng.uniform(15, 60))
    return holes, np.where(holes, 0, support.thickness_nm * rim * _uneven(rng, shape, pixel_nm))


def _uneven(rng: np.random.Generator, shape: tuple[int, int], pixel_nm: float) -> FloatArray:
    """Thickness against its mean: some per cent of slow change."""
    slow = draw_field(rng, shape, min(shape) / 2)
    mottled = draw_field(rng, shape, max(60 / pixel_nm, 4.0))
    return 1 + rng.uniform(0, 0.05) * slow + rng.uniform(0, 0.03) * mottled


def _lattice(
    rng: np.random.Generator,
    pitch_px: float,
    shape: tuple[int, int],
    origin: FloatArray,
    disorder: float,
) -> FloatArray:
    """Points (n, 2) of x, y of a hexagonal or square lattice around the frame, some of it lost."""
    turn, angle = rng.uniform(0, np.pi), np.pi / float(rng.choice([2, 3]))
    step = pitch_px * np.array(
        [[np.cos(turn), np.sin(turn)], [np.cos(turn + angle), np.sin(turn + angle)]]
    )
    reach = int(np.hypot(*shape) / pitch_px * 1.2) + 3
    index = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1).T
    points = index @ step
    points = points + disorder * pitch_px * rng.uniform(-1, 1, points.shape)
    points += origin - points[np.argmin(np.abs(index).sum(axis=1))]
    near = np.abs(points - np.array(shape)[::-1] / 2) < np.array(shape)[::-1] / 2 + 3 * pitch_px
    return np.asarray(points[near.all(axis=1)])


def _punch(
    rng: np.random.Generator, support: Support, shape: tuple[int, int], pixel_nm: float
) -> BoolArray:
    """Round holes; those of a ``holey`` film differ in size and lie as they come."""
    loose = support.kind == "holey"
    radius_px = support.hole_nm / pixel_nm / 2
    pitch_px = (support.hole_nm + support.bar_nm) / pixel_nm
    origin = rng.uniform(*_MIDDLE, 2) * shape[::-1]
    centres = _lattice(rng, pitch_px, shape, origin, 0.22 if loose else 0.01)
    kept = rng.random(len(centres)) > (0.15 if loose else 0.01)
    spread = 0.35 if loose else 0.02
    radii = radius_px * np.exp(rng.normal(0, spread, len(centres)))
    outlines = _rough_circles(rng, centres, radii, 0.05 if loose else 0.008)
    if radius_px > min(shape) / 4:
        first = int(np.argmin(np.hypot(*(centres - origin).T)))
        kept[first] = True
        outlines = outlines + origin - outlines[first, rng.integers(outlines.shape[1])]
    canvas = np.zeros(shape, np.uint8)
    corners = np.round(outlines[kept] * 16).astype(np.int32)
    for outline in corners:  # one by one: fillPoly takes crossing outlines as even and odd
        cv2.fillPoly(canvas, [outline], 1, shift=4)
    return canvas.astype(bool)


def _rough_circles(
    rng: np.random.Generator, centres: FloatArray, radii: FloatArray, roughness: float
) -> FloatArray:
    """Outlines (n, 96, 2) of x, y with waves of two to seven per turn."""
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    wave = np.ones((len(radii), len(angle)))
    for k in range(2, 8):
        amplitude, phase = rng.normal(0, roughness / k, (len(radii), 1)), rng.uniform(0, 7)
        wave = wave + amplitude * np.cos(k * angle + phase)
    spoke = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.asarray(centres[:, None] + (radii[:, None] * wave)[..., None] * spoke)


def cell_borders(
    points: FloatArray, shape: tuple[int, int], *, grid_px: int = 3
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Distance in px (H, W) to the border between the cells of `points`, and which cells meet.

    Parameters
    ----------
    points : ndarray, (n, 2)
        Centres of the cells as x, y; at least two.
    shape : tuple of int
    grid_px : int
        Computed on every so many pixels: 3 is nine times faster, and rounds off what is narrower.

    Returns
    -------
    distance : ndarray, (H, W)
        Half the difference of the distances to the two nearest centres: exact on the border and
        at right angles to it, an underestimate elsewhere.
    pair : ndarray of int64, (H, W, 2)
        The two nearest centres, at the nearest grid point.
    """
    from scipy.spatial import cKDTree

    ys = np.arange(grid_px // 2, shape[0] + grid_px, grid_px)
    xs = np.arange(grid_px // 2, shape[1] + grid_px, grid_px)
    grid = np.stack(np.meshgrid(xs, ys), axis=-1).astype(float)
    distance, nearest = cKDTree(points).query(grid, k=2)
    half = ((distance[..., 1] - distance[..., 0]) / 2).astype(np.float32)
    size = (half.shape[1] * grid_px, half.shape[0] * grid_px)
    pair = np.sort(nearest, axis=-1).astype(np.int64)
    smooth = cv2.resize(half, size, interpolation=cv2.INTER_LINEAR)[: shape[0], : shape[1]]
    rows, columns = (np.arange(n) // grid_px for n in shape)
    return np.asarray(smooth, float), pair[rows[:, None], columns]


def _lay_web(
    rng: np.random.Generator, support: Support, shape: tuple[int, int], pixel_nm: float
) -> tuple[BoolArray, FloatArray]:
    """Strands between bubbles: rounded cells, thick where strands meet."""
    pitch_px = (support.hole_nm + support.bar_nm) / pixel_nm
    width_px = support.bar_nm / pixel_nm
    origin = rng.uniform(*_MIDDLE, 2) * shape[::-1]
    seeds = _lattice(rng, pitch_px, shape, origin, 0.38)
    first, second = seeds[np.argsort(np.hypot(*(seeds - origin).T))[:2]]
    across = (second - first) / np.hypot(*(second - first))
    # The edge of the strand between two bubbles goes near the origin.
    seeds = seeds + origin - (first + second) / 2 + rng.uniform(0.8, 1) * across * width_px / 2
    away, _ = cell_borders(seeds, shape, grid_px=3 if width_px > 8 else 1)
    bent = away + 0.1 * width_px * draw_field(rng, shape, max(pitch_px / 4, 4.0))
    bent = cv2.GaussianBlur(bent, (0, 0), max(min(width_px * 0.2, 12.0), 0.5))
    depth = np.clip(1 - bent / (width_px / 2), 0, None)
    holes = _without_islands(depth <= 0)
    strand = 0.5 + np.sqrt(np.clip(depth, 0, 1)) * rng.uniform(0.5, 1.5)
    carbon_nm = support.thickness_nm * strand * _uneven(rng, shape, pixel_nm)
    return holes, np.where(holes, 0, carbon_nm)


def _without_islands(holes: BoolArray) -> BoolArray:
    """Holes, and the pieces of carbon that hang on nothing: none of them reaches the frame."""
    _, piece = cv2.connectedComponents((~holes).astype(np.uint8), connectivity=4)
    border = np.concatenate([piece[0], piece[-1], piece[:, 0], piece[:, -1]])
    held = np.zeros(int(piece.max()) + 1, bool)
    held[border] = True
    return holes | ~held[piece]
