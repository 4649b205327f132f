"""What a material will look like on a wafer: the question before buying oxide."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from layerscope.core.results import FloatArray
from layerscope.errors import InputError
from layerscope.physics.materials import load
from layerscope.physics.thin_film import Stack, contrast_ladder

_OXIDE_NM = np.arange(10.0, 351.0, 1.0)
_CHANNELS = ("red", "green", "blue")
_CHANNEL_COLOURS = ("#CC3311", "#228833", "#0077BB")


@dataclass(frozen=True, eq=False)
class LadderSheet:
    """Predicted contrasts of a material on a stack.

    Attributes
    ----------
    material, substrate : str
    layer_nm : float
    contrast : ndarray, (N, 3)
        Linear-light contrast of 1..N layers, R, G, B, for a typical colour camera.
    oxide_nm, over_oxide : ndarray, (O,), (O, 3)
        Contrast of one layer over the thickness of the stack's tunable film; empty without one.
    """

    material: str
    substrate: str
    layer_nm: float
    contrast: FloatArray
    oxide_nm: FloatArray
    over_oxide: FloatArray

    def best_oxides_nm(self, count: int = 3) -> list[tuple[float, float]]:
        """Local maxima of one layer's visibility: (thickness in nm, visibility), best first.

        Visibility is the root mean square contrast over the three channels.
        """
        if len(self.oxide_nm) == 0:
            return []
        seen = np.sqrt(np.mean(self.over_oxide**2, axis=1))
        peak = np.flatnonzero((seen[1:-1] >= seen[:-2]) & (seen[1:-1] > seen[2:])) + 1
        best = sorted(peak, key=lambda i: -seen[i])[:count]
        return [(float(self.oxide_nm[i]), float(seen[i])) for i in best]

    def as_text(self, *, best_oxide: bool = False) -> str:
        """Table for a terminal."""
        lines = [
            f"{self.material} on {self.substrate}, contrast I/I_substrate - 1 in linear light",
            "(typical colour camera, halogen lamp; a run calibrates its own)",
            "layers     nm       red    green     blue",
        ]
        for n, row in enumerate(self.contrast, 1):
            red, green, blue = (f"{v:+8.3f}" for v in row)
            lines.append(f"{n:6d} {n * self.layer_nm:6.2f}  {red} {green} {blue}")
        if best_oxide:
            lines += self._best_lines()
        return "\n".join(lines)

    def _best_lines(self) -> list[str]:
        best = self.best_oxides_nm()
        if not best:
            return ["", f"{self.substrate} has no film whose thickness could be chosen"]
        lines = ["", f"one layer of {self.material} is seen best on a film of"]
        return lines + [f"{nm:6.0f} nm   (rms contrast {seen:.3f})" for nm, seen in best]

    def as_json(self) -> str:
        """Return the same numbers for a program."""
        return json.dumps(
            {
                "material": self.material,
                "substrate": self.substrate,
                "layer_nm": self.layer_nm,
                "contrast_rgb": self.contrast.round(6).tolist(),
                "best_oxide_nm": [nm for nm, _ in self.best_oxides_nm()],
            }
        )


def describe_ladder(
    material: str, substrate: str, max_layers: int = 10, na: float = 0.45
) -> LadderSheet:
    """Predict the contrast ladder of `material` on `substrate`, and its dependence on the film.

    Raises
    ------
    InputError
        If the material is no layered crystal or a number is out of range; `UnknownName` with
        the closest names.
    """
    if not 1 <= max_layers <= 1000:
        raise InputError(f"layers {max_layers}: expected 1 to 1000")
    crystal, stack = load(material), Stack.parse(substrate)
    ladder = contrast_ladder(crystal, stack, max_layers=max_layers, na=na)
    oxide, over = np.zeros(0), np.zeros((0, 3))
    if stack.tunable is not None:
        oxide = _OXIDE_NM
        over = contrast_ladder(crystal, stack, max_layers=1, oxide_nm=oxide, na=na)[:, 0]
    return LadderSheet(crystal.name, str(stack), crystal.require_layer_nm(), ladder, oxide, over)


def plot_ladder(sheet: LadderSheet, path: str | Path) -> None:
    """Draw the ladder and the dependence on the film to a .png, .svg or .pdf file.

    Raises
    ------
    InputError
        If the file cannot be written or has another suffix.
    """
    from matplotlib.figure import Figure

    suffix = Path(path).suffix.lower()
    if suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"{path}: plots are written as .png, .svg or .pdf")
    panels = 2 if len(sheet.oxide_nm) else 1
    figure = Figure(figsize=(5.2 * panels, 3.9), layout="constrained", dpi=150)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    layers = np.arange(1, len(sheet.contrast) + 1)
    for c, (name, colour) in enumerate(zip(_CHANNELS, _CHANNEL_COLOURS, strict=True)):
        marker = "osD"[c]
        axes[0].plot(layers, sheet.contrast[:, c], marker=marker, ms=4, color=colour, label=name)
        if panels == 2:
            axes[1].plot(sheet.oxide_nm, sheet.over_oxide[:, c], color=colour, label=name)
    axes[0].set(xlabel="number of layers", ylabel="contrast  I / I$_{substrate}$ − 1")
    axes[0].set_title(f"{sheet.material} on {sheet.substrate}", fontsize=10)
    if len(layers) <= 20:
        axes[0].set_xticks(layers)
    if panels == 2:
        axes[1].set(xlabel="film thickness / nm", ylabel="contrast of one layer")
        axes[1].set_title("which film shows one layer best", fontsize=10)
        for nm, _ in sheet.best_oxides_nm(2):
            axes[1].axvline(nm, color="0.5", lw=0.8, ls="--")
            axes[1].annotate(f"{nm:.0f} nm", (nm, 0.02), xycoords=("data", "axes fraction"),
                             fontsize=8, ha="left", color="0.3", xytext=(3, 0),
                             textcoords="offset points")  # fmt: skip
    for axis in axes:
        axis.axhline(0, color="0.7", lw=0.8, zorder=0)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=9)
    _save(figure, path, suffix)


def _save(figure: object, path: str | Path, suffix: str) -> None:
    metadata = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    try:
        figure.savefig(path, metadata=metadata[suffix])  # type: ignore[attr-defined]
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
