"""Published contrast ladders against the physics: how much has to be fitted.

    python benchmarks/published_ladders.py [TABLES]

TABLES is a folder with Graphene_GMM.json and WSe2_GMM.json (default
../shared/data/optical/contrast_tables): mean 8-bit contrast per layer number, b, g, r. Graphene is
fitted with oxide and tone exponent only, then both with all nine parameters free, held near a
plausible camera by a weak pull.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from layerscope.ops.tone import tone_curve
from layerscope.physics.ladder import NAMES, LadderModel, Prior
from layerscope.physics.materials import load
from layerscope.physics.thin_film import Stack

PULL = 0.002  # contrast per standard deviation of the prior: keeps the camera plausible


def read_ladder(path: Path) -> np.ndarray:
    table = json.loads(path.read_text())
    return np.array([[table[k]["contrast"][c] for c in "rgb"] for k in sorted(table)])


def fit(material: str, ladder: np.ndarray, free: tuple[str, ...]) -> tuple[float, dict[str, float]]:
    """Least squares from several oxides; root mean square residual and the parameters."""
    model = LadderModel(load(material), Stack.parse("SiO2(90nm)/Si"), (50, 130))
    prior = Prior.default(oxide_nm=90, oxide_sd_nm=10)
    columns = [NAMES.index(name) for name in free]
    linear, background = tone_curve("linear"), np.full(3, 0.4)

    def residual(x: np.ndarray) -> np.ndarray:
        theta = prior.mean.copy()
        theta[columns] = x
        misfit = model.encoded(theta[None], linear, background)[0, : len(ladder)] - ladder
        pull = (theta - prior.mean)[columns] / prior.sd[columns]
        return np.concatenate([misfit.ravel(), PULL * pull])

    best = None
    for oxide in (70.0, 80.0, 90.0, 105.0):
        start = prior.mean[columns].copy()
        start[columns.index(0)] = oxide
        limits = (prior.low[columns], prior.high[columns])
        found = least_squares(residual, start, bounds=limits, x_scale=prior.sd[columns])
        best = found if best is None or found.cost < best.cost else best
    rms = float(np.sqrt(np.mean(best.fun[: ladder.size] ** 2)))
    return rms, dict(zip(free, best.x.round(3).tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).parents[1]
    default = here.parent / "shared/data/optical/contrast_tables"
    parser.add_argument("tables", nargs="?", type=Path, default=default)
    tables = parser.parse_args().tables
    two = ("oxide_nm", "tone_exponent")
    for material, free in (("graphene", two), ("graphene", NAMES), ("WSe2", NAMES)):
        ladder = read_ladder(tables / f"{material.capitalize().replace('Wse2', 'WSe2')}_GMM.json")
        rms, found = fit(material, ladder, free)
        print(f"{material:9s} {len(free)} free: rms {rms:.4f}  {found}")


if __name__ == "__main__":
    main()
