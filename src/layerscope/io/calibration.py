"""Calibrations as TOML: readable, comparable in a diff, and reusable for the next chip."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from layerscope.core.calibration import Calibration, SetupCalibration
from layerscope.core.results import FloatArray
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.atomic import write_bytes

_ARRAYS = ("background", "ladder", "ladder_sd", "draws", "weights")


def write_calibration(path: str | Path, calibration: Calibration) -> None:
    """Write a calibration to one TOML file; the same calibration gives the same bytes."""
    lines = [
        "# layerscope calibration: give it to --calibration to reuse it on the same microscope",
        *_fields({k: getattr(calibration, k) for k in ("material", "substrate", "tone")}),
        *_fields({"parameters": list(calibration.parameters)}),
        "",
        "[provenance]",
        *_fields(calibration.provenance),
    ]
    for setup in calibration.setups:
        scalars = {"status": setup.status, "n_regions": setup.n_regions}
        lines += ["", "[[setup]]", *_fields(scalars), *_fields({"reasons": list(setup.reasons)})]
        lines += [f"{name} = {_array(getattr(setup, name))}" for name in _ARRAYS]
        lines += ["[setup.diagnostics]", *_fields(setup.diagnostics)]
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def _fields(mapping: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in mapping.items()]


def _array(values: Any) -> str:
    """Nine digits: predictions from a saved calibration agree to 1e-6."""
    if np.ndim(values) == 0:
        return f"{float(values):.9g}" if float(values) % 1 else f"{float(values):.1f}"
    inner = [_array(v) for v in values]
    if np.ndim(values) == 1:
        return "[" + ", ".join(inner) + "]"
    return "[\n    " + ",\n    ".join(inner) + ",\n]"


def read_calibration(path: str | Path) -> Calibration:
    """Read a calibration that `write_calibration` wrote.

    Raises
    ------
    UnreadableFile
        If the file is missing or is no calibration.
    """
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        setups = tuple(_setup(table) for table in document["setup"])
        names = tuple(document["parameters"])
        if not setups or any(s.draws.shape[1:] != (len(names),) for s in setups):
            raise ValueError("draws do not match the parameters")
        return Calibration(
            document["material"],
            document["substrate"],
            document["tone"],
            names,
            setups,
            document["provenance"],
        )
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise UnreadableFile(f"{path}: not a layerscope calibration ({error})") from error


def _setup(table: Mapping[str, Any]) -> SetupCalibration:
    arrays = {name: np.array(table[name], float) for name in _ARRAYS}
    _check_shapes(**arrays)
    if table["status"] not in ("ok", "relative", "refused"):
        raise ValueError(f"status {table['status']!r}")
    return SetupCalibration(
        **arrays,
        status=table["status"],
        reasons=tuple(table["reasons"]),
        n_regions=int(table["n_regions"]),
        diagnostics={k: float(v) for k, v in table["diagnostics"].items()},
    )


def _check_shapes(
    background: FloatArray,
    ladder: FloatArray,
    ladder_sd: FloatArray,
    draws: FloatArray,
    weights: FloatArray,
) -> None:
    if background.shape != (3,) or ladder.shape[1:] != (3,) or ladder.shape != ladder_sd.shape:
        raise ValueError("background, ladder and ladder_sd must have three channels")
    if draws.ndim != 2 or weights.shape != (len(draws),) or len(draws) == 0:
        raise ValueError(f"{len(draws)} draws but weights {weights.shape}")
