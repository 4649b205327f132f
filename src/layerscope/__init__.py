"""layerscope: from a micrograph of a 2D material to a calibrated table of what is on it.

    import layerscope

    result = layerscope.run(["chip1/"], material="graphene", substrate="SiO2(90nm)/Si",
                            scale=layerscope.Scale("0.3844um"))
    result.objects                       # pandas table, one row per region
    layerscope.write_run(result, "out")  # tables, masks, overlays, report

Names are imported when they are first used, so that importing layerscope costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "Calibration": "core.calibration",
    "Detections": "core.results",
    "Flag": "core.results",
    "Micrograph": "core.micrograph",
    "Optics": "finding",
    "PixelSize": "core.micrograph",
    "RunResult": "core.run",
    "Scale": "finding",
    "Stack": "physics.thin_film",
    "Wanted": "finding",
    "calibrate": "physics.calibration",
    "contrast_ladder": "physics.thin_film",
    "draw_flakes": "draw",
    "find_flakes": "tasks.flakes",
    "measure_flakes": "measure:measure",  # layerscope.measure is the subpackage
    "load_material": "physics.materials:load",
    "read": "io",
    "read_calibration": "io.calibration",
    "read_labels": "io.labels",
    "run": "pipeline",
    "tone_curve": "ops.tone",
    "write_calibration": "io.calibration",
    "write_run": "report.folder",
}
__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:
    from layerscope.core.calibration import Calibration as Calibration
    from layerscope.core.micrograph import Micrograph as Micrograph
    from layerscope.core.micrograph import PixelSize as PixelSize
    from layerscope.core.results import Detections as Detections
    from layerscope.core.results import Flag as Flag
    from layerscope.core.run import RunResult as RunResult


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _EXPORTS[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute or name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
