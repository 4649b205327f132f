"""Synthetic scans of an atomic force microscope, with exact truth.

>>> surface = synth_surface(7, coverage=0.4, material="MoS2")
>>> surface.micrograph.value_unit, round(surface.coverage, 4)
('nm', 0.4)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError
from layerscope.physics.materials import load
from layerscope.synth import surface_artefacts as afm
from layerscope.synth.surface_artefacts import Artefacts
from layerscope.synth.surface_fields import draw_field
from layerscope.synth.surface_islands import Habit, grow_islands
from layerscope.synth.surface_substrate import SUBSTRATES, Substrate, draw_heights

MOST_LAYERS = 4
_CONFORMAL = 0.7
"""Share of the oxide's roughness that a film of one layer follows; on steps it follows wholly."""


@dataclass(frozen=True, eq=False)
class SynthSurface:
    """A scan and what is really there; all maps lie as the scan shows them.

    Attributes
    ----------
    micrograph : Micrograph
        As the instrument gives it: float32, nm, modality AFM.
    heights_nm : ndarray of float32, (H, W)
        True heights above the mean plane of the bare substrate: no tip, particle or noise.
    layers : ndarray of uint8, (H, W)
        Number of layers, 0 on the substrate.
    coverage : float
        Share of pixels with at least one layer.
    step_nm, offset_nm : float
        Layer thickness, and what the first layer stands higher than that.
    domains : ndarray of int32, (H, W)
        Islands as heights can part them: connected film, 1.. from the top left (8-connected).
    grains : ndarray of int32, (H, W)
        Crystals, one per nucleus; those of one domain touch.
    particles, scars : ndarray of bool, (H, W)
        Where the scan shows them: a particle is as wide as the tip feels it.
    material : str
    substrate : Substrate
    habit : Habit
    artefacts : Artefacts
    """

    micrograph: Micrograph
    heights_nm: npt.NDArray[np.float32]
    layers: npt.NDArray[np.uint8]
    coverage: float
    step_nm: float
    offset_nm: float
    domains: npt.NDArray[np.int32]
    grains: npt.NDArray[np.int32]
    particles: BoolArray
    scars: BoolArray
    material: str
    substrate: Substrate
    habit: Habit
    artefacts: Artefacts

    @property
    def n_domains(self) -> int:
        """Number of connected islands."""
        return int(self.domains.max(initial=0))


def synth_surface(
    seed: int,
    *,
    shape: tuple[int, int] = (512, 512),
    pixel_size_nm: float | tuple[float, float] = 10.0,
    coverage: float | None = None,
    material: str = "WSe2",
    max_layers: int | None = None,
    substrate: str | Substrate | None = None,
    habit: Habit | None = None,
    n_nuclei: int | None = None,
    offset_nm: float | None = None,
    artefacts: Artefacts | None = None,
) -> SynthSurface:
    """Draw a scan of a partly grown film; the same arguments give the same bytes.

    Parameters
    ----------
    seed : int
    shape : tuple of int
        Rows and columns, each at least 16.
    pixel_size_nm : float or (float, float)
        One for both axes, or (y, x).
    coverage : float, optional
        0 to 1, met to the nearest pixel; drawn from 0.02 to 0.98 if None, as is all that follows.
    material : str
        Its layer thickness is the step.
    max_layers : int, optional
        1 to 4; further layers grow on the first.
    substrate : str or Substrate, optional
        ``sapphire``, ``sio2``, or one in full.
    habit : Habit, optional
        Shape and alignment of islands.
    n_nuclei : int, optional
        At most; tiny islands are left out.
    offset_nm : float, optional
        What the first layer seems higher than one step, 0 to 0.4 nm: tip and sample attract
        otherwise on film than on substrate.
    artefacts : Artefacts, optional
        ``Artefacts()`` for a perfect instrument.

    Returns
    -------
    SynthSurface

    Raises
    ------
    InputError
        If an argument is out of its range; UnknownName for a material that is not known.
    """
    pixel_nm = _check(shape, pixel_size_nm, coverage, max_layers)
    rng = np.random.default_rng([seed, 0xAF3])
    step_nm = load(material).require_layer_nm()
    share = float(rng.uniform(0.02, 0.98)) if coverage is None else coverage
    bare = _substrate(rng, substrate)
    habit = habit or _draw_habit(rng, share)
    n_nuclei = n_nuclei or _draw_nuclei(rng, shape, share)
    shares = tuple(rng.uniform(0.05, 0.35, (max_layers or int(rng.integers(1, 5))) - 1).tolist())
    offset_nm = float(rng.uniform(0, 0.4)) if offset_nm is None else offset_nm
    artefacts = artefacts or Artefacts.draw(rng)
    grid = afm.sheared_grid(shape, artefacts.shear)
    layers, grains = grow_islands(rng, _bend(rng, grid), share, shares, n_nuclei, habit)
    heights = _film(draw_heights(rng, bare, *grid, pixel_nm), bare, layers, step_nm, offset_nm)
    data, particles, scars = _scan(rng, heights, artefacts, pixel_nm)
    name = f"surface-{seed:04d}"
    return SynthSurface(
        micrograph=_micrograph(data, pixel_nm, name, material, bare),
        heights_nm=heights.astype(np.float32),
        layers=layers,
        coverage=float(np.count_nonzero(layers) / layers.size),
        step_nm=step_nm,
        offset_nm=offset_nm,
        domains=_connected(layers > 0),
        grains=grains,
        particles=particles,
        scars=scars,
        material=material,
        substrate=bare,
        habit=habit,
        artefacts=artefacts,
    )


