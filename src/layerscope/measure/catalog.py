"""Every measurement by name: the functions of `geometry` and `signal`, and those of plug-ins."""

from __future__ import annotations

from types import ModuleType

from layerscope.measure import geometry, signal
from layerscope.measure.declare import Measurement
from layerscope.registry import Registry


def _declared(module: ModuleType) -> dict[str, str]:
    """Name -> target of each measurement in `module`, in the order of the file."""
    found = {n: v for n, v in vars(module).items() if isinstance(v, Measurement)}
    return {name: f"{module.__name__}:{name}" for name in found}


MEASUREMENTS = Registry("measurement", _declared(geometry) | _declared(signal))
"""`Measurement` by name; a function decorated with `measurement` in those files is listed."""
