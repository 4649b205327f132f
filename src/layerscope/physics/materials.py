"""Materials: optical constants and layer thickness, one TOML file each under ``data/materials``.

Adding a material needs no Python: drop a TOML file beside the others (``scripts/make_materials.py``
shows the fields), or point the environment variable ``LAYERSCOPE_MATERIALS`` at your own folder.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray
from layerscope.errors import InputError, UnknownName

_SHIPPED = Path(__file__).parent / "data" / "materials"
_FINE_STRUCTURE = 1 / 137.035999


@dataclass(frozen=True, eq=False)
class Material:
    """A 2D crystal, or a medium to put it on.

    Attributes
    ----------
    name : str
    layer_nm : float or None
        Thickness of one layer; None for a medium.
    wavelength_nm, n, k : ndarray, (W,)
        Refractive index n + i k, ordinary ray, on a grid; linear in between, constant outside.
    doi, reference : str
        Where n and k come from.
    remark : str
        What to know before trusting them; empty when there is nothing.
    layer_source : str
        Where the layer thickness comes from.
    """

    name: str
    layer_nm: float | None
    wavelength_nm: FloatArray
    n: FloatArray
    k: FloatArray
    doi: str
    reference: str
    remark: str
    aliases: tuple[str, ...] = ()
    layer_source: str = ""

    def index(self, wavelength_nm: npt.ArrayLike) -> npt.NDArray[np.complex128]:
        """Complex refractive index n + i k at `wavelength_nm` (any shape)."""
        wave = np.asarray(wavelength_nm, float)
        n = np.interp(wave, self.wavelength_nm, self.n)
        k = np.interp(wave, self.wavelength_nm, self.k)
        return n + 1j * k

    def require_layer_nm(self) -> float:
        """Thickness of one layer.

        Raises
        ------
        InputError
            If this is a medium and not a layered crystal.
        """
        if self.layer_nm is None:
            crystals = ", ".join(n for n in materials() if load(n).layer_nm is not None)
            raise InputError(f"{self.name} is no layered crystal. Choose one of: {crystals}")
        return self.layer_nm

    def sheet_absorption(self, wavelength_nm: npt.ArrayLike) -> FloatArray:
        """Absorption of one free-standing layer, 2 pi d Im(eps) / wavelength (thin-film limit).

        Graphene's is pi * alpha = 0.0229 at every visible wavelength (Nair et al., Science 320,
        1308 (2008)); tables that break this gave doubled layer ladders.
        """
        wave = np.asarray(wavelength_nm, float)
        permittivity = (self.index(wave) ** 2).imag
        return 2 * np.pi * self.require_layer_nm() * permittivity / wave


def _folders() -> list[Path]:
    own = os.environ.get("LAYERSCOPE_MATERIALS")
    return [Path(own), _SHIPPED] if own else [_SHIPPED]


@cache
def _files(folders: tuple[Path, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return found


@cache
def _names(folders: tuple[Path, ...]) -> dict[str, str]:
    """Case-folded name or alias -> name."""
    names: dict[str, str] = {}
    for name, path in _files(folders).items():
        for alias in (name, *_parse(path).aliases):
            names.setdefault(alias.casefold(), name)
    return names


def materials() -> list[str]:
    """Names of all materials, sorted."""
    return sorted(_files(tuple(_folders())))


def load(name: str) -> Material:
    """Material by name or alias, whatever the case.

    Raises
    ------
    UnknownName
        With the closest names.
    InputError
        If its file is malformed, or it is a graphene table that absorbs like none.
    """
    folders = tuple(_folders())
    names = _names(folders)
    if name.casefold() not in names:
        raise UnknownName.of("material", name, materials())
    return _parse(_files(folders)[names[name.casefold()]])


@cache
def _parse(path: Path) -> Material:
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
        grid = fields["index"]["wavelength_nm"]
        n = np.array(fields["index"]["n"], float)
        k = np.array(fields["index"].get("k", np.zeros_like(n)), float)
        wave = grid["start"] + grid["step"] * np.arange(len(n)) if isinstance(grid, dict) else grid
        crystal = fields["kind"] == "crystal"
        if not crystal and fields["kind"] != "medium":
            raise ValueError(f"kind {fields['kind']!r}: expected crystal or medium")
        material = Material(
            name=fields["name"],
            layer_nm=float(fields["layer_nm"]) if crystal else None,
            wavelength_nm=np.array(wave, float),
            n=n,
            k=k,
            doi=fields.get("doi", ""),
            reference=fields["reference"],
            remark=fields.get("remark", ""),
            aliases=tuple(fields.get("aliases", ())),
            layer_source=fields.get("layer_source", ""),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a material file ({error}); see graphene.toml") from error
    _check(material, path)
    return material


def _check(material: Material, path: Path) -> None:
    grid_ok = material.wavelength_nm.shape == material.n.shape == material.k.shape
    covers = grid_ok and material.wavelength_nm[0] <= 420 and material.wavelength_nm[-1] >= 700
    physical = np.all(material.n > 0) and np.all(material.k >= 0)  # false for nan, too
    if not covers or not np.all(np.diff(material.wavelength_nm) > 0) or not physical:
        raise InputError(
            f"{path}: n and k must cover 420 to 700 nm, wavelengths rising, n > 0, k >= 0"
        )
    if material.layer_nm is not None and not 0 < material.layer_nm < np.inf:
        raise InputError(f"{path}: layer_nm = {material.layer_nm}: expected a positive thickness")
    if material.name == "graphene":
        ratio = material.sheet_absorption(np.arange(450, 651, 10.0)) / (np.pi * _FINE_STRUCTURE)
        # Tables within 0.021..0.034 gave right ladders, those outside doubled them.
        if ratio.min() < 0.9 or ratio.max() > 1.5:
            raise InputError(
                f"{path}: a graphene layer absorbs 2.3 %, this table {ratio.mean():.2f} times that"
            )
