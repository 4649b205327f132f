"""How a measurement is declared: one function, its unit and how it grows with length."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layerscope.errors import InputError

if TYPE_CHECKING:
    from layerscope.measure.region import Region

NEEDS = frozenset({"mask", "signal"})
Function = Callable[["Region"], float]


@dataclass(frozen=True)
class Measurement:
    """One number per region.

    Attributes
    ----------
    name : str
        Stem of the column names.
    unit : str
        ``um``, ``um2``, ``deg`` or "" for a pure number.
    dimension : int
        Power of length: 1 for lengths, 2 for areas, 0 for shape and signal. Doubling the pixel
        size multiplies the value by ``2 ** dimension``.
    needs : frozenset of str
        What it looks at: ``mask``, ``signal``. One that declares only ``mask`` may not change when
        the colours do.
    rotation_invariant : bool
        The value stays the same when the image is turned.
    integer : bool
        The value is a count.
    description : str
        For the glossary; the first paragraph of the docstring.
    function : callable
        `Region` -> value in the region's own unit of length.
    """

    name: str
    unit: str
    dimension: int
    needs: frozenset[str]
    rotation_invariant: bool
    integer: bool
    description: str
    function: Function

    def __call__(self, region: Region) -> float:
        """Measure `region`."""
        return self.function(region)

    @property
    def columns(self) -> dict[str, str]:
        """Column name -> unit; px first where the value scales with length."""
        if self.dimension == 0:
            return {f"{self.name}_{self.unit}" if self.unit else self.name: self.unit}
        px = "px" if self.dimension == 1 else f"px{self.dimension}"
        # An area in pixels is a count of pixels: the field writes area_px, not area_px2.
        return {f"{self.name}_px": px, f"{self.name}_{self.unit}": self.unit}


def measurement(
    *,
    unit: str,
    dimension: int,
    needs: Collection[str] = ("mask",),
    rotation_invariant: bool = True,
    integer: bool = False,
) -> Callable[[Function], Measurement]:
    """Declare a function of one `Region` as a measurement; see `Measurement`.

    The function's name becomes the column, its docstring the glossary entry. A measurement in
    another package is found through the entry-point group ``layerscope.measurements``.

    Raises
    ------
    InputError
        If there is no docstring, unit and dimension contradict each other, or `needs` names
        something that a region does not have.

    Examples
    --------
    >>> @measurement(unit="um", dimension=1)
    ... def half_perimeter(region):
    ...     '''Half the length of the outline.'''
    ...     return region.perimeter / 2
    >>> list(half_perimeter.columns)
    ['half_perimeter_px', 'half_perimeter_um']
    """
    lengths = {0: ("", "deg"), 1: ("um",), 2: ("um2",)}
    if unit not in lengths.get(dimension, ()):
        raise InputError(f"unit {unit!r} does not go with dimension {dimension}: {lengths}")

    if not NEEDS.issuperset(needs):
        raise InputError(f"needs {sorted(needs)}: expected some of {sorted(NEEDS)}")

    def declare(function: Function) -> Measurement:
        text = inspect.getdoc(function)
        if not text:
            raise InputError(f"measurement {function.__name__} has no docstring to explain it")
        meaning = " ".join(text.split("\n\n")[0].split())
        needed = frozenset(needs)
        return Measurement(
            function.__name__,
            unit,
            dimension,
            needed,
            rotation_invariant,
            integer,
            meaning,
            function,
        )

    return declare
