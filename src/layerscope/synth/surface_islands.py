"""Islands of a film that nucleate, grow as crystals, meet, and carry further layers.

Growth is a clock: every nucleus reaches a pixel at the time that its facets need to get there, and
a pixel belongs to the nucleus that comes first. Stopping the clock when the film has so many pixels
gives any coverage exactly, single islands at first and a closed film with grain boundaries at last.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError

SMALLEST_DOMAIN_PX = 20
"""Nuclei that would make smaller islands are left out: no instrument shows them."""

_SEAM_PX = 3.0
_NEVER = np.float32(np.inf)
_HABITS = {"triangle": (1.0, 3.0), "truncated": (1.0, 1.55), "hexagon": (1.0, 1.0)}

_Single = npt.NDArray[np.float32]
LabelArray = npt.NDArray[np.int32]
LayerArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Habit:
    """Shape and attitude of the crystals.

    Attributes
    ----------
    shape : str
        ``triangle``, ``truncated`` or ``hexagon``.
    aligned : bool
        Epitaxial: 0 or 60 degrees to `axis_rad`, but for 1 degree; else any direction.
    axis_rad : float
    coalescing : bool
        False leaves a bare seam between neighbours.
    """

    shape: str
    aligned: bool
    axis_rad: float
    coalescing: bool

    def __post_init__(self) -> None:
        if self.shape not in _HABITS:
            raise InputError(f"island shape {self.shape!r}: expected one of {', '.join(_HABITS)}")


@dataclass(frozen=True, eq=False)
class _Nuclei:
    xy: FloatArray
    angle_rad: FloatArray
    rate: FloatArray

    def __len__(self) -> int:
        return len(self.rate)

    def __getitem__(self, which: npt.NDArray[np.intp] | BoolArray) -> _Nuclei:
        return _Nuclei(self.xy[which], self.angle_rad[which], self.rate[which])


def grow_islands(
    rng: np.random.Generator,
    grid: tuple[FloatArray, FloatArray],
    coverage: float,
    shares: tuple[float, ...],
    n_nuclei: int,
    habit: Habit,
) -> tuple[LayerArray, LabelArray]:
    """Layer number and grain number of every pixel.

    Parameters
    ----------
    rng : numpy.random.Generator
    grid : two ndarray, (H, W)
        Where each pixel lies on the specimen, y and x, in lengths of one pixel: bent by drift.
    coverage : float
        Share of the pixels under film, 0 to 1; met to the nearest pixel.
    shares : tuple of float
        Of each layer, what share the next layer covers; empty for a single layer.
    n_nuclei : int
        Nuclei to try; those that make less than `SMALLEST_DOMAIN_PX` are left out.
    habit : Habit

    Returns
    -------
    layers : ndarray of uint8, (H, W)
    grains : ndarray of int32, (H, W)
        1.. by nucleus, 0 on the substrate.

    Raises
    ------
    InputError
        If islands that keep apart cannot cover so much.
    """
    y, x = grid
    layers, grains = np.zeros(y.shape, np.uint8), np.zeros(y.shape, np.int32)
    n_film = round(coverage * y.size)
    if n_film == 0:
        return layers, grains
    nuclei = _draw_nuclei(rng, y, x, n_nuclei, habit)
    film, owner, nuclei = _grow_first(nuclei, y, x, n_film, habit)
    layers[film], grains[film] = 1, owner[film] + 1
    for number, share in enumerate(shares, start=2):
        room = cv2.erode((layers == number - 1).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        layers[_grow_next(rng, nuclei, y, x, room, share, habit)] = number
    return layers, grains


def _draw_nuclei(
    rng: np.random.Generator, y: FloatArray, x: FloatArray, n: int, habit: Habit
) -> _Nuclei:
    """Places that keep some distance, as a nucleus starves what is next to it."""
    chosen = np.empty((0, 2))
    for _ in range(n):
        tries = rng.integers(0, y.size, 4)
        places = np.stack([x.ravel()[tries], y.ravel()[tries]], axis=1)
        gap = np.hypot(*(places[:, None] - chosen[None]).transpose(2, 0, 1)).min(1, initial=np.inf)
        chosen = np.vstack([chosen, places[np.argmax(gap)]])
    turn = rng.uniform(0, 2 * np.pi, n)
    if habit.aligned:
        turn = habit.axis_rad + np.pi / 3 * rng.integers(0, 2, n) + rng.normal(0, 0.017, n)
    return _Nuclei(chosen, turn, np.exp(rng.normal(0, 0.25, n)))


def _grow_first(
    nuclei: _Nuclei, y: FloatArray, x: FloatArray, n_film: int, habit: Habit
) -> tuple[BoolArray, npt.NDArray[np.intp], _Nuclei]:
    for _ in range(6):
        when, owner, seam = _arrival(nuclei, y, x, habit)
        film = _earliest(when if habit.coalescing else np.where(seam, _NEVER, when), n_film)
        area = np.bincount(owner[film], minlength=len(nuclei))
        large = area >= min(SMALLEST_DOMAIN_PX, n_film // 2)
        if large.all():
            break
        nuclei = nuclei[large]
    return film, owner, nuclei


def _grow_next(
    rng: np.random.Generator,
    nuclei: _Nuclei,
    y: FloatArray,
    x: FloatArray,
    room: BoolArray,
    share: float,
    habit: Habit,
) -> BoolArray:
    """Next layer: it starts near the nuclei of the first, turned by 0 or 60 degrees."""
    some = nuclei[rng.random(len(nuclei)) < 0.75]
    n_film = round(share * np.count_nonzero(room))
    if n_film == 0 or len(some) == 0:
        return np.zeros(y.shape, bool)
    xy = some.xy + rng.normal(0, 2.0, some.xy.shape)
    turn = some.angle_rad + np.pi / 3 * rng.integers(0, 2, len(some))
    rate = np.exp(rng.normal(0, 0.4, len(some)))
    when, _, _ = _arrival(_Nuclei(xy, turn, rate), y, x, habit)
    return _earliest(np.where(room, when, _NEVER), n_film)


def _arrival(
    nuclei: _Nuclei, y: FloatArray, x: FloatArray, habit: Habit
) -> tuple[_Single, npt.NDArray[np.intp], BoolArray]:
    """Time at which the first nucleus comes, which one, and whether a second comes at once."""
    first: _Single = np.full(y.shape, _NEVER)
    second: _Single = first.copy()
    owner: npt.NDArray[np.intp] = np.zeros(y.shape, np.intp)
    y32, x32 = y.astype(np.float32), x.astype(np.float32)
    for i in range(len(nuclei)):
        when = _reach(y32 - np.float32(nuclei.xy[i, 1]), x32 - np.float32(nuclei.xy[i, 0]),
                      float(nuclei.angle_rad[i]), habit.shape)  # fmt: skip
        when /= np.float32(nuclei.rate[i])
        sooner = when < first
        second = np.minimum(second, np.maximum(first, when))
        owner[sooner] = i
        np.minimum(first, when, out=first)
    return first, owner, second - first < _SEAM_PX


def _reach(y: _Single, x: _Single, angle_rad: float, shape: str) -> _Single:
    """Distance of the facet through each pixel: facets move at 1 or at the slower speed."""
    out: _Single = np.zeros(y.shape, np.float32)
    for k in range(6):
        speed = np.float32(_HABITS[shape][k % 2])
        if shape == "triangle" and k % 2:
            continue  # the fast facets grow themselves out
        turn = angle_rad + k * np.pi / 3
        across = np.float32(np.cos(turn)) * x + np.float32(np.sin(turn)) * y
        np.maximum(out, across / speed, out=out)
    return out


def _earliest(when: _Single, n: int) -> BoolArray:
    """Mark exactly the `n` pixels that are reached first; ties by position."""
    if np.isfinite(when).sum() < n:
        raise InputError(
            f"islands that keep apart cannot cover {n} of {when.size} pixels: let them coalesce"
        )
    out = np.zeros(when.size, bool)
    out[np.argsort(when, axis=None, kind="stable")[:n]] = True
    return out.reshape(when.shape)