def _check(
    shape: tuple[int, int],
    pixel_size_nm: float | tuple[float, float],
    coverage: float | None,
    max_layers: int | None,
) -> tuple[float, float]:
    if min(shape) < 16:
        raise InputError(f"shape {shape}: expected at least 16 x 16 pixels")
    if coverage is not None and not 0 <= coverage <= 1:
        raise InputError(f"coverage {coverage}: expected a share from 0 to 1")
    if max_layers is not None and not 1 <= max_layers <= MOST_LAYERS:
        raise InputError(f"max_layers {max_layers}: expected 1 to {MOST_LAYERS}")
    both = pixel_size_nm if isinstance(pixel_size_nm, tuple) else (pixel_size_nm, pixel_size_nm)
    PixelSize(*both, "checked")
    return both


def _substrate(rng: np.random.Generator, told: str | Substrate | None) -> Substrate:
    if isinstance(told, Substrate):
        return told
    return Substrate.draw(rng, told or str(rng.choice(SUBSTRATES)))


def _draw_habit(rng: np.random.Generator, coverage: float) -> Habit:
    shape = str(rng.choice(["triangle", "truncated", "hexagon"], p=[0.5, 0.25, 0.25]))
    apart = coverage < 0.4 and rng.random() < 0.5
    return Habit(shape, bool(rng.random() < 0.5), float(rng.uniform(0, np.pi)), not apart)


def _draw_nuclei(rng: np.random.Generator, shape: tuple[int, int], coverage: float) -> int:
    """Draw a number of nuclei: islands of 150 px at least on average, 80 nuclei at most."""
    most = float(np.clip(coverage * shape[0] * shape[1] / 150, 1, 80))
    return int(np.exp(rng.uniform(0.4, 1) * np.log(most)) + 0.5)


def _bend(
    rng: np.random.Generator, grid: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Bend island edges by about a pixel; too little for an island to fall apart."""
    amplitude, shape = float(rng.uniform(0, 1.2)), grid[0].shape
    y, x = (axis + amplitude * draw_field(rng, shape, 12.0) for axis in grid)
    return y, x


def _film(
    bare_nm: FloatArray,
    substrate: Substrate,
    layers: npt.NDArray[np.uint8],
    step_nm: float,
    offset_nm: float,
) -> FloatArray:
    film = layers > 0
    follows = 1.0 if substrate.name == "sapphire" else _CONFORMAL
    return np.where(film, follows, 1.0) * bare_nm + step_nm * layers + offset_nm * film


def _scan(
    rng: np.random.Generator,
    heights: FloatArray,
    artefacts: Artefacts,
    pixel_nm: tuple[float, float],
) -> tuple[npt.NDArray[np.float32], BoolArray, BoolArray]:
    data, particles = afm.add_particles(rng, heights, artefacts, pixel_nm)
    data = data + afm.background(rng, heights.shape, artefacts)
    data, scars = afm.add_scars(rng, data, artefacts)
    data = data + afm.noise(rng, heights.shape, artefacts)
    return data.astype(np.float32), particles, scars


def _connected(film: BoolArray) -> npt.NDArray[np.int32]:
    return np.asarray(cv2.connectedComponents(film.astype(np.uint8), connectivity=8)[1], np.int32)


def _micrograph(
    data: npt.NDArray[np.float32],
    pixel_nm: tuple[float, float],
    name: str,
    material: str,
    substrate: Substrate,
) -> Micrograph:
    return Micrograph(
        data=data,
        modality=Modality.AFM,
        pixel_size=PixelSize(*pixel_nm, "synthetic"),
        value_unit="nm",
        name=name,
        white_level=1.0,
        metadata={"material": material, "substrate": asdict(substrate)},
    )
