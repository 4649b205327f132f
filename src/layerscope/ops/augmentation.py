"""How much a training patch may differ from the picture that it is cut from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from layerscope.errors import InputError

Range = tuple[float, float]


def _check_range(
    name: str, given: Range, *, above: float = -math.inf, least: float = -math.inf
) -> None:
    low, high = given
    if not (math.isfinite(low) and low <= high < math.inf and low > above and low >= least):
        limit = f" above {above:g}" if above > -math.inf else f" from {least:g}" * (least == 0)
        raise InputError(f"{name} {given}: expected the lower and the upper end of a range{limit}")


@dataclass(frozen=True)
class Augmentation:
    """How much patches may differ from the picture. A range of one value switches a change off.

    Attributes
    ----------
    scale : tuple of float
        Magnification, drawn evenly in its logarithm.
    turn_degrees : tuple of float
    flip : bool
        Mirror left-right and up-down, each with probability 1/2.
    white_balance : tuple of float
        Gain of each channel.
    gamma : tuple of float
        Exponent, drawn evenly in its logarithm.
    brightness : tuple of float
        Added to all channels; white is 1.
    blur_px : tuple of float
        Standard deviation of a Gaussian.
    noise : tuple of float
        Standard deviation of Gaussian noise; white is 1.
    salt_pepper : tuple of float
        Share of pixels that become black or white.
    colour_share, blur_share, noise_share, salt_pepper_share : float
        Probability that a patch gets this change at all.
    mosaic_share, paste_share : float
        Probability that a patch is put together of four, or gets objects of another one.
    """

    scale: Range = (0.5, 2.0)
    turn_degrees: Range = (-180.0, 180.0)
    flip: bool = True
    white_balance: Range = (0.7, 1.3)
    gamma: Range = (0.7, 1.4)
    brightness: Range = (-0.1, 0.1)
    blur_px: Range = (0.0, 1.5)
    noise: Range = (0.0, 0.04)
    salt_pepper: Range = (0.0, 0.02)
    colour_share: float = 0.8
    blur_share: float = 0.3
    noise_share: float = 0.3
    salt_pepper_share: float = 0.1
    mosaic_share: float = 0.0
    paste_share: float = 0.0

    def __post_init__(self) -> None:
        for name in ("scale", "white_balance", "gamma"):
            _check_range(name, getattr(self, name), above=0.0)
        for name in ("blur_px", "noise", "salt_pepper"):
            _check_range(name, getattr(self, name), least=0.0)
        for name in ("turn_degrees", "brightness"):
            _check_range(name, getattr(self, name))
        for name in [n for n in self.__dataclass_fields__ if n.endswith("_share")]:
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} {getattr(self, name)}: expected 0 to 1")

    def only_geometry(self) -> Augmentation:
        """Return the same moves without a change of any value: for images already normalised."""
        return replace(
            self, colour_share=0.0, blur_share=0.0, noise_share=0.0, salt_pepper_share=0.0
        )


NO_AUGMENTATION = Augmentation((1.0, 1.0), (0.0, 0.0), flip=False).only_geometry()
"""Patches as they are in the picture."""
