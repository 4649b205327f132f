"""What a coverage is asked for, the same for every method."""

from __future__ import annotations

from dataclasses import dataclass

from layerscope.core.micrograph import PixelSize
from layerscope.errors import InputError

MOST_LAYERS = 12
SHIPPED_MODEL = "film-n"
"""Of the package: `robust`, trained on synthetic scans."""


@dataclass(frozen=True)
class Request:
    """Settings of `find_coverage`.

    Attributes
    ----------
    layer_nm : float or None
        Thickness of one layer of the material.
    threshold : float or None
        By hand, in the unit of the values.
    max_layers : int
    pixel_size : PixelSize or None
    """

    layer_nm: float | None = None
    threshold: float | None = None
    max_layers: int = 4
    pixel_size: PixelSize | None = None

    def __post_init__(self) -> None:
        if self.layer_nm is not None and not 0.1 <= self.layer_nm <= 100:
            raise InputError(f"layer of {self.layer_nm} nm: expected 0.1 to 100 nm")
        if not 1 <= self.max_layers <= MOST_LAYERS:
            raise InputError(f"max_layers {self.max_layers}: expected 1 to {MOST_LAYERS}")
        if self.threshold is not None and not abs(self.threshold) < 1e30:
            raise InputError(f"threshold {self.threshold}: expected a number")


def is_model(method: str) -> bool:
    """Whether `method` names a model: the shipped one, or a file."""
    return method == SHIPPED_MODEL or method.endswith(".onnx")
